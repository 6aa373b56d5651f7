"""Values written as text: delays, sizes, relay URLs, addresses. Each function raises L{ValueError} that says what would be right."""

from __future__ import annotations

import re
from decimal import Decimal

from pysmtpd.model.address import Path
from pysmtpd.model.config import RelayHost
from pysmtpd.model.relayurl import PORTS, isAddress, isHostName, parsePort, parseRelay, splitPort

__all__ = [
    "PORTS",
    "isAddress",
    "isHostName",
    "isPkiName",
    "parseDelay",
    "parseHalfAddress",
    "parseLmtp",
    "parsePort",
    "parseRelay",
    "parseSize",
]

_DELAY = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"[ \t]*\+?([0-9]{0,18}(?:\.[0-9]{0,9})?)([BKMGTPE]?)\Z", re.IGNORECASE)
_LONGEST = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_][A-Za-z0-9_-]*)*\.?\Z")
# What other mail systems write before the place of an LMTP server.
_OTHERS_PREFIXES = ("lmtp:unix:", "lmtp:inet:", "unix:", "inet:")
_ADDRESS_HALF = re.compile(r"[^\x00-\x20\x7f<>@]*\Z")


def parseDelay(text: str, allowZero: bool = False, allowMilliseconds: bool = False) -> float:
    """C{"4d"} as seconds. The unit is mandatory."""
    match = _DELAY.match(text)
    if not match or (match[2] == "ms" and not allowMilliseconds):
        raise ValueError(f'"{text[:80]}" is not a time: a whole number and s, m, h or d must stand here, like 4h')
    seconds = int(match[1]) * _SECONDS[match[2]]
    if not seconds and not allowZero:
        raise ValueError("the time must be longer than zero")
    if seconds > _LONGEST:
        raise ValueError("the time must be shorter than 68 years")
    return seconds


def parseSize(text: str) -> int:
    """C{"35M"} as octets; K is 1024. As for scan_scaled(3), no digits are zero."""
    match = _SIZE.match(text)
    if not match:
        raise ValueError(f'"{text[:80]}" is not a size: a number must stand here, with K, M or G if you like')
    octets = int(Decimal(f"0{match[1]}") * 1024 ** "BKMGTPE".index(match[2].upper() or "B"))
    if not octets < 2**63:
        raise ValueError(f"a size of {octets} octets is out of range")
    return octets


def isPkiName(text: str) -> bool:
    """May it be the name of a pki or ca: a host name, or C{*}?"""
    return text == "*" or (len(text) <= 255 and bool(_NAME.match(text)))


def parseLmtp(text: str) -> RelayHost:
    """C{host[:port]}, C{[address]:port}, or the path of a socket. The default port is 25."""
    text = text.removeprefix("lmtp://")
    for prefix in _OTHERS_PREFIXES:
        if text.startswith(prefix):
            raise ValueError(f'"{prefix}" is left out: "{text[len(prefix) :][:80]}"')
    if text.startswith("/"):
        return RelayHost("lmtp", text, 0)
    host, port = splitPort(text)
    return RelayHost("lmtp", host, parsePort(port) if port else 25)


def parseHalfAddress(text: str) -> Path:
    """An address of which one half may be missing, C{user@} or C{@domain}; split at the last @.

    It only splits: the grammar of addresses is that of L{pysmtpd.smtp}.
    """
    local, separator, domain = text.rpartition("@")
    if not separator or not _ADDRESS_HALF.match(local) or not _ADDRESS_HALF.match(domain):
        raise ValueError(f'"{text[:80]}" is not an address: user@domain, user@ or @domain must stand here')
    return Path(local, domain)
