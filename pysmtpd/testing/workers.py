"""Lanes without threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IWorkers
from pysmtpd.testing.clock import SimulatedClock
from pysmtpd.testing.faults import PowerCut

T = TypeVar("T")


class _Lane:
    __slots__ = ("isBusy", "waiting")

    def __init__(self) -> None:
        self.isBusy = False
        self.waiting: deque[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = deque()


@implementer(IWorkers)
class SimulatedWorkers:
    """Work is done in the caller's thread, but never before C{run} returned: a seeded while later. Then its result takes another while.

    Between the two a crash finds the work done and nobody told. Once the process is dead, nothing is done any more.

    @ivar delays: lanes by name, and how many seconds more each of their works takes.
    """

    def __init__(self, clock: SimulatedClock, random: Random) -> None:
        self._clock = clock
        self._random = random.random
        self._lanes: dict[str, _Lane] = {}
        self.delays: dict[str, float] = {}

    def run(self, lane: str, work: Callable[..., T], *values: Any) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        if self._clock.isDead:
            # What was suspended when its process was killed unwinds when it is collected: it must not be suspended again.
            done.callback(None)  # type: ignore[arg-type]
            return done
        found = self._lanes.get(lane)
        if found is None:
            found = self._lanes[lane] = _Lane()
        found.waiting.append((done, work, values))
        if not found.isBusy:
            found.isBusy = True
            self._clock.callLater(self._while() + self.delays.get(lane, 0.0), self._work, lane, found)
        return done

    @property
    def isIdle(self) -> bool:
        """No work is waiting or under way."""
        return not any(lane.isBusy for lane in self._lanes.values())

    def _while(self) -> float:
        """Mostly some tenths of a millisecond; now and then, as disks do, a hundred times that."""
        share = self._random()
        return share * 0.0005 if share < 0.98 else share * 0.05

    def _work(self, lane: str, state: _Lane) -> None:
        done, work, values = state.waiting.popleft()
        try:
            result: Any = work(*values)
        except PowerCut:
            # The machine is off: nobody is left to be told.
            return
        except Exception:
            result = Failure()
        self._clock.callLater(self._while(), done.callback, result)
        if state.waiting:
            self._clock.callLater(self._while() + self.delays.get(lane, 0.0), self._work, lane, state)
        else:
            state.isBusy = False
