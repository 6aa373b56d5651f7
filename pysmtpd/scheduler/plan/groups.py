"""Ready work: all ready envelopes of one message that ask for the same thing are one group."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from pysmtpd.scheduler.plan.columns import Columns
from pysmtpd.scheduler.plan.index import Index

_MESSAGE_BITS = 64
_MESSAGE_MASK = (1 << _MESSAGE_BITS) - 1
_HIGHEST = 1 << 15
_SLACK = 1024


class Groups:
    """The members of a group are a list through the columns; its first is in the index and carries the group's rank.

    A group's rank is the highest priority of those that joined it. Groups of one kind of work are ordered by rank, then by
    message id, which grows with the time of acceptance.
    """

    __slots__ = ("_columns", "_heaps", "_index", "_live")

    def __init__(self, columns: Columns, kinds: int) -> None:
        self._columns = columns
        self._index = Index(columns.message, columns.work)
        self._heaps: list[list[int]] = [[] for _ in range(kinds)]
        self._live = [0] * kinds

    def join(self, slot: int, work: int, rank: int) -> None:
        """C{slot} is ready for C{work}."""
        columns = self._columns
        message = columns.message[slot]
        columns.work[slot] = work
        first = self._index.find(message, work)
        columns.link(slot, first)
        if first < 0:
            columns.rank[slot] = rank
            self._index.add(slot)
            self._live[work] += 1
        elif rank <= columns.rank[first]:
            return
        else:
            columns.rank[first] = rank
        heap = self._heaps[work]
        heappush(heap, _HIGHEST - rank << _MESSAGE_BITS | message)
        if len(heap) > 2 * self._live[work] + _SLACK:
            self._compact(work)

    def isAny(self, work: int) -> bool:
        """Is there any group of this work?"""
        return self._live[work] > 0

    def has(self, message: int, work: int) -> bool:
        """Has the message a group of this work?"""
        return self._index.find(message, work) >= 0

    def leave(self, slot: int) -> None:
        """C{slot} is not ready any more."""
        columns = self._columns
        before, after = columns.unlink(slot)
        if before >= 0:
            return
        if after >= 0:
            columns.rank[after] = columns.rank[slot]
            self._index.replace(slot, after)
        else:
            self._index.discard(slot)
            self._live[columns.work[slot]] -= 1

    def top(self, work: int) -> int:
        """The first member of the group that leaves next, or -1."""
        heap = self._heaps[work]
        while heap:
            first = self._valid(heap[0], work)
            if first >= 0:
                return first
            heappop(heap)
        return -1

    def take(self, first: int, work: int) -> list[int]:
        """Take away the group that C{top} answered; its members, in the order of their numbers."""
        columns = self._columns
        heappop(self._heaps[work])
        self._index.discard(first)
        self._live[work] -= 1
        slots = columns.linked(first)
        if len(slots) > 1:
            slots.sort(key=columns.number.__getitem__)
        return slots

    def _valid(self, key: int, work: int) -> int:
        """The first member of the group that a heap's key names; -1: it has gone, or another key stands for it."""
        first = self._index.find(key & _MESSAGE_MASK, work)
        return first if first >= 0 and self._columns.rank[first] == _HIGHEST - (key >> _MESSAGE_BITS) else -1

    def _compact(self, work: int) -> None:
        kept: list[int] = []
        for key in sorted(self._heaps[work]):
            if (not kept or kept[-1] != key) and self._valid(key, work) >= 0:
                kept.append(key)
        heapify(kept)
        self._heaps[work] = kept
