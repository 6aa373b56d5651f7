"""What was learned, for as long as it may be believed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Bounded in weight; when full, what was learned first goes first."""

    __slots__ = ("_entries", "_most", "_seconds", "_weight")

    def __init__(self, seconds: Callable[[], float], most: int) -> None:
        """
        @param seconds: monotonic.
        @param most: weight of all entries; a usual one weighs 1.
        """
        self._seconds = seconds
        self._most = most
        self._entries: dict[K, tuple[float, V, int]] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """What was put, if its time is not over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._seconds():
            self._drop(key)
            return None
        return entry[1]

    def put(self, key: K, value: V, ttl: float, weight: int = 1) -> None:
        """
        @param ttl: seconds; 0: it is not kept.
        """
        if key in self._entries:
            self._drop(key)
        if ttl <= 0:
            return
        while self._entries and self._weight + weight > self._most:
            self._drop(next(iter(self._entries)))
        self._entries[key] = (self._seconds() + ttl, value, weight)
        self._weight += weight

    def _drop(self, key: K) -> None:
        self._weight -= self._entries.pop(key)[2]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._weight = 0
