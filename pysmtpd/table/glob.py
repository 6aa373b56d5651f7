"""Keys with C{*} in them. C{*} stands for any string, also the empty one; there is nothing else."""

from __future__ import annotations

from functools import lru_cache

MAX_ENDING = 512
"""Characters after the star of a pattern that is found; longer than any domain. Others are tried one by one."""


class Glob:
    """A pattern, taken apart once."""

    __slots__ = ("_first", "_isExact", "_last", "_middle", "_shortest")

    def __init__(self, pattern: str) -> None:
        self._first, *middle = pattern.split("*")
        self._isExact = not middle
        self._last = middle.pop() if middle else ""
        self._middle = tuple(piece for piece in middle if piece)
        self._shortest = len(pattern) - pattern.count("*")

    def match(self, text: str) -> bool:
        """Does the pattern describe the whole of C{text}? In time linear in the text for each piece of the pattern: nothing is tried twice.

        Each piece between two stars is taken where it first fits, which is as good as anywhere; the last must fit at the end.
        """
        first, last = self._first, self._last
        if self._isExact:
            return first == text
        if len(text) < self._shortest or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for piece in self._middle:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True


def globMatches(pattern: str, text: str) -> bool:
    """Does C{pattern} describe the whole of C{text}?"""
    return Glob(pattern).match(text)


@lru_cache(maxsize=256)
def starred(text: str) -> tuple[str, ...]:
    """The patterns with one star, before a dot, that describe C{text}: C{*.b.c} and C{*.c} for C{a.b.c}.

    The rules ask one table after the other about the same name.
    """
    found: list[str] = []
    at = text.find(".", max(0, len(text) - MAX_ENDING))
    while at >= 0:
        found.append(f"*{text[at:]}")
        at = text.find(".", at + 1)
    return tuple(found)
