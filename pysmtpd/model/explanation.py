"""What somebody asks C{explain} about, and what it finds: values, like the decisions that they hold."""

from __future__ import annotations

from dataclasses import dataclass

from pysmtpd.model.address import Path
from pysmtpd.model.config import Config, ListenerSpec
from pysmtpd.model.decision import Decision
from pysmtpd.model.envelope import Destination
from pysmtpd.model.facts import SessionFacts


@dataclass(frozen=True, slots=True)
class Supposed:
    """A session that is only supposed: who would come, and what would be said.

    @ivar sender: the address of MAIL, as it would be said; empty: the null sender.
    @ivar recipients: the addresses of RCPT.
    @ivar peer: IP address, or C{"local"} for the local socket; empty: a stranger's.
    @ivar rdns: the peer's confirmed name; None: DNS is asked, where that can be done.
    @ivar helo: what the peer would call itself; empty: a name that fits it.
    @ivar user: whom it would authenticate as; empty: it does not.
    @ivar tls: it would use TLS.
    @ivar tag: of the listener; empty: any.
    @ivar listener: C{"192.0.2.1:25"}, an interface, an address, a port, or C{"socket"}; empty: the first that fits.
    @ivar size: of the message, in octets, as MAIL would declare it; 0: not declared.
    """

    sender: str
    recipients: tuple[str, ...]
    peer: str = ""
    rdns: str | None = None
    helo: str = ""
    user: str = ""
    tls: bool = False
    tag: str = ""
    listener: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command of the supposed session and its answer.

    @ivar reply: its last line, as the peer would read it; empty: the session does not come to this command.
    @ivar reason: what the log would say beside a refusal.
    @ivar address: of RCPT.
    @ivar decision: what the rules decided; None: they were not asked.
    """

    command: str
    reply: str
    reason: str = ""
    address: str = ""
    decision: Decision | None = None

    @property
    def isRefused(self) -> bool:
        """4xx, 5xx, or not even asked."""
        return self.reply[:1] not in ("2", "3")


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    @ivar config: the generation that decided.
    @ivar facts: of the session, as they were when it ended.
    @ivar sender: as it would be said.
    @ivar path: the sender as it was understood; the null path if it was refused.
    @ivar exchanges: in order; the session may have ended before its last command.
    @ivar destinations: the envelopes that would be queued.
    @ivar notes: what was assumed, and what could not be asked; one sentence each.
    """

    config: Config
    listener: ListenerSpec
    facts: SessionFacts
    sender: str
    path: Path
    exchanges: tuple[Exchange, ...]
    destinations: tuple[Destination, ...]
    notes: tuple[str, ...] = ()
