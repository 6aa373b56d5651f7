"""For each thing that a session brings, values that stand for all that the tables of a configuration tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import islice, product

from pysmtpd.model.config import Config, Predicate
from pysmtpd.model.netaddr import parseIp

# Nobody has these names (RFC 2606), and no entry is likely to be one.
FRESH = "zqnobody"
FRESH_DOMAIN = f"{FRESH}.invalid"
# Patterns of one kind whose pairs are looked at.
_MAX_PATTERNS = 48

# Networks with shorter prefixes are no declaration of whom one trusts.
SHORTEST_TRUSTED = 8

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def entriesOf(config: Config, *predicates: Predicate) -> list[str]:
    """The entries, in lower case, of listed tables that rules hold against these."""
    names = {
        condition.table.name: None
        for rule in config.rules
        for condition in rule.conditions
        if condition.predicate in predicates and condition.table is not None and not condition.table.regex
    }
    return list(dict.fromkeys(key.lower() for name in names for key, _ in config.tables[name].entries))


def words(entries: Sequence[str]) -> tuple[str, ...]:
    """Names: each entry, what each pattern and each two of them may stand for, and names that nobody has."""
    found = dict.fromkeys([FRESH, FRESH_DOMAIN])
    patterns = [entry for entry in entries if "*" in entry]
    for entry in entries:
        for filling in ("", "zq") if "*" in entry else ("",):
            found[entry.replace("*", filling)] = None
    for one, other in product(patterns[:_MAX_PATTERNS], repeat=2):
        found[f"{one.partition('*')[0]}zq{other.rpartition('*')[2]}"] = None
    found.pop("", None)
    return tuple(found)


def mailAddresses(entries: Sequence[str], isSender: bool) -> tuple[str, ...]:
    """Addresses, as keys. Entries are C{user}, C{@domain}, C{user@domain}, with stars in the domain."""
    locals_ = dict.fromkeys([FRESH])
    domains = dict.fromkeys([FRESH_DOMAIN])
    for entry in entries:
        local, at, domain = entry.rpartition("@")
        if not at:
            local, domain = domain, ""
        if local and local != "<>":
            locals_[local] = None
        domains.update(dict.fromkeys(words([domain]) if domain else ()))
    found = dict.fromkeys(f"{local}@{domain}" for local, domain in islice(product(locals_, domains), 4096))
    return (*found, "") if isSender else tuple(found)


def networks(entries: Iterable[str]) -> list[Network]:
    """Those entries that are networks or addresses."""
    found: list[Network] = []
    for entry in entries:
        base, slash, length = entry.partition("/")
        address = parseIp(base)
        if address is None or (slash and not length.isdigit()):
            continue
        try:
            found.append(ip_network(f"{address}/{length}" if slash else str(address), strict=False))
        except ValueError:
            continue
    return found


def addresses(found: Sequence[Network]) -> tuple[str, ...]:
    """One address of each part that networks divide the world into: what begins and what ends with each of them."""
    told = dict.fromkeys(["198.18.77.77", "2001:db8:7777::77"])
    for network in found:
        first, last = network.network_address, network.broadcast_address
        told[str(first)] = told[str(last)] = None
        if int(first):
            told[str(first - 1)] = None
        if int(last) < 2**last.max_prefixlen - 1:
            told[str(last + 1)] = None
    return tuple(told)


def isTrusted(address: str, found: Sequence[Network]) -> bool:
    """Is it in a network that was declared, and is not too wide for that?"""
    parsed = parseIp(address)
    return parsed is not None and any(
        network.prefixlen >= SHORTEST_TRUSTED and network.version == parsed.version and parsed in network
        for network in found
    )


def isNamed(domain: str, entries: Iterable[str]) -> bool:
    """Do entries say this domain by its name, or that of a domain above it with two labels at least?"""
    for entry in entries:
        if entry == domain:
            return True
        tail = entry[1:]
        if entry.startswith("*.") and "*" not in tail and tail.count(".") > 1 and domain.endswith(tail):
            return True
    return False


def recipients(config: Config) -> Iterator[tuple[str, str]]:
    """Local parts and domains that rules, aliases and virtual addresses know, and others. Of names that lead to the same one is enough."""
    locals_ = dict.fromkeys([FRESH])
    domains = dict.fromkeys(
        (
            *words(entriesOf(config, Predicate.FOR_DOMAIN, Predicate.FOR_LOCAL)),
            "[198.18.77.78]",
            config.serverName.lower(),
        )
    )
    known: dict[tuple[str, str], str] = {(entry, ""): entry for entry in entriesOf(config, Predicate.RCPT_TO)}
    for action in config.actions.values():
        for ref in (action.alias, action.virtual):
            if ref is not None:
                for key, value in config.tables[ref.name].entries:
                    _, at, domain = key.lower().rpartition("@")
                    known.setdefault((domain if at else "", value), key.lower())
    for entry in known.values():
        local, at, domain = entry.rpartition("@")
        if not at:
            local, domain = domain, ""
        if local:
            locals_[local] = None
        domains.update(dict.fromkeys(words([domain]) if domain else ()))
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
