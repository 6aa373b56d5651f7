"""Mailboxes of the mbox format that other programs write to, too: how they are opened and locked. No Twisted is loaded for it.

A lock of fcntl(2) comes first, then the file NAME.lock: the order of Dovecot and of Debian's policy. Neither is waited for while
the other is held, so whoever takes them the other way round stops nobody.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import threading
import time

from pysmtpd.platform.file import RealFile, syncDirectory

# Seconds between two tries to lock.
_PAUSE = 0.05

# Seconds after which a NAME.lock that nobody has touched is a dead program's.
STALE = 300.0

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

# A lock of the open file; the older kind is the process's, and lost when any descriptor of the file is closed in it.
_OPEN_FILE_LOCK: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_FLOCK = struct.Struct("hhqqi0q")

# Where a directory cannot be written, files in it can be locked by fcntl(2) alone.
_NO_ROOM = {errno.EACCES, errno.EPERM, errno.EROFS}


class RealMailbox(RealFile):
    """See L{pysmtpd.interfaces.platform.IMailbox}."""

    __slots__ = ("_dotLock", "_path", "size")

    def __init__(self, path: str, descriptor: int, dotLock: str) -> None:
        super().__init__(descriptor)
        self.size = os.fstat(descriptor).st_size
        self._path = path
        self._dotLock = dotLock

    def cutBack(self) -> None:
        os.ftruncate(self.fileno(), self.size)

    def close(self) -> None:
        if self._descriptor < 0:
            return
        try:
            if self._dotLock:
                os.unlink(self._dotLock)
        except FileNotFoundError:
            # Somebody took it for a dead one: it was held for very long.
            self._dotLock = ""
        finally:
            super().close()
            _turns.leave(self._path)


class _Turns:
    """One thread of this process after the other comes to a mailbox, so that they need not find out by trying."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._changed = threading.Condition()

    def take(self, path: str, seconds: float) -> bool:
        key = self._key(path)
        with self._changed:
            isFree = self._changed.wait_for(lambda: key not in self._taken, seconds)
            if isFree:
                self._taken.add(key)
            return isFree

    def leave(self, path: str) -> None:
        with self._changed:
            self._taken.discard(self._key(path))
            self._changed.notify_all()

    @staticmethod
    def _key(path: str) -> str:
        # Locks of the process leave no way but one mailbox after the other: a second name of the same file would lose them.
        return path if _OPEN_FILE_LOCK is not None else ""


_turns = _Turns()


def openMailbox(path: str, patience: float) -> RealMailbox:
    """See L{pysmtpd.interfaces.platform.IDisk.mailbox}.

    @raise OSError:
    """
    deadline = time.monotonic() + patience
    if not _turns.take(path, patience):
        raise _busy(path, patience)
    try:
        while True:
            descriptor = _open(path)
            try:
                dotLock = _lock(path, descriptor)
                if dotLock is not None:
                    return RealMailbox(path, descriptor, dotLock)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if time.monotonic() > deadline:
                raise _busy(path, patience)
            time.sleep(_PAUSE)
    except BaseException:
        _turns.leave(path)
        raise


def _busy(path: str, patience: float) -> OSError:
    return OSError(errno.EAGAIN, f"another program has kept it locked for {patience:g} s", path)


def _open(path: str) -> int:
    """
    @raise OSError: nothing may be written there.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        # Only now: in directories that many may write to, some systems let nobody open another's file so.
        try:
            descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            descriptor = os.open(path, _FLAGS)
        else:
            _syncParent(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link", path) from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", path)
        if found.st_nlink > 1:
            raise OSError(errno.EMLINK, "it has more than one name (a hard link)", path)
        if found.st_uid != os.geteuid():
            raise OSError(errno.EPERM, f"it belongs to user id {found.st_uid}", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _syncParent(path: str) -> None:
    try:
        syncDirectory(os.path.dirname(path))
    except PermissionError:
        # A directory that may be written but not read: its owner has to care.
        return


def _lock(path: str, descriptor: int) -> str | None:
    """
    @return: the name of the second lock, empty where there can be none; None: somebody else holds one.
    """
    try:
        if _OPEN_FILE_LOCK is not None:
            fcntl.fcntl(descriptor, _OPEN_FILE_LOCK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    ours = os.fstat(descriptor)
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return None
    if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino) or ours.st_nlink > 1:
        # Another file has taken its place, as mail readers do that rewrite it.
        return None
    return _dotLock(f"{path}.lock")


def _dotLock(name: str) -> str | None:
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        _removeStale(name)
        return None
    except OSError as error:
        if error.errno in _NO_ROOM:
            return ""
        raise
    try:
        os.write(descriptor, b"%d\n" % os.getpid())
    except OSError:
        os.unlink(name)
        raise
    finally:
        os.close(descriptor)
    return name


def _removeStale(name: str) -> None:
    try:
        if time.time() - os.lstat(name).st_mtime > STALE:
            os.unlink(name)
    except FileNotFoundError:
        # It was given back just now.
        return
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
