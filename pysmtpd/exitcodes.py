"""Exit codes of the daemon: sysexits.h where it has one. docs/configure.md says what to do about each. And what is said with them."""

from __future__ import annotations

import errno

from twisted.internet.error import CannotListenError

from pysmtpd.interfaces import SpoolBusy, SpoolError, TableError

EX_OK = 0

EX_FAILED = 1
"""A fault of ours."""

EX_USAGE = 2

EX_OSFILE = 72
"""Of C{-n}: the configuration is right, but this machine lacks something that it names."""

EX_SPOOL = 73
"""The spool cannot be used: not made, not read, damaged, of a newer release. (sysexits: CANTCREAT)"""

EX_BUSY = 75
"""Somebody else has the spool or a port: it may work later. (sysexits: TEMPFAIL)"""

EX_PRIVILEGE = 77
"""It is not permitted: a port below 1024 without root, for one. (sysexits: NOPERM)"""

EX_CONFIG = 78


def exitCode(why: BaseException | None) -> int:
    """Of a daemon that could not start; None: it is not known why."""
    if isinstance(why, SpoolBusy):
        return EX_BUSY
    if isinstance(why, SpoolError):
        return EX_SPOOL
    if isinstance(why, TableError):
        return EX_CONFIG
    if isinstance(why, CannotListenError):
        if _isForbidden(why.socketError):
            return EX_PRIVILEGE
        # The control socket: we have the spool, so it is no other daemon that is in the way.
        return EX_BUSY if isinstance(why.port, int) else EX_SPOOL
    if isinstance(why, OSError):
        return EX_PRIVILEGE if _isForbidden(why) else EX_SPOOL
    return EX_FAILED


# By the system's words, which are all that root's helper hands on.
_HINTS = {
    "Address already in use": "; another program listens there",
    "Cannot assign requested address": "; this machine has no such address",
    "Permission denied": "; a port below 1024 takes root, or a socket from systemd",
}


def sentence(why: BaseException | None) -> str:
    """What kept the daemon from starting, in one line."""
    if not isinstance(why, CannotListenError):
        return str(why)
    error = why.socketError
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(why.port, int):
        address = f"[{why.interface}]" if ":" in why.interface else why.interface
        return f"cannot listen on {address}:{why.port}: {reason}{_HINTS.get(reason, '')}"
    # The bound is the system's, about a hundred octets.
    hint = "; choose a shorter one with --spool" if "too long" in reason else ""
    path = why.port.decode("utf-8", "replace") if isinstance(why.port, bytes) else why.port
    return f"cannot listen on the socket {path}: {reason}{hint}"


def _isForbidden(why: BaseException | None) -> bool:
    return isinstance(why, OSError) and why.errno in (errno.EACCES, errno.EPERM)
