"""A relay: where a message should go. It keeps what is known of the way there, and how much waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from pysmtpd.model.reply import Reply
from pysmtpd.mta.bounds import Charge
from pysmtpd.mta.keys import RelayKey, Target
from pysmtpd.mta.lanes import Lane, Places
from pysmtpd.mta.mx import Resolution

FRESH = 60.0
"""Seconds for which a resolution is used at most without asking again; the resolver keeps answers for their TTL, so asking is cheap."""

LEAST_FRESH = 5.0
"""Seconds for which it is used in any case: a TTL of nothing must not bring a question for each message."""

IDLE = 1
"""Looks, one a minute, at which a relay was idle, after which it is forgotten; C{IDLE_WITH_ERROR} if its hosts had errors."""

IDLE_WITH_ERROR = 240

FOLLOW = 35.0
"""Seconds that all others wait for the first one to try hosts again that were down: by then its connection has timed out."""


SKIPPED_TIME = 60.0
"""Seconds before the last attempt for which a source address that was of no use is still shown: they take turns."""

_NONE: Mapping[str, tuple[float, str]] = MappingProxyType({})


class Down(NamedTuple):
    """No host can be reached: said once, and repeated to all who come before C{until} (monotonic seconds).

    @ivar retryAt: wall-clock seconds when the others come again.
    @ivar isPolicy: each host lacks what its TLS has to be, and nothing else.
    """

    until: float
    reply: Reply
    retryAt: float
    isPolicy: bool


class Relay:
    """
    @ivar name: for people; also the key of its hold queue.
    @ivar backlog: messages that were taken and have no outcome yet.
    @ivar envelopes: those of them.
    @ivar lane: what is known of the pace of the hosts that take its mail.
    @ivar held: envelopes that the scheduler was asked to hold, at most; it may have fewer by now.
    @ivar limit: the hold queue that some of its mail was last told to wait in, for a rate, a back-off or a suspension; empty: none.
    @ivar idle: how often it was looked at since it had something to do.
    @ivar lastError: why mail was last deferred; empty: some was delivered since.
    @ivar waiting: who wants to know the resolution that is under way.
    """

    __slots__ = (
        "_charges",
        "_name",
        "_places",
        "_skipped",
        "backlog",
        "down",
        "envelopes",
        "held",
        "idle",
        "key",
        "lane",
        "lastError",
        "limit",
        "release",
        "resolution",
        "waiting",
    )

    def __init__(self, key: RelayKey, release: Callable[[Relay], None], places: Places) -> None:
        """
        @param release: told when one of its messages has come to an end while some are held.
        @param places: counts envelopes by lanes.
        """
        self.key = key
        self._name = ""
        self.backlog = 0
        self.envelopes = 0
        self.lane = Lane.NEW
        self._places = places
        self.held = 0
        self.resolution: Resolution | None = None
        self.waiting: tuple[Callable[[Resolution], None], ...] = ()
        self.idle = 0
        self.lastError = ""
        self._skipped: Mapping[str, tuple[float, str]] = _NONE
        self.limit = ""
        self.down: Down | None = None
        self.release = release
        self._charges: dict[str, tuple[Charge, ...]] | None = None

    @property
    def skipped(self) -> list[str]:
        """Source addresses that were of no use lately, each with the reason."""
        return [f"{address}: {why}" for address, (_, why) in self._skipped.items()]

    def skips(self, address: str, why: str, now: float) -> None:
        """This source address was of no use."""
        kept = {each: told for each, told in self._skipped.items() if told[0] + SKIPPED_TIME > now}
        self._skipped = {**kept, address: (now, why)}

    def uses(self, address: str) -> None:
        """This source address is of use."""
        if address in self._skipped:
            self._skipped = {each: told for each, told in self._skipped.items() if each != address}

    def forgiveSources(self) -> None:
        """All of them are tried again."""
        self._skipped = _NONE

    @property
    def name(self) -> str:
        if not self._name:
            self._name = str(self.key)
        return self._name

    def charges(self, source: str) -> tuple[Charge, ...]:
        """What a connection from this address in use for it counts against."""
        known = self._charges
        if known is None:
            known = self._charges = {}
        charges = known.get(source)
        if charges is None:
            domain = self.key.limitName
            charges = known[source] = (
                Charge("connector", f"{self.name} from {source}", domain),
                Charge("relay", self.name, domain),
                Charge("domain", domain, domain),
            )
        return charges

    def count(self, envelopes: int) -> None:
        """So many more, or fewer, are under way."""
        self.envelopes += envelopes
        self._places.add(self.lane, envelopes)

    def keeps(self, lane: Lane) -> None:
        """This is the pace of its hosts."""
        if lane is not self.lane:
            self._places.move(self.lane, lane, self.envelopes)
            self.lane = lane

    def begin(self) -> None:
        self.backlog += 1
        self.idle = 0

    def end(self) -> None:
        self.backlog -= 1
        if self.held:
            self.release(self)

    def rest(self, now: float) -> None:
        """It has nothing to do: let go what can be found again."""
        self.idle += 1
        self._charges = None
        self._name = ""
        if self.fresh(now) is None:
            self.resolution = None

    def resolved(self, resolution: Resolution) -> None:
        """This is the way from now on; who was down may not be on it."""
        self.resolution = resolution
        self.down = None

    def changed(self) -> None:
        """What is asked of its hosts is not what it was: the next message has to look again."""
        if self.resolution is not None:
            self.resolution.until = 0.0

    def fresh(self, now: float) -> Resolution | None:
        resolution = self.resolution
        return resolution if resolution is not None and now < resolution.until else None

    def isDown(self, now: float) -> Down | None:
        """What is known of hosts that are out of reach; None: try."""
        down = self.down
        return down if down is not None and now < down.until and self.fresh(now) is not None else None

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

    @property
    def isForgettable(self) -> bool:
        """Has it had nothing to do for long? Longer, if there is something to tell of it."""
        return self.idle > (IDLE_WITH_ERROR if self.lastError else IDLE)
