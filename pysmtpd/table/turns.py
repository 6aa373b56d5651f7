"""Whose turn it is."""

from __future__ import annotations

from typing import Protocol


class _Random(Protocol):
    def randrange(self, stop: int, /) -> int: ...


class Turns:
    """One after the other, beginning anywhere: daemons that start together do not all begin with the same."""

    __slots__ = ("_next", "_random")

    def __init__(self, random: _Random) -> None:
        self._random = random
        self._next = -1

    def next(self, size: int) -> int:
        """The next place of C{size} ones; 0 of none."""
        if size < 1:
            return 0
        self._next = self._random.randrange(size) if self._next < 0 else (self._next + 1) % size
        return self._next
