"""A small world for the queue's tests: inline lanes, and a disk in memory whose power can be cut."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from zope.interface import implementer

from pysmtpd.interfaces.platform import FileStat, IDisk, IFile, IMailbox, IPlatform, IWorkers, Space

START = 1_700_000_000.0


@implementer(IWorkers)
class InlineWorkers:
    """Lanes that run at once."""

    def run(self, lane: str, work: Callable[..., Any], *values: Any) -> Deferred[Any]:
        return execute(work, *values)


@implementer(IWorkers)
class HeldWorkers:
    """Lanes that run when they are told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.count = 0

    def run(self, lane: str, work: Callable[..., Any], *values: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, work, values))
        return done

    def step(self) -> None:
        """Do all that is waiting now."""
        waiting, self.waiting = self.waiting, []
        for done, work, values in waiting:
            self.count += 1
            execute(work, *values).chainDeferred(done)

    def finish(self) -> None:
        while self.waiting:
            self.step()


@implementer(IPlatform)
class SmallPlatform:
    """As much of a platform as a queue needs."""

    isPrivileged = False
    hostname = "mx.example.org"
    network: Any = None
    processes: Any = None
    users: Any = None

    def __init__(self, disk: IDisk, workers: IWorkers | None = None) -> None:
        self.timer = Clock()
        self.clock: Any = self.timer
        self.disk = disk
        self.workers: IWorkers = workers or InlineWorkers()
        self.random = Random(1)

    def wallTime(self) -> float:
        return START + self.timer.seconds()

    def secret(self, size: int) -> bytes:
        return bytes(size)

    def resolverSettings(self) -> Any:
        raise NotImplementedError

    def localAddresses(self) -> tuple[str, ...]:
        return ()

    def processId(self) -> int:
        return 1


class _Node:
    """A file: what is written, and what of it would survive."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = b""


class _Folder:
    def __init__(self) -> None:
        self.entries: dict[str, _Node | _Folder] = {}
        self.durable: dict[str, _Node | _Folder] = {}


@implementer(IFile)
class _File:
    def __init__(self, disk: CrashDisk, node: _Node, path: str) -> None:
        self._disk = disk
        self._node: _Node | None = node
        self._path = path
        self._place = 0

    def _open(self) -> _Node:
        if self._node is None:
            raise OSError(errno.EBADF, "closed")
        return self._node

    def read(self, size: int) -> bytes:
        data = self.readAt(self._place, size)
        self._place += len(data)
        return data

    def readAt(self, offset: int, size: int) -> bytes:
        self._disk.tick(False)
        return bytes(self._open().data[offset : offset + size])

    def write(self, data: bytes) -> None:
        node = self._open()
        try:
            self._disk.tick(True)
        except OSError:
            # As real disks do it: a part of the data is there.
            node.data += data[: len(data) // 2]
            raise
        node.data += data

    def sync(self) -> None:
        self._disk.tick(True)
        self._open().durable = bytes(self._open().data)

    def close(self) -> None:
        if self._node is not None and self._path in self._disk.locks:
            self._disk.locks.pop(self._path)
        self._node = None

    def fileno(self) -> int:
        raise OSError(errno.EBADF, "no descriptor")


@implementer(IDisk)
class CrashDisk:
    """A disk in memory. C{powerCut} gives the disk as it is found afterwards; this one is dead then.

    @ivar isTearing: unsynced names survive and unsynced content survives in part; else both are lost.
    """

    def __init__(self, real: str, isTearing: bool = False) -> None:
        """
        @param real: an empty directory for databases.
        """
        self.isTearing = isTearing
        self.locks: dict[str, int] = {}
        self.syncs = 0
        self._real = real
        self._root = _Folder()
        self._untilDeath: int | None = None
        self._untilFailure: int | None = None
        self._failure = errno.ENOSPC
        self._databases: list[sqlite3.Connection] = []
        os.makedirs(real, exist_ok=True)

    def temporary(self) -> IFile:
        raise NotImplementedError

    def mailbox(self, path: str, patience: float) -> IMailbox:
        raise NotImplementedError

    def beneath(self, root: str) -> IDisk:
        raise NotImplementedError

    def isDirectory(self, path: str) -> bool:
        raise NotImplementedError

    def tick(self, isWrite: bool) -> None:
        if self._untilDeath is not None:
            if self._untilDeath <= 0:
                raise OSError(errno.EIO, "the power is off")
            self._untilDeath -= 1
        if isWrite and self._untilFailure is not None:
            if self._untilFailure <= 0:
                raise OSError(self._failure, os.strerror(self._failure))
            self._untilFailure -= 1

    def crashAfter(self, operations: int) -> None:
        self._untilDeath = operations

    def failAfter(self, operations: int | None, error: int = errno.ENOSPC) -> None:
        self._untilFailure = operations
        self._failure = error

    def powerCut(self) -> CrashDisk:
        self._untilDeath = 0
        real = f"{self._real}+"
        for connection in self._databases:
            try:
                (level,) = connection.execute("PRAGMA synchronous").fetchone()
                if level < 2:
                    raise AssertionError("a commit of this database would not survive")
            except sqlite3.ProgrammingError:
                continue
        # Committed means durable with synchronous=FULL: what is in the files now is what a power cut leaves.
        shutil.copytree(self._real, real)
        for connection in self._databases:
            connection.close()
        after = CrashDisk(real, self.isTearing)
        after._root = self._survived(self._root)
        return after

    def _survived(self, folder: _Folder) -> _Folder:
        found = _Folder()
        entries = {**folder.durable, **folder.entries} if self.isTearing else folder.durable
        for name, entry in entries.items():
            survivor: _Node | _Folder
            if isinstance(entry, _Folder):
                survivor = self._survived(entry)
            else:
                survivor = _Node()
                lost = len(entry.data) - len(entry.durable)
                survivor.durable = (
                    bytes(entry.data[: len(entry.durable) + lost // 2]) if self.isTearing else entry.durable
                )
                survivor.data = bytearray(survivor.durable)
            found.entries[name] = found.durable[name] = survivor
        return found

    # --- IDisk

    def _folder(self, path: str) -> _Folder:
        folder = self._root
        for part in path.strip("/").split("/"):
            if part:
                entry = folder.entries.get(part)
                if not isinstance(entry, _Folder):
                    raise FileNotFoundError(errno.ENOENT, "no such directory", path)
                folder = entry
        return folder

    def _parent(self, path: str) -> tuple[_Folder, str]:
        directory, _, name = path.rpartition("/")
        return self._folder(directory), name

    def _node(self, path: str) -> _Node:
        folder, name = self._parent(path)
        node = folder.entries.get(name)
        if not isinstance(node, _Node):
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return node

    def create(self, path: str, mode: int = 0o600) -> IFile:
        self.tick(True)
        folder, name = self._parent(path)
        if name in folder.entries:
            raise FileExistsError(errno.EEXIST, "there is one", path)
        folder.entries[name] = node = _Node()
        return _File(self, node, path)

    def append(self, path: str, mode: int = 0o600) -> IFile:
        self.tick(True)
        folder, name = self._parent(path)
        if name not in folder.entries:
            folder.entries[name] = _Node()
        return _File(self, self._node(path), path)

    def open(self, path: str) -> IFile:
        self.tick(False)
        return _File(self, self._node(path), path)

    def readTrusted(self, directory: str, name: str, owners: Sequence[int], most: int) -> bytes:
        return self.open(f"{directory}/{name}").read(most)

    def syncDirectory(self, path: str) -> None:
        self.tick(True)
        folder = self._folder(path)
        folder.durable = dict(folder.entries)

    def rename(self, old: str, new: str) -> None:
        self.tick(True)
        node = self._node(old)
        source, name = self._parent(old)
        target, newName = self._parent(new)
        del source.entries[name]
        target.entries[newName] = node

    def link(self, old: str, new: str) -> None:
        raise NotImplementedError

    def unlink(self, path: str) -> None:
        # Needs no room: it fails only when all is over.
        self.tick(False)
        self._node(path)
        folder, name = self._parent(path)
        del folder.entries[name]

    def makeDirectory(self, path: str, mode: int = 0o700) -> None:
        self.tick(True)
        folder = self._root
        for part in path.strip("/").split("/"):
            if part:
                entry = folder.entries.setdefault(part, _Folder())
                assert isinstance(entry, _Folder)
                folder = entry

    def removeDirectory(self, path: str) -> None:
        self.tick(False)
        if self._folder(path).entries:
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        folder, name = self._parent(path)
        del folder.entries[name]

    def listDirectory(self, path: str) -> list[str]:
        self.tick(False)
        return sorted(self._folder(path).entries)

    def stat(self, path: str) -> FileStat:
        self.tick(False)
        folder, name = self._parent(path)
        entry = folder.entries.get(name)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "nothing there", path)
        if isinstance(entry, _Folder):
            return FileStat(0, START, "directory")
        return FileStat(len(entry.data), START, "file")

    def space(self, path: str) -> Space:
        return Space(0.5, 0.5)

    def lock(self, path: str) -> IFile:
        if path in self.locks:
            raise BlockingIOError(errno.EAGAIN, "process 1 holds it")
        file = self.append(path)
        self.locks[path] = 1
        return file

    def identity(self, path: str) -> tuple[int, ...]:
        return (hash(path),)

    def isWritableOnlyBy(self, file: IFile, path: str, users: Collection[int]) -> bool:
        return True

    def database(self, path: str, readOnly: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._real}/{path.replace('/', '_')}", isolation_level=None, factory=_MortalConnection
        )
        assert isinstance(connection, _MortalConnection)
        connection.disk = self
        self._databases.append(connection)
        return connection


class _MortalConnection(sqlite3.Connection):
    """Each transaction that begins or ends is one operation of its disk."""

    disk: CrashDisk

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        word = sql.split(None, 1)[0].upper()
        if word in ("BEGIN", "COMMIT"):
            self.disk.tick(word == "COMMIT")
        elif word in ("INSERT", "UPDATE") and not self.in_transaction:
            self.disk.tick(True)
        return super().execute(sql, *values)
