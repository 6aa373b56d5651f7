"""Virtual time: one timeline for a whole world, and a clock on it for each process."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

CALLS_PER_INSTANT = 1_000_000


class Livelock(Exception):
    """Calls keep making calls for the same instant: time stands still."""


@implementer(IDelayedCall)
class SimulatedCall:
    """One call that is to be made. See L{IDelayedCall}."""

    __slots__ = ("_args", "_clock", "_named", "_to", "due", "entry")

    def __init__(
        self, clock: SimulatedClock, due: float, to: Callable[..., object], args: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        self._clock = clock
        self._to: Callable[..., object] | None = to
        self._args = args
        self._named = named
        self.due = due
        # Which heap entry is this call's: reset and delay leave the old one behind as a husk.
        self.entry = 0

    def getTime(self) -> float:
        return self.due

    def active(self) -> bool:
        return self._to is not None and not self._clock.isDead

    def cancel(self) -> None:
        if self._to is None:
            raise AlreadyCancelled if self.entry < 0 else AlreadyCalled
        self._to = None
        self.entry = -1

    def reset(self, secondsFromNow: float) -> None:
        self._move(self._clock.seconds() + secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        self._move(self.due + secondsLater)

    def _move(self, due: float) -> None:
        if self._to is None:
            raise AlreadyCancelled if self.entry < 0 else AlreadyCalled
        self._clock.timeline.push(due, self)

    def make(self) -> None:
        """Make the call, unless its process has died."""
        to, self._to = self._to, None
        if to is not None and not self._clock.isDead:
            to(*self._args, **self._named)


class Timeline:
    """Seconds that pass only when a test lets them. Calls are made at their own times, in the order in which they were asked for.

    @ivar now: monotonic seconds.
    @ivar made: how many calls were made so far.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.now = 0.0
        self.made = 0
        self._heap: list[tuple[float, int, SimulatedCall]] = []
        self._entries = 0

    def push(self, due: float, call: SimulatedCall) -> None:
        """Have C{call} made at C{due}, in place of any earlier time."""
        self._entries = entry = self._entries + 1
        call.due = due
        call.entry = entry
        heapq.heappush(self._heap, (due, entry, call))

    def run(self, seconds: float, until: Callable[[], object] | None = None) -> bool:
        """Let at most C{seconds} pass.

        A call that raises is logged, as a reactor does, and time goes on.

        @param until: asked after each call; a true answer stops time there.
        @return: whether C{until} came true.
        @raise Livelock: a million calls were made at one instant.
        """
        if until is not None and until():
            return True
        heap = self._heap
        pop = heapq.heappop
        deadline = self.now + seconds
        instant, left = self.now, CALLS_PER_INSTANT
        while heap and heap[0][0] <= deadline:
            due, entry, call = pop(heap)
            if call.entry != entry:
                continue
            if due > instant:
                instant, left = due, CALLS_PER_INSTANT
                self.now = due
            left -= 1
            if not left:
                raise Livelock(f"{CALLS_PER_INSTANT} calls at {instant}; the last: {call._to!r}")
            self.made += 1
            try:
                call.make()
            except Exception:
                self._log.failure("a delayed call")
            if until is not None and until():
                return True
        self.now = deadline
        return False

    def nextDue(self) -> float | None:
        """When the next call is due; None: there is none."""
        heap = self._heap
        while heap:
            due, entry, call = heap[0]
            if call.entry == entry and call.active():
                return due
            heapq.heappop(heap)
        return None

    def calls(self, clock: SimulatedClock) -> Sequence[SimulatedCall]:
        """Calls of one clock that are still to be made, the next first."""
        return [
            call
            for due, entry, call in sorted(self._heap)
            if call.entry == entry and call._clock is clock and call.active()
        ]


@implementer(IReactorTime)
class SimulatedClock:
    """The clock of one process.

    @ivar isDead: the process was killed: none of its calls is made any more.
    """

    def __init__(self, timeline: Timeline | None = None) -> None:
        self.timeline = Timeline() if timeline is None else timeline
        self.isDead = False

    def seconds(self) -> float:
        return self.timeline.now

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any, **kw: Any) -> SimulatedCall:
        if delay < 0:
            raise ValueError(f"{delay} seconds: a call cannot be made in the past")
        timeline = self.timeline
        due = timeline.now + delay
        call = SimulatedCall(self, due, callable, args, kw)
        if not self.isDead:
            timeline.push(due, call)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return self.timeline.calls(self)

    def advance(self, seconds: float) -> None:
        """Let time pass, for everything on this timeline."""
        self.timeline.run(seconds)

    def kill(self) -> None:
        """The process is gone: its calls will not be made."""
        self.isDead = True
