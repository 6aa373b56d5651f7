"""Open files of a simulated disk."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from zope.interface import implementer

from pysmtpd.interfaces.platform import IFile, IMailbox
from pysmtpd.testing.inodes import Inode, PlainFile

if TYPE_CHECKING:
    from pysmtpd.testing.disk import SimulatedDisk


@implementer(IFile)
class SimulatedFile:
    """An open file of a simulated disk."""

    __slots__ = ("_disk", "_inode", "_isWritable", "_place", "path")

    def __init__(self, disk: SimulatedDisk, path: str, inode: Inode, isWritable: bool) -> None:
        self._disk: SimulatedDisk | None = disk
        self.path = path
        self._inode = inode
        self._isWritable = isWritable
        self._place = 0

    def read(self, size: int) -> bytes:
        data = self.readAt(self._place, size)
        self._place += len(data)
        return data

    def readAt(self, offset: int, size: int) -> bytes:
        self._begin("read", changes=False)
        return self._inode.readAt(offset, size)

    def write(self, data: bytes) -> None:
        disk = self._checked()
        if not self._isWritable or not isinstance(self._inode, PlainFile):
            raise OSError(errno.EBADF, "it was opened for reading", self.path)
        inode = self._inode
        try:
            disk.begin("write", self.path)
            disk.needBlocks(self.path)
        except OSError as error:
            # A write that fails has often done a part of its work.
            if error.errno == errno.ENOSPC:
                inode.data += data[: int(len(data) * disk.share())]
            raise
        inode.data += data
        inode.modified = disk.now()
        disk.end()

    def sync(self) -> None:
        disk = self._begin("sync")
        if not disk.isLying:
            self._inode.sync()
        disk.end()

    def close(self) -> None:
        if self._disk is not None:
            self._disk.closed(self)
            self._disk = None

    def fileno(self) -> int:
        raise OSError(errno.EBADF, "a simulated file has no descriptor", self.path)

    def _checked(self) -> SimulatedDisk:
        if self._disk is None:
            raise OSError(errno.EBADF, "the file is closed", self.path)
        return self._disk

    def _begin(self, operation: str, changes: bool = True) -> SimulatedDisk:
        disk = self._checked()
        disk.begin(operation, self.path, changes)
        return disk


@implementer(IMailbox)
class SimulatedMailbox(SimulatedFile):
    """An mbox file, locked."""

    __slots__ = ("size",)

    def __init__(self, disk: SimulatedDisk, path: str, inode: Inode) -> None:
        super().__init__(disk, path, inode, True)
        self.size = inode.size()

    def cutBack(self) -> None:
        disk = self._begin("cutBack")
        assert isinstance(self._inode, PlainFile)
        self._inode.cut(self.size)
        disk.end()
