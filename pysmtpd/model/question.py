"""What the ruleset asks, and what it may be answered. The ruleset is pure: whoever drives it finds the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias


class Service(Enum):
    """What a table is asked for: how keys are compared and what values mean (table(5))."""

    ALIAS = "alias"
    DOMAIN = "domain"
    CREDENTIALS = "credentials"
    NETADDR = "netaddr"
    USERINFO = "userinfo"
    SOURCE = "source"
    MAILADDR = "mailaddr"
    ADDRNAME = "addrname"
    MAILADDRMAP = "mailaddrmap"
    RELAYHOST = "relayhost"
    STRING = "string"
    REGEX = "regex"


# How the names of tables begin that have none in the configuration.
INLINE = "<dynamic:"


def called(table: str) -> str:
    """A table's name for people, who never gave one to an inline table."""
    return "inline table" if table.startswith(INLINE) else table


def titled(table: str) -> str:
    """The same, in a sentence about it alone."""
    return called(table) if table.startswith(INLINE) else f"table {table}"


class AskMatch(NamedTuple):
    """Does any entry of a table match? Answered by a bool.

    @ivar table: its name in the configuration.
    @ivar key: in lower case.
    """

    table: str
    service: Service
    key: str

    def __str__(self) -> str:
        return f'{self.service.value} "{self.key}" in {called(self.table)}'


class AskLookup(NamedTuple):
    """The value of a map for exactly this key. Answered by text, or None: no such key."""

    table: str
    service: Service
    key: str

    def __str__(self) -> str:
        return f'{self.service.value} of "{self.key}" in {called(self.table)}'


class AskUser(NamedTuple):
    """Is there a system user of this name? Answered by a L{UserInfo}, or None: there is none."""

    name: str

    def __str__(self) -> str:
        return f'user "{self.name}"'


class AskSelf(NamedTuple):
    """Whom does the daemon run as? Answered by a L{UserInfo}."""

    def __str__(self) -> str:
        return "the daemon's own user"


class AskToday(NamedTuple):
    """The day, in days since the epoch. Answered by a number."""

    def __str__(self) -> str:
        return "the day"


class AskTrust(NamedTuple):
    """May what this table gives name commands, files and includes? Answered by a bool.

    @ivar table: its name in the configuration.
    """

    table: str

    def __str__(self) -> str:
        return f"whether {called(self.table)} may name commands"


class AskInclude(NamedTuple):
    """The text of an included file. Answered by text, or a C{TempFail}: it cannot be read, or others could have written it."""

    path: str

    def __str__(self) -> str:
        return f"the file {self.path}"


class AskForward(NamedTuple):
    """The text of a user's C{.forward}. Answered by text, by None: there is none, or by L{Refusal}: it is not to be believed."""

    user: UserInfo

    def __str__(self) -> str:
        return f'.forward of "{self.user.name}"'


class UserInfo(NamedTuple):
    """An answer: a user, of the system or of a C{userbase}."""

    name: str
    uid: int
    gid: int
    home: str

    def __str__(self) -> str:
        return f"uid {self.uid}, gid {self.gid}, {self.home}"


class Refusal(NamedTuple):
    """An answer: there is something, and it must not be used.

    @ivar why: for the log.
    """

    why: str

    def __str__(self) -> str:
        return f"refused: {self.why}"


class TempFail(NamedTuple):
    """An answer to any question: it cannot be told now.

    @ivar why: for the log.
    @ivar isHomeMissing: there is no directory where the user's home should be; perhaps it was never made, perhaps it is not mounted.
    """

    why: str
    isHomeMissing: bool = False

    def __str__(self) -> str:
        return f"cannot be told now: {self.why}"


Ask: TypeAlias = AskMatch | AskLookup | AskUser | AskSelf | AskToday | AskTrust | AskInclude | AskForward
Answer: TypeAlias = bool | int | str | UserInfo | Refusal | TempFail | None
# Which tables may have an entry that matches? The others have none, and need not be asked. It spares questions, and decides nothing.
Holders: TypeAlias = Callable[[Service, str], Sequence[str]]
