"""Domain names on their way to the wire and back."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

import idna

# Underscores occur in names that people really use, although host names may not have them.
_isHostName = re.compile(rb"[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\Z").match

MOST_OCTETS = 253
MOST_CHARACTERS = 1024


class BadName(ValueError):
    """Text that is no domain name."""


def toWire(name: str) -> bytes:
    """A domain name as DNS is asked for it: A-labels (UTS 46, non-transitional), lower case, no dot at the end.

    @raise BadName: it is none.
    """
    # The conversion takes more than linear time: hold the length against a bound before it.
    if len(name) > MOST_CHARACTERS:
        raise BadName(f"a domain name of {len(name)} characters")
    text = name[:-1] if name.endswith(".") else name
    if not text.isascii():
        try:
            wire = idna.encode(text, uts46=True, transitional=False)
        except (idna.IDNAError, UnicodeError) as error:
            raise BadName(f"{name!r} is no domain name: {error}") from error
    else:
        wire = text.encode("ascii")
    wire = wire.lower()
    if len(wire) > MOST_OCTETS or not _isHostName(wire):
        raise BadName(f"{name[:80]!r} is no domain name")
    return wire


def fromWire(name: bytes) -> str:
    """A host name that an answer gave, in lower case; the root is empty.

    @raise BadName: it may not be used as a host name.
    """
    lowered = name.lower()
    if not lowered:
        return ""
    if len(lowered) > MOST_OCTETS or not _isHostName(lowered):
        raise BadName(f"{name[:80]!r} is no host name")
    return lowered.decode("ascii")


def reverseName(address: IPv4Address | IPv6Address) -> bytes:
    """The name under which PTR records of C{address} stand."""
    return address.reverse_pointer.encode("ascii")


def isLocalhost(wire: bytes) -> bool:
    """C{localhost} and what lies below it, which no DNS server may be asked for (RFC 6761 6.3)."""
    return wire == b"localhost" or wire.endswith(b".localhost")
