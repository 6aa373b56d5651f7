"""A small world for tables and the router: files and users in dictionaries, lanes that answer when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from pysmtpd.interfaces.platform import FileStat, IFile, IPlatform, User


class MemoryFile:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int) -> bytes:
        chunk = self._data[self._at : self._at + size]
        self._at += len(chunk)
        return chunk

    def close(self) -> None:
        self._at = len(self._data)


class MemoryDisk:
    """
    @ivar shared: paths of files that anybody may write.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.error: OSError | None = None
        self.shared: set[str] = set()

    def stat(self, path: str) -> FileStat:
        return FileStat(len(self._content(path)), 0.0, "file")

    def open(self, path: str) -> IFile:
        return cast(IFile, MemoryFile(self._content(path)))

    def isWritableOnlyBy(self, file: IFile, path: str, users: Collection[int]) -> bool:
        return path not in self.shared

    def _content(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    def readTrusted(self, directory: str, name: str, owners: Sequence[int], most: int) -> bytes:
        if self.error is not None:
            raise self.error
        octets = self.open(f"{directory}/{name}").read(most + 1)
        if len(octets) > most:
            raise OSError(27, "File too large", name)
        return octets


class Lanes:
    """Work is done C{delay} seconds after it was given; at once where that is zero."""

    def __init__(self, clock: Clock) -> None:
        self.delay = 0.0
        self.ran: list[str] = []
        self._clock = clock

    def run(self, lane: str, work: Callable[..., Any], *values: Any) -> Deferred[Any]:
        self.ran.append(lane)
        if not self.delay:
            return maybeDeferred(work, *values)
        done: Deferred[Any] = Deferred()
        self._clock.callLater(self.delay, lambda: maybeDeferred(work, *values).chainDeferred(done))
        return done


class MemoryUsers:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.asked: list[str] = []
        self.failing = False

    def byName(self, name: str) -> User | None:
        self.asked.append(name)
        if self.failing:
            raise OSError("the directory is down")
        uid = 1000 if name == "me" else 1001
        return User(name, uid, uid, f"/home/{name}") if name in self.names else None

    def me(self) -> User:
        return User("me", 1000, 1000, "/home/me")


class SmallPlatform:
    def __init__(self, disk: Any = None) -> None:
        self.clock = Clock()
        self.disk = MemoryDisk() if disk is None else disk
        self.workers = Lanes(self.clock)
        self.users = MemoryUsers()
        self.random = Random(1)
        self.hostname = "mx.example.org"

    def wallTime(self) -> float:
        return 1e9 + self.clock.seconds()

    @property
    def asPlatform(self) -> IPlatform:
        return cast(IPlatform, self)
