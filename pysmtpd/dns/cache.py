"""What was learned, for as long as it may be believed."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

_UNTIL = Struct("<d")

USUAL = 512
"""Octets that an entry has for its weight of 1; more weigh more: who publishes hundreds of records under thousands of names must not
fill the memory."""


class Cache:
    """Octets by octets, for there may be many; bounded in weight. When full, what was learned first goes first."""

    __slots__ = ("_entries", "_most", "_seconds", "_weight")

    def __init__(self, seconds: Callable[[], float], most: int) -> None:
        """
        @param seconds: monotonic.
        @param most: weight of all entries; a usual one weighs 1.
        """
        self._seconds = seconds
        self._most = most
        self._entries: dict[bytes, bytes] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> bytes | None:
        """What was put, if its time is not over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if _UNTIL.unpack_from(entry)[0] <= self._seconds():
            self._drop(key)
            return None
        return entry[_UNTIL.size :]

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """
        @param ttl: seconds; 0: it is not kept.
        """
        if key in self._entries:
            self._drop(key)
        if ttl <= 0:
            return
        weight = _weight(value)
        while self._entries and self._weight + weight > self._most:
            self._drop(next(iter(self._entries)))
        self._entries[key] = _UNTIL.pack(self._seconds() + ttl) + value
        self._weight += weight

    def _drop(self, key: bytes) -> None:
        self._weight -= _weight(self._entries.pop(key)[_UNTIL.size :])

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._weight = 0


def _weight(value: bytes) -> int:
    return 1 + len(value) // USUAL
