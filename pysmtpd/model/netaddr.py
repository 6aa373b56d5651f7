"""IP addresses, as people and protocols write them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


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


def canonicalLiteral(text: str) -> str:
    """The one way to write an address literal, in lower case; what is none, or of a form of its own, as it is."""
    address = parseIp(text)
    if address is None:
        return text
    return f"[ipv6:{address}]" if address.version == 6 else f"[{address}]"


def isLoopback(text: str) -> bool:
    """
    @param text: an address in its canonical form.
    """
    return text.startswith("127.") or text == "::1"


_PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "0.0.0.0/8", "fc00::/7"))
)


def isPublic(address: str) -> bool:
    """May it be on somebody else's machine? Not if it is of this machine or of a private network.

    @param address: one that C{parseIp} takes.
    """
    parsed = ip_address(address)
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    if parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified:
        return False
    return not any(parsed in network for network in _PRIVATE)
