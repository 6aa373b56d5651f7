"""Those who wait in the scheduler for a limit, a back-off or a suspension, and are let go by one coarse timer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pysmtpd.interfaces.delivery import IRelease
from pysmtpd.mta.shaping.holding import Holding
from pysmtpd.mta.shaping.keys import Limit

TICK = 0.1
"""Seconds at least between two looks at what waits."""

ALL = 1 << 30
"""Room for everybody."""

_SLACK = 1e-6


class Room(NamedTuple):
    """Who may start now.

    @ivar most: how many.
    @ivar isRecipients: of recipients; else of messages.
    @ivar wait: seconds after which to look again.
    """

    most: int
    isRecipients: bool
    wait: float


class Waiting:
    """Each hold queue, by its key: who lies in it, and when it is looked at again. Who is let go leaves oldest first."""

    def __init__(
        self, clock: IReactorTime, release: IRelease, room: Callable[[str, Limit | None, float], Room]
    ) -> None:
        """
        @param room: tells how many may start of those under a key that wait for a limit, or for something else; at that monotonic time.
        """
        self._clock = clock
        self._release = release
        self._room = room
        self._holdings: dict[str, Holding] = {}
        self._limits: dict[str, Limit] = {}
        self._due: list[tuple[float, str]] = []
        self._timer: IDelayedCall | None = None
        self._isStopped = False

    def __contains__(self, key: str) -> bool:
        return key in self._holdings

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._holdings))

    def stop(self) -> None:
        """Let nobody go any more."""
        self._isStopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def envelopes(self, key: str) -> int:
        """How many wait under it."""
        holding = self._holdings.get(key)
        return holding.envelopes if holding is not None else 0

    def limit(self, key: str) -> Limit | None:
        """What those under it wait for, if that is a limit."""
        return self._limits.get(key)

    def goesFirst(self, key: str) -> bool:
        """Do others wait under it, and none of them has been let go?"""
        holding = self._holdings.get(key)
        return holding is not None and bool(holding.envelopes) and not holding.permits

    def add(self, key: str, limit: Limit | None, due: float | None, message: int, envelopes: int) -> None:
        """These wait under it now.

        @param due: when to look first (monotonic seconds), if nobody waits yet; None: not before L{letAllGo}.
        """
        holding = self._holdings.get(key)
        if holding is None:
            holding = self._holdings[key] = Holding()
            if limit is not None:
                self._limits[key] = limit
            if due is not None:
                heappush(self._due, (due, key))
                if self._timer is None or self._due[0][1] == key:
                    self._wind()
        holding.add(message, envelopes)

    def started(self, key: str) -> None:
        """One that was let go has started."""
        holding = self._holdings.get(key)
        if holding is not None and holding.permits:
            holding.permits -= 1

    def letAllGo(self, key: str) -> None:
        """Nothing binds them any more."""
        holding = self._holdings.pop(key, None)
        self._limits.pop(key, None)
        if holding is not None and not self._isStopped:
            self._release.release(key, ALL)

    def _wind(self) -> None:
        if self._isStopped or not self._due:
            return
        delay = max(TICK, self._due[0][0] - self._clock.seconds())
        if self._timer is None:
            self._timer = self._clock.callLater(delay, self._tick)
        else:
            self._timer.reset(delay)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        again: list[tuple[float, str]] = []
        while self._due and self._due[0][0] <= now + _SLACK:
            _, key = heappop(self._due)
            if key in self._holdings:
                again.append((self._letGo(key, now), key))
        for due, key in again:
            if key in self._holdings:
                heappush(self._due, (due, key))
        self._wind()

    def _letGo(self, key: str, now: float) -> float:
        """As many as may start now. When to look again, in monotonic seconds."""
        holding = self._holdings[key]
        most, isRecipients, wait = self._room(key, self._limits.get(key), now)
        holding.permits = 0
        freed = holding.take(most, isRecipients)
        if not holding.envelopes:
            del self._holdings[key]
            self._limits.pop(key, None)
        if freed:
            self._release.release(key, freed)
        return now + max(wait, TICK)
