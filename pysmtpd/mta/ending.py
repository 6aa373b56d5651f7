"""What the end of a connection says of its host. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pysmtpd.model.reply import Reply
from pysmtpd.mta.security import Level, Policy
from pysmtpd.smtp.client_events import Stage

TAKES_NO_MAIL = 521
"""RFC 7504."""

# Where a host says so.
_DOOR = (Stage.GREETING, Stage.HELLO)

# Where a host fails that has not what is asked of it. IDLE: all was said, and it was not enough.
_POLICY_STAGES = (Stage.STARTTLS, Stage.TLS, Stage.IDLE)


class Blame(Enum):
    """
    @cvar NOTHING: at least nothing new.
    @cvar DROPPED: it has ended the session before it had the message.
    @cvar TLS: its TLS fails, and nothing asks for it: it is done without for a while.
    @cvar CROWDED: it takes no more connections than it has.
    @cvar USELESS: it is of no use now, for all or for those under one policy; see L{Ending.concerned}.
    """

    NOTHING = "nothing"
    DROPPED = "dropped"
    TLS = "TLS"
    CROWDED = "crowded"
    USELESS = "useless"


class Ending(NamedTuple):
    """Of a connection, not by our wish.

    @ivar policy: that it was opened under.
    @ivar stage: what was waited for.
    @ivar reply: what the host said, or what we say in its place.
    @ivar isEstablished: transactions could start.
    @ivar isUnfinished: one had begun, and another host may take it.
    @ivar offersTicket: it tried to resume a session of TLS.
    """

    policy: Policy
    stage: Stage
    reply: Reply
    isEstablished: bool = False
    isUnfinished: bool = False
    offersTicket: bool = False

    @property
    def isStale(self) -> bool:
        """Was the ticket too old? The next connection begins anew, and says what is wrong, if it still is."""
        return self.stage is Stage.TLS and self.offersTicket and not self.isEstablished

    @property
    def isOfTls(self) -> bool:
        """Was it for want of TLS as it was asked for? That STARTTLS is not offered is found out at EHLO."""
        return self.stage in _POLICY_STAGES or self.reply.enhanced == "4.7.4"

    @property
    def takesNoMail(self) -> bool:
        """Has the host said that it never does?"""
        return self.stage in _DOOR and self.reply.code == TAKES_NO_MAIL

    @property
    def goesPlain(self) -> bool:
        """Does who only would like TLS do without, on a new connection? TLS has failed, or the host was lost over it: that is what we say
        of a connection that was lost, or of an answer that did not come in time."""
        isLost = self.reply.code == 451 and self.reply.enhanced == "4.4.2"
        isTls = self.stage is Stage.TLS or (self.stage is Stage.STARTTLS and isLost)
        return isTls and self.policy.level is Level.OPPORTUNISTIC

    @property
    def concerned(self) -> Policy | None:
        """Whose mail the host is of no use for: what is asked under this policy; None: all."""
        isAll = self.stage is Stage.GREETING or self.isEstablished or self.takesNoMail
        return self.policy if self.policy.asksForMore and not isAll else None

    def blame(self, isProven: bool, hasOthers: bool) -> Blame:
        """
        @param isProven: a connection was established since the last failure.
        @param hasOthers: some are open.
        """
        if self.isEstablished:
            return Blame.DROPPED if self.isUnfinished else Blame.NOTHING
        if self.isStale:
            return Blame.NOTHING
        if self.goesPlain:
            return Blame.TLS
        isOfPolicy = self.policy.asksForMore and self.isOfTls
        return Blame.CROWDED if isProven and hasOthers and not isOfPolicy else Blame.USELESS
