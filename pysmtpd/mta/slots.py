"""Connections as places: how many there may be, in all and of each source address, and who is next for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.interfaces import IReactorTime

from pysmtpd.mta import pace
from pysmtpd.mta.lanes import SHARES, UNPRESSED, Lane, Places

if TYPE_CHECKING:
    from pysmtpd.mta.connection import Connection
    from pysmtpd.mta.pool import Pool

LAST = 5
"""One of so many places is kept for hosts that have no connection yet: a few hosts must not have them all."""

EASE = 60.0
"""Seconds for which the slow lend nothing more, once somebody quicker had to wait."""

_MISSES = 8


class Full(NamedTuple):
    """Why there is no place.

    @ivar kind: source, all: one of those may make room that are idle; lane: for want of a share.
    """

    kind: str
    text: str


class Slots:
    """Idle connections count, but in no lane: they make room for anyone."""

    def __init__(self, clock: IReactorTime, most: int, ofSource: Callable[[], int]) -> None:
        """
        @param most: connections in all; 0: no bound.
        @param ofSource: gives the bound for each source address that holds where nothing else is said.
        """
        self._clock = clock
        self._most = most or 1 << 30
        self._ofSource = ofSource
        self._all = Places()
        self._bySource: dict[str, Places] = {}
        self._idle: dict[str, int] = {}
        # Pools that wait, by source and lane, in the order of their coming; each in one of them.
        self._queues: dict[str, tuple[dict[Pool, int], ...]] = {}
        self._lanes: dict[Pool, Lane] = {}
        self._serial = 0
        self._pressedUntil = 0.0
        self._isServing = False

    # --- who has one

    def taken(self, source: str) -> int:
        places = self._bySource.get(source)
        return places.taken if places is not None else 0

    def add(self, source: str, lane: Lane, count: int = 1) -> None:
        """A connection is opened, or with -1, has ended."""
        places = self._bySource.get(source)
        if places is None:
            places = self._bySource[source] = Places()
        self._all.add(lane, count)
        places.add(lane, count)
        if count < 0 and self._lanes:
            self._serveSoon()

    def move(self, source: str, lane: Lane, to: Lane) -> None:
        """One is of another lane now."""
        self._all.move(lane, to)
        self._bySource[source].move(lane, to)
        if self._lanes:
            self._serveSoon()

    def rests(self, source: str, lane: Lane) -> None:
        """One is idle from now on."""
        self._idle[source] = self._idle.get(source, 0) + 1
        self.move(source, lane, Lane.QUICK)

    def wakes(self, source: str, lane: Lane) -> None:
        """It is not any more."""
        self._idle[source] -= 1
        self.move(source, Lane.QUICK, lane)

    def full(self, source: str, lane: Lane, isFirst: bool, ofSource: int) -> Full | None:
        """Why there is no place for one more; None: there is one.

        @param isFirst: the host has no connection from this address yet.
        @param ofSource: the bound for this address.
        """
        shares = self._shares()
        mine = self._bySource.get(source)
        if mine is not None:
            name = f"max-conn-per-source {ofSource}"
            if mine.taken >= ofSource - (0 if isFirst else ofSource // LAST):
                return Full("source", name)
            if lane and mine.room(lane, ofSource, shares) <= 0:
                return Full("lane", f"{name}, of which {lane.word} hosts have their share")
            if not isFirst and source in self._queues and self._queues[source][lane]:
                return Full("lane", f"{name}, for which other {lane.word} hosts wait")
        most = self._most
        name = f"{most} connections in all"
        if self._all.taken >= most - (0 if isFirst else most // LAST):
            return Full("all", name)
        if lane and self._all.room(lane, most, shares) <= 0:
            return Full("lane", f"{name}, of which {lane.word} hosts have their share")
        return None

    def mayMove(self, source: str, lane: Lane, to: Lane) -> bool:
        """Is there a place in C{to} for one who has a place in C{lane}, before it?"""
        return self._room(source, to, Lane(lane + 1)) > 0

    def _room(self, source: str, lane: Lane, ahead: Lane) -> int:
        """The lesser one."""
        shares = self._shares()
        mine = self._bySource[source].room(lane, self._ofSource(), shares, ahead)
        return min(mine, self._all.room(lane, self._most, shares, ahead))

    def mayStay(self, connection: Connection, now: float) -> bool:
        """After a transaction: may a slow one go on to the next?"""
        source, lane = connection.pool.key.source, connection.lane
        if self._room(source, lane, Lane.SLOW) < 0:
            return False
        queues = self._queues.get(source)
        return queues is None or not queues[lane] or now - connection.opened < pace.TURN

    def _shares(self) -> tuple[int, ...]:
        return SHARES if self._pressedUntil > self._clock.seconds() else UNPRESSED

    # --- who waits for one

    @property
    def isPressed(self) -> bool:
        """Does somebody wait of whom nothing bad is known?"""
        return any(queues[Lane.QUICK] or queues[Lane.NEW] for queues in self._queues.values())

    @property
    def isWaited(self) -> bool:
        """Does anybody wait?"""
        return bool(self._lanes)

    def wait(self, pool: Pool, lane: Lane) -> None:
        """It is told to grow when it is its turn."""
        before = self._lanes.get(pool)
        if before is lane:
            return
        queues = self._queues.get(pool.key.source)
        if queues is None:
            queues = self._queues[pool.key.source] = ({}, {}, {}, {})
        if before is not None:
            del queues[before][pool]
        self._lanes[pool] = lane
        self._serial += 1
        queues[lane][pool] = self._serial
        if lane <= Lane.NEW:
            self._pressedUntil = self._clock.seconds() + EASE

    def _serveSoon(self) -> None:
        if not self._isServing:
            self._isServing = True
            self._clock.callLater(0, self._serveNow)

    def _serveNow(self) -> None:
        self._isServing = False
        self.serve()

    def serve(self) -> None:
        """Give places to those who are next, as long as there are any."""
        now = self._clock.seconds()
        for source, queues in list(self._queues.items()):
            misses = 0
            while misses < _MISSES:
                lane = self._next(source, queues)
                if lane is None:
                    break
                pool = next(iter(queues[lane]))
                del queues[lane][pool], self._lanes[pool]
                before = self.taken(source)
                pool.grow(now)
                # It may have a bound of its own, or nothing to do any more.
                misses += pool in self._lanes and self.taken(source) <= before
        if not self._lanes:
            # They have grown with those who waited, and do not shrink by themselves.
            self._queues.clear()
            self._lanes.clear()

    def _next(self, source: str, queues: tuple[dict[Pool, int], ...]) -> Lane | None:
        """The lane whose first has waited longest, of those that have room."""
        found: Lane | None = None
        earliest = self._serial + 1
        ofSource = self._ofSource()
        for lane in Lane:
            queue = queues[lane]
            if not queue:
                continue
            serial = next(iter(queue.values()))
            if serial < earliest:
                full = self.full(source, lane, True, ofSource)
                if full is None or (full.kind != "lane" and self._hasIdle(source, full)):
                    found, earliest = lane, serial
        return found

    def _hasIdle(self, source: str, full: Full) -> bool:
        """Can room be made?"""
        return self._idle.get(source, 0) > 0 if full.kind == "source" else any(self._idle.values())
