"""Reading an answer: which of its records belong to the question."""

from __future__ import annotations

import marshal
from dataclasses import dataclass
from typing import Any

from twisted.names import dns

from pysmtpd.dns.names import BadName, fromWire
from pysmtpd.interfaces.routing import Lookup

MOST_LINKS = 12
MOST_RECORDS = 256
LONGEST_TTL = 86_400.0
LONGEST_NEGATIVE_TTL = 3600.0


_STATUSES = tuple(Lookup)
_SECURE = 128
_MORE = 64

Content = bytes | tuple[int, bytes]
"""Of a record: an address or a TLSA record as octets, a name as it came, texts joined; of MX the preference and the name."""


@dataclass(frozen=True, slots=True)
class Records:
    """
    @ivar records: what is in them.
    @ivar ttl: seconds; 0: not to be kept.
    @ivar until: monotonic seconds when they are over.
    @ivar secure: the server says that it has validated all of it.
    @ivar canonical: the name at the end of the CNAME chain, in lower case.
    """

    status: Lookup
    records: tuple[Any, ...]
    ttl: float
    secure: bool
    canonical: bytes
    error: str = ""
    until: float = 0.0

    def pack(self, name: bytes) -> bytes:
        """In few octets, for the cache; TTL and end are not in them. Most answers say that there is nothing: one octet.

        @param name: that was asked for.
        """
        canonical = b"" if self.canonical == name else self.canonical
        head = _STATUSES.index(self.status) | _SECURE * self.secure
        if canonical or self.error:
            return bytes((head | _MORE,)) + marshal.dumps((self.records, canonical, self.error))
        return bytes((head,)) + (marshal.dumps(self.records) if self.records else b"")

    @classmethod
    def unpack(cls, packed: bytes, name: bytes, until: float) -> Records:
        """The reverse; the TTL is zero."""
        head, canonical, error = packed[0], b"", ""
        records: Any = marshal.loads(packed[1:]) if len(packed) > 1 else ()  # noqa: S302
        if head & _MORE:
            records, canonical, error = records
        status = _STATUSES[head & ~(_SECURE | _MORE)]
        return cls(status, records, 0.0, bool(head & _SECURE), canonical or name, error, until)


@dataclass(frozen=True, slots=True)
class Chain:
    """As far as a chain of CNAMEs was followed.

    @ivar name: what to ask for now.
    @ivar seen: all names before it.
    @ivar ttl: the least of the links' so far.
    @ivar secure: all answers so far were.
    """

    name: bytes
    seen: tuple[bytes, ...] = ()
    ttl: float = LONGEST_TTL
    secure: bool = True


def read(message: dns.Message, type: int, chain: Chain) -> Records | Chain:
    """Follow the chain through the answer section.

    @param message: the answer to C{chain.name}, with rcode NOERROR or NXDOMAIN.
    @return: the end, or the chain with the name at which this server stopped.
    """
    name, seen, ttl = chain.name, chain.seen, chain.ttl
    secure = chain.secure and bool(message.authenticData)
    answers = message.answers[:MOST_RECORDS]
    aliases: dict[bytes, dns.RRHeader] = {}
    for header in answers:
        if header.type == dns.CNAME and header.cls == dns.IN:
            aliases.setdefault(header.name.name.lower(), header)
    while name in aliases:
        header = aliases[name]
        seen = (*seen, name)
        name = _payload(header).name.name.lower()
        ttl = min(ttl, _ttl(header))
        if name in seen or len(seen) > MOST_LINKS:
            return failure(name, "a chain of CNAMEs without end")
    found = []
    for header in answers:
        if header.type == type and header.cls == dns.IN and header.name.name.lower() == name:
            found.append(_content(type, header.payload))
            ttl = min(ttl, _ttl(header))
    if found:
        return Records(Lookup.FOUND, tuple(found), ttl, secure, name)
    negative = _negativeTtl(message, name)
    if message.rCode == dns.OK and name != chain.name and negative is None:
        try:
            fromWire(name)
        except BadName as error:
            return failure(chain.name, f"CNAME: {error}")
        return Chain(name, seen, ttl, secure)
    status = Lookup.NXDOMAIN if message.rCode == dns.ENAME else Lookup.NODATA
    # RFC 2308 5: without an SOA record there is no telling how long.
    return Records(status, (), min(ttl, negative or 0.0), secure, name)


def _content(type: int, payload: Any) -> Content:
    if type in (dns.A, dns.AAAA):
        return bytes(payload.address)
    if type == dns.MX:
        return payload.preference, payload.name.name
    if type == dns.PTR:
        return bytes(payload.name.name)
    return b"".join(payload.data) if type == dns.TXT else bytes(payload.data)


def failure(name: bytes, reason: str) -> Records:
    """No answer."""
    return Records(Lookup.FAILED, (), 0.0, False, name, f"{name[:80].decode('ascii', 'backslashreplace')}: {reason}")


def _payload(header: dns.RRHeader) -> Any:
    return header.payload


def _ttl(header: dns.RRHeader) -> float:
    # RFC 2181 8: with the highest bit set, it counts as zero.
    return 0.0 if header.ttl > 0x7FFFFFFF else float(header.ttl)


def _negativeTtl(message: dns.Message, name: bytes) -> float | None:
    """How long "there is none" holds (RFC 2308 5), or None where the answer has no SOA record that is in charge of C{name}."""
    for header in message.authority[:MOST_RECORDS]:
        zone = header.name.name.lower()
        if header.type == dns.SOA and header.cls == dns.IN and (not zone or name == zone or name.endswith(b"." + zone)):
            minimum = float(_payload(header).minimum)
            return min(_ttl(header), minimum, LONGEST_NEGATIVE_TTL)
    return None
