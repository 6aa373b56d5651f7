"""When each slot's next event comes, the earliest first."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import ceil, floor

# Entries are time << 30 | slot. Up to one year after the start they fit in 60 bits, which Python keeps in 32 octets.
_SLOT_BITS = 30
_SLOT_MASK = (1 << _SLOT_BITS) - 1
_TICKS = 32
_FAR = 1e15
_NONE = -1
_SLACK = 1024


class Due:
    """A heap of packed numbers. An entry counts only while the slot's column agrees with it; what does not is dropped when
    it comes up, or when it makes up half of the heap. Slots that wait together have one entry, of a heap of its own: thousands of envelopes
    that failed alike, as those for a host that is down, come back alike.

    Times are rounded up to 1/32 s: never early.
    """

    __slots__ = ("_at", "_base", "_crowds", "_heap", "_live", "_ticks")

    def __init__(self, base: float) -> None:
        self._base = floor(base)
        self._heap: list[int] = []
        # For each slot its tick; of one that waits with others, -2 minus the tick.
        self._at = array("q")
        self._live = 0
        self._ticks: list[int] = []
        self._crowds: dict[int, array[int]] = {}

    def set(self, slot: int, when: float) -> bool:
        """C{slot}'s next event comes at C{when}, in place of what was set before. Is it now the earliest of all?"""
        while slot >= len(self._at):
            self._at.append(_NONE)
        tick = self._tick(when)
        was = self._at[slot]
        if was == tick:
            return False
        if was < 0:
            self._live += 1
        self._at[slot] = tick
        entry = tick << _SLOT_BITS | slot
        heappush(self._heap, entry)
        if len(self._heap) > 2 * self._live + _SLACK:
            self._compact()
        return self._heap[0] == entry and (not self._ticks or tick <= self._ticks[0])

    def setAll(self, slots: Sequence[int], when: float) -> bool:
        """The same for many that wait together; they are those of a crowd then."""
        if not slots:
            return False
        tick = self._tick(when)
        at = self._at
        mark = -2 - tick
        highest = max(slots)
        while highest >= len(at):
            at.append(_NONE)
        for slot in slots:
            if at[slot] >= 0:
                self._live -= 1
            at[slot] = mark
        crowd = self._crowds.get(tick)
        if crowd is None:
            self._crowds[tick] = array("i", slots)
            heappush(self._ticks, tick)
        else:
            crowd.extend(slots)
        earliest = self._first()
        return self._ticks[0] == tick and (earliest is None or tick <= earliest >> _SLOT_BITS)

    def clear(self, slot: int) -> None:
        """No event comes for C{slot}."""
        if slot < len(self._at):
            if self._at[slot] >= 0:
                self._live -= 1
            self._at[slot] = _NONE

    def pop(self, now: float) -> int:
        """A slot whose event has come, in order of time, then slot; -1: there is none. Those that wait together are told by L{popAll}."""
        earliest = self._first()
        if earliest is None or earliest >> _SLOT_BITS > (now - self._base) * _TICKS:
            return -1
        heappop(self._heap)
        slot = earliest & _SLOT_MASK
        self.clear(slot)
        return slot

    def popAll(self, now: float, most: int) -> list[int]:
        """At most so many slots of crowds whose event has come, the earliest first, then in the order in which they were set."""
        found: list[int] = []
        at, ticks = self._at, self._ticks
        while most > 0 and ticks and ticks[0] <= (now - self._base) * _TICKS:
            tick = ticks[0]
            mark = -2 - tick
            crowd = self._crowds[tick]
            slots = crowd[:most]
            del crowd[:most]
            most -= len(slots)
            if not crowd:
                heappop(ticks)
                del self._crowds[tick]
            for slot in slots:
                if at[slot] == mark:
                    # One that left and came back to the same crowd stands in it twice.
                    at[slot] = _NONE
                    found.append(slot)
        return found

    def next(self) -> float | None:
        """The time of the earliest event."""
        earliest = self._first()
        tick = self._ticks[0] if self._ticks else None
        if earliest is not None and (tick is None or earliest >> _SLOT_BITS < tick):
            tick = earliest >> _SLOT_BITS
        return None if tick is None else self._base + tick / _TICKS

    def _tick(self, when: float) -> int:
        # Written so that what is no number at all counts as far away.
        return ceil(max(0.0, (when if when < _FAR else _FAR) - self._base) * _TICKS)

    def _first(self) -> int | None:
        heap, at = self._heap, self._at
        while heap:
            entry = heap[0]
            if at[entry & _SLOT_MASK] == entry >> _SLOT_BITS:
                return entry
            heappop(heap)
        return None

    def _compact(self) -> None:
        at = self._at
        self._heap = [tick << _SLOT_BITS | slot for slot, tick in enumerate(at) if tick >= 0]
        heapify(self._heap)
