"""One coarse timer for all sessions of a listener."""

from __future__ import annotations

from math import ceil
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

TICK = 2.0


class Timed(Protocol):
    """Who may be timed out.

    @ivar deadline: monotonic seconds; may be moved later at will, without telling L{Timeouts}.
    @ivar slot: belongs to L{Timeouts}; 0: not in it.
    """

    deadline: float
    slot: int

    def timedOut(self) -> None: ...


class Timeouts:
    """A wheel of time slots, with one pending call for the earliest of them.

    A session moves its C{deadline} with each command; the wheel looks at it only when the session's slot comes up, and puts it into a later
    one if need be. So a command costs an assignment, and a time-out comes at most C{tick} seconds late, never early.
    """

    def __init__(self, clock: IReactorTime, tick: float = TICK) -> None:
        self._clock = clock
        self._tick = tick
        self._slots: dict[int, dict[Timed, None]] = {}
        self._call: IDelayedCall | None = None
        self._next = 0

    def arm(self, timed: Timed, seconds: float) -> None:
        """C{timed.timedOut()} is called C{seconds} from now, unless its deadline is moved on or it is disarmed."""
        deadline = timed.deadline = self._clock.seconds() + seconds
        if timed.slot:
            if deadline >= timed.slot * self._tick:
                return
            self.disarm(timed)
        self._put(timed, ceil(deadline / self._tick))

    def disarm(self, timed: Timed) -> None:
        """Forget it. The pending call stays: another session will need it, or it finds nothing to do."""
        members = self._slots.get(timed.slot)
        if members is not None:
            members.pop(timed, None)
            if not members:
                del self._slots[timed.slot]
        timed.slot = 0

    def close(self) -> None:
        """Nobody will be timed out any more."""
        self._slots.clear()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _put(self, timed: Timed, slot: int) -> None:
        timed.slot = slot
        members = self._slots.get(slot)
        if members is None:
            members = self._slots[slot] = {}
        members[timed] = None
        if self._call is None or slot < self._next:
            self._schedule(slot)

    def _schedule(self, slot: int) -> None:
        if self._call is not None:
            self._call.cancel()
        self._next = slot
        self._call = self._clock.callLater(max(0.0, slot * self._tick - self._clock.seconds()), self._due)

    def _due(self) -> None:
        self._call = None
        now = self._clock.seconds()
        # A hair of tolerance: the call for a slot may come a rounding error before the slot's time.
        current = int((now + 0.001) / self._tick)
        for slot in sorted(slot for slot in self._slots if slot <= current):
            for timed in self._slots.pop(slot):
                if timed.slot != slot:
                    continue  # disarmed by another's time-out
                timed.slot = 0
                if timed.deadline > now + 0.001:
                    self._put(timed, max(ceil(timed.deadline / self._tick), current + 1))
                else:
                    timed.timedOut()
        if self._slots and self._call is None:
            self._schedule(min(self._slots))
