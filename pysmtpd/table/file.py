"""Tables in files, read whole. Answers come from memory; reading happens in a lane."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service, TableError, TableUpdate
from pysmtpd.model.config import TableSpec
from pysmtpd.table.content import Content
from pysmtpd.table.reading import compare, inSlices, read
from pysmtpd.table.turns import Turns


@implementer(ITable)
class FileTable:
    """Before its first C{update} has ended it can tell nothing (L{TableError}); a failing one keeps what was read before.

    What it tells changes at one moment, when all of the new content is there.
    """

    def __init__(self, spec: TableSpec, path: str, platform: IPlatform, services: Collection[Service] = ()) -> None:
        """
        @param services: what it will be asked for; values are checked for them when they are read.
        """
        self.name = spec.name
        self.allowsCommands = spec.allowCommands
        self._spec = spec
        self._path = path
        self._platform = platform
        self._services = services
        self._turns = Turns(platform.random)
        self._content: Content | None = None
        self._lock = DeferredLock()

    def _ready(self) -> Content:
        if self._content is None:
            raise TableError(f'the table "{self.name}" ({self._path}) has not been read')
        return self._content

    def match(self, service: Service, key: str) -> Ready[bool]:
        return (self._content or self._ready()).match(service, key)

    def lookup(self, service: Service, key: str) -> Ready[str | None]:
        return (self._content or self._ready()).lookup(service, key)

    def fetch(self, service: Service) -> Ready[str | None]:
        content = self._ready()
        return content.keyAt(service, self._turns.next(len(content)))

    def update(self) -> Deferred[TableUpdate]:
        # One that comes while the file is read may be about a newer file: it reads again.
        return self._lock.run(lambda: Deferred.fromCoroutine(self._update()))

    async def _update(self) -> TableUpdate:
        try:
            content, isTrusted = await read(self._platform, self._path, self._services)
        except (OSError, ValueError, TableError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise TableError(f'cannot read the table "{self.name}" ({self._path}): {why}') from error
        old = self._content
        changes = await compare(self._platform, old, content)
        self._content = content
        self.allowsCommands = isTrusted or self._spec.allowCommands
        if old is not None:
            await inSlices(self._platform, old.letGo)
        return changes


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> FileTable:
    """The maker of C{file:/path}. C{update} must end before the first question.

    @raise ValueError: the path is not absolute.
    """
    if not argument.startswith("/"):
        raise ValueError("the path of a table is absolute: file:/path")
    return FileTable(settings["spec"], argument, platform, settings.get("services", ()))
