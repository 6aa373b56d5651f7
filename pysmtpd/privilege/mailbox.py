"""Making a user's mailbox in the system's directory of them, which the user alone often may not."""

from __future__ import annotations

import os
import stat

from pysmtpd.privilege.refused import Refused

MAIL = "/var/mail"


def makeMailbox(directory: str, name: str, uid: int, gid: int) -> None:
    """As root. What is there already is left as it is, and nothing is written to it.

    @param gid: the file's group, unless the directory says that it is its own (as Debian's C{/var/mail} of group mail, mode 2775).
    @raise Refused: this is no name of a file.
    @raise OSError: the system refused a step.
    """
    if not name or "/" in name or name.startswith("."):
        raise Refused("no mailbox has this name")
    parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            made = os.open(name, flags, 0o600, dir_fd=parent)
        except FileExistsError:
            return
        try:
            found = os.fstat(parent)
            os.fchown(made, uid, found.st_gid if found.st_mode & stat.S_ISGID else gid)
            os.fsync(made)
        finally:
            os.close(made)
        os.fsync(parent)
    finally:
        os.close(parent)
