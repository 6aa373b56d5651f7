"""The root helper's verb C{forward}: a child that becomes a user for good reads that user's C{.forward}, and ends.

The helper itself opens nothing. What the daemon may say is an id that is not root's, and a home; the file's name it may not.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from pysmtpd.privilege.children import Children
from pysmtpd.privilege.drop import becomeUser

# At one time, whatever the daemon asks for; one whose file system hangs stays until that answers.
MAX_READING = 32

# Seconds after which a child ends by itself.
PATIENCE = 5

NAME = ".forward"
MAX_SIZE = 4096

# Directory, name, owners, octets at most; see IDisk.readTrusted.
ReadTrusted = Callable[[str, str, Sequence[int], int], bytes]

_MAX_ID = 2**32 - 2


class ForwardVerb:
    """
    @ivar children: those who read.
    """

    def __init__(self, read: ReadTrusted) -> None:
        self._read = read
        # Its alarm does not wake a child that its user has stopped.
        self.children = Children(MAX_READING, "too many .forward files are being read", PATIENCE + 1)

    def start(self, values: dict[str, Any]) -> socket.socket:
        """A connection to the child that reads.

        @raise Refused: there are too many.
        @raise ValueError: this is refused; the text says why.
        """
        name, uid, gid, home = (values.get(word) for word in ("user", "uid", "gid", "home"))
        if not isinstance(name, str) or not isinstance(home, str) or not home.startswith("/") or "\0" in home + name:
            raise ValueError("a user has a name and a home")
        if type(uid) is not int or type(gid) is not int or not 0 < uid <= _MAX_ID or not 0 <= gid <= _MAX_ID:
            raise ValueError("nothing is read as root")
        groups = _groups(name, uid, gid)
        return self.children.start(lambda connection: self._live(uid, gid, groups, home, connection))

    def _live(self, uid: int, gid: int, groups: Sequence[int], home: str, connection: socket.socket) -> None:
        signal.alarm(PATIENCE)
        becomeUser(uid, gid, groups)
        # From here on nothing is root's.
        connection.sendall(json.dumps(self._answer(uid, home)).encode("ascii"))

    def _answer(self, uid: int, home: str) -> dict[str, object]:
        try:
            return {"text": self._read(home, NAME, (uid,), MAX_SIZE).decode("latin-1")}
        except FileNotFoundError:
            return {"text": None}
        except OSError as error:
            return {"refused": f"{error.filename or home}: {error.strerror or error}"[:500], "errno": error.errno or 0}


def _groups(name: str, uid: int, gid: int) -> list[int]:
    """Of a user that the system knows by this name and number; others have their one group."""
    try:
        if pwd.getpwnam(name).pw_uid != uid:
            return []
    except (KeyError, UnicodeError):
        return []
    return [group for group in os.getgrouplist(name, gid) if group != 0]
