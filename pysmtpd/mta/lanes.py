"""Places that the quick and the slow share, so that neither keeps the others waiting. Pure."""

from __future__ import annotations

from enum import IntEnum


class Lane(IntEnum):
    """What is known of the pace of a host, or of those that take a domain's mail.

    QUICK has taken a message in no time. Of NEW nothing is known. SLOW has kept us waiting. MUTE has, and has not said a word yet.
    """

    QUICK = 0
    NEW = 1
    SLOW = 2
    MUTE = 3

    @property
    def word(self) -> str:
        """For people."""
        return self.name.lower()


SHARES = (8, 7, 4, 2)
"""Of eight places, those of a lane and of all behind it have together at most so many, but at least one."""

UNPRESSED = (8, 7, 7, 2)
"""The same while nobody of the first two lanes waits: the slow may borrow."""


class Places:
    """Counts who has one."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken = [0, 0, 0, 0]

    @property
    def taken(self) -> int:
        """In all."""
        return sum(self._taken)

    def of(self, lane: Lane) -> int:
        """How many this lane has."""
        return self._taken[lane]

    def add(self, lane: Lane, count: int = 1) -> None:
        """So many more, or fewer, are taken."""
        self._taken[lane] += count

    def move(self, lane: Lane, to: Lane, count: int = 1) -> None:
        """Those who have them are of another lane from now on."""
        self._taken[lane] -= count
        self._taken[to] += count

    def room(self, lane: Lane, most: int, shares: tuple[int, ...] = SHARES, ahead: Lane = Lane.QUICK) -> int:
        """How many more C{lane} may have, of C{most} in all; negative: it has more than its share.

        A lane that has more than its share takes from what is left for all, not from the shares of those before it.

        @param ahead: the first lane that counts: whose share grows by one more.
        """
        room = most if ahead else most - sum(self._taken)
        behind = 0
        for place in (3, 2, 1, 0):
            share = max(1, most * shares[place] // 8)
            behind += self._taken[place]
            if ahead <= place <= lane:
                room = min(room, share - behind)
            behind = min(behind, share)
        return room
