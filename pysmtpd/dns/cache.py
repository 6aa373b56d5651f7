"""What was learned, for as long as it may be believed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Bounded in number; when full, what was learned first goes first."""

    __slots__ = ("_entries", "_most", "_seconds")

    def __init__(self, seconds: Callable[[], float], most: int) -> None:
        """
        @param seconds: monotonic.
        @param most: entries.
        """
        self._seconds = seconds
        self._most = most
        self._entries: dict[K, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """What was put, if its time is not over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._seconds():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: K, value: V, ttl: float) -> None:
        """
        @param ttl: seconds; 0: it is not kept.
        """
        self._entries.pop(key, None)
        if ttl <= 0:
            return
        while len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (self._seconds() + ttl, value)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
