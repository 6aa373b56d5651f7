"""An open file of the real file system. No Twisted is loaded for it."""

from __future__ import annotations

import errno
import fcntl
import os

_dataSync = getattr(os, "fdatasync", os.fsync)


def syncDescriptor(descriptor: int) -> None:
    """Content and size of the file survive a power cut once this returned."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        # There fsync only reaches the drive's volatile cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        _dataSync(descriptor)


def syncDirectory(path: str) -> None:
    """Its entries survive a power cut once this returned."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
