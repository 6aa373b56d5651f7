"""What waits because of one limit, as far as it has to be known to let it go. Pure."""

from __future__ import annotations

from heapq import heappop, heappush

_SIZE_BITS = 20
_SIZE_MASK = (1 << _SIZE_BITS) - 1


class Holding:
    """Messages with their numbers of envelopes, in the order in which the scheduler lets them go: by id.

    Some may be gone meanwhile (removed, expired): so it knows of more than there is, never of less.

    @ivar permits: how many may start that were let go, before others who came later.
    @ivar envelopes: in all.
    """

    __slots__ = ("_heap", "envelopes", "permits")

    def __init__(self) -> None:
        self._heap: list[int] = []
        self.envelopes = 0
        self.permits = 0

    def add(self, message: int, envelopes: int) -> None:
        """At most a million envelopes."""
        heappush(self._heap, message << _SIZE_BITS | envelopes)
        self.envelopes += envelopes

    def take(self, room: int, isRecipients: bool) -> int:
        """How many envelopes go that C{room} is enough for: messages, or recipients; at least one message goes."""
        heap = self._heap
        freed = 0
        while heap and room > 0:
            first = heappop(heap)
            size = first & _SIZE_MASK
            while heap and heap[0] >> _SIZE_BITS == first >> _SIZE_BITS:
                # Parts of one message may share a transaction.
                size += heappop(heap) & _SIZE_MASK
            freed += size
            room -= size if isRecipients else 1
            self.permits += 1
        self.envelopes -= freed
        return freed
