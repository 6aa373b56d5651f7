"""C{stat backend "null:"}: statistics are thrown away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.reporting import IStat


@implementer(IStat)
class NullStat:
    """Discards everything; its snapshot is always empty."""

    __slots__ = ()

    def increment(self, key: str, by: int = 1) -> None:
        """Discard."""

    def decrement(self, key: str, by: int = 1) -> None:
        """Discard."""

    def set(self, key: str, value: float) -> None:
        """Discard."""

    def snapshot(self) -> Mapping[str, float]:
        """Nothing."""
        return {}


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> NullStat:
    """
    @raise ValueError: there is an argument.
    """
    if argument:
        raise ValueError(f'stat backend "null:" takes no argument, not {argument!r}')
    return NullStat()
