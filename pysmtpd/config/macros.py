"""The macros of a configuration: C{name = text}, C{$name}."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pysmtpd.model.decision import Where

# Of the texts that stand in the places of all uses: eight thousand characters, a hundred times, are a file that nobody has written.
MAX_EXPANDED = 32_768

_NAME = re.compile(r"[A-Za-z0-9_]+\Z")
_USE = re.compile(r"\$([A-Za-z0-9_]+)")


class Macros:
    """Texts by their names.

    @ivar lost: names whose definition could not be read, so that their use is not another mistake.
    """

    def __init__(self, defines: Mapping[str, str] | None = None) -> None:
        """
        @param defines: those of the command line, which win over the file's.
        """
        self._defines = dict(defines or {})
        self._texts = dict(self._defines)
        self._places: dict[str, Where] = {}
        self._used: set[str] = set()
        self._expanded = 0
        self.lost: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def define(self, name: str, text: str, where: Where) -> None:
        """
        @raise ValueError: this is no name of a macro.
        """
        if any(character.isspace() for character in name[1:]):
            raise ValueError("the name of a macro holds no blanks")
        self._places[name] = where
        if name not in self._defines:
            self._texts[name] = text

    def expand(self, name: str) -> str | None:
        """The text; None: there is no such macro.

        @raise OverflowError: with the earlier ones it is more than L{MAX_EXPANDED} characters.
        """
        self._used.add(name)
        text = self._texts.get(name)
        self._expanded += len(text or "")
        if self._expanded > MAX_EXPANDED:
            raise OverflowError
        return text

    def inside(self, text: str) -> list[str]:
        """Macros whose use stands in a text where none is expanded: in quotes, or within a word."""
        return [name for name in _USE.findall(text) if name in self._texts]

    def unused(self) -> Iterator[tuple[str, Where]]:
        """Macros of the file that it never uses, but for those that it cannot use."""
        return ((name, where) for name, where in self._places.items() if name not in self._used and canBeUsed(name))


def canBeUsed(name: str) -> bool:
    """Does C{$name} end where the name does?"""
    return bool(_NAME.match(name))
