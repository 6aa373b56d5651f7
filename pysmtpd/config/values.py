"""Values written as text: delays, sizes, relay URLs, addresses. Each function raises L{ValueError} that says what would be right."""

from __future__ import annotations

import re
from decimal import Decimal

from pysmtpd.model.address import Path
from pysmtpd.model.config import RelayHost
from pysmtpd.model.netaddr import parseIp

_DELAY = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([BKMGTPE]?)\Z", re.IGNORECASE)
_LONGEST = 2**31 - 1
_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_][A-Za-z0-9_-]*)*\.?\Z")
_ADDRESS_HALF = re.compile(r"[^\x00-\x20\x7f<>@]*\Z")

PORTS = {"smtp": 25, "smtps": 465, "submission": 587, "submissions": 465, "lmtp": 24}
_RELAY_PORTS = {"smtp": 25, "smtp+tls": 25, "smtp+notls": 25, "smtps": 465, "lmtp": 0}


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
    """C{"35M"} as octets; K is 1024."""
    match = _SIZE.match(text)
    if not match:
        raise ValueError(f'"{text[:80]}" is not a size: a number must stand here, with K, M or G if you like')
    octets = int(Decimal(match[1]) * 1024 ** "BKMGTPE".index(match[2].upper() or "B"))
    if not octets < 2**63:
        raise ValueError(f"a size of {octets} octets is out of range")
    return octets


def isAddress(text: str) -> bool:
    """Is it an IP address, without brackets or scope?"""
    return "[" not in text and "%" not in text and parseIp(text) is not None


def isHostName(text: str) -> bool:
    """May it be the name of a host?"""
    return len(text) <= 253 and bool(_HOST.match(text))


def isPkiName(text: str) -> bool:
    """May it be the name of a pki or ca: a host name, or C{*}?"""
    return text == "*" or (len(text) <= 255 and bool(_NAME.match(text)))


def parsePort(text: str) -> int:
    """A number, or the name of a service of mail."""
    if text in PORTS:
        return PORTS[text]
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535:
        return int(text)
    raise ValueError(
        f'"{text[:80]}" is not a port: a number from 1 to 65535 or one of {", ".join(PORTS)} must stand here'
    )


def _splitPort(text: str) -> tuple[str, str]:
    """C{host:port}, C{[address]:port}; the port may be missing. Brackets are removed."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f'"{text[:80]}" does not close its bracket')
        host = host[5:] if host.lower().startswith("ipv6:") else host
        if not isAddress(host):
            raise ValueError(f'"{host[:80]}" is not an address')
        return host, rest[1:]
    if text.count(":") > 1 and isAddress(text):
        return text, ""
    host, _, port = text.partition(":")
    if not isHostName(host):
        raise ValueError(f'"{host[:80]}" is not a host name or address')
    return host, port


def parseRelay(text: str) -> RelayHost:
    """C{[protocol://][label@]host[:port]}."""
    protocol, separator, rest = text.partition("://")
    if not separator:
        protocol, rest = "smtp", text
    if protocol not in _RELAY_PORTS:
        raise ValueError(f'"{protocol[:80]}" is not a protocol; there are {", ".join(_RELAY_PORTS)}')
    label, separator, host = rest.rpartition("@")
    if separator and not label:
        raise ValueError("nothing stands before the @")
    if label and protocol not in ("smtp+tls", "smtps"):
        raise ValueError(f"credentials are not sent by {protocol}; smtp+tls:// or smtps:// must stand here")
    if protocol == "lmtp" and host.startswith("/"):
        return RelayHost(protocol, host, 0)
    name, port = _splitPort(host)
    if protocol == "lmtp" and not port:
        raise ValueError("lmtp has no port of its own: write lmtp://host:port")
    return RelayHost(protocol, name, parsePort(port) if port else _RELAY_PORTS[protocol], label)


def parseLmtp(text: str) -> RelayHost:
    """C{host[:port]}, C{[address]:port}, or the path of a socket. The default port is 25."""
    text = text.removeprefix("lmtp://")
    if text.startswith("/"):
        return RelayHost("lmtp", text, 0)
    host, port = _splitPort(text)
    return RelayHost("lmtp", host, parsePort(port) if port else 25)


def parseHalfAddress(text: str) -> Path:
    """An address of which one half may be missing, C{user@} or C{@domain}; split at the last @.

    It only splits: the grammar of addresses is that of L{pysmtpd.smtp}.
    """
    local, separator, domain = text.rpartition("@")
    if not separator or not _ADDRESS_HALF.match(local) or not _ADDRESS_HALF.match(domain):
        raise ValueError(f'"{text[:80]}" is not an address')
    return Path(local, domain)
