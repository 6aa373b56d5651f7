"""Networks that rules declare, and addresses that stand for all that they tell apart. There may be a hundred thousand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from pysmtpd.model.netaddr import filledBase, isLoopback, parseIp
from pysmtpd.ruleset.sights import TooMany

SHORTEST_TRUSTED = 8
"""Networks with shorter prefixes are no declaration of whom one trusts."""

MAX_NETWORKS = 300_000
_WIDTHS = {4: 32, 6: 128}
_TYPES = {4: IPv4Address, 6: IPv6Address}


class Network(NamedTuple):
    """
    @ivar first: its first address, as a number.
    """

    version: int
    length: int
    first: int

    @property
    def isTrusted(self) -> bool:
        return self.length >= SHORTEST_TRUSTED

    @property
    def after(self) -> int:
        """What follows its last address."""
        return self.first + (1 << _WIDTHS[self.version] - self.length)

    @property
    def isLoopback(self) -> bool:
        return self.isTrusted and isLoopback(str(_TYPES[self.version](self.first)))

    def __str__(self) -> str:
        return f"{_TYPES[self.version](self.first)}/{self.length}"


def networks(entries: Iterable[str]) -> list[Network]:
    """Those entries that are networks or addresses.

    @raise TooMany:
    """
    found: list[Network] = []
    for entry in entries:
        base, slash, length = entry.partition("/")
        address = parseIp(filledBase(base) if slash else base)
        if address is None:
            continue
        width = address.max_prefixlen
        if slash and not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= width):
            continue
        bits = int(length) if slash else width
        found.append(Network(address.version, bits, int(address) >> (width - bits) << (width - bits)))
        if len(found) > MAX_NETWORKS:
            raise TooMany("networks")
    return found


class Trusted:
    """The declared networks that are not too wide for that."""

    def __init__(self, found: Iterable[Network]) -> None:
        # By version and length.
        self._firsts: dict[tuple[int, int], set[int]] = {}
        for network in found:
            if network.isTrusted:
                self._firsts.setdefault((network.version, network.length), set()).add(network.first)

    def holds(self, version: int, number: int) -> bool:
        width = _WIDTHS[version]
        return any(
            of == version and number >> (width - length) << (width - length) in firsts
            for (of, length), firsts in self._firsts.items()
        )


def addresses(found: Sequence[Network], without: Trusted | None = None) -> Iterator[str]:
    """Networks divide the world into parts, each of which begins where one of them begins, or ends: an address of each.

    @param without: none of these.
    """
    if without is None:
        without = Trusted(())
    for version, fresh in ((4, "198.18.77.77"), (6, "2001:db8:7777::77")):
        width, make = _WIDTHS[version], _TYPES[version]
        begins = (
            number for network in found if network.version == version for number in (network.first, network.after)
        )
        seen: set[int] = set()
        # The first part begins where the world does; 1 is no peer, in IPv6.
        for number in (int(make(fresh)), 2, *begins):
            if number not in seen and number < 1 << width and not without.holds(version, number):
                seen.add(number)
                yield str(make(number))
