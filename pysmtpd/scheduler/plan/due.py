"""When each slot's next event comes, the earliest first."""

from __future__ import annotations

from array import array
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
    it comes up, or when it makes up half of the heap.

    Times are rounded up to 1/32 s: never early.
    """

    __slots__ = ("_at", "_base", "_heap", "_live")

    def __init__(self, base: float) -> None:
        self._base = floor(base)
        self._heap: list[int] = []
        self._at = array("q")
        self._live = 0

    def set(self, slot: int, when: float) -> bool:
        """C{slot}'s next event comes at C{when}, in place of what was set before. Is it now the earliest of all?"""
        while slot >= len(self._at):
            self._at.append(_NONE)
        # Written so that what is no number at all counts as far away.
        tick = ceil(max(0.0, (when if when < _FAR else _FAR) - self._base) * _TICKS)
        was = self._at[slot]
        if was == tick:
            return False
        if was == _NONE:
            self._live += 1
        self._at[slot] = tick
        entry = tick << _SLOT_BITS | slot
        heappush(self._heap, entry)
        if len(self._heap) > 2 * self._live + _SLACK:
            self._compact()
        return self._heap[0] == entry

    def clear(self, slot: int) -> None:
        """No event comes for C{slot}."""
        if slot < len(self._at) and self._at[slot] != _NONE:
            self._at[slot] = _NONE
            self._live -= 1

    def pop(self, now: float) -> int:
        """A slot whose event has come, in order of time, then slot; -1: there is none."""
        earliest = self._first()
        if earliest is None or earliest >> _SLOT_BITS > (now - self._base) * _TICKS:
            return -1
        heappop(self._heap)
        slot = earliest & _SLOT_MASK
        self.clear(slot)
        return slot

    def next(self) -> float | None:
        """The time of the earliest event."""
        earliest = self._first()
        return None if earliest is None else self._base + (earliest >> _SLOT_BITS) / _TICKS

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
        self._heap = [tick << _SLOT_BITS | slot for slot, tick in enumerate(at) if tick != _NONE]
        heapify(self._heap)
