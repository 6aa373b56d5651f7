"""What was learned, for as long as it may be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from struct import Struct

USUAL = 512
"""Octets that a name has for its weight of 1; more weigh more: who publishes hundreds of records under thousands of names must not fill
the memory."""

# What was asked for, until when the answer may be believed, and its length.
_HEAD = Struct("<HdI")


class Cache:
    """Octets by name and by what was asked for, for there may be many names; bounded in weight. When full, the name that was learned first
    goes first.

    All answers of a name are one string of octets, and what is learned anew takes the place of what it was before: each string, and each
    place in a mapping, costs more than a usual answer; and a mapping from which much is taken away, and put in again, grows to thrice its
    size.
    """

    __slots__ = ("_entries", "_most", "_seconds", "_weight")

    def __init__(self, seconds: Callable[[], float], most: int) -> None:
        """
        @param seconds: monotonic.
        @param most: weight of all names; a usual one weighs 1.
        """
        self._seconds = seconds
        self._most = most
        self._entries: dict[bytes, bytes] = {}
        self._weight = 0

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._entries)

    def get(self, name: bytes, kind: int) -> tuple[bytes, float] | None:
        """What was put, and until when it may be believed, if that is not over."""
        entry = self._entries.get(name)
        if entry is not None:
            for one, until, start, end in _answers(entry):
                if one == kind:
                    return (entry[start:end], until) if until > self._seconds() else None
        return None

    def put(self, name: bytes, kind: int, value: bytes, ttl: float) -> None:
        """
        @param kind: 16 bits.
        @param ttl: seconds; 0: it is not kept.
        """
        now = self._seconds()
        before = self._entries.get(name, b"")
        kept = [
            before[start - _HEAD.size : end]
            for one, until, start, end in _answers(before)
            if one != kind and until > now
        ]
        if ttl > 0:
            kept.append(_HEAD.pack(kind, now + ttl, len(value)) + value)
        if not kept:
            if before:
                self._drop(name)
            return
        entry = self._entries[name] = b"".join(kept)
        self._weight += _weight(entry) - (_weight(before) if before else 0)
        while self._weight > self._most and len(self._entries) > 1:
            first = next(iter(self._entries))
            self._drop(first if first != name else next(islice(self._entries, 1, None)))

    def _drop(self, name: bytes) -> None:
        self._weight -= _weight(self._entries.pop(name))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._weight = 0


def _answers(entry: bytes) -> Iterator[tuple[int, float, int, int]]:
    """For each what was asked for, until when it may be believed, and where it starts and ends."""
    at = 0
    while at < len(entry):
        kind, until, length = _HEAD.unpack_from(entry, at)
        start = at + _HEAD.size
        at = start + length
        yield kind, until, start, at


def _weight(entry: bytes) -> int:
    return 1 + len(entry) // USUAL
