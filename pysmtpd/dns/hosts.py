"""The hosts file."""

from __future__ import annotations

from collections.abc import Mapping

from pysmtpd.model.netaddr import canonicalIp


def parseHosts(text: str) -> Mapping[str, tuple[str, ...]]:
    """Names of hosts(5), in lower case, and their addresses in the order of the file. Lines that make no sense are left out."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        address = canonicalIp(words[0])
        if not address:
            continue
        for name in words[1:]:
            addresses = found.setdefault(name.lower().rstrip("."), [])
            if address not in addresses:
                addresses.append(address)
    return {name: tuple(addresses) for name, addresses in found.items()}
