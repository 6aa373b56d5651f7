"""What the ruleset asks, and what it may be answered. The ruleset is pure: whoever drives it finds the answers."""

from __future__ import annotations

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


class AskMatch(NamedTuple):
    """Does any entry of a table match? Answered by a bool.

    @ivar table: its name in the configuration.
    @ivar key: in lower case.
    """

    table: str
    service: Service
    key: str

    def __str__(self) -> str:
        return f'{self.service.value} "{self.key}" in {self.table}'


class AskLookup(NamedTuple):
    """The value of a map for exactly this key. Answered by text, or None: no such key."""

    table: str
    service: Service
    key: str

    def __str__(self) -> str:
        return f'{self.service.value} of "{self.key}" in {self.table}'


class AskUser(NamedTuple):
    """Is there a system user of this name? Answered by a bool."""

    name: str

    def __str__(self) -> str:
        return f'user "{self.name}"'


class TempFail(NamedTuple):
    """An answer to any question: it cannot be told now.

    @ivar why: for the log.
    """

    why: str

    def __str__(self) -> str:
        return f"cannot be told now: {self.why}"


Ask: TypeAlias = AskMatch | AskLookup | AskUser
Answer: TypeAlias = bool | str | TempFail | None
