"""Tables in files, read whole. Answers come from memory; reading happens in a lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces.platform import IDisk, IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service, TableError
from pysmtpd.model.config import TableSpec
from pysmtpd.table.content import Content
from pysmtpd.table.syntax import parseTable

LANE = "tables"
MAX_SIZE = 1 << 30

_CHUNK = 1 << 20


@implementer(ITable)
class FileTable:
    """Before its first C{update} has ended it can tell nothing (L{TableError}); a failing one keeps what was read before."""

    def __init__(self, name: str, path: str, platform: IPlatform, allowsCommands: bool = False) -> None:
        self.name = name
        self.allowsCommands = allowsCommands
        self._path = path
        self._platform = platform
        self._content: Content | None = None

    def _ready(self) -> Content:
        if self._content is None:
            raise TableError(f'the table "{self.name}" ({self._path}) has not been read')
        return self._content

    def match(self, service: Service, key: str) -> Ready[bool]:
        return self._ready().match(service, key)

    def lookup(self, service: Service, key: str) -> Ready[str | None]:
        return self._ready().lookup(service, key)

    def fetch(self, service: Service) -> Ready[str | None]:
        return self._ready().fetch(service)

    def update(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._update())

    async def _update(self) -> None:
        try:
            self._content = await self._platform.workers.run(LANE, _read, self._platform.disk, self._path)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise TableError(f'cannot read the table "{self.name}" ({self._path}): {why}') from error


def _read(disk: IDisk, path: str) -> Content:
    """Runs in the lane.

    @raise ValueError: it is no table; also for text that is not UTF-8.
    """
    chunks: list[bytes] = []
    size = 0
    file = disk.open(path)
    try:
        while chunk := file.read(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_SIZE:
                raise ValueError(f"it has more than {MAX_SIZE} octets")
    finally:
        file.close()
    return Content(parseTable(b"".join(chunks).decode("utf-8")))


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> FileTable:
    """The maker of C{file:/path}. C{update} must end before the first question.

    @raise ValueError: the path is not absolute.
    """
    if not argument.startswith("/"):
        raise ValueError("the path of a table is absolute: file:/path")
    spec: TableSpec = settings["spec"]
    return FileTable(spec.name, argument, platform, spec.allowCommands)
