"""Tables that are written in the configuration, named or in place. All answers are there at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import ITable
from pysmtpd.model.config import TableSpec
from pysmtpd.table.content import Content


@implementer(ITable)
class StaticTable(Content):
    """It changes only with the configuration."""

    __slots__ = ("name",)

    def __init__(self, name: str, entries: Iterable[tuple[str, str]]) -> None:
        super().__init__(entries)
        self.name = name

    @property
    def allowsCommands(self) -> bool:
        """The configuration itself says what stands in it."""
        return True

    def update(self) -> Deferred[None]:
        return succeed(None)


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> StaticTable:
    """The maker of C{static:}: the entries are those of the settings' C{TableSpec}.

    @raise ValueError: there is an argument.
    """
    if argument:
        raise ValueError("static: takes no argument; a file is read by file:/path")
    spec: TableSpec = settings["spec"]
    return StaticTable(spec.name, spec.entries)
