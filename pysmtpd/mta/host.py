"""Hosts as they behave: how many connections they have, and when to leave them alone."""

from __future__ import annotations

from typing import NamedTuple

from pysmtpd.mta import pace
from pysmtpd.mta.lanes import Lane

PENALTY_UNIT = 15.0
"""Seconds; the n-th failure in a row keeps a place out for n squared of them."""

MAX_PENALTY = 3600.0

NEVER = float("-inf")

LEARNT_TIME = 6 * 3600.0
"""Seconds for which the number of recipients that a host takes is remembered."""

CAUTION_DELAY = 5.0
"""Seconds between two connections, where the configuration says none, after a peer has complained."""

CAUTION_TIME = 600.0
"""For how long that is heeded, in seconds."""


class Penalty:
    """Times are of the monotonic clock.

    @ivar takesNoMail: the host has said that it never does (521).
    """

    __slots__ = ("error", "failures", "takesNoMail", "until")

    def __init__(self) -> None:
        self.takesNoMail = False
        self.failures = 0
        self.until = 0.0
        self.error = ""

    def failed(self, now: float, error: str, takesNoMail: bool = False) -> None:
        self.failures += 1
        self.takesNoMail = takesNoMail
        self.until = now + min(PENALTY_UNIT * self.failures**2, MAX_PENALTY)
        self.error = error

    def worked(self) -> None:
        self.failures = 0
        self.until = 0.0
        self.error = ""
        self.takesNoMail = False


class Host:
    """One address, whoever uses it.

    @ivar connections: open, or being opened.
    @ivar opened: monotonic seconds of the last one.
    @ivar rcptMax: recipients that it was seen to take in one transaction, as long as C{rcptMaxUntil}; 0: no bound is known.
    """

    __slots__ = ("_lane", "_slowUntil", "address", "connections", "names", "opened", "rcptMax", "rcptMaxUntil")

    def __init__(self, address: str) -> None:
        self.address = address
        self.connections = 0
        self.names = ""
        self.opened = NEVER
        self.rcptMax = 0
        self.rcptMaxUntil = 0.0
        self._lane = Lane.NEW
        self._slowUntil = 0.0

    def lane(self, now: float) -> Lane:
        """What is known of its pace."""
        if self._lane > Lane.NEW and self._slowUntil <= now:
            self._lane = Lane.NEW
        return self._lane

    def keeps(self, lane: Lane, now: float) -> None:
        """This is its pace."""
        self._lane = lane
        if lane > Lane.NEW:
            self._slowUntil = now + pace.REMEMBERED

    def forgive(self) -> None:
        """Forget that it was slow."""
        self._lane = min(self._lane, Lane.NEW)

    def tookOnly(self, recipients: int, now: float) -> None:
        """It said of those behind them that they are too many."""
        self.rcptMax = recipients
        self.rcptMaxUntil = now + LEARNT_TIME

    def most(self, now: float, said: int) -> int:
        """Recipients for one transaction.

        @param said: by the host itself, or the usual number.
        """
        return min(said, self.rcptMax) if self.rcptMax and now < self.rcptMaxUntil else said


class Caution(NamedTuple):
    """The host has asked for patience: there are delays between connections.

    @ivar until: monotonic seconds; C{next}: no connection before.
    @ivar said: the reply that asked for it.
    """

    until: float
    said: str
    next: float = 0.0


class Route:
    """Source address x host address.

    @ivar source: local address; empty: the system chooses.
    @ivar caution: None: nobody has asked for it lately.
    @ivar opened: monotonic seconds when the last connection was opened, and when one was C{closed}.
    """

    __slots__ = ("caution", "closed", "connections", "delivered", "host", "opened", "source")

    def __init__(self, source: str, host: Host) -> None:
        self.source = source
        self.host = host
        self.connections = 0
        self.delivered = 0
        self.caution: Caution | None = None
        self.opened = NEVER
        self.closed = NEVER

    def cautious(self, now: float) -> Caution | None:
        """What is to be heeded now."""
        caution = self.caution
        return caution if caution is not None and caution.until > now else None

    def beCautious(self, now: float, said: str) -> None:
        """The host asks for patience."""
        before = self.cautious(now)
        self.caution = Caution(now + CAUTION_TIME, said, before.next if before is not None else 0.0)

    def opens(self, now: float) -> None:
        """A connection is opened."""
        self.opened = now
        caution = self.cautious(now)
        self.caution = caution._replace(next=now + CAUTION_DELAY) if caution is not None else None
