"""The same over real sockets: one server on the loopback address, one question each way."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol, Factory, connectionDone
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pysmtpd.dns.resolver import Resolver
from pysmtpd.interfaces.platform import IPlatform, ResolverSettings
from pysmtpd.interfaces.routing import Lookup
from tests.dns.fakes import Handler, Zone, a, aaaa, mx, reply

reactor = cast(Any, _reactor)


class Udp(DatagramProtocol):
    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def datagramReceived(self, data: bytes, address: Any) -> None:
        query = dns.Message()
        query.fromStr(data)
        answer = self.handler(query)
        assert isinstance(answer, dns.Message)
        assert self.transport is not None
        self.transport.write(answer.toStr(), address)


class Tcp(Int16StringReceiver):
    def __init__(self, owner: TcpFactory) -> None:
        self.owner = owner

    def stringReceived(self, string: bytes) -> None:
        query = dns.Message()
        query.fromStr(string)
        answer = self.owner.handler(query)
        assert isinstance(answer, dns.Message)
        self.sendString(answer.toStr())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.owner.ended.callback(None)


class TcpFactory(Factory):
    noisy = False

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.ended: Deferred[None] = Deferred()

    def buildProtocol(self, address: Any) -> Tcp:
        return Tcp(self)


class LoopbackTests(TestCase):
    timeout = 10

    def serve(self, udp: Handler, tcp: Handler | None = None) -> Resolver:
        number = 0
        if tcp is not None:
            # Of the two kinds of port, those of TCP are the scarce ones on a busy machine.
            self.streams = TcpFactory(tcp)
            stream = reactor.listenTCP(0, self.streams, interface="127.0.0.1")
            self.addCleanup(stream.stopListening)
            number = stream.getHost().port
        datagrams = reactor.listenUDP(number, Udp(udp), "127.0.0.1")
        self.addCleanup(datagrams.stopListening)
        number = datagrams.getHost().port
        platform = SimpleNamespace(clock=reactor, network=reactor, secret=os.urandom)
        resolver = Resolver(cast(IPlatform, platform), ResolverSettings((("127.0.0.1", number),), trustAD=True))
        self.addCleanup(resolver.close)
        return resolver

    async def test_datagram(self) -> None:
        zone = Zone(mx("example.org", 5, "a.example.org"), a("a.example.org", "192.0.2.1"), authenticData=1)
        resolver = self.serve(zone)
        answer = await resolver.mx("example.org")
        self.assertEqual((answer.hosts[0].host, answer.secure), ("a.example.org", True))
        addresses = await resolver.addresses("a.example.org")
        self.assertEqual(addresses.addresses, ("192.0.2.1",))

    async def test_stream(self) -> None:
        resolver = self.serve(lambda q: reply(q, trunc=1), Zone(aaaa("a.example.org", "2001:db8::1")))
        answer = await resolver.addresses("a.example.org", "inet6")
        self.assertEqual((answer.status, answer.addresses), (Lookup.FOUND, ("2001:db8::1",)))
        await self.streams.ended
