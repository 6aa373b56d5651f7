"""C{stat backend "ram:"}: statistics in memory, from the start of the daemon to its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.reporting import IStat


@implementer(IStat)
class RamStat:
    """A number for each key. Who pushes bounds how many keys there are."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: defaultdict[str, float] = defaultdict(int)

    def increment(self, key: str, by: int = 1) -> None:
        """Add; a key that is new starts at 0."""
        self._values[key] += by

    def decrement(self, key: str, by: int = 1) -> None:
        """Take away; a key that is new starts at 0."""
        self._values[key] -= by

    def set(self, key: str, value: float) -> None:
        """Replace."""
        self._values[key] = value

    def snapshot(self) -> Mapping[str, float]:
        """A copy of all keys, sorted."""
        return dict(sorted(self._values.items()))


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> RamStat:
    """
    @raise ValueError: there is an argument.
    """
    if argument:
        raise ValueError(f'stat backend "ram:" takes no argument, not {argument!r}')
    return RamStat()
