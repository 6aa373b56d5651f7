"""Hold queues: envelopes whose agent has no room for them, oldest first."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from pysmtpd.model.ids import ENVELOPE_BITS
from pysmtpd.scheduler.plan.columns import Columns
from pysmtpd.scheduler.plan.index import Index

_NUMBER_MASK = (1 << ENVELOPE_BITS) - 1
_SLACK = 64


class _Hold:
    __slots__ = ("heap", "key", "live", "number")

    def __init__(self, key: str, number: int) -> None:
        self.key = key
        self.number = number
        self.heap: list[int] = []
        self.live = 0


class Holds:
    """Each queue is a heap of envelope ids. An entry counts only while the envelope lies in that queue (column C{place} and
    C{owner})."""

    __slots__ = ("_byKey", "_byNumber", "_columns", "_index", "_last", "_place")

    def __init__(self, columns: Columns, index: Index, place: int) -> None:
        """
        @param place: the code that the column C{place} has for those in a hold queue.
        """
        self._columns = columns
        self._index = index
        self._place = place
        self._byKey: dict[str, _Hold] = {}
        self._byNumber: dict[int, _Hold] = {}
        self._last = 0

    def add(self, slot: int, key: str) -> None:
        """C{slot} waits under C{key}. Its column C{place} has been set."""
        hold = self._byKey.get(key)
        if hold is None:
            self._last += 1
            hold = self._byKey[key] = self._byNumber[self._last] = _Hold(key, self._last)
        columns = self._columns
        columns.owner[slot] = hold.number
        hold.live += 1
        heappush(hold.heap, columns.message[slot] << ENVELOPE_BITS | columns.number[slot])
        if len(hold.heap) > 2 * hold.live + _SLACK:
            # Sorted, so that one envelope that came several times counts once.
            ids = sorted(entry for entry in hold.heap if self._valid(entry, hold.number) >= 0)
            hold.heap = [entry for at, entry in enumerate(ids) if not at or ids[at - 1] != entry]
            heapify(hold.heap)

    def leave(self, slot: int) -> None:
        """C{slot} waits in its hold queue no more."""
        hold = self._byNumber[self._columns.owner[slot]]
        hold.live -= 1
        if not hold.live:
            del self._byKey[hold.key], self._byNumber[hold.number]

    def oldest(self, key: str) -> int:
        """The slot that is released next, or -1."""
        hold = self._byKey.get(key)
        while hold is not None and hold.heap:
            slot = self._valid(hold.heap[0], hold.number)
            if slot >= 0:
                return slot
            heappop(hold.heap)
        return -1

    def count(self, key: str) -> int:
        """How many wait under C{key}."""
        hold = self._byKey.get(key)
        return hold.live if hold else 0

    def countOf(self, beginnings: tuple[str, ...]) -> int:
        """How many wait under keys that begin so."""
        return sum(hold.live for key, hold in self._byKey.items() if key.startswith(beginnings))

    def keyOf(self, slot: int) -> str:
        """The key of the queue that C{slot} waits in."""
        return self._byNumber[self._columns.owner[slot]].key

    def _valid(self, entry: int, number: int) -> int:
        slot = self._index.find(entry >> ENVELOPE_BITS, entry & _NUMBER_MASK)
        columns = self._columns
        return slot if slot >= 0 and columns.place[slot] == self._place and columns.owner[slot] == number else -1
