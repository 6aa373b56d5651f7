"""A network in memory with name servers that do what a test wants."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.names import dns
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform

Answer = dns.Message | bytes | None
Handler = Callable[[dns.Message], Answer | list[Answer]]


class FakePort:
    def __init__(self, network: FakeNetwork, protocol: Any, number: int, interface: str) -> None:
        self.network, self.protocol, self.number, self.interface = network, protocol, number, interface
        self.listening = True

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        self.network.sent(self, data, address)

    def stopListening(self) -> Deferred[None]:
        assert self.listening, "closed twice"
        self.listening = False
        return succeed(None)


class FakeNetwork:
    """
    @ivar servers: what answers at an address over UDP; an address without one is silent.
    @ivar streams: what answers over TCP; an address without one refuses.
    @ivar asked: addresses and questions, as they came in.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.servers: dict[tuple[str, int], Handler] = {}
        self.streams: dict[tuple[str, int], Handler] = {}
        self.asked: list[tuple[str, bytes, int]] = []
        self.messages: list[dns.Message] = []
        self.ports: list[FakePort] = []
        self.connectors: list[FakeConnector] = []
        self.latency = 0.01
        self.unreachable: set[str] = set()
        self.mayListen = True

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> FakePort:
        assert port == 0
        if not self.mayListen:
            raise OSError(24, "Too many open files")
        opened = FakePort(self, protocol, 40_000 + len(self.ports), interface)
        self.ports.append(opened)
        protocol.makeConnection(opened)
        return opened

    def sent(self, port: FakePort, data: bytes, address: tuple[str, int]) -> None:
        if address[0] in self.unreachable:
            raise OSError(101, "Network is unreachable")
        assert (":" in address[0]) == (port.interface == "::")
        message = dns.Message()
        message.fromStr(data)
        self.messages.append(message)
        self.asked.append((address[0], message.queries[0].name.name, message.queries[0].type))
        handler = self.servers.get(address)
        if handler is None:
            return
        answers = handler(message)
        for answer in answers if isinstance(answers, list) else [answers]:
            if answer is not None:
                self.deliver(port, answer, address)

    def deliver(self, port: FakePort, answer: dns.Message | bytes, address: tuple[str, int]) -> None:
        data = answer if isinstance(answer, bytes) else answer.toStr()

        def arrive() -> None:
            if port.listening:
                port.protocol.datagramReceived(data, address)

        self.clock.callLater(self.latency, arrive)

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        connector = FakeConnector(self, (host, port), factory, timeout)
        self.connectors.append(connector)
        return connector


class FakeConnector:
    def __init__(self, network: FakeNetwork, address: tuple[str, int], factory: Any, timeout: float) -> None:
        self.network, self.factory = network, factory
        self.handler = network.streams.get(address)
        self.transport: Any = None
        self.over = False
        self.call: IDelayedCall
        if address[0] in network.unreachable:
            self.call = network.clock.callLater(timeout, self.fail, TimeoutError())
        elif self.handler is None:
            self.call = network.clock.callLater(network.latency, self.fail, ConnectionRefusedError())
        else:
            self.call = network.clock.callLater(network.latency, self.connect)

    def fail(self, error: Exception) -> None:
        self.over = True
        self.factory.clientConnectionFailed(self, Failure(error))

    def connect(self) -> None:
        self.protocol = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.53", 53))
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        message = dns.Message()
        message.fromStr(self.transport.value()[2:])
        assert self.handler is not None
        answers = self.handler(message)
        for answer in answers if isinstance(answers, list) else [answers]:
            if answer is not None:
                message_ = answer if isinstance(answer, bytes) else answer.toStr()
                data = len(message_).to_bytes(2, "big") + message_
                # Cut in two: a stream keeps no borders.
                self.network.clock.callLater(self.network.latency, self.receive, data[:3])
                self.network.clock.callLater(self.network.latency, self.receive, data[3:])

    def receive(self, data: bytes) -> None:
        if not self.over:
            self.protocol.dataReceived(data)

    def hangUp(self) -> None:
        self.over = True
        self.factory.clientConnectionLost(self, Failure(ConnectionDone()))

    def disconnect(self) -> None:
        if self.over:
            return
        self.over = True
        if self.transport is None:
            self.call.cancel()
        self.network.clock.callLater(0, self.factory.clientConnectionLost, self, Failure(ConnectionDone()))


class FakePlatform:
    def __init__(self) -> None:
        self.clock = Clock()
        self.network = FakeNetwork(self.clock)
        self.random = Random(1)

    def secret(self, size: int) -> bytes:
        return self.random.randbytes(size)

    def platform(self) -> IPlatform:
        return cast(IPlatform, self)


def reply(query: dns.Message, *answers: dns.RRHeader, rcode: int = dns.OK, **flags: Any) -> dns.Message:
    """An answer to C{query}, as a recursive server gives it."""
    message = dns.Message(query.id, answer=1, recDes=1, recAv=1, rCode=rcode, maxSize=0)
    for name, value in flags.items():
        setattr(message, name, value)
    message.queries = list(query.queries)
    message.answers = list(answers)
    return message


def a(name: str, address: str, ttl: int = 300) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), dns.A, dns.IN, ttl, dns.Record_A(address))


def aaaa(name: str, address: str, ttl: int = 300) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), dns.AAAA, dns.IN, ttl, dns.Record_AAAA(address))


def mx(name: str, preference: int, host: str, ttl: int = 300) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), dns.MX, dns.IN, ttl, dns.Record_MX(preference, host.encode()))


def cname(name: str, target: str, ttl: int = 300) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), dns.CNAME, dns.IN, ttl, dns.Record_CNAME(target.encode()))


def ptr(name: str, host: str, ttl: int = 300) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), dns.PTR, dns.IN, ttl, dns.Record_PTR(host.encode()))


def soa(zone: str, minimum: int = 60, ttl: int = 3600) -> dns.RRHeader:
    payload = dns.Record_SOA(b"ns.example.org", b"hostmaster.example.org", 1, 2, 3, 4, minimum)
    return dns.RRHeader(zone.encode(), dns.SOA, dns.IN, ttl, payload)


class Zone:
    """Answers like a recursive server that knows some records, and says NXDOMAIN to names without any."""

    def __init__(self, *records: dns.RRHeader, authority: list[dns.RRHeader] | None = None, **flags: Any) -> None:
        self.records = records
        self.authority = authority if authority is not None else [soa("example.org")]
        self.flags = flags

    def __call__(self, query: dns.Message) -> dns.Message:
        name, type = query.queries[0].name.name.lower(), query.queries[0].type
        found: list[dns.RRHeader] = []
        known = False
        for _ in range(20):
            here = [record for record in self.records if record.name.name.lower() == name]
            known = bool(here)
            fitting = [record for record in here if record.type == type]
            aliases = [record for record in here if record.type == dns.CNAME]
            found += fitting or aliases
            if fitting or not aliases:
                break
            name = cast(Any, aliases[0].payload).name.name.lower()
        message = reply(query, *found, rcode=dns.OK if known else dns.ENAME, **self.flags)
        if not found or found[-1].type != type:
            message.authority = list(self.authority)
        return message
