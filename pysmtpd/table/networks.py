"""Networks, found by longest prefix: one look for each prefix length in use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from pysmtpd.model.netaddr import filledBase


@lru_cache(maxsize=4096)
def parseAddress(text: str) -> tuple[int, int] | None:
    """Width in bits, and the address as a number; None: it is not one. Brackets and C{IPv6:} may stand around it."""
    if text[:1] == "[" and text[-1:] == "]":
        text = text[1:-1]
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.max_prefixlen, int(address)


def parseNetwork(text: str) -> tuple[int, int, int] | None:
    """Width, prefix length, and the prefix as a number; None: it is not a network. Bits after the prefix do not count."""
    base, slash, length = text.rpartition("/")
    parsed = parseAddress.__wrapped__(filledBase(base) if slash else text)
    if parsed is None:
        return None
    width, number = parsed
    if not slash:
        return width, width, number
    if not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= width):
        return None
    return width, int(length), number >> (width - int(length))


def addressForms(text: str) -> tuple[str, ...]:
    """The ways to write the address C{text}, the usual ones first; none if it is not an address."""
    parsed = parseAddress(text)
    if parsed is None:
        return ()
    width, number = parsed
    if width == 32:
        plain = str(IPv4Address(number))
        return plain, f"[{plain}]"
    plain = str(IPv6Address(number))
    return f"[{plain}]", plain, f"[ipv6:{plain}]", f"ipv6:{plain}"


class Networks:
    """A set of networks; those of one length share a mapping of numbers (which, other than a set, costs the garbage collector nothing)."""

    __slots__ = ("_byWidth", "_found", "size")

    def __init__(self, networks: Iterable[tuple[int, int, int]] = ()) -> None:
        self._found: dict[int, dict[int, dict[int, None]]] = {}
        self._byWidth: dict[int, tuple[tuple[int, dict[int, None]], ...]] = {}
        self.size = 0
        for width, length, number in networks:
            self.add(width, length, number)
        self.finish()

    def add(self, width: int, length: int, number: int) -> None:
        """It counts after C{finish}."""
        self._found.setdefault(width, {}).setdefault(length, {})[number] = None

    def finish(self) -> None:
        """All networks are there."""
        self._byWidth = {
            width: tuple((width - length, numbers) for length, numbers in sorted(lengths.items(), reverse=True))
            for width, lengths in self._found.items()
        }
        self.size = sum(len(numbers) for lengths in self._found.values() for numbers in lengths.values())

    def parts(self) -> Iterator[tuple[int, int, Collection[int]]]:
        """For each prefix length in use the width of addresses, how many bits it leaves out, and the prefixes as numbers."""
        for width, lengths in self._byWidth.items():
            for shift, numbers in lengths:
                yield width, shift, numbers

    @property
    def lengths(self) -> list[tuple[int, int]]:
        """Width and length of each prefix length in use, the longest first."""
        return [(width, width - shift) for width, lengths in self._byWidth.items() for shift, _ in lengths]

    def match(self, text: str) -> bool:
        """Does any network hold the address? False for what is no address. Families do not mix."""
        if not self._byWidth:
            return False
        parsed = parseAddress(text)
        if parsed is None:
            return False
        width, number = parsed
        return any(number >> shift in numbers for shift, numbers in self._byWidth.get(width, ()))
