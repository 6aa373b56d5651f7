"""What a delivery host is told to do with one message, and what a command came to: plain values, the same for both kinds of host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class Account:
    """As whom a delivery runs.

    @ivar name: the user that mail is for.
    @ivar uid: from a C{userbase}, which need not name users of the system; below 0: the system's user of this name.
    @ivar home: absolute path; empty: the system knows it.
    """

    name: str
    uid: int = -1
    gid: int = -1
    home: str = ""

    @property
    def isNumeric(self) -> bool:
        """Does it stand for ids, whatever the system says of the name?"""
        return self.uid >= 0

    @property
    def key(self) -> str:
        """The same for accounts that one process can serve."""
        return f"{self.uid}:{self.gid}" if self.isNumeric else self.name


@dataclass(frozen=True, slots=True)
class MaildirTask:
    """
    @ivar path: of the Maildir: absolute, or below C{~/}, the host's own user's home.
    @ivar name: the letter's file name.
    @ivar prefix: put before the content; its lines end in CRLF.
    @ivar beneath: a beginning of C{path}; no symbolic link is followed below it. Empty: addresses had no part in the path.
    @ivar folder: of the Maildir, without its leading dot; empty: none.
    @ivar isFolderMade: C{folder} is made if it is not there; otherwise the letter goes to the Maildir itself then.
    """

    path: str
    name: str
    prefix: bytes = b""
    beneath: str = ""
    folder: str = ""
    isFolderMade: bool = False


@dataclass(frozen=True, slots=True)
class MboxTask:
    """
    @ivar path: of the file, absolute or below C{~/}.
    @ivar fromLine: the line that begins the message, without its end.
    @ivar isSystem: it is the user's own mailbox of the system: whoever may, makes it if the user may not.
    """

    path: str
    fromLine: str
    prefix: bytes = b""
    isSystem: bool = False


@dataclass(frozen=True, slots=True)
class CommandTask:
    """
    @ivar argv: the program and its arguments; a name without slashes is looked for in the environment's C{PATH}.
    @ivar environment: all of it.
    @ivar directory: to start in; where it cannot be entered: C{/}.
    @ivar limit: seconds after which its process group is ended.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    limit: float = 300.0
    prefix: bytes = b""


Task: TypeAlias = MaildirTask | MboxTask | CommandTask


def placeOf(task: Task) -> str:
    """For the log: the mailbox, or the program."""
    return task.argv[0] if isinstance(task, CommandTask) else task.path


class Exit(NamedTuple):
    """How a command ended.

    @ivar status: what it exited with.
    @ivar signal: what it was killed by; 0: it exited.
    @ivar isLate: its time was over: we have ended it.
    @ivar failure: why it could not be started; empty: it was.
    @ivar output: the last line that it has written, cut and printable.
    """

    status: int = 0
    signal: int = 0
    isLate: bool = False
    failure: str = ""
    output: str = ""
