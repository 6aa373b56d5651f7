"""IP addresses, as people and protocols write them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address


def parseIp(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, plain or as an address literal (C{[192.0.2.1]}, C{[IPv6:2001:db8::1]}); None: it is something else.

    IPv4 addresses mapped into IPv6 come out as IPv4, those with a scope without it.
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if text[:5].lower() == "ipv6:":
            text = text[5:]
    # Most names are told from addresses by their last character, or by the colons they do not have.
    if ":" not in text and not text[-1:].isdigit():
        return None
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def canonicalIp(text: str) -> str:
    """The one way to write it; empty if it is not an address."""
    address = parseIp(text)
    return "" if address is None else str(address)


def isLoopback(text: str) -> bool:
    """
    @param text: an address in its canonical form.
    """
    return text.startswith("127.") or text == "::1"
