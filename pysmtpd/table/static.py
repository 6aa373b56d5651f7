"""Tables that are written in the configuration, named or in place. All answers are there at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service
from pysmtpd.model.config import TableSpec
from pysmtpd.table.content import Content


@implementer(ITable)
class StaticTable:
    """It changes only with the configuration."""

    def __init__(self, name: str, content: Content) -> None:
        self.name = name
        self._content = content

    def match(self, service: Service, key: str) -> Ready[bool]:
        return self._content.match(service, key)

    def lookup(self, service: Service, key: str) -> Ready[str | None]:
        return self._content.get(key)

    def fetch(self, service: Service) -> Ready[str | None]:
        return self._content.fetch()

    def update(self) -> Deferred[None]:
        return succeed(None)


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> StaticTable:
    """The maker of C{static:}: the entries are those of the settings' C{TableSpec}.

    @raise ValueError: there is an argument.
    """
    if argument:
        raise ValueError("static: takes no argument; a file is read by file:/path")
    spec: TableSpec = settings["spec"]
    return StaticTable(spec.name, Content(spec.entries))
