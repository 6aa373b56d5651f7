"""Relay URLs and the names of hosts as text. Each function raises L{ValueError} that says what would be right."""

from __future__ import annotations

import re

from pysmtpd.model.action import RelayHost
from pysmtpd.model.netaddr import parseIp

_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*\Z")

PORTS = {"smtp": 25, "smtps": 465, "submission": 587, "submissions": 465, "lmtp": 24}
_RELAY_PORTS = {"smtp": 25, "smtp+tls": 25, "smtp+notls": 25, "smtps": 465, "lmtp": 0}

# What they were before OpenSMTPD 6.4, or are elsewhere.
_DATED = {
    "secure": "smtp+tls",
    "secure+auth": "smtp+tls",
    "smtp+auth": "smtp+tls",
    "smtps+auth": "smtps",
    "ssl": "smtps",
    "ssl+auth": "smtps",
    "starttls": "smtp+tls",
    "tls": "smtp+tls",
    "tls+auth": "smtp+tls",
}


def isAddress(text: str) -> bool:
    """Is it an IP address, without brackets or scope?"""
    return "[" not in text and "%" not in text and parseIp(text) is not None


def isHostName(text: str) -> bool:
    """May it be the name of a host?"""
    return len(text) <= 253 and bool(_HOST.match(text))


def parsePort(text: str) -> int:
    """A number, or the name of a service of mail."""
    if text in PORTS:
        return PORTS[text]
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535:
        return int(text)
    raise ValueError(
        f'"{text[:80]}" is not a port: a number from 1 to 65535 or one of {", ".join(PORTS)} must stand here'
    )


def splitPort(text: str) -> tuple[str, str]:
    """C{host:port}, C{[address]:port}; the port may be missing. Brackets are removed."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f'"{text[:80]}" does not close its bracket')
        if rest == ":":
            raise ValueError(f'"{text[:80]}" has no port behind its colon')
        host = host[5:] if host.lower().startswith("ipv6:") else host
        if not isAddress(host):
            raise ValueError(f'"{host[:80]}" is not an address')
        return host, rest[1:]
    if text.count(":") > 1 and isAddress(text):
        return text, ""
    host, colon, port = text.partition(":")
    if colon and not port:
        raise ValueError(f'"{text[:80]}" has no port behind its colon')
    if text.endswith("/") and isHostName(host.rstrip("/")):
        raise ValueError(f'"{text[:80]}": no slash stands behind a host')
    if not isHostName(host):
        raise ValueError(f'"{host[:80]}" is not a host name or address')
    return host, port


def parseRelay(text: str) -> RelayHost:
    """C{[protocol://][label@]host[:port]}; a slash may end it, as it may end any URL."""
    protocol, separator, rest = text.partition("://")
    protocol = protocol.lower()
    if not separator:
        protocol, rest = "smtp", text
    if protocol not in _RELAY_PORTS:
        instead = f"; did you mean {_DATED[protocol]}://{rest[:80]}?" if protocol in _DATED else ""
        raise ValueError(f'"{protocol[:80]}" is not a protocol; there are {", ".join(_RELAY_PORTS)}{instead}')
    label, separator, host = rest.rpartition("@")
    if separator and not label:
        raise ValueError("nothing stands before the @")
    if label and protocol not in ("smtp+tls", "smtps"):
        raise ValueError(f"credentials are not sent by {protocol}; did you mean smtp+tls://{rest[:80]}?")
    if protocol == "lmtp" and host.startswith("/"):
        return RelayHost(protocol, host, 0)
    name, port = splitPort(host.removesuffix("/"))
    if protocol == "lmtp" and not port:
        raise ValueError("lmtp has no port of its own: write lmtp://host:port")
    return RelayHost(protocol, name, parsePort(port) if port else _RELAY_PORTS[protocol], label)
