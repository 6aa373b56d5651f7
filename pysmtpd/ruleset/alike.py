"""Recipients that lead to the same: of all that rules, aliases and virtual addresses know, one of each kind is enough."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import chain

from pysmtpd.model.address import Path, untagged
from pysmtpd.model.config import Config, Predicate
from pysmtpd.model.question import Service
from pysmtpd.model.srs import isSrs
from pysmtpd.ruleset.candidates import FRESH, pairs, parts, words
from pysmtpd.ruleset.named import isNaming
from pysmtpd.ruleset.nodes import AddressNode, Node, UserNode, isUserName, parseNodes
from pysmtpd.ruleset.sights import Tables, TooMany, entriesOf, tablesOf

_DOMAINS = (Predicate.FOR_DOMAIN, Predicate.FOR_LOCAL)
# As deep as an expansion goes. What is deeper is told apart by its text.
_MAX_DEPTH = 10
_MAX_USERS = 50
MAX_ALIASES = 300_000


class Alike:
    """Tells which recipients are alike: a decision gets the same answers about them, whatever it asks. Only their names differ."""

    def __init__(self, config: Config, tables: Tables) -> None:
        self._config = config
        self._tables = tables
        self._delimiter = config.subAddressDelimiter
        self._byDomain = tablesOf(config, *_DOMAINS)
        self._byAddress = tablesOf(config, Predicate.RCPT_TO)
        actions = config.actions.values()
        refs = [ref for action in actions for ref in (action.alias, action.virtual) if ref is not None]
        self._maps = list(dict.fromkeys(ref.name for ref in refs))
        self._users = dict.fromkeys(action.user for action in actions if action.user)
        # Kinds of whatever, by number: so kinds of kinds stay small.
        self._numbers: dict[Hashable, int] = {}
        self._values: dict[tuple[str, str, str, int], int] = {}

    def _number(self, kind: Hashable) -> int:
        return self._numbers.setdefault(kind, len(self._numbers))

    def recipient(self, local: str, domain: str) -> int:
        """The kind of an address, in lower case."""
        return self._recipient(local, domain, 0)

    def _recipient(self, local: str, domain: str, depth: int) -> int:
        key, plain = f"{local}@{domain}", untagged(local, self._delimiter)
        tables = self._tables
        return self._number(
            (
                domain == self._config.serverName.lower(),
                isSrs(Path(local, domain)),
                tuple(tables.match(table, Service.DOMAIN, domain) for table in self._byDomain),
                tuple(tables.matches(table, Service.MAILADDR, key, self._delimiter) for table in self._byAddress),
                self._user(plain, key, plain, depth),
                self._found((key, f"{plain}@{domain}", f"@{domain}", "@"), key, plain, depth),
            )
        )

    def _user(self, name: str, address: str, parent: str, depth: int) -> Hashable:
        """Of a name of a user, or of another name of one."""
        isUser = isUserName(name), name if name in self._users else ""
        return isUser, self._found((name,), address, parent, depth)

    def _found(self, keys: tuple[str, ...], address: str, parent: str, depth: int) -> Hashable:
        """What the maps give."""
        lookup = self._tables.lookup
        values = [(table, lookup(table, Service.ALIAS, key)) for table in self._maps for key in keys]
        return tuple(
            self._value(value, address, parent, depth) if isinstance(value, str) else None for _, value in values
        )

    def _value(self, value: str, address: str, parent: str, depth: int) -> int:
        """
        @param address: what expands to it: an address that gives itself keeps its copy.
        @param parent: whose other name gave it: the same name again is that user.
        """
        if depth >= _MAX_DEPTH:
            return self._number(value)
        known = (value, address, parent if parent in value.lower() else "", depth)
        number = self._values.get(known)
        if number is None:
            nodes = tuple(self._node(node, address, parent, depth + 1) for node in parseNodes(value))
            number = self._values[known] = self._number(nodes)
        return number

    def _node(self, node: Node, address: str, parent: str, depth: int) -> Hashable:
        match node:
            case UserNode(name):
                plain = untagged(name, self._delimiter)
                found = self._found((name,), address, plain, depth)
                return plain == parent, self._user(plain, address, plain, depth), found
            case AddressNode(path):
                kind = self._recipient(path.local.lower(), path.domain.lower(), depth)
                return path.key == address, kind
        return type(node).__name__

    # --- who there is

    def all(self, isWanted: Callable[[str, str], bool], onlyForeign: bool) -> tuple[tuple[str, str], ...]:
        """Local parts and domains that rules, aliases and virtual addresses know, and others: one of each kind.

        @param isWanted: the others do not matter.
        @param onlyForeign: domains that a rule says by name do not matter, either.
        @raise TooMany:
        """
        found: dict[int, tuple[str, str]] = {}
        for count, (local, domain) in enumerate(self._candidates(onlyForeign)):
            if count > MAX_ALIASES:
                raise TooMany("recipients")
            if isWanted(local, domain):
                found.setdefault(self.recipient(local, domain), (local, domain))
        return tuple(found.values())

    def _candidates(self, onlyForeign: bool) -> Iterator[tuple[str, str]]:
        config, tables = self._config, self._tables
        said = parts(entriesOf(config, tables, Predicate.RCPT_TO))
        yield from said.pairs
        locals_ = said.locals
        # All patterns together: a domain may be described by several, of whatever tables.
        patterns = chain(entriesOf(config, tables, *_DOMAINS), said.domains)
        domains = [*words(one for one in patterns if not (onlyForeign and isNaming(one)))]
        domains += ("[198.18.77.78]", config.serverName.lower())
        mappedLocals: dict[Hashable, str] = {}
        for local, domain in self._mapped():
            if local and domain:
                yield local, domain
            elif local:
                plain = untagged(local, self._delimiter)
                kind = plain == local, self._user(local, "", plain, 0), self._user(plain, "", plain, 0)
                mappedLocals.setdefault(kind, local)
            elif domain:
                domains.append(domain)
        # Who is said together with a pattern of domains tells these domains apart.
        users = (FRESH, *said.starred)
        if len(users) > _MAX_USERS:
            raise TooMany("addresses with patterns")
        byKind: dict[Hashable, str] = {}
        for domain in dict.fromkeys(domains):
            byKind.setdefault(tuple(self.recipient(user, domain) for user in users), domain)
        yield from pairs(list(dict.fromkeys((*locals_, *mappedLocals.values()))), list(byKind.values()))

    def _mapped(self) -> Iterator[tuple[str, str]]:
        """
        @raise TooMany:
        """
        count = 0
        for table in self._maps:
            for key, _ in self._tables.entries(table, Service.ALIAS) or ():
                count += 1
                if count > MAX_ALIASES:
                    raise TooMany("aliases")
                local, at, domain = key.rpartition("@")
                yield (local, domain) if at else (domain, "")
