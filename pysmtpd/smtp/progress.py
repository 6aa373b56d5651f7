"""How far one session has come, and what its bounds have counted."""

from __future__ import annotations

from typing import Final

from pysmtpd.model.reply import Reply
from pysmtpd.smtp import replies
from pysmtpd.smtp.events import ServerSettings
from pysmtpd.smtp.table import State

# RCPT commands of one transaction beyond maxRcpt that are not errors yet: a client may have pipelined them (Postfix:
# smtpd_recipient_overshoot_limit = 1000).
RCPT_OVERSHOOT: Final = 1000


class Enough(Exception):
    """A bound was passed that ends the session.

    @ivar reply: a 421.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Progress:
    """
    @ivar tls: TLS is on.
    @ivar authSeen: AUTH was tried, well or ill.
    @ivar accepted: recipients of this transaction.
    @ivar tried: its RCPT commands.
    @ivar smtputf8: its MAIL had SMTPUTF8.
    @ivar xclient: attributes of XCLIENT that this peer may give; empty: it may not say it.
    @ivar mails: MAIL commands of the session that were accepted.
    """

    __slots__ = (
        *("accepted", "authSeen", "authenticated", "mails", "settings", "smtputf8", "state", "tls", "tried"),
        "xclient",
        *("_errors", "_idles"),
    )

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.state: int = State.START
        self.tls = False
        self.xclient: tuple[str, ...] = ()
        self.authenticated = False
        self.authSeen = False
        self.accepted = 0
        self.tried = 0
        self.smtputf8 = False
        self.mails = 0
        self._errors = 0
        self._idles = 0

    @property
    def inTransaction(self) -> bool:
        """MAIL was accepted and nothing has ended it yet."""
        return State.MAIL <= self.state <= State.CHUNKS

    def endTransaction(self) -> bool:
        """Was there one?"""
        wasOpen = self.inTransaction
        if wasOpen:
            self.state = State.READY
        self.accepted = self.tried = 0
        self.smtputf8 = False
        return wasOpen

    def startTls(self) -> bool:
        """Forget what was said before (RFC 3207 4.2). Was there a transaction?"""
        wasOpen = self.endTransaction()
        if self.state != State.AWAY:
            self.state = State.START
        self.tls = True
        self.authenticated = False
        return wasOpen

    def restart(self, authenticated: bool) -> None:
        """Another client's session begins; TLS stays on."""
        self.endTransaction()
        self.state = State.START
        self.authenticated = authenticated
        self.mails = self._errors = self._idles = 0

    def countMessage(self) -> None:
        """One was accepted: whoever sends mail may err again (as Postfix does it)."""
        self._errors = self._idles = 0

    def countReply(self, reply: Reply) -> None:
        """
        @raise Enough: it was one refusal too many.
        """
        if reply.code >= 500:
            self.countError()
        elif reply.code >= 400:
            self.countIdle()

    def countError(self) -> None:
        """
        @raise Enough: it was one too many.
        """
        self._errors += 1
        if self._errors >= self.settings.maxErrors:
            raise Enough(replies.TOO_MANY_ERRORS)

    def countIdle(self) -> None:
        """A command that brings no message nearer.

        @raise Enough: it was one too many.
        """
        self._idles += 1
        if self._idles > self.settings.maxCommands:
            raise Enough(replies.TOO_MANY_COMMANDS)
