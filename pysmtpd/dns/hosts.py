"""The hosts file."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address


def parseHosts(text: str) -> Mapping[str, tuple[str, ...]]:
    """Names of hosts(5), in lower case, and their addresses in the order of the file. Lines that make no sense are left out."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        try:
            address = str(ip_address(words[0]))
        except ValueError:
            continue
        for name in words[1:]:
            addresses = found.setdefault(name.lower().rstrip("."), [])
            if address not in addresses:
                addresses.append(address)
    return {name: tuple(addresses) for name, addresses in found.items()}
