"""The entries of a table held in memory, made ready for every way of asking. Immutable: a reload makes another."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Self

from pysmtpd.interfaces.routing import Service, TableError, TableUpdate
from pysmtpd.table.glob import MAX_ENDING, Glob, starred
from pysmtpd.table.networks import Networks, addressForms, parseAddress, parseNetwork
from pysmtpd.table.regex import BadPattern, Patterns, checkPattern
from pysmtpd.table.syntax import Entry
from pysmtpd.table.values import CHECKS, checkValue

# Entries of one dictionary. A larger table has several: none of them takes long to grow or to let go, while others wait.
SHARD = 4_096
MAX_SHARDS = 4_096
_SHARD_BITS = 40
# Values that are kept once however often they come.
_MAX_SHARED = 20_000
# Bad values whose place is kept; all others are found, and named without it, when they are asked for.
MAX_FAULTS = 1_000

_MAILADDR = Service.MAILADDR
_DOMAIN = Service.DOMAIN
_NETADDR = Service.NETADDR
_REGEX = Service.REGEX
_ALIAS = Service.ALIAS
_ADDRESSES = (Service.ADDRNAME, Service.SOURCE)

_NETWORK_LIKE = re.compile(r"\[|[0-9.]+(?:/[0-9]+)?\Z|[0-9a-f]*:|ipv6:")
_NETWORK_STARTS = frozenset("[0123456789abcdefi:")


class Content:
    """
    @param entries: keys and values; values are empty in a list. Keys lose their case; of equal keys the last counts.
    @param services: what it will be asked for; L{Builder} tells more.
    @ivar size: entries.
    @ivar globs: patterns that are tried one by one when nothing else matches.
    @ivar labels: there are entries C{*.domain}.
    @ivar mailLabels: there are entries C{@*.domain} or C{user@*.domain}.
    @ivar problems: what is wrong with single values, with file and line. Asking for such a key is a L{TableError}.
    """

    __slots__ = (
        *("_all", "_canonical", "_faults", "_globs", "_keys", "_mailAll", "_mailGlobs", "_mailTails", "_mask", "_name"),
        *("_order", "_others", "_patterns", "_raw", "_shards", "_tails"),
        *("globs", "labels", "mailLabels", "networks", "octets", "problems", "size"),
    )

    def __init__(
        self, entries: Iterable[tuple[str, str]] = (), services: Collection[Service] = (), name: str = "the table"
    ) -> None:
        builder = Builder(name, services)
        builder.add([(key, value, 0) for key, value in entries])
        self._take(builder)

    @classmethod
    def of(cls, builder: Builder) -> Self:
        """What was built, at once. The builder is used up."""
        content = cls.__new__(cls)
        content._take(builder)
        return content

    def _take(self, builder: Builder) -> None:
        self._name = builder.name
        self._shards = builder.shards
        self._mask = len(builder.shards) - 1
        # Most tables are small: their keys can be asked for many names in one go.
        self._keys = builder.shards[0].keys() if len(builder.shards) == 1 else None
        self.size = sum(map(len, builder.shards))
        self._all = "*" in builder.shards[self._place("*")]
        self.labels = builder.labels
        self._tails = tuple(builder.tails)
        self._globs = tuple(builder.globs)
        self._others = self._all or bool(self._tails or self._globs)
        self._mailAll = "@" in builder.shards[self._place("@")]
        self.mailLabels = builder.mailLabels
        self._mailTails = tuple(builder.mailTails)
        self._mailGlobs: Mapping[str, tuple[Glob, ...]] = {
            user: tuple(globs) for user, globs in builder.mailGlobs.items()
        }
        self.globs = len(self._globs) + sum(map(len, self._mailGlobs.values()))
        builder.networks.finish()
        self.networks = builder.networks
        self._canonical = builder.canonical
        self._faults = builder.faults
        self.problems = tuple(builder.problems)
        self._raw = builder.raw
        self._patterns: Patterns | None = None
        self.octets = builder.octets
        self._order: tuple[str, ...] | None = None
        if builder.isRegex:
            self._patterns = self._compiled()

    def __len__(self) -> int:
        return self.size

    def _place(self, key: str) -> int:
        return hash(key) >> _SHARD_BITS & self._mask

    def get(self, key: str) -> str | None:
        """The value of exactly this key."""
        return self._shards[hash(key) >> _SHARD_BITS & self._mask].get(key)

    def _holds(self, key: str) -> bool:
        return key in self._shards[hash(key) >> _SHARD_BITS & self._mask]

    # --- asking

    def match(self, service: Service, key: str) -> bool:
        """Does any entry match, the way the service compares?

        @raise TableError: it cannot be told.
        """
        if service is _DOMAIN:
            keys = self._keys
            if keys is not None:
                if key in keys or (self.labels and not keys.isdisjoint(starred(key))):
                    return True
            elif self._holds(key) or (self.labels and any(map(self._holds, starred(key)))):
                return True
            return self._others and self._isPattern(key)
        if service is _MAILADDR:
            return self._matchAddress(key)
        if service is _REGEX:
            return self._matchPattern(key)
        if self._shards[hash(key) >> _SHARD_BITS & self._mask].get(key) is not None:
            return True
        return service is _NETADDR and self.networks.match(key)

    def hasPatterns(self, service: Service) -> bool:
        """Are there entries that match more than themselves, other than C{*.domain} and networks?"""
        if service is _DOMAIN:
            return self._others
        return service is _MAILADDR and (self._mailAll or bool(self._mailTails or self._mailGlobs))

    def _isPattern(self, key: str) -> bool:
        """Is it described by a pattern other than C{*.domain}?"""
        if self._all:
            return True
        if self._tails:
            size = len(key)
            for length in self._tails:
                if length <= size and self._holds(f"*{key[size - length :]}"):
                    return True
        return bool(self._globs) and any(glob.match(key) for glob in self._globs)

    def _matchAddress(self, key: str) -> bool:
        """Entries are C{user}, C{user@}, C{@domain}, C{user@domain}, with stars in the domain, C{@} for all, C{<>} for the null path."""
        holds = self._holds
        if self._mailAll:
            return True
        if not key:
            return holds("<>")
        if holds(key):
            return True
        local, at, domain = key.rpartition("@")
        if not at:
            return False
        if holds(local) or holds(f"@{domain}"):
            return True
        if self.mailLabels:
            for pattern in starred(domain):
                if holds(f"@{pattern}") or holds(f"{local}@{pattern}"):
                    return True
        if self._mailTails:
            size = len(domain)
            for length in self._mailTails:
                if length <= size:
                    ending = domain[size - length :]
                    if holds(f"@*{ending}") or holds(f"{local}@*{ending}"):
                        return True
        if self._mailGlobs:
            for user in (local, ""):
                for glob in self._mailGlobs.get(user, ()):
                    if glob.match(domain):
                        return True
        return False

    def _matchPattern(self, key: str) -> bool:
        if self._patterns is None:
            self._patterns = self._compiled()
        try:
            return self._patterns.match(key)
        except ValueError as error:
            raise TableError(f"{self._name}: {error}") from error

    def _compiled(self) -> Patterns:
        try:
            return Patterns(self._raw.get(key, key) for key in self._sorted())
        except BadPattern as error:
            raise TableError(f"{self._name}: a bad regular expression: {error}") from error

    def lookup(self, service: Service, key: str) -> str | None:
        """The value of exactly this key; an address may be written in any form.

        @raise TableError: the value cannot be what the service asks for.
        """
        value = self._shards[hash(key) >> _SHARD_BITS & self._mask].get(key)
        if service is _ALIAS:
            return value
        if value is None:
            if service in _ADDRESSES:
                key, value = self._byAddress(key)
            if value is None:
                return None
        try:
            checkValue(service, value)
        except ValueError as error:
            raise TableError(self._faults.get(key) or f'{self._name}: "{key}": {error}') from error
        return value

    def _byAddress(self, key: str) -> tuple[str, str | None]:
        for form in addressForms(key):
            form = self._canonical.get(form, form)
            value = self.get(form)
            if value is not None:
                return form, value
        return key, None

    def keyAt(self, service: Service, turn: int) -> str | None:
        """The key at place C{turn} in lexical order, round and round; None: there is none.

        @raise TableError: it cannot be what the service asks for.
        """
        if self._order is None:
            self._order = self._sorted()
        if not self._order:
            return None
        key = self._order[turn % len(self._order)]
        try:
            checkValue(service, key)
        except ValueError as error:
            raise TableError(self._faults.get(key) or f"{self._name}: {error}") from error
        return key

    def _sorted(self) -> tuple[str, ...]:
        return tuple(sorted(key for shard in self._shards for key in shard))

    # --- changing, in slices

    def shard(self, index: int) -> Mapping[str, str] | None:
        """A part of the entries; None: there is no such part."""
        return self._shards[index] if index < len(self._shards) else None

    def letGo(self) -> bool:
        """Forget a part of the entries of content that nobody asks any more: all at once would take long.

        @return: there are more.
        """
        if self._shards:
            self._shards.pop()
        self._keys = None
        return bool(self._shards)


class Difference:
    """What changed between two contents, found part by part."""

    def __init__(self, old: Content | None, new: Content) -> None:
        self._old = old
        self._new = new
        self._index = 0
        self._kept = 0
        self._added = 0
        self._changed = 0

    def step(self) -> bool:
        """Look at one more part.

        @return: there are more.
        """
        shard = self._new.shard(self._index)
        if shard is None:
            return False
        self._index += 1
        if self._old is None:
            self._added += len(shard)
            return True
        get = self._old.get
        for key, value in shard.items():
            before = get(key)
            if before is None:
                self._added += 1
            elif before != value:
                self._changed += 1
            else:
                self._kept += 1
        return True

    def result(self) -> TableUpdate:
        """Once there are no more parts."""
        new = self._new
        removed = 0 if self._old is None else len(self._old) - self._kept - self._changed
        return TableUpdate(len(new), self._added, removed, self._changed, new.globs, new.octets, new.problems)


class Builder:
    """Makes content from entries that come in pieces. Nobody else looks at it before it is done."""

    def __init__(self, name: str = "the table", services: Collection[Service] = (), expected: int = 0) -> None:
        """
        @param name: of the table or file, for messages.
        @param services: what the table will be asked for; values are checked for them. Others can be asked, too.
        @param expected: how many entries there may be.
        """
        self.name = name
        count = 1
        while count < MAX_SHARDS and count * SHARD < expected:
            count *= 2
        self.shards: list[dict[str, str]] = [{} for _ in range(count)]
        self.labels = False
        self.mailLabels = False
        self.tails: dict[int, None] = {}
        self.mailTails: dict[int, None] = {}
        self.globs: list[Glob] = []
        self.mailGlobs: dict[str, list[Glob]] = {}
        self.networks = Networks()
        self.canonical: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        self.problems: list[str] = []
        self.raw: dict[str, str] = {}
        self.octets = 0
        self.isRegex = Service.REGEX in services
        # What else it is asked for may be why another entry is there.
        self._onlyNetworks = set(services) == {Service.NETADDR}
        self._checks = [service for service in services if service in CHECKS]
        self._shared: dict[str, str] = {}

    def add(self, entries: Iterable[Entry]) -> None:
        """Of equal keys the last counts.

        @raise ValueError: a regular expression is wrong; the text says where.
        """
        shards, mask, shared = self.shards, len(self.shards) - 1, self._shared
        starts, onlyNetworks = _NETWORK_STARTS, self._onlyNetworks
        careful = self.isRegex or bool(self._checks)
        octets = 0
        for original, value, line in entries:
            key = original.lower()
            if value:
                if (known := shared.get(value)) is not None:
                    value = known
                else:
                    octets += len(value) + 56
                    if len(shared) < _MAX_SHARED:
                        shared[value] = value
            shard = shards[hash(key) >> _SHARD_BITS & mask]
            if key not in shard:
                octets += len(key) + 96
                if "*" in key:
                    self._star(key)
                elif key[-1:] == "@" and key != "@":
                    self.mailGlobs.setdefault(key[:-1], []).append(Glob("*"))
                isNetwork = key[:1] in starts and _NETWORK_LIKE.match(key) and self._network(key)
                if onlyNetworks and not isNetwork and key != "local" and len(self.problems) < MAX_FAULTS:
                    self.problems.append(
                        f'{self._at(line)}: "{original}" is no address and no network: it never matches'
                    )
            shard[key] = value
            if key != original and not key.isalnum():
                self._keepCase(key, original)
            if careful:
                self._check(key, original, value, line)
        self.octets += octets

    def _keepCase(self, key: str, original: str) -> None:
        """A pattern may mean something else in lower case: C{\\W}."""
        if "\\" in original:
            self.raw[key] = original

    def _star(self, key: str) -> None:
        local, at, domain = key.rpartition("@")
        if "*" not in domain:
            return
        ending = domain[1:]
        if domain[0] != "*" or "*" in ending or len(ending) > MAX_ENDING:
            glob = Glob(domain)
            if at:
                self.mailGlobs.setdefault(local, []).append(glob)
            else:
                self.globs.append(glob)
        elif ending[:1] == ".":
            if at:
                self.mailLabels = True
            else:
                self.labels = True
        elif at:
            self.mailTails[len(ending)] = None
        else:
            self.tails[len(ending)] = None

    def _network(self, key: str) -> bool:
        network = parseNetwork(key)
        if network is None:
            return False
        self.networks.add(*network)
        self.octets += 80
        width, length, _ = network
        if width == length and parseAddress.__wrapped__(key) is not None:
            forms = addressForms(key)
            if key not in forms:
                self.canonical[forms[0]] = key
        return True

    def _at(self, line: int) -> str:
        return f"{self.name}:{line}" if line else self.name

    def _check(self, key: str, original: str, value: str, line: int) -> None:
        place = self._at(line)
        if self.isRegex:
            try:
                checkPattern(original)
            except BadPattern as error:
                raise ValueError(f"line {line}: a bad regular expression: {error}" if line else str(error)) from error
        for service in self._checks:
            # Of what is fetched the keys are the values.
            isKey = service is Service.SOURCE or (service is Service.RELAYHOST and not value)
            try:
                checkValue(service, key if isKey else value)
            except ValueError as error:
                if len(self.faults) < MAX_FAULTS:
                    self.faults[key] = f"{place}: {error}"
                    self.problems.append(self.faults[key])
                return
        if self.faults:
            self.faults.pop(key, None)
