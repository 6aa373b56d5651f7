"""What may look at, change or refuse mail on its way in."""

from __future__ import annotations

from enum import Enum

from zope.interface import Interface

from pysmtpd.interfaces.ready import Ready
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.reply import Reply
from pysmtpd.model.value import value


class Phase(Enum):
    """When a filter is asked; the words of smtpd.conf(5)."""

    CONNECT = "connect"
    HELO = "helo"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL_FROM = "mail-from"
    RCPT_TO = "rcpt-to"
    DATA = "data"
    COMMIT = "commit"
    RSET = "rset"
    NOOP = "noop"
    QUIT = "quit"


@value
class Verdict:
    """
    @ivar reply: refuse with it; None: proceed. 421 ends the session.
    @ivar rewritten: proceed with this in place of the phase's value; None: unchanged.
    @ivar disconnect: end the session after the reply.
    """

    reply: Reply | None = None
    rewritten: str | None = None
    disconnect: bool = False


PROCEED = Verdict()


class IBodyPipe(Interface):
    """One stage between the SMTP core and the queue; takes chunks of canonical content, gives chunks."""

    def write(chunk: bytes) -> Ready[bytes]: ...

    def finish() -> Ready[bytes]:
        """The rest, after the last chunk."""


class IFilter(Interface):
    """Asked at each phase of a session. One that fails costs that session (421), never the daemon."""

    def ask(phase: Phase, value: str, facts: SessionFacts, transaction: Transaction | None) -> Ready[Verdict]: ...

    def pipe(facts: SessionFacts, transaction: Transaction) -> IBodyPipe | None:
        """A stage for this message's content, or None for no interest."""
