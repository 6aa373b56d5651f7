"""Tables in files made by C{pysmtpd makemap}: of any size, for a few pages of memory. Each question is a look into the file, in a lane."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces.platform import IDisk, IPlatform
from pysmtpd.interfaces.routing import ITable, Service, TableError, TableUpdate, Updated
from pysmtpd.model.config import TableSpec
from pysmtpd.table.candidates import addressKeys, domainKeys
from pysmtpd.table.dbfile import MapFile
from pysmtpd.table.glob import Glob
from pysmtpd.table.networks import addressForms, parseAddress
from pysmtpd.table.reading import laneOf, patiently
from pysmtpd.table.regex import Patterns
from pysmtpd.table.turns import Turns
from pysmtpd.table.values import checkValue

T = TypeVar("T")

_ADDRESSES = (Service.ADDRNAME, Service.SOURCE)
_ERRORS = (OSError, ValueError, sqlite3.Error, TableError)


class _Map:
    """The file, as the lane sees it: opened at the first question, and again when another has taken its place."""

    def __init__(self, disk: IDisk, path: str, turns: Turns) -> None:
        self._disk = disk
        self._path = path
        self._turns = turns
        self._file: MapFile | None = None
        self._identity: tuple[int, ...] = ()
        self._globs: list[Glob] = []
        self._mailGlobs: dict[str, list[Glob]] = {}
        self._patterns: Patterns | None = None

    def _open(self) -> MapFile:
        """
        @raise OSError:
        @raise sqlite3.Error:
        @raise ValueError: it is none of ours.
        """
        identity = self._disk.identity(self._path)
        if self._file is None or identity != self._identity:
            file = MapFile(self._disk, self._path)
            if self._file is not None:
                self._file.close()
            self._file = file
            self._identity = self._disk.identity(self._path)
            self._patterns = None
            self._globs, self._mailGlobs = [], {}
            for pattern in file.globs:
                local, at, domain = pattern.rpartition("@")
                (self._mailGlobs.setdefault(local, []) if at else self._globs).append(Glob(domain or "*"))
        return self._file

    def match(self, service: Service, key: str) -> bool:
        file = self._open()
        match service:
            case Service.DOMAIN:
                isThere = file.holdsAny(domainKeys(key, file.labels, file.tails))
                return isThere or any(glob.match(key) for glob in self._globs)
            case Service.MAILADDR:
                return self._matchAddress(file, key)
            case Service.NETADDR:
                parsed = parseAddress(key)
                return file.get(key) is not None or (parsed is not None and file.holdsNetwork(*parsed))
            case Service.REGEX:
                if self._patterns is None:
                    self._patterns = Patterns(file.patterns())
                return self._patterns.match(key)
        return file.get(key) is not None

    def _matchAddress(self, file: MapFile, key: str) -> bool:
        if file.holdsAny(addressKeys(key, file.mailLabels, file.mailTails)):
            return True
        local, at, domain = key.rpartition("@")
        return bool(at) and any(glob.match(domain) for user in (local, "") for glob in self._mailGlobs.get(user, ()))

    def lookup(self, service: Service, key: str) -> str | None:
        file = self._open()
        for form in (key, *(addressForms(key) if service in _ADDRESSES else ())):
            value = file.get(form)
            if value is not None:
                checkValue(service, value)
                return value
        return None

    def fetch(self, service: Service) -> str | None:
        file = self._open()
        key = file.keyAt(self._turns.next(file.size))
        if key is not None:
            checkValue(service, key)
        return key

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def entries(self, most: int) -> list[tuple[str, str]]:
        file = self._open()
        if file.size > most:
            raise ValueError(f"it has more than {most} entries")
        return file.entries()

    def update(self) -> TableUpdate:
        before = 0 if self._file is None else self._file.size
        file = self._open()
        # Which keys they are is not compared: that would be reading all of both.
        return TableUpdate(file.size, max(0, file.size - before), max(0, before - file.size), globs=len(file.globs))


@implementer(ITable)
class DbTable:
    """A file that takes the place of another is used from the next question on; an C{update} only counts."""

    def __init__(self, spec: TableSpec, path: str, platform: IPlatform) -> None:
        self.name = spec.name
        self.allowsCommands = spec.allowCommands
        self._path = path
        self._platform = platform
        self._map = _Map(platform.disk, path, Turns(platform.random))

    def match(self, service: Service, key: str) -> Deferred[bool]:
        return self._ask(self._map.match, service, key)

    def lookup(self, service: Service, key: str) -> Deferred[str | None]:
        return self._ask(self._map.lookup, service, key)

    def fetch(self, service: Service) -> Deferred[str | None]:
        return self._ask(self._map.fetch, service)

    def update(self) -> Deferred[Updated]:
        return self._ask(self._map.update).addCallback(lambda update: Updated(self, update))

    def entries(self, service: Service, most: int) -> list[tuple[str, str]]:
        """All of them. It is called in the table's lane.

        @raise TableError: there are more, or they cannot be read.
        """
        try:
            return self._map.entries(most)
        except _ERRORS as error:
            raise self._error(error) from error

    def close(self) -> Deferred[None]:
        """Let go of the file; the next question opens it again."""
        return self._ask(self._map.close)

    def _ask(self, work: Callable[..., T], *values: Any) -> Deferred[T]:
        return Deferred.fromCoroutine(self._asked(work, *values))

    async def _asked(self, work: Callable[..., T], *values: Any) -> T:
        try:
            return await patiently(self._platform, laneOf(self.name), work, *values)
        except _ERRORS as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> TableError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        return TableError(f'the table "{self.name}" ({self._path}): {why}')


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> DbTable:
    """The maker of C{db:/path}.

    @raise ValueError: the path is not absolute.
    """
    if not argument.startswith("/"):
        raise ValueError("the path of a table is absolute: db:/path")
    return DbTable(settings["spec"], argument, platform)
