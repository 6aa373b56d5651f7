"""The real file system."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat

from zope.interface import implementer

from pysmtpd.interfaces.platform import FileStat, IDisk, IFile, Space

_dataSync = getattr(os, "fdatasync", os.fsync)

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


def syncDescriptor(descriptor: int) -> None:
    """Content and size of the file survive a power cut once this returned."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        # There fsync only reaches the drive's volatile cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        _dataSync(descriptor)


@implementer(IFile)
class RealFile:
    """A descriptor. Reading keeps its own place, so it does not disturb writing."""

    __slots__ = ("_descriptor", "_place")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._place = 0

    def read(self, size: int) -> bytes:
        data = os.pread(self.fileno(), size, self._place)
        self._place += len(data)
        return data

    def readAt(self, offset: int, size: int) -> bytes:
        return os.pread(self.fileno(), size, offset)

    def write(self, data: bytes) -> None:
        descriptor = self.fileno()
        written = os.write(descriptor, data)
        if written < len(data):
            rest = memoryview(data)[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def sync(self) -> None:
        syncDescriptor(self.fileno())

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def fileno(self) -> int:
        if self._descriptor < 0:
            raise OSError(errno.EBADF, "the file is closed")
        return self._descriptor


@implementer(IDisk)
class RealDisk:
    """See L{IDisk}. Descriptors are not inherited by child processes; the last part of a path is never followed as a link."""

    def create(self, path: str, mode: int = 0o600) -> IFile:
        return self._opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def append(self, path: str, mode: int = 0o600) -> IFile:
        return self._opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, mode)

    def open(self, path: str) -> IFile:
        # Configuration and tables are read through links on purpose.
        return self._opened(path, os.O_RDONLY, 0)

    def _opened(self, path: str, flags: int, mode: int) -> IFile:
        return RealFile(os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, mode))

    def syncDirectory(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def link(self, old: str, new: str) -> None:
        os.link(old, new, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def makeDirectory(self, path: str, mode: int = 0o700) -> None:
        parent = os.path.dirname(path)
        if parent and parent != path and not os.path.isdir(parent):
            self.makeDirectory(parent, mode)
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def removeDirectory(self, path: str) -> None:
        os.rmdir(path)

    def listDirectory(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def stat(self, path: str) -> FileStat:
        found = os.lstat(path)
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "other")
        return FileStat(found.st_size, found.st_mtime, kind, found.st_nlink)

    def space(self, path: str) -> Space:
        found = os.statvfs(path)
        # Some file systems count no inodes; a few not even blocks.
        return Space(
            found.f_bavail / found.f_blocks if found.f_blocks else 1.0,
            found.f_favail / found.f_files if found.f_files else 1.0,
        )

    def lock(self, path: str) -> IFile:
        file = RealFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file.fileno(), 0)
            file.write(b"%d\n" % os.getpid())
        except BlockingIOError:
            holder = file.readAt(0, 20).split(b"\n")[0].decode("ascii", "replace")
            file.close()
            raise BlockingIOError(
                errno.EAGAIN, f"locked by process {holder}" if holder.isdigit() else "locked by another process", path
            ) from None
        except BaseException:
            file.close()
            raise
        return file

    def database(self, path: str) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
