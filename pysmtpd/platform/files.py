"""Files and directories without what only the daemon asks of its disk: no Twisted is loaded for it, so delivery hosts work on it, too."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from pysmtpd.platform.beneath import FilesBeneath
from pysmtpd.platform.file import RealFile, syncDirectory
from pysmtpd.platform.mailbox import openMailbox
from pysmtpd.platform.trusted import readTrusted

if TYPE_CHECKING:
    from pysmtpd.interfaces.platform import IDisk, IFile, IMailbox


class RealFiles:
    """The part of L{IDisk} that makes and moves files. Descriptors are not inherited by child processes; the last part of a path is never
    followed as a link."""

    def create(self, path: str, mode: int = 0o600) -> IFile:
        return self._opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def append(self, path: str, mode: int = 0o600) -> IFile:
        return self._opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, mode)

    def open(self, path: str) -> IFile:
        # Configuration and tables are read through links on purpose. A FIFO must not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        kind = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISCHR(kind)):
            os.close(descriptor)
            what = "it is a directory" if stat.S_ISDIR(kind) else "it is not a plain file"
            raise OSError(errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL, what, path)
        return cast("IFile", RealFile(descriptor))

    def temporary(self) -> IFile:
        with tempfile.TemporaryFile(buffering=0) as file:
            return cast("IFile", RealFile(os.dup(file.fileno())))

    def mailbox(self, path: str, patience: float) -> IMailbox:
        return cast("IMailbox", openMailbox(path, patience))

    def beneath(self, root: str) -> IDisk:
        return cast("IDisk", FilesBeneath(root))

    def isDirectory(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _opened(self, path: str, flags: int, mode: int) -> IFile:
        return cast("IFile", RealFile(os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, mode)))

    def readTrusted(self, directory: str, name: str, owners: Sequence[int], most: int) -> bytes:
        return readTrusted(directory, name, owners, most)

    def syncDirectory(self, path: str) -> None:
        syncDirectory(path)

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
