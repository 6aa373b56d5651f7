"""A file system in memory that forgets, at a power cut, what was not synced."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from random import Random

from zope.interface import implementer

from pysmtpd.interfaces.platform import FileStat, IDisk, IFile, IMailbox, Space
from pysmtpd.testing.database import DatabaseFile
from pysmtpd.testing.faults import DiskFailure, PowerCut
from pysmtpd.testing.files import SimulatedFile, SimulatedMailbox
from pysmtpd.testing.inodes import Directory, Inode, PlainFile


@implementer(IDisk)
class SimulatedDisk:
    """See L{IDisk}: what it promises is all that this disk keeps.

    At a power cut each file keeps what was synced and a seeded part, torn or zeroed, of what was written after; each directory
    keeps the entries that were synced, and of each later change it is seeded whether it was kept. A name's changes are kept in
    their order, and a rename never loses both names.

    @ivar failures: what is going to fail.
    @ivar free: what C{space} answers. Without free blocks every write fails with ENOSPC; without inodes every creation.
    @ivar counts: how often each operation was begun.
    @ivar observer: called with the operation and path before each.
    @ivar cutAfter: the power goes off at the end of so many more changing operations, or in the middle of it; None: it stays on.
    @ivar isLying: what is called a sync does nothing; with it, a test that proves durability has to fail.
    @ivar onPowerCut: called when C{cutAfter} was reached.
    @ivar shared: paths of files that others than root and the daemon's user may write.
    """

    def __init__(self, random: Random | None = None, wallTime: Callable[[], float] = lambda: 0.0) -> None:
        self._random = Random(0) if random is None else random
        self._wallTime = wallTime
        self._root = Directory(0.0)
        self._locked: dict[str, SimulatedFile] = {}
        self._open: dict[int, SimulatedFile] = {}
        self._databases: list[DatabaseFile] = []
        self.processId = 1
        self.failures: list[DiskFailure] = []
        self.free = Space(1.0, 1.0)
        self.counts: dict[str, int] = {}
        self.observer: Callable[[str, str], None] | None = None
        self.cutAfter: int | None = None
        self.isLying = False
        self.onPowerCut: Callable[[], None] | None = None
        self.shared: set[str] = set()
        self._isOff = False

    # --- what tests do

    def fail(
        self, operation: str, code: int = errno.EIO, after: int = 0, times: int | None = 1, path: str = ""
    ) -> DiskFailure:
        """Let operations fail; see L{DiskFailure}."""
        failure = DiskFailure(operation, code, after, times, path)
        self.failures.append(failure)
        return failure

    def write(self, path: str, content: bytes) -> None:
        """Put a file there, with its directories, all of it durable. In no way an operation of the machine."""
        directory = self._walk(os.path.dirname(path), makeDurable=True)
        file = PlainFile(self._wallTime(), content)
        directory.entries[os.path.basename(path)] = directory.durable[os.path.basename(path)] = file

    def directory(self, path: str) -> None:
        """Put a directory there, durable."""
        self._walk(path, makeDurable=True)

    def read(self, path: str) -> bytes:
        """A file's content as it is now."""
        return self._file(path).content()

    def tree(self, path: str = "/") -> list[str]:
        """All paths of files below C{path}, sorted."""
        found: list[str] = []

        def walk(at: str, directory: Directory) -> None:
            for name, inode in directory.entries.items():
                if isinstance(inode, Directory):
                    walk(f"{at}/{name}", inode)
                else:
                    found.append(f"{at}/{name}")

        walk(path.rstrip("/"), self._walk(path))
        return sorted(found)

    def processEnded(self) -> None:
        """The machine's process was killed: files are closed, locks free, transactions rolled back. All that was written is there."""
        for file in list(self._open.values()):
            file.close()
        for database in self._databases:
            database.closeAll()

    def powerCut(self) -> None:
        """The machine went off and on again."""
        self.cutAfter = None
        self.processEnded()
        self._root.powerCut(self._random, set())

    def powerOn(self) -> None:
        """After a cut that C{cutAfter} made: a machine runs again. Before that, whatever is still asked raises L{PowerCut}."""
        self._isOff = False

    # --- IDisk

    def create(self, path: str, mode: int = 0o600) -> IFile:
        directory, name = self._enter("create", path, creates=True)
        if name in directory.entries:
            raise FileExistsError(errno.EEXIST, "it is there", path)
        return self._opened(path, self._made(directory, name), True)

    def append(self, path: str, mode: int = 0o600) -> IFile:
        directory, name = self._enter("append", path)
        inode = directory.entries.get(name)
        if inode is None:
            self._needInode(path)
            inode = self._made(directory, name)
        return self._opened(path, inode, True)

    def open(self, path: str) -> IFile:
        directory, name = self._enter("open", path, changes=False)
        return self._opened(path, self._found(directory, name, path), False)

    def temporary(self) -> IFile:
        self.begin("temporary", "")
        self._needInode("")
        return SimulatedFile(self, "", PlainFile(self._wallTime()), True)

    def mailbox(self, path: str, patience: float) -> IMailbox:
        directory, name = self._enter("mailbox", path)
        if path in self._locked:
            raise OSError(errno.EAGAIN, f"another program has kept it locked for {patience:g} s", path)
        inode = directory.entries.get(name)
        if inode is None:
            self._needInode(path)
            inode = self._made(directory, name)
            directory.sync()
        if not isinstance(inode, PlainFile):
            raise OSError(errno.EINVAL, "it is not a plain file", path)
        if inode.links > 1:
            raise OSError(errno.EMLINK, "it has more than one name (a hard link)", path)
        mailbox = SimulatedMailbox(self, path, inode)
        self._open[id(mailbox)] = self._locked[path] = mailbox
        self.end()
        return mailbox

    def beneath(self, root: str) -> IDisk:
        # There are no symbolic links here.
        return self

    def isDirectory(self, path: str) -> bool:
        self.begin("isDirectory", path, changes=False)
        return self._isDirectory(path)

    def readTrusted(self, directory: str, name: str, owners: Sequence[int], most: int) -> bytes:
        """Everything belongs to everybody here."""
        if not self._isDirectory(directory):
            raise NotADirectoryError(errno.ENOTDIR, "there is no such directory", directory)
        file = self.open(f"{directory.rstrip('/')}/{name}")
        try:
            octets = file.read(most + 1)
        finally:
            file.close()
        if len(octets) > most:
            raise OSError(errno.EFBIG, f"it has more than {most} octets", name)
        return octets

    def syncDirectory(self, path: str) -> None:
        self.begin("syncDirectory", path)
        directory = self._walk(path)
        if not self.isLying:
            directory.sync()
        self.end()

    def rename(self, old: str, new: str) -> None:
        directory, name = self._enter("rename", old)
        target, newName = self._split(new)
        inode = self._found(directory, name, old)
        there = target.entries.get(newName)
        if there is inode:
            return
        if isinstance(there, Directory) and (not isinstance(inode, Directory) or there.entries):
            raise OSError(errno.ENOTEMPTY if isinstance(inode, Directory) else errno.EISDIR, "it is in the way", new)
        if isinstance(inode, Directory) and there is not None and not isinstance(there, Directory):
            raise NotADirectoryError(errno.ENOTDIR, "it is in the way", new)
        arrival = target.change(newName, inode)
        directory.change(name, None, arrival, target)
        if there is not None:
            there.links -= 1
        self.end()

    def link(self, old: str, new: str) -> None:
        directory, name = self._enter("link", old)
        target, newName = self._split(new)
        inode = self._found(directory, name, old)
        if isinstance(inode, Directory):
            raise PermissionError(errno.EPERM, "a directory has one name", old)
        if newName in target.entries:
            raise FileExistsError(errno.EEXIST, "it is there", new)
        target.change(newName, inode)
        inode.links += 1
        self.end()

    def unlink(self, path: str) -> None:
        directory, name = self._enter("unlink", path)
        inode = self._found(directory, name, path)
        if isinstance(inode, Directory):
            raise IsADirectoryError(errno.EISDIR, "it is a directory", path)
        directory.change(name, None)
        inode.links -= 1
        self.end()

    def makeDirectory(self, path: str, mode: int = 0o700) -> None:
        self.begin("makeDirectory", path)
        at = self._root
        for part in self._parts(path):
            found = at.entries.get(part)
            if found is None:
                self._needInode(path)
                found = Directory(self._wallTime())
                at.change(part, found)
            if not isinstance(found, Directory):
                raise FileExistsError(errno.EEXIST, "a file is there", path)
            at = found
        self.end()

    def removeDirectory(self, path: str) -> None:
        directory, name = self._enter("removeDirectory", path)
        found = self._found(directory, name, path)
        if not isinstance(found, Directory):
            raise NotADirectoryError(errno.ENOTDIR, "it is not a directory", path)
        if found.entries:
            raise OSError(errno.ENOTEMPTY, "it is not empty", path)
        directory.change(name, None)
        self.end()

    def listDirectory(self, path: str) -> list[str]:
        self.begin("listDirectory", path, changes=False)
        return sorted(self._walk(path).entries)

    def stat(self, path: str) -> FileStat:
        directory, name = self._enter("stat", path, changes=False)
        inode = self._found(directory, name, path) if name else directory
        return FileStat(
            inode.size(), inode.modified, "directory" if isinstance(inode, Directory) else "file", inode.links
        )

    def space(self, path: str) -> Space:
        self.begin("space", path, changes=False)
        self._walk(path if self._isDirectory(path) else os.path.dirname(path))
        return self.free

    def lock(self, path: str) -> IFile:
        directory, name = self._enter("lock", path)
        if path in self._locked:
            raise BlockingIOError(errno.EAGAIN, f"locked by process {self.processId}", path)
        inode = directory.entries.get(name)
        file = self._opened(path, self._made(directory, name) if inode is None else inode, True)
        self._locked[path] = file
        return file

    def identity(self, path: str) -> tuple[int, ...]:
        directory, name = self._enter("identity", path, changes=False)
        inode = self._found(directory, name, path)
        return 0, id(inode), int(inode.modified * 1e9), inode.size()

    def isWritableOnlyBy(self, file: IFile, path: str, users: Collection[int]) -> bool:
        return path not in self.shared

    def database(self, path: str, readOnly: bool = False) -> sqlite3.Connection:
        directory, name = self._enter("database", path, changes=not readOnly)
        inode = directory.entries.get(name)
        if inode is None:
            if readOnly:
                raise sqlite3.OperationalError("unable to open database file")
            self._needInode(path)
            inode = DatabaseFile(self._wallTime(), path, self, directory, name)
            self._databases.append(inode)
            directory.change(name, inode)
        if isinstance(inode, Directory):
            raise sqlite3.OperationalError("unable to open database file")
        if not isinstance(inode, DatabaseFile):
            database = DatabaseFile(self._wallTime(), path, self, directory, name, inode.content())
            self._databases.append(database)
            directory.change(name, database)
            inode = database
        connection = inode.connect()
        if readOnly:
            connection.execute("PRAGMA query_only = ON")
        return connection

    # --- for files and databases of this disk

    def begin(self, operation: str, path: str, changes: bool = True) -> None:
        """An operation begins: count it, and let it fail if it shall.

        @raise PowerCut:
        @raise OSError:
        """
        if self._isOff:
            raise PowerCut
        self.counts[operation] = self.counts.get(operation, 0) + 1
        if self.observer is not None:
            self.observer(operation, path)
        if changes and self.cutAfter is not None:
            self.cutAfter -= 1
            # In the middle means: before anything was done, or when all was done and nobody was told.
            if self.cutAfter < 0 and self._random.random() < 0.5:
                self.cutNow()
        if self.failures:
            for failure in self.failures:
                if failure.strikes(operation, path):
                    raise OSError(failure.code, os.strerror(failure.code), path)

    def end(self) -> None:
        """An operation has done what it does.

        @raise PowerCut:
        """
        if self.cutAfter is not None and self.cutAfter < 0:
            self.cutNow()

    def cutNow(self) -> None:
        """
        @raise PowerCut: always.
        """
        self.powerCut()
        self._isOff = True
        if self.onPowerCut is not None:
            self.onPowerCut()
        raise PowerCut

    def needBlocks(self, path: str) -> None:
        """
        @raise OSError: there are none left.
        """
        if self.free.blocks <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def share(self) -> float:
        """A seeded number from 0 to 1."""
        return self._random.random()

    def now(self) -> float:
        return self._wallTime()

    def closed(self, file: SimulatedFile) -> None:
        self._open.pop(id(file), None)
        if self._locked.get(file.path) is file:
            del self._locked[file.path]

    # --- paths

    @staticmethod
    def _parts(path: str) -> list[str]:
        if not path.startswith("/"):
            raise ValueError(f"paths are absolute, not {path!r}")
        return [part for part in path.split("/") if part and part != "."]

    def _walk(self, path: str, makeDurable: bool = False) -> Directory:
        at = self._root
        for part in self._parts(path):
            found = at.entries.get(part)
            if makeDurable:
                if found is None:
                    found = at.entries[part] = Directory(self._wallTime())
                at.durable[part] = found
            if found is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if not isinstance(found, Directory):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            at = found
        return at

    def _isDirectory(self, path: str) -> bool:
        try:
            self._walk(path)
        except OSError:
            return False
        return True

    def _split(self, path: str) -> tuple[Directory, str]:
        parts = self._parts(path)
        return self._walk("/" + "/".join(parts[:-1])), parts[-1] if parts else ""

    def _enter(self, operation: str, path: str, creates: bool = False, changes: bool = True) -> tuple[Directory, str]:
        self.begin(operation, path, changes)
        if creates:
            self._needInode(path)
        return self._split(path)

    def _needInode(self, path: str) -> None:
        if self.free.inodes <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def _found(self, directory: Directory, name: str, path: str) -> Inode:
        inode = directory.entries.get(name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return inode

    def _file(self, path: str) -> Inode:
        directory, name = self._split(path)
        return self._found(directory, name, path)

    def _made(self, directory: Directory, name: str) -> PlainFile:
        file = PlainFile(self._wallTime())
        directory.change(name, file)
        return file

    def _opened(self, path: str, inode: Inode, isWritable: bool) -> SimulatedFile:
        if isinstance(inode, Directory):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        file = SimulatedFile(self, path, inode, isWritable)
        self._open[id(file)] = file
        self.end()
        return file
