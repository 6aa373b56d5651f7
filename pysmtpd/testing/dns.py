"""A name server that says what a test wrote."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.names import dns

from pysmtpd.model.tlsa import Tlsa
from pysmtpd.testing.internet import Internet, normal

ADDRESS = "192.0.2.53"
TTL = 300
OPT = 41
TLSA = 52

_RCODES = {"NOERROR": dns.OK, "SERVFAIL": dns.ESERVER, "NXDOMAIN": dns.ENAME, "REFUSED": dns.EREFUSED}


@dataclass(frozen=True, slots=True)
class Asked:
    """One question that arrived.

    @ivar at: virtual seconds.
    @ivar type: C{MX}, C{A}, ...
    """

    at: float
    name: str
    type: str


class ScriptedDns:
    """A name server on UDP and TCP. Names that were not written do not exist.

    @ivar queries: what was asked, in order.
    @ivar isSilent: answer nothing at all.
    """

    def __init__(self, internet: Internet, address: str = ADDRESS, port: int = 53) -> None:
        self.address = address
        self.port = port
        self.queries: list[Asked] = []
        self.isSilent = False
        self.network = internet.host(address)
        self._clock = internet.clock
        self._records: dict[str, dict[int, list[Any]]] = {}
        self._errors: dict[str, str] = {}
        self._silent: dict[str, bool] = {}
        self._delays: dict[str, float] = {}
        self._secure: dict[str, bool] = {}
        self._udp = _Datagrams(self)
        self.network.listenUDP(port, self._udp, interface=address)
        self.network.listenTCP(port, _Streams(self), interface=address)

    # --- what tests write

    def mx(self, domain: str, *hosts: str | tuple[int, str]) -> None:
        """MX records; a host without a preference gets 10, 20 and so on. C{(0, "")} is the null MX (RFC 7505)."""
        records = [
            dns.Record_MX(host[0], host[1], TTL)
            if isinstance(host, tuple)
            else dns.Record_MX(10 * (number + 1), host, TTL)
            for number, host in enumerate(hosts)
        ]
        self._of(domain)[dns.MX] = records

    def addresses(self, name: str, *addresses: str) -> None:
        """A and AAAA records."""
        found = self._of(name)
        found[dns.A] = [dns.Record_A(text, TTL) for text in addresses if ":" not in text]
        found[dns.AAAA] = [dns.Record_AAAA(text, TTL) for text in addresses if ":" in text]

    def ptr(self, address: str, *names: str) -> None:
        self._of(ipaddress.ip_address(normal(address)).reverse_pointer)[dns.PTR] = [
            dns.Record_PTR(name, TTL) for name in names
        ]

    def text(self, name: str, *texts: str) -> None:
        """TXT records."""
        self._of(name)[dns.TXT] = [dns.Record_TXT(text.encode(), ttl=TTL) for text in texts]

    def tlsa(self, host: str, *records: Tlsa, port: int = 25) -> None:
        """TLSA records."""
        payloads: list[Any] = [dns.UnknownRecord(bytes(record[:3]) + record.data, TTL) for record in records]
        for payload in payloads:
            payload.TYPE = TLSA
        self._of(f"_{port}._tcp.{host}")[TLSA] = payloads

    def alias(self, name: str, target: str) -> None:
        """A CNAME record."""
        self._of(name)[dns.CNAME] = [dns.Record_CNAME(target, TTL)]

    def remove(self, name: str) -> None:
        """The name does not exist any more."""
        self._records.pop(self._key(name), None)

    def fail(self, name: str, code: str = "SERVFAIL") -> None:
        """Questions for the name are answered so; C{NOERROR} ends that."""
        self._errors[self._key(name)] = code

    def silence(self, name: str, isSilent: bool = True) -> None:
        """Questions for the name get no answer."""
        self._silent[self._key(name)] = isSilent

    def delay(self, name: str, seconds: float) -> None:
        """Answers for the name take so much longer."""
        self._delays[self._key(name)] = seconds

    def secure(self, name: str, isSecure: bool = True) -> None:
        """Answers for the name carry the AD bit: they were validated."""
        self._secure[self._key(name)] = isSecure

    @staticmethod
    def _key(name: str) -> str:
        return name.rstrip(".").lower()

    def _of(self, name: str) -> dict[int, list[Any]]:
        return self._records.setdefault(self._key(name), {})

    # --- how it answers

    def ask(self, packet: bytes, limit: int, reply: Any) -> None:
        """
        @param limit: octets that the answer may have; 0: any.
        @param reply: called with the answer, if there is one.
        """
        query = dns.Message()
        query.fromStr(packet)
        if not query.queries:
            return
        question = query.queries[0]
        name = self._key(question.name.name.decode("ascii", "replace"))
        kind = dns.QUERY_TYPES.get(question.type, str(question.type))
        self.queries.append(Asked(self._clock.seconds(), name, kind))
        if self.isSilent or self._silent.get(name):
            return
        options = [item for item in query.additional if item.type == OPT]
        if options and limit:
            limit = max(limit, options[0].cls)
        answer = self._answer(query, question, name)
        if options:
            answer.additional.append(dns.RRHeader(b"", OPT, cls=1232, ttl=0, payload=dns.UnknownRecord(b"")))
        data = answer.toStr()
        if limit and len(data) > limit:
            answer.trunc = 1
            answer.answers, answer.authority = [], []
            data = answer.toStr()
        self._clock.callLater(self._delays.get(name, 0.0), reply, data)

    def _answer(self, query: dns.Message, question: Any, name: str) -> dns.Message:
        answer = dns.Message(id=query.id, answer=1, recDes=query.recDes, recAv=1, maxSize=0)
        answer.queries = [question]
        isSecure = self._secure.get(name, False)
        owner = question.name.name
        for _ in range(16):
            key = self._key(owner.decode("ascii", "replace"))
            error = self._errors.get(key, "NOERROR")
            if error != "NOERROR":
                answer.rCode = _RCODES[error]
                answer.answers = []
                break
            found = self._records.get(key)
            if found is None:
                answer.rCode = dns.ENAME
                break
            isSecure = isSecure and self._secure.get(key, False)
            records = found.get(question.type, [])
            aliases = found.get(dns.CNAME, [])
            if records or not aliases:
                answer.answers += [self._header(owner, record) for record in records]
                break
            answer.answers.append(self._header(owner, aliases[0]))
            owner = aliases[0].name.name
        if not answer.answers and answer.rCode in (dns.OK, dns.ENAME):
            # For negative caching (RFC 2308).
            zone = dns.Record_SOA("ns.test", "hostmaster.test", 1, 3600, 600, 86_400, 60, ttl=60)
            answer.authority = [dns.RRHeader(b"test", dns.SOA, ttl=60, payload=zone)]
        answer.authenticData = int(isSecure and answer.rCode in (dns.OK, dns.ENAME))
        return answer

    @staticmethod
    def _header(owner: bytes, record: Any) -> dns.RRHeader:
        return dns.RRHeader(owner, record.TYPE, ttl=record.ttl, payload=record)


class _Datagrams(DatagramProtocol):
    noisy = False

    def __init__(self, server: ScriptedDns) -> None:
        self._server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        def reply(data: bytes) -> None:
            if self.transport is not None:
                self.transport.write(data, addr)

        self._server.ask(datagram, 512, reply)


class _Stream(Protocol):
    def __init__(self, server: ScriptedDns) -> None:
        self._server = server
        self._buffer = b""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2:
            (size,) = struct.unpack("!H", self._buffer[:2])
            if len(self._buffer) < size + 2:
                return
            packet, self._buffer = self._buffer[2 : size + 2], self._buffer[size + 2 :]
            self._server.ask(packet, 0, self._reply)

    def _reply(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(struct.pack("!H", len(data)) + data)


class _Streams(Factory):
    noisy = False

    def __init__(self, server: ScriptedDns) -> None:
        self._server = server

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Stream(self._server)
