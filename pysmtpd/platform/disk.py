"""The real file system."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
from collections.abc import Collection
from typing import cast
from urllib.parse import quote

from zope.interface import classImplements, implementer

from pysmtpd.interfaces.platform import FileStat, IDisk, IFile, IMailbox, Space
from pysmtpd.platform.file import RealFile
from pysmtpd.platform.files import RealFiles
from pysmtpd.platform.mailbox import RealMailbox
from pysmtpd.platform.trusted import isWritableOnlyBy

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}

# Said here, for those files are loaded where there are no interfaces.
classImplements(RealFile, IFile)
classImplements(RealMailbox, IMailbox)


@implementer(IDisk)
class RealDisk(RealFiles):
    """See L{IDisk}."""

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
        return cast("IFile", file)

    def database(self, path: str, readOnly: bool = False) -> sqlite3.Connection:
        if readOnly:
            # SQLite would wait for a FIFO's writer, without end.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise OSError(errno.EINVAL, "it is not a plain file", path)
            # Of a file's address all is quoted that SQLite would take for something else.
            place = f"file:{quote(path)}?mode=ro"
            return sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False)
        # Nobody else's to read, whatever the process's umask is; the journal beside it gets the same mode from SQLite.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def identity(self, path: str) -> tuple[int, ...]:
        found = os.stat(path)
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def isWritableOnlyBy(self, file: IFile, path: str, users: Collection[int]) -> bool:
        return isWritableOnlyBy(file.fileno(), path, users)
