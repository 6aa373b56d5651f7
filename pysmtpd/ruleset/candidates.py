"""For each thing that a session brings, values that stand for all that the tables of a configuration tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, product
from typing import NamedTuple

from pysmtpd.model.config import Config, Predicate
from pysmtpd.ruleset.compile import SERVICES
from pysmtpd.ruleset.sights import Tables, TooMany, entriesOf, tablesOf

# Nobody has these names (RFC 2606), and no entry is likely to be one. FILL is what a star stands for.
FRESH = "zqnobody"
FRESH_DOMAIN = f"{FRESH}.invalid"
FILL = "zq"

MAX_CANDIDATES = 50_000
# Patterns with something between two stars: every choice of them is looked at.
_MAX_INNER = 6


def words(entries: Iterable[str]) -> Iterator[str]:
    """Names: each entry, and names that match as many patterns together as there can be.

    Which patterns C{first*last} describe a name depends on the longest beginning and the longest ending that it has of theirs, so one name
    for each two is enough; of pieces between stars a name may hold any.

    @raise TooMany:
    """
    firsts, lasts = dict.fromkeys([""]), dict.fromkeys([""])
    inner: dict[tuple[str, ...], None] = {}
    yield from (FRESH, FRESH_DOMAIN)
    for count, entry in enumerate(entries):
        if count > MAX_CANDIDATES:
            raise TooMany("names")
        plain = entry.replace("*", "")
        if plain:
            yield plain
        if "*" in entry:
            first, *middle, last = entry.split("*")
            firsts[first] = lasts[last] = None
            pieces = tuple(filter(None, middle))
            if pieces:
                inner[pieces] = None
    if len(inner) > _MAX_INNER or len(firsts) * len(lasts) << len(inner) > MAX_CANDIDATES:
        raise TooMany("patterns")
    for size in range(len(inner) + 1):
        for chosen in combinations(inner, size):
            middle_ = FILL.join(("", *(piece for pieces in chosen for piece in pieces), ""))
            for first, last in product(firsts, lasts):
                yield f"{first}{middle_}{last}"


def told(config: Config, tables: Tables, predicate: Predicate, candidates: Iterable[str]) -> tuple[str, ...]:
    """Of candidates that the tables of a predicate do not tell apart, the first."""
    names = tablesOf(config, predicate)
    service, delimiter = SERVICES[predicate], config.subAddressDelimiter
    found: dict[tuple[bool, ...], str] = {}
    for candidate in candidates:
        found.setdefault(tuple(tables.matches(name, service, candidate, delimiter) for name in names), candidate)
    return tuple(found.values())


def names(config: Config, tables: Tables, predicate: Predicate) -> tuple[str, ...]:
    """Names that a peer may have: of hosts, or of a user.

    @raise TooMany:
    """
    return told(config, tables, predicate, words(entriesOf(config, tables, predicate)))


class Parts(NamedTuple):
    """Entries C{user}, C{@domain}, C{user@domain}, with stars in the domain, taken apart.

    @ivar locals: local parts that are said without a domain, or with a pattern of domains; and one that nobody has.
    @ivar starred: those that are said with a pattern of domains.
    @ivar domains: domains that are said without a local part, and patterns.
    @ivar pairs: addresses. Any other address with this local part, or this domain, is as if nobody had said it.
    """

    locals: list[str]
    starred: list[str]
    domains: list[str]
    pairs: list[tuple[str, str]]


def parts(entries: Iterable[str]) -> Parts:
    """
    @raise TooMany:
    """
    locals_, starred, domains = dict.fromkeys([FRESH]), dict[str, None](), dict[str, None]()
    found: list[tuple[str, str]] = []
    for count, entry in enumerate(entries):
        if count > MAX_CANDIDATES:
            raise TooMany("addresses")
        local, at, domain = entry.rpartition("@")
        if not at:
            local, domain = domain, ""
        if local and domain and "*" not in domain:
            found.append((local, domain))
            continue
        if local and local != "<>":
            locals_[local] = None
            if domain:
                starred[local] = None
        if domain:
            domains[domain] = None
    return Parts(list(locals_), list(starred), list(domains), found)


def senders(config: Config, tables: Tables) -> tuple[str, ...]:
    """Addresses, as keys; the null sender is one of them.

    @raise TooMany:
    """
    said = parts(entriesOf(config, tables, Predicate.MAIL_FROM))
    found = chain(said.pairs, pairs(said.locals, list(dict.fromkeys(words(said.domains)))))
    return told(config, tables, Predicate.MAIL_FROM, chain((f"{local}@{domain}" for local, domain in found), [""]))


def pairs(locals_: Sequence[str], domains: Sequence[str]) -> Iterator[tuple[str, str]]:
    """
    @raise TooMany:
    """
    if len(locals_) * len(domains) > MAX_CANDIDATES:
        raise TooMany("addresses")
    return product(locals_, domains)


def tagsOf(config: Config) -> Mapping[str, bool]:
    """The tags that listeners give, in lower case; True: also to who has not authenticated."""
    found: dict[str, bool] = {}
    for listener in config.listeners:
        tag = listener.tag.lower()
        found[tag] = found.get(tag, False) or listener.auth.value != "auth"
    if config.socket is not None:
        found.setdefault(config.socket.tag.lower(), False)
    return found
