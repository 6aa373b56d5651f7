"""Keys with C{*} in them. C{*} stands for any string, also the empty one; there is nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache


def globMatches(pattern: str, text: str) -> bool:
    """Does C{pattern} describe the whole of C{text}? In time linear in the text for each piece of the pattern: nothing is tried twice.

    Each piece between two stars is taken where it first fits, which is as good as anywhere; the last must fit at the end.
    """
    first, *middle = pattern.split("*")
    if not middle:
        return pattern == text
    last = middle.pop()
    if not text.startswith(first):
        return False
    end = len(text) - len(last)
    if end < len(first) or not text.endswith(last):
        return False
    at = len(first)
    for piece in middle:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


class Globs:
    """Patterns by how they can be found: those with one leading star by what they end in, the others one by one.

    @ivar linear: how many must be tried one by one.
    """

    __slots__ = ("_labels", "_others", "_tails", "linear")

    def __init__(self, patterns: Iterable[str]) -> None:
        labels: set[str] = set()
        tails: dict[int, set[str]] = {}
        others: list[str] = []
        for pattern in patterns:
            ending = pattern[1:]
            if pattern[:1] != "*" or "*" in ending:
                others.append(pattern)
            elif ending[:1] == ".":
                labels.add(ending)
            else:
                tails.setdefault(len(ending), set()).add(ending)
        self._labels = frozenset(labels)
        self._tails = tuple(tails.items())
        self._others = tuple(others)
        self.linear = len(others)

    def __bool__(self) -> bool:
        return bool(self._labels or self._tails or self._others)

    def match(self, text: str) -> bool:
        """Does any pattern describe C{text}?

        One look for each dot in it (C{*.example.org}), one for each length of an ending without a dot (C{*example.org}), and one
        try for each pattern of another form.
        """
        if self._labels and not self._labels.isdisjoint(_endings(text)):
            return True
        if self._tails:
            size = len(text)
            for length, endings in self._tails:
                if length <= size and text[size - length :] in endings:
                    return True
        return bool(self._others) and any(globMatches(pattern, text) for pattern in self._others)


@lru_cache(maxsize=256)
def _endings(text: str) -> tuple[str, ...]:
    """What begins at each dot. The rules ask one table after the other about the same name."""
    found: list[str] = []
    at = text.find(".")
    while at >= 0:
        found.append(text[at:])
        at = text.find(".", at + 1)
    return tuple(found)
