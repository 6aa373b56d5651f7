"""Tables that are written in the configuration, named or in place. All answers are there at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service, TableUpdate, Updated
from pysmtpd.model.config import TableSpec
from pysmtpd.table import file
from pysmtpd.table.content import Content
from pysmtpd.table.turns import Turns


@implementer(ITable)
class StaticTable(Content):
    """It changes only with the configuration, and whoever writes that may name commands.

    It is content itself, so that questions take the shortest way: rules ask many of these tables for each recipient.
    """

    __slots__ = ("_turns", "name")

    allowsCommands = True

    def __init__(self, spec: TableSpec, turns: Turns, services: Collection[Service] = ()) -> None:
        """
        @raise ValueError: an entry is wrong.
        """
        super().__init__(spec.entries, services, str(spec.where))
        self.name = spec.name
        self._turns = turns

    def fetch(self, service: Service) -> Ready[str | None]:
        return self.keyAt(service, self._turns.next(self.size))

    def update(self) -> Deferred[Updated]:
        update = TableUpdate(self.size, globs=self.globs, octets=self.octets, problems=self.problems)
        return succeed(Updated(self, update))

    def close(self) -> Deferred[None]:
        return succeed(None)


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> ITable:
    """The maker of C{static:}: the entries are those of the settings' C{TableSpec}; and of C{static:/path}, which is C{file:/path}.

    @raise ValueError: an entry, or the path, is wrong.
    """
    if argument:
        return file.make(argument, platform, settings)
    return StaticTable(settings["spec"], Turns(platform.random), settings.get("services", ()))
