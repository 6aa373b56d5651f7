"""C{match}, as the configuration states it: which mail is taken, and for which action."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pysmtpd.model.decision import Where
from pysmtpd.model.table import NOWHERE, TableRef


class Predicate(Enum):
    """What a rule compares; in the order in which they are evaluated."""

    TAG = "tag"
    FROM_ANY = "from any"
    FROM_LOCAL = "from local"
    FROM_SOCKET = "from socket"
    FROM_SRC = "from src"
    FROM_RDNS = "from rdns"
    FOR_ANY = "for any"
    FOR_LOCAL = "for local"
    FOR_DOMAIN = "for domain"
    HELO = "helo"
    AUTH = "auth"
    TLS = "tls"
    MAIL_FROM = "mail-from"
    RCPT_TO = "rcpt-to"


@dataclass(frozen=True, slots=True)
class Condition:
    """
    @ivar table: what to look in, where the predicate takes a table.
    """

    predicate: Predicate
    table: TableRef | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """
    @ivar conditions: in the order of evaluation, the implied C{from local} and C{for local} included.
    @ivar action: the action's name, or None for C{reject}.
    @ivar text: the rule as it is shown to people.
    """

    conditions: tuple[Condition, ...]
    action: str | None
    text: str
    where: Where = NOWHERE
