"""Files and directories without what only the daemon asks of its disk: no Twisted is loaded for it, so delivery hosts work on it, too."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from pysmtpd.platform.trusted import readTrusted

if TYPE_CHECKING:
    from pysmtpd.interfaces.platform import IFile

_dataSync = getattr(os, "fdatasync", os.fsync)


def syncDescriptor(descriptor: int) -> None:
    """Content and size of the file survive a power cut once this returned."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        # There fsync only reaches the drive's volatile cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        _dataSync(descriptor)


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


class RealFiles:
    """The part of L{IDisk} that makes and moves files. Descriptors are not inherited by child processes; the last part of a path is never
    followed as a link."""

    def create(self, path: str, mode: int = 0o600) -> IFile:
        return self._opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def append(self, path: str, mode: int = 0o600) -> IFile:
        return self._opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, mode)

    def open(self, path: str) -> IFile:
        # Configuration and tables are read through links on purpose.
        return self._opened(path, os.O_RDONLY, 0)

    def _opened(self, path: str, flags: int, mode: int) -> IFile:
        return cast("IFile", RealFile(os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, mode)))

    def readTrusted(self, directory: str, name: str, owners: Sequence[int], most: int) -> bytes:
        return readTrusted(directory, name, owners, most)

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
