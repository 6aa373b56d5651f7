"""Files that only certain users could have written. No Twisted is loaded for it: the root helper's children use it, too.

Two questions are asked: a C{.forward} is looked for in a home, whatever is above that; a table or include file is wherever an operator
said, so every directory above it counts.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Sequence

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


def isWritableOnlyBy(descriptor: int, path: str, users: Collection[int]) -> bool:
    """See L{pysmtpd.interfaces.IDisk.isWritableOnlyBy}."""
    found = os.fstat(descriptor)
    if _fault(found, users) or not stat.S_ISREG(found.st_mode):
        return False
    # Whoever may write a directory may put another file in the place; with the sticky bit, only in the place of their own.
    above = os.path.dirname(os.path.realpath(path))
    while True:
        found = os.stat(above)
        isSticky = bool(found.st_mode & stat.S_ISVTX) and found.st_uid in users
        if _fault(found, users) and not isSticky:
            return False
        if above == os.path.dirname(above):
            return True
        above = os.path.dirname(above)


def _check(found: os.stat_result, owners: Sequence[int], path: str) -> None:
    """
    @raise PermissionError:
    """
    if fault := _fault(found, (0, *owners)):
        raise PermissionError(errno.EPERM, fault, path)


def _fault(found: os.stat_result, users: Collection[int]) -> str:
    """Why others than these users could have written it; empty: they could not."""
    if found.st_uid not in users:
        return "it belongs to somebody else"
    return "others may write it" if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else ""


def _read(descriptor: int, most: int, path: str) -> bytes:
    octets = b""
    while len(octets) <= most:
        chunk = os.read(descriptor, most + 1 - len(octets))
        if not chunk:
            return octets
        octets += chunk
    raise OSError(errno.EFBIG, f"it has more than {most} octets", path)
