"""Becoming somebody without root's rights, for good. The daemon and the root helper's children do it by the same code."""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
import sys
from collections.abc import Callable, Sequence

# Whom the daemon becomes where nothing else is said: the first of these that exists.
CANDIDATES = ("_pysmtpd", "pysmtpd", "_smtpd", "smtpd", "opensmtpd", "nobody")

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


class PrivilegeError(Exception):
    """It is not safe to go on; the text tells the operator why."""


def chooseUser(name: str | None, find: Callable[[str], pwd.struct_passwd] = pwd.getpwnam) -> pwd.struct_passwd:
    """Whom the daemon shall run as.

    @param name: what the operator said; None: nothing.
    @raise PrivilegeError: there is no such user, or it is root.
    """
    for candidate in (name,) if name else CANDIDATES:
        try:
            user = find(candidate)
        except (KeyError, UnicodeError):
            continue
        if user.pw_uid == 0:
            raise PrivilegeError(f"user {candidate} is root: the daemon needs a user without root's rights")
        return user
    if name:
        raise PrivilegeError(f"there is no user {name} to run as")
    raise PrivilegeError(f"started as root, the daemon needs a user to run as: make {CANDIDATES[0]}, or give --user")


def prepareSpool(path: str, uid: int, gid: int) -> None:
    """Make the spool directory, or take the one that is there, as root, for this user alone.

    @raise PrivilegeError: somebody else may have prepared it.
    @raise OSError: it cannot be made.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    _trusted(os.stat(os.path.dirname(path)), os.path.dirname(path), uid, isParent=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if os.path.islink(path):
            raise PrivilegeError(f"the spool {path} is a symbolic link") from error
        raise
    try:
        _trusted(os.fstat(descriptor), path, uid)
        os.fchown(descriptor, uid, gid)
        # Anybody may reach the local socket; nobody may look what else there is, and all of it is closed in itself.
        os.fchmod(descriptor, 0o711)
    finally:
        os.close(descriptor)


def _trusted(found: os.stat_result, path: str, uid: int, isParent: bool = False) -> None:
    if found.st_uid not in (0, uid):
        raise PrivilegeError(f"{path} belongs to user {found.st_uid}, neither to root nor to the daemon's user")
    if isParent and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        raise PrivilegeError(f"{path} can be written by others, who could put another spool there")


def becomeUser(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Give up root's rights so that nothing brings them back, and prove it.

    @raise PrivilegeError: they are not gone.
    @raise OSError: the system refused a step.
    """
    if uid <= 0 or gid < 0:
        raise PrivilegeError("that would be root")
    os.setgroups(list(groups))
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise PrivilegeError("the system has not changed the user")
    for regain in (lambda: os.setuid(0), lambda: os.setresuid(-1, 0, -1), lambda: os.seteuid(0)):
        try:
            regain()
        except OSError:
            continue
        raise PrivilegeError("root's rights could be had again")
    os.umask(0o077)
    hardenProcess()


def hardenProcess() -> None:
    """No program that is executed gets more rights than this process has; no other process of the same user looks into this one."""
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None, use_errno=True)
        for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
            if library.prctl(option, value, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "the process cannot be restricted")
