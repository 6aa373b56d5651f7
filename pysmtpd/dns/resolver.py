"""The resolver: what the other rooms ask, in their terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import cast

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.names import dns
from zope.interface import implementer

from pysmtpd.dns.answer import Chain, Records, failure, read
from pysmtpd.dns.cache import Cache
from pysmtpd.dns.merge import Merge
from pysmtpd.dns.names import BadName, fromWire, isLocalhost, reverseName, toWire
from pysmtpd.dns.stub import Stub, Unanswered
from pysmtpd.interfaces.platform import IPlatform, ResolverSettings
from pysmtpd.interfaces.routing import AddressAnswer, IResolver, Lookup, MxAnswer, MxHost, TextAnswer, TlsaAnswer
from pysmtpd.model.netaddr import parseIp
from pysmtpd.model.tlsa import Tlsa

PATIENCE = 15.0
# A session does not wait longer for its peer's name.
PEER_PATIENCE = 5.0
FAILURE_TTL = 5.0
# For each of ten thousand domains its own name, that of a host, and those of what it publishes about TLS.
MOST_NAMES_KEPT = 50_000
MOST_MX = 100
MOST_ADDRESSES = 64
MOST_NAMES = 8
MOST_TLSA = 32
MOST_TEXTS = 32

# RFC 6698 7.1.
TLSA = 52

# In the cache: no type that we ask for is as high.
_FOR_PEER = 0x8000

_LOCALHOST = ("::1", "127.0.0.1")
_TYPES = {"inet4": (dns.A,), "inet6": (dns.AAAA,), "": (dns.AAAA, dns.A)}


@implementer(IResolver)
class Resolver:
    """A stub over recursive servers, with a cache for everything they say, and one question in flight for all who ask the same.

    A failure is kept too, for 5 seconds. No question takes longer than 15. Address literals, C{localhost}, and the names of the hosts
    file are answered at once, without DNS; such answers are never secure.
    """

    def __init__(
        self, platform: IPlatform, settings: ResolverSettings, hosts: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """
        @param hosts: names, in lower case, and their addresses: what L{pysmtpd.dns.hosts.parseHosts} gives.
        """
        self._clock = platform.clock
        self._trustAD = settings.trustAD
        self._hosts = {name: tuple(addresses) for name, addresses in (hosts or {}).items()}
        self._stub = Stub(platform, settings.servers)
        self._cache = Cache(platform.clock.seconds, MOST_NAMES_KEPT)
        self._merge: Merge[tuple[bytes, int, bool], Records] = Merge()

    # --- IResolver

    def mx(self, domain: str) -> Deferred[MxAnswer]:
        """MX records of C{domain}. A name that only the hosts file knows has none (NODATA), so that its addresses count."""
        if parseIp(domain) is not None:
            return succeed(MxAnswer(Lookup.NODATA))
        try:
            wire = toWire(domain)
        except BadName as error:
            return succeed(MxAnswer(Lookup.NXDOMAIN, error=str(error)))
        if isLocalhost(wire):
            return succeed(MxAnswer(Lookup.NODATA))
        return self._records(wire, dns.MX).addCallback(self._readMx, wire)

    def addresses(self, host: str, family: str = "") -> Deferred[AddressAnswer]:
        """
        @param family: C{"inet4"}, C{"inet6"}, or empty for both: then IPv6 addresses come first.
        """
        return self._addresses(host, family, "")

    def _addresses(self, host: str, family: str, origin: str) -> Deferred[AddressAnswer]:
        types = _TYPES[family]
        literal = parseIp(host)
        if literal is not None:
            return succeed(_fixed((str(literal),), family, host))
        try:
            wire = toWire(host)
        except BadName as error:
            return succeed(AddressAnswer(Lookup.NXDOMAIN, error=str(error)))
        name = wire.decode("ascii")
        listed = self._hosts.get(name) or (_LOCALHOST if isLocalhost(wire) else None)
        if listed is not None:
            return succeed(_fixed(listed, family, name))
        if len(types) == 1:
            return self._records(wire, types[0], origin).addCallback(lambda records: self._readAddresses([records]))
        first, second = [self._records(wire, type, origin) for type in types]
        # Neither can fail; both are under way.
        return first.addCallback(lambda one: second.addCallback(lambda other: self._readAddresses([one, other])))

    def tlsa(self, host: str, port: int) -> Deferred[TlsaAnswer]:
        """See L{IResolver.tlsa}. A record that cannot be read is counted."""
        try:
            wire = toWire(f"_{port}._tcp.{host}")
        except BadName as error:
            return succeed(TlsaAnswer(Lookup.NXDOMAIN, error=str(error)))
        return self._records(wire, TLSA).addCallback(self._readTlsa)

    def text(self, name: str) -> Deferred[TextAnswer]:
        """See L{IResolver.text}."""
        try:
            wire = toWire(name)
        except BadName as error:
            return succeed(TextAnswer(Lookup.NXDOMAIN, error=str(error)))
        return self._records(wire, dns.TXT).addCallback(self._readTexts)

    def ptr(self, address: str) -> Deferred[Sequence[str]]:
        """Names of C{address} that may be used as host names, at most 8."""
        parsed = parseIp(address)
        if parsed is None:
            return succeed(())
        return self._records(reverseName(parsed), dns.PTR, _networkOf(parsed)).addCallback(_ptrNames)

    def confirmedName(self, address: str) -> Deferred[str]:
        """The first of the PTR names, as they come, that has C{address} itself.

        Anybody who connects makes us ask this, of servers of his own: so it has its own places and less time. What fails for want of them
        is not held against the names when they are asked about for our own mail.
        """
        parsed = parseIp(address)
        if parsed is None:
            return succeed("")
        return self.ptr(address).addCallback(self._confirm, parsed)

    # --- beyond the interface

    def flush(self) -> None:
        """Forget everything that was learned."""
        self._cache.clear()

    def close(self) -> Deferred[None]:
        """Give up what is being asked (it fails), and close all sockets. The resolver is of no use any more."""
        return self._stub.close()

    # --- inside

    def _records(self, name: bytes, type: int, origin: str = "") -> Deferred[Records]:
        """
        @param origin: see L{Stub.ask}.
        """
        known = self._cache.get(name, type)
        if known is None and origin:
            known = self._cache.get(name, type | _FOR_PEER)
        if known is not None:
            packed, until = known
            return succeed(Records.unpack(packed, name, until))
        return self._merge.ask((name, type, bool(origin)), lambda: self._learn(name, type, origin))

    def _learn(self, name: bytes, type: int, origin: str) -> Deferred[Records]:
        deadline = self._clock.seconds() + (PEER_PATIENCE if origin else PATIENCE)
        return self._follow(Chain(name), type, deadline, origin).addCallback(self._keep, name, type, bool(origin))

    def _follow(self, chain: Chain, type: int, deadline: float, origin: str) -> Deferred[Records]:
        """The chain's length is bounded by what it remembers; all of it by the deadline."""
        asking = self._stub.ask(chain.name, type, deadline, origin)
        return asking.addCallback(self._take, chain, type, deadline, origin)

    def _take(
        self, reply: dns.Message | Unanswered, chain: Chain, type: int, deadline: float, origin: str
    ) -> Records | Deferred[Records]:
        if isinstance(reply, Unanswered):
            return failure(chain.name, reply.reason)
        result = read(reply, type, chain)
        return result if isinstance(result, Records) else self._follow(result, type, deadline, origin)

    def _keep(self, records: Records, name: bytes, type: int, isForPeer: bool) -> Records:
        isFailure = records.status is Lookup.FAILED
        ttl = FAILURE_TTL if isFailure else records.ttl
        records = replace(records, until=self._clock.seconds() + ttl)
        self._cache.put(name, type | _FOR_PEER if isForPeer and isFailure else type, records.pack(name), ttl)
        return records

    def _readMx(self, records: Records, name: bytes) -> MxAnswer:
        secure = records.secure and self._trustAD
        if records.status is not Lookup.FOUND:
            if records.status is Lookup.NXDOMAIN and name.decode("ascii") in self._hosts:
                return MxAnswer(Lookup.NODATA)
            return MxAnswer(records.status, secure=secure, error=records.error, until=records.until)
        hosts = []
        for preference, host in cast("tuple[tuple[int, bytes], ...]", records.records):
            try:
                hosts.append((preference, fromWire(host)))
            except BadName:
                continue
        hosts = sorted(dict.fromkeys(hosts))
        # RFC 7505 3: a null MX stands alone; beside real hosts it means nothing.
        named = [MxHost(preference, host) for preference, host in hosts if host]
        if named:
            canonical = _text(records.canonical) if records.canonical != name else ""
            return MxAnswer(Lookup.FOUND, tuple(named[:MOST_MX]), secure, "", canonical, records.until)
        if hosts:
            return MxAnswer(Lookup.FOUND, (MxHost(hosts[0][0], ""),), secure, until=records.until)
        return MxAnswer(Lookup.FAILED, error=f"{name.decode('ascii')}: its MX records hold no host name")

    def _readTlsa(self, answer: Records) -> TlsaAnswer:
        found = []
        for data in cast("tuple[bytes, ...]", answer.records[:MOST_TLSA]):
            if len(data) > 3:
                found.append(Tlsa(data[0], data[1], data[2], data[3:]))
        malformed = len(answer.records) - len(found)
        secure = answer.secure and self._trustAD
        return TlsaAnswer(answer.status, tuple(found), secure, answer.error, malformed, answer.until)

    def _readTexts(self, answer: Records) -> TextAnswer:
        texts = tuple(
            text.decode("ascii", "replace") for text in cast("tuple[bytes, ...]", answer.records[:MOST_TEXTS])
        )
        return TextAnswer(answer.status, texts, answer.secure and self._trustAD, answer.error)

    def _confirm(self, names: Sequence[str], address: IPv4Address | IPv6Address) -> str | Deferred[str]:
        if not names:
            return ""
        family = f"inet{6 if address.version == 6 else 4}"
        sought = str(address)
        origin = _networkOf(address)

        def choose(answers: list[AddressAnswer]) -> str:
            for name, answer in zip(names, answers, strict=True):
                if sought in answer.addresses:
                    return name
            return ""

        return gatherResults([self._addresses(name, family, origin) for name in names]).addCallback(choose)

    def _readAddresses(self, answers: list[Records]) -> AddressAnswer:
        found = [answer for answer in answers if answer.status is Lookup.FOUND]
        addresses = [
            text
            for answer in found
            for octets in cast("tuple[bytes, ...]", answer.records)
            if (text := _textual(octets))
        ]
        until = min(answer.until for answer in answers)
        if addresses:
            secure = self._trustAD and all(answer.secure for answer in found)
            return AddressAnswer(
                Lookup.FOUND,
                tuple(dict.fromkeys(addresses))[:MOST_ADDRESSES],
                secure,
                _text(found[0].canonical),
                until=until,
            )
        # What is not known for sure is a failure: another try may find addresses.
        for status in (Lookup.FAILED, Lookup.NXDOMAIN):
            for answer in answers:
                if answer.status is status:
                    return AddressAnswer(status, secure=answer.secure and self._trustAD, error=answer.error)
        return AddressAnswer(Lookup.NODATA, secure=self._trustAD and all(answer.secure for answer in answers))


def _text(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")


def _fixed(addresses: Sequence[str], family: str, name: str) -> AddressAnswer:
    """An answer that needs no DNS."""
    fitting = tuple(address for address in addresses if family in ("", "inet6" if ":" in address else "inet4"))
    return AddressAnswer(Lookup.FOUND if fitting else Lookup.NODATA, fitting, canonical=name if fitting else "")


def _textual(octets: bytes) -> str:
    """An address, or nothing for an IPv4 address in the clothes of IPv6: those have no business in DNS (RFC 4038 4.2)."""
    if len(octets) == 4:
        return str(IPv4Address(octets))
    address = IPv6Address(octets)
    return "" if address.ipv4_mapped is not None else str(address)


def _networkOf(address: IPv4Address | IPv6Address) -> str:
    """What usually belongs to one owner: 24 bits of an IPv4 address, 48 of an IPv6 one."""
    return address.packed[: 3 if address.version == 4 else 6].hex()


def _ptrNames(records: Records) -> Sequence[str]:
    names = []
    for name in cast("tuple[bytes, ...]", records.records[:MOST_NAMES]):
        try:
            names.append(fromWire(name))
        except BadName:
            continue
    return tuple(name for name in names if name)
