"""A relay: where a message should go. It keeps what is known of the way there, and how much waits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from pysmtpd.model.reply import Reply
from pysmtpd.mta.bounds import Charge
from pysmtpd.mta.keys import RelayKey, Target
from pysmtpd.mta.mx import Resolution

FRESH = 60.0
"""Seconds for which a resolution is used at most without asking again; the resolver keeps answers for their TTL, so asking is cheap."""

LEAST_FRESH = 5.0
"""Seconds for which it is used in any case: a TTL of nothing must not bring a question for each message."""

FOLLOW = 35.0
"""Seconds that all others wait for the first one to try hosts again that were down: by then its connection has timed out."""


class Down(NamedTuple):
    """No host can be reached: said once, and repeated to all who come before C{until} (monotonic seconds).

    @ivar retryAt: wall-clock seconds when the others come again.
    """

    until: float
    resolution: Resolution
    reply: Reply
    retryAt: float


class Relay:
    """
    @ivar name: for people; also the key of its hold queue.
    @ivar backlog: messages that were taken and have no outcome yet.
    @ivar envelopes: those of them.
    @ivar held: envelopes that the scheduler was asked to hold, at most; it may have fewer by now.
    @ivar limit: the hold queue that some of its mail was last told to wait in, for a rate, a back-off or a suspension; empty: none.
    @ivar lastError: why mail was last deferred; empty: some was delivered since.
    @ivar waiting: who wants to know the resolution that is under way.
    """

    __slots__ = (
        "_charges",
        "backlog",
        "down",
        "envelopes",
        "held",
        "key",
        "lastError",
        "limit",
        "name",
        "release",
        "resolution",
        "waiting",
    )

    def __init__(self, key: RelayKey, release: Callable[[Relay], None]) -> None:
        self.key = key
        self.name = str(key)
        self.backlog = 0
        self.envelopes = 0
        self.held = 0
        self.resolution: Resolution | None = None
        self.waiting: list[Callable[[Resolution], None]] = []
        self.lastError = ""
        self.limit = ""
        self.down: Down | None = None
        self.release = release
        self._charges: dict[str, tuple[Charge, ...]] = {}

    def charges(self, source: str) -> tuple[Charge, ...]:
        """What a connection from this address in use for it counts against."""
        charges = self._charges.get(source)
        if charges is None:
            domain = self.key.limitName
            charges = self._charges[source] = (
                Charge("connector", f"{self.name} from {source}", domain),
                Charge("relay", self.name, domain),
                Charge("domain", domain, domain),
            )
        return charges

    def begin(self) -> None:
        self.backlog += 1

    def end(self) -> None:
        self.backlog -= 1
        if self.held:
            self.release(self)

    def fresh(self, now: float) -> Resolution | None:
        resolution = self.resolution
        return resolution if resolution is not None and now < resolution.until else None

    def isDown(self, now: float) -> Down | None:
        """What is known of hosts that are out of reach; None: try."""
        down = self.down
        if down is None or now >= down.until or self.resolution is not down.resolution or self.fresh(now) is None:
            return None
        return down

    def labels(self, most: int) -> list[str]:
        """Its hosts as far as they are known, best first; an answer to an operator has no room for all that DNS may say."""
        return [target.label for target in self.targets(most)]

    def targets(self, most: int) -> list[Target]:
        """Likewise, whole."""
        levels = self.resolution.levels if self.resolution is not None else ()
        return list(islice((target for level in levels for target in level), most))

    @property
    def isIdle(self) -> bool:
        return not (self.backlog or self.held or self.waiting)
