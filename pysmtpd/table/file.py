"""Tables in files, read whole. Answers come from memory; reading happens in a lane."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service, TableError, Updated
from pysmtpd.model.config import TableSpec
from pysmtpd.table.content import Content
from pysmtpd.table.reading import compare, inSlices, laneOf, read
from pysmtpd.table.turns import Turns


@implementer(ITable)
class FileTable:
    """Its content never changes: an C{update} makes another table. The first one, which has none yet, can tell nothing (L{TableError}).

    @ivar content: None: it has not been read, or is closed.
    """

    def __init__(
        self,
        spec: TableSpec,
        path: str,
        platform: IPlatform,
        turns: Turns,
        services: Collection[Service] = (),
        content: Content | None = None,
        isTrusted: bool = False,
    ) -> None:
        """
        @param services: what it will be asked for; values are checked for them when they are read.
        @param isTrusted: nobody but root and the daemon's user can have written it.
        """
        self.name = spec.name
        self.allowsCommands = spec.allowCommands or isTrusted
        self.content = content
        self._spec = spec
        self._path = path
        self._platform = platform
        self._services = services
        self._turns = turns

    def _ready(self) -> Content:
        if self.content is None:
            raise TableError(f'the table "{self.name}" ({self._path}) has not been read, or is not in use any more')
        return self.content

    def match(self, service: Service, key: str) -> Ready[bool]:
        return (self.content or self._ready()).match(service, key)

    def lookup(self, service: Service, key: str) -> Ready[str | None]:
        return (self.content or self._ready()).lookup(service, key)

    def fetch(self, service: Service) -> Ready[str | None]:
        content = self._ready()
        return content.keyAt(service, self._turns.next(len(content)))

    def update(self) -> Deferred[Updated]:
        return Deferred.fromCoroutine(self._update())

    async def _update(self) -> Updated:
        try:
            content, isTrusted = await read(self._platform, self.name, self._path, self._services)
            changes = await compare(self._platform, self.name, self.content, content)
        except (OSError, ValueError, TableError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise TableError(f'cannot read the table "{self.name}" ({self._path}): {why}') from error
        table = FileTable(self._spec, self._path, self._platform, self._turns, self._services, content, isTrusted)
        return Updated(table, changes)

    def close(self) -> Deferred[None]:
        """It lets go of its content bit by bit."""
        content, self.content = self.content, None
        if content is None:
            return succeed(None)
        return Deferred.fromCoroutine(inSlices(self._platform, laneOf(self.name), content.letGo))


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> FileTable:
    """The maker of C{file:/path}. C{update} must end before the first question.

    @raise ValueError: the path is not absolute.
    """
    if not argument.startswith("/"):
        raise ValueError("the path of a table is absolute: file:/path")
    return FileTable(settings["spec"], argument, platform, Turns(platform.random), settings.get("services", ()))
