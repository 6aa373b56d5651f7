"""Networks that rules declare, and addresses that stand for all that they tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from pysmtpd.model.netaddr import parseIp
from pysmtpd.ruleset.sights import TooMany

Network = IPv4Network | IPv6Network

SHORTEST_TRUSTED = 8
"""Networks with shorter prefixes are no declaration of whom one trusts."""

MAX_NETWORKS = 200_000


def networks(entries: Iterable[str]) -> list[Network]:
    """Those entries that are networks or addresses.

    @raise TooMany:
    """
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
        if len(found) > MAX_NETWORKS:
            raise TooMany("networks")
    return found


def addresses(found: Sequence[Network]) -> Iterator[str]:
    """An address of each part that networks divide the world into: what begins and ends with each of them; some may come again."""
    yield from ("198.18.77.77", "2001:db8:7777::77")
    for network in found:
        first, last = network.network_address, network.broadcast_address
        yield str(first)
        yield str(last)
        if int(first):
            yield str(first - 1)
        if int(last) < 2**last.max_prefixlen - 1:
            yield str(last + 1)


class Trusted:
    """The declared networks that are not too wide for that."""

    def __init__(self, found: Iterable[Network]) -> None:
        # By version and length: their first addresses, in whole numbers.
        self._firsts: dict[tuple[int, int], set[int]] = {}
        for network in found:
            if network.prefixlen >= SHORTEST_TRUSTED:
                key = (network.version, network.max_prefixlen - network.prefixlen)
                self._firsts.setdefault(key, set()).add(int(network.network_address))

    def holds(self, address: str) -> bool:
        parsed = parseIp(address)
        if parsed is None:
            return False
        number = int(parsed)
        return any(
            version == parsed.version and number >> host << host in firsts
            for (version, host), firsts in self._firsts.items()
        )
