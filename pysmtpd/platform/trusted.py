"""Reading files that only certain users could have written. No Twisted is loaded for it: the root helper's children use it, too."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A FIFO must not be waited for, a terminal must not be taken.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def readTrusted(directory: str, name: str, owners: Sequence[int], most: int) -> bytes:
    """See L{pysmtpd.interfaces.IDisk.readTrusted}."""
    if not name or "/" in name or name in (".", ".."):
        raise OSError(errno.EINVAL, "not a file's name", name)
    try:
        parent = os.open(directory, _DIRECTORY)
    except FileNotFoundError as error:
        raise NotADirectoryError(errno.ENOTDIR, "there is no such directory", directory) from error
    try:
        found = os.fstat(parent)
        if found.st_mode & stat.S_ISVTX:
            # So operators say that a home is being worked on.
            raise OSError(errno.EBUSY, "it has the sticky bit", directory)
        path = f"{directory.rstrip('/')}/{name}"
        try:
            descriptor = os.open(name, _FILE, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise PermissionError(errno.EPERM, "it is a symbolic link", path) from error
            if error.errno in (errno.ENXIO, errno.ENODEV):
                raise PermissionError(errno.EPERM, "it is not a plain file", path) from error
            raise
        try:
            _check(found, owners, directory)
        except BaseException:
            os.close(descriptor)
            raise
    finally:
        os.close(parent)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PermissionError(errno.EPERM, "it is not a plain file", path)
        _check(found, owners, path)
        return _read(descriptor, most, path)
    finally:
        os.close(descriptor)


def _check(found: os.stat_result, owners: Sequence[int], path: str) -> None:
    """
    @raise PermissionError:
    """
    if found.st_uid != 0 and found.st_uid not in owners:
        raise PermissionError(errno.EPERM, "it belongs to somebody else", path)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "others may write it", path)


def _read(descriptor: int, most: int, path: str) -> bytes:
    octets = b""
    while len(octets) <= most:
        chunk = os.read(descriptor, most + 1 - len(octets))
        if not chunk:
            return octets
        octets += chunk
    raise OSError(errno.EFBIG, f"it has more than {most} octets", path)
