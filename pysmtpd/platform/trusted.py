"""Files that only certain users could have written. No Twisted is loaded for it: the root helper's children use it, too.

Two questions are asked: a C{.forward} is looked for in a home, whatever is above that; a table or include file is wherever an operator
said, so every directory above it counts.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator, Sequence

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
    return (
        stat.S_ISREG(found.st_mode)
        and not _fault(found, users)
        and not any(_mayReplace(os.stat(above), users) for above in _above(os.path.realpath(path)))
    )


def openings(path: str, users: Collection[int]) -> Iterator[tuple[str, os.stat_result]]:
    """Where others than these users can change what a path leads to: the file, and the directories above it and above a link to it.

    @raise OSError: it leads nowhere, or cannot be seen.
    """
    real = os.path.realpath(path)
    found = os.stat(real)
    if _fault(found, users):
        yield real, found
    for above in dict.fromkeys((*_above(real), *_above(os.path.abspath(path)))):
        found = os.stat(above)
        if _mayReplace(found, users):
            yield above, found


def _above(path: str) -> Iterator[str]:
    """The directories above a file, the nearest first."""
    while path != (path := os.path.dirname(path)):
        yield path


def _mayReplace(directory: os.stat_result, users: Collection[int]) -> bool:
    """May others than these users put another file in the place of one there? With the sticky bit, only in the place of their own."""
    isSticky = bool(directory.st_mode & stat.S_ISVTX) and directory.st_uid in users
    return bool(_fault(directory, users)) and not isSticky


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
