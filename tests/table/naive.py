"""How tables match, in the plainest words: every entry is tried. What the compiled matchers are held against."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from pysmtpd.interfaces.routing import Service


def matches(keys: Iterable[str], service: Service, asked: str) -> bool:
    """Does any of the keys match?"""
    test = {Service.DOMAIN: glob, Service.MAILADDR: address, Service.NETADDR: network}.get(service, str.__eq__)
    return any(test(key.lower(), asked) for key in keys)


def glob(pattern: str, text: str) -> bool:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    return pattern == text or (bool(re.fullmatch(expression, text, re.DOTALL)) and "@" not in pattern)


def address(entry: str, asked: str) -> bool:
    if entry == "@" or entry == (asked or "<>"):
        return True
    user, at, domain = asked.rpartition("@")
    if not at:
        return False
    entryUser, entryAt, entryDomain = entry.rpartition("@")
    if not entryAt or (entryUser and not entryDomain):
        return entry.removesuffix("@") == user
    return entryUser in ("", user) and glob(entryDomain, domain)


def network(entry: str, asked: str) -> bool:
    if entry == asked:
        return True
    try:
        return ip_address(_plain(asked)) in ip_network(_plain(entry), strict=False)
    except ValueError:
        return False


def _plain(text: str) -> str:
    base, slash, length = text.partition("/")
    return base.strip("[]").removeprefix("ipv6:") + slash + length
