"""Finding slots by message and number without an object per entry."""

from __future__ import annotations

from array import array

# Each part grows by itself, so that no single insertion pays for moving everything.
_PARTS = 256
_PART_BITS = 8
_SMALLEST = 8


class Index:
    """An open-addressing hash table of slots. The keys stay in two columns; an entry costs 5 to 20 octets.

    Hashes of pairs of integers do not depend on PYTHONHASHSEED, and nothing ever iterates over it.
    """

    __slots__ = ("_messages", "_numbers", "_parts", "_used")

    def __init__(self, messages: array[int], numbers: array[int]) -> None:
        self._messages = messages
        self._numbers = numbers
        self._parts = [array("i", [-1]) * _SMALLEST for _ in range(_PARTS)]
        self._used = [0] * _PARTS

    def find(self, message: int, number: int) -> int:
        """The slot with that key, or -1."""
        hashed = hash((message, number))
        part = self._parts[hashed & _PARTS - 1]
        mask = len(part) - 1
        at = hashed >> _PART_BITS & mask
        while (slot := part[at]) >= 0:
            if self._messages[slot] == message and self._numbers[slot] == number:
                return slot
            at = at + 1 & mask
        return -1

    def add(self, slot: int) -> None:
        """Add a slot whose key is not there yet."""
        hashed = hash((self._messages[slot], self._numbers[slot]))
        which = hashed & _PARTS - 1
        part = self._parts[which]
        self._used[which] += 1
        # Full at 0.39 to 0.77, another share for each part: they grow one after the other, not all at the same time.
        if self._used[which] * 256 > len(part) * (100 + which * 3 // 8):
            part = self._resize(which, len(part) * 2)
        _put(part, hashed, slot)

    def discard(self, slot: int) -> None:
        """Take away a slot that is there. Followers move up, so no tombstones pile up."""
        hashed = hash((self._messages[slot], self._numbers[slot]))
        which = hashed & _PARTS - 1
        part = self._parts[which]
        mask = len(part) - 1
        hole = hashed >> _PART_BITS & mask
        while part[hole] != slot:
            hole = hole + 1 & mask
        at = hole + 1 & mask
        while (other := part[at]) >= 0:
            home = hash((self._messages[other], self._numbers[other])) >> _PART_BITS & mask
            if (at - home & mask) >= (at - hole & mask):
                part[hole] = other
                hole = at
            at = at + 1 & mask
        part[hole] = -1
        self._used[which] -= 1
        if len(part) > _SMALLEST and self._used[which] * 8 < len(part):
            self._resize(which, len(part) // 2)

    def replace(self, old: int, new: int) -> None:
        """C{new} has the same key as C{old} and stands in its place from now on."""
        hashed = hash((self._messages[old], self._numbers[old]))
        part = self._parts[hashed & _PARTS - 1]
        mask = len(part) - 1
        at = hashed >> _PART_BITS & mask
        while part[at] != old:
            at = at + 1 & mask
        part[at] = new

    def _resize(self, which: int, size: int) -> array[int]:
        grown = array("i", [-1]) * size
        for slot in self._parts[which]:
            if slot >= 0:
                _put(grown, hash((self._messages[slot], self._numbers[slot])), slot)
        self._parts[which] = grown
        return grown


def _put(part: array[int], hashed: int, slot: int) -> None:
    mask = len(part) - 1
    at = hashed >> _PART_BITS & mask
    while part[at] >= 0:
        at = at + 1 & mask
    part[at] = slot
