"""What can be seen of a configuration's tables while nobody asks: their entries, as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from pysmtpd.model.address import untagged
from pysmtpd.model.config import Config, Predicate
from pysmtpd.model.question import Answer, Service
from pysmtpd.ruleset.compile import SERVICES

Match: TypeAlias = Callable[[str, Service, str], bool | None]
Lookup: TypeAlias = Callable[[str, Service, str], Answer]
Holds: TypeAlias = Callable[[str, Service, str], bool]
Entries: TypeAlias = Callable[[str, Service], Iterable[tuple[str, str]] | None]


class TooMany(Exception):
    """There is more than can be looked at. The text says of what."""


class Tables(NamedTuple):
    """
    @ivar match: of a table, as L{pysmtpd.model.question.AskMatch} wants it; None: not to be told here.
    @ivar lookup: likewise; a C{TempFail}: not to be told here.
    @ivar holds: is this a key by which a table answers for a service? False: it is not, or that is not to be told here.
    @ivar entries: all of these keys, in lower case, and their values; None: they cannot be seen.
    """

    match: Match
    lookup: Lookup
    holds: Holds
    entries: Entries

    def isListed(self, table: str, service: Service) -> bool:
        """Can all of its entries be seen?"""
        return self.entries(table, service) is not None

    def matches(self, table: str, service: Service, key: str, delimiter: str) -> bool:
        """As the rules see it: an address with a sub-address is asked for without it, too."""
        if not key and service is not Service.MAILADDR:
            return False
        if self.match(table, service, key):
            return True
        if service is not Service.MAILADDR:
            return False
        local, at, domain = key.rpartition("@")
        plain = untagged(local, delimiter)
        return plain != local and bool(self.match(table, service, f"{plain}{at}{domain}"))


def tablesOf(config: Config, *predicates: Predicate) -> list[str]:
    """The tables that rules hold against these, without those of regular expressions; by name, each once."""
    names = {
        condition.table.name: None
        for rule in config.rules
        for condition in rule.conditions
        if condition.predicate in predicates and condition.table is not None and not condition.table.regex
    }
    return list(names)


def entriesOf(config: Config, tables: Tables, *predicates: Predicate) -> Iterator[str]:
    """The keys of these tables, as far as they can be seen."""
    service = SERVICES[predicates[0]]
    for name in tablesOf(config, *predicates):
        for key, _ in tables.entries(name, service) or ():
            yield key
