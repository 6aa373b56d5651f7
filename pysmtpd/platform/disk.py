"""The real file system."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
from typing import cast

from zope.interface import classImplements, implementer

from pysmtpd.interfaces.platform import FileStat, IDisk, IFile, Space
from pysmtpd.platform.files import RealFile, RealFiles

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}

# Said here, for that file is loaded where there are no interfaces.
classImplements(RealFile, IFile)


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

    def database(self, path: str) -> sqlite3.Connection:
        # Nobody else's to read, whatever the process's umask is; the journal beside it gets the same mode from SQLite.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
