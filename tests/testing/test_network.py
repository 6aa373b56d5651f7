"""One suite for the loopback of a real reactor and for the network in memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import (
    CannotListenError,
    ConnectBindError,
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    UserError,
)
from twisted.internet.interfaces import ISSLTransport, ITCPTransport
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from pysmtpd.testing.certificates import serverOptions
from pysmtpd.testing.internet import Internet
from tests.testing.recording import Asker, Client, Echo, HalfCloseable, Producer, PullProducer, Recorder, Server

if TYPE_CHECKING:
    _Case = TestCase
else:
    _Case = object

BIG = bytes(range(256)) * 8192  # 2 MiB

Self = TypeVar("Self", bound="NetworkContract")


def played(test: Callable[[Self], Coroutine[Any, Any, None]]) -> Callable[[Self], Deferred[None]]:
    @wraps(test)
    def run(self: Self) -> Deferred[None]:
        return self.finish(Deferred.fromCoroutine(test(self)))

    return run


class NetworkContract(_Case):
    """A subclass makes the networks of two ends, and says how a Deferred is waited for."""

    # Typed as any: Twisted's own interfaces of factories and ports are wider than what they say.
    near: Any
    far: Any
    address: str

    def finish(self, result: Deferred[None]) -> Deferred[None]:
        raise NotImplementedError

    def listen(self, server: Server, port: int = 0) -> int:
        listening = self.far.listenTCP(port, server, interface=self.address)
        self.addCleanup(listening.stopListening)
        return int(listening.getHost().port)

    async def pair(self, server: Server | None = None, client: Recorder | None = None) -> tuple[Recorder, Recorder]:
        """A client and a server that are connected."""
        server = server or Server()
        protocol = client or Recorder()
        port = self.listen(server)
        self.near.connectTCP(self.address, port, Client(protocol))
        await protocol.made
        accepted = await server.accepted
        # Both ends are closed when the test ends, whoever closes first.
        self.addCleanup(lambda: gatherResults([self.ended(protocol), self.ended(accepted)]))
        return protocol, accepted

    def ended(self, protocol: Recorder) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        if protocol.lost.called:
            done.callback(None)
        else:
            protocol.lost.addCallback(lambda reason: done.callback(None))
            protocol.transport.abortConnection()
        return self.finish(done)

    @played
    async def test_bothWays(self) -> None:
        client, server = await self.pair()
        verifyObject(ITCPTransport, client.transport)
        client.transport.setTcpNoDelay(True)
        client.transport.write(b"to ")
        client.transport.writeSequence([b"the ", b"server"])
        server.transport.write(b"to the client")
        self.assertEqual(await server.got(13), b"to the server")
        self.assertEqual(await client.got(13), b"to the client")
        self.assertEqual(client.transport.getPeer(), server.transport.getHost())
        self.assertEqual(client.transport.getHost(), server.transport.getPeer())
        self.assertEqual(client.transport.getPeer().host, self.address)

    @played
    async def test_muchData(self) -> None:
        client, server = await self.pair()
        client.transport.write(BIG)
        client.transport.write(b"end")
        self.assertEqual(await server.got(len(BIG) + 3), BIG + b"end")

    @played
    async def test_loseConnectionSendsWhatWasWritten(self) -> None:
        client, server = await self.pair()
        client.transport.write(BIG)
        client.transport.loseConnection()
        self.assertFalse(client.lost.called)
        self.assertIsInstance(await server.lost, ConnectionDone)
        self.assertIsInstance(await client.lost, ConnectionDone)
        self.assertEqual(server.data, BIG)

    @played
    async def test_abort(self) -> None:
        client, server = await self.pair()
        client.transport.abortConnection()
        self.assertFalse(client.lost.called)
        self.assertIsInstance(await client.lost, ConnectionAborted)
        self.assertIsInstance(await server.lost, ConnectionLost)

    @played
    async def test_writingAfterTheEndIsNothing(self) -> None:
        client, server = await self.pair()
        client.transport.loseConnection()
        await client.lost
        client.transport.write(b"late")
        client.transport.loseConnection()
        await server.lost
        self.assertEqual(server.data, b"")

    @played
    async def test_pausing(self) -> None:
        client, server = await self.pair()
        server.transport.pauseProducing()
        client.transport.write(b"hello")
        # The other direction works meanwhile.
        server.transport.write(b"x")
        await client.got(1)
        self.assertEqual(server.data, b"")
        server.transport.resumeProducing()
        self.assertEqual(await server.got(5), b"hello")

    @played
    async def test_backPressureReachesTheProducer(self) -> None:
        client, server = await self.pair()
        server.transport.pauseProducing()
        producer = Producer(client.transport)
        client.transport.registerProducer(producer, True)
        producer.go()
        await producer.paused
        sent = producer.sent
        self.assertLess(sent, 32 << 20)
        self.assertFalse(producer.resumed.called)
        server.transport.resumeProducing()
        await producer.resumed
        client.transport.unregisterProducer()
        await server.got(sent)

    @played
    async def test_aPullProducer(self) -> None:
        client, server = await self.pair()
        producer = PullProducer(client.transport, 5)
        client.transport.registerProducer(producer, False)
        self.assertEqual(await server.got(500), b"x" * 500)

    @played
    async def test_theProducerHearsOfTheEnd(self) -> None:
        client, server = await self.pair()
        producer = Producer(client.transport)
        client.transport.registerProducer(producer, True)
        server.transport.abortConnection()
        await client.lost
        self.assertTrue(producer.stopped)

    @played
    async def test_refused(self) -> None:
        server = Server()
        listening = self.far.listenTCP(0, server, interface=self.address)
        port = listening.getHost().port
        await listening.stopListening()
        client = Client(Recorder())
        self.near.connectTCP(self.address, port, client)
        self.assertIsInstance(await client.failed, ConnectionRefusedError)

    @played
    async def test_stopConnecting(self) -> None:
        port = self.listen(Server())
        client = Client(Recorder())
        self.near.connectTCP(self.address, port, client).stopConnecting()
        self.assertIsInstance(await client.failed, UserError)

    @played
    async def test_aServerThatWantsNobody(self) -> None:
        port = self.listen(Server(lambda: None))
        client = Client(Recorder())
        self.near.connectTCP(self.address, port, client)
        await client.protocol_.lost
        self.assertEqual(client.protocol_.data, b"")

    @played
    async def test_halfClose(self) -> None:
        client, server = await self.pair(Server(HalfCloseable))
        assert isinstance(server, HalfCloseable)
        client.transport.write(b"question")
        client.transport.loseWriteConnection()
        await server.readEnded
        self.assertEqual(server.data, b"question")
        server.transport.write(b"answer")
        server.transport.loseConnection()
        await client.lost
        self.assertEqual(client.data, b"answer")

    @played
    async def test_onePortOneListener(self) -> None:
        port = self.listen(Server())
        self.assertRaises(CannotListenError, self.far.listenTCP, port, Server(), interface=self.address)
        self.assertRaises(CannotListenError, self.far.listenTCP, 0, Server(), interface="192.0.2.250")

    @played
    async def test_aSourceThatIsNotOurs(self) -> None:
        port = self.listen(Server())
        client = Client(Recorder())
        self.near.connectTCP(self.address, port, client, bindAddress=("192.0.2.250", 0))
        self.assertIsInstance(await client.failed, ConnectBindError | ConnectError)

    @played
    async def test_aProtocolThatRaisesLosesItsConnection(self) -> None:
        client, server = await self.pair()
        server.dataReceived = lambda data: 1 // 0  # type: ignore[method-assign,assignment]
        client.transport.write(b"x")
        self.assertIsInstance(await server.lost, ZeroDivisionError)
        await client.lost
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @played
    async def test_startTls(self) -> None:
        client, server = await self.pair()
        server.transport.write(b"ready")
        await client.got(5)
        server.transport.startTLS(serverOptions("mx.test"))
        client.transport.startTLS(CertificateOptions(verify=False))
        client.transport.write(b"secret")
        self.assertEqual(await server.got(6), b"secret")
        server.transport.write(BIG)
        self.assertEqual((await client.got(len(BIG) + 5))[5:], BIG)
        self.assertTrue(ISSLTransport.providedBy(client.transport))
        certificate = client.transport.getPeerCertificate()
        self.assertEqual(certificate.get_subject().CN, "mx.test")
        self.assertIn("TLS", server.transport.getHandle().get_protocol_version_name())
        client.transport.loseConnection()
        await client.lost
        await server.lost

    @played
    async def test_unix(self) -> None:
        server = Server()
        # Short, as such paths have to be.
        path = self.socketPath()
        listening = self.far.listenUNIX(path, server, mode=0o600)
        self.addCleanup(listening.stopListening)
        client = Client(Recorder())
        self.near.connectUNIX(path, client)
        await client.protocol_.made
        client.protocol_.transport.write(b"hello")
        accepted = await server.accepted
        self.assertEqual(await accepted.got(5), b"hello")
        client.protocol_.transport.loseConnection()
        await accepted.lost
        await client.protocol_.lost

    @played
    async def test_datagrams(self) -> None:
        echo, asker = Echo(), Asker()
        listening = self.far.listenUDP(0, echo, interface=self.address)
        asking = self.near.listenUDP(0, asker, interface=self.nearAddress())
        self.addCleanup(listening.stopListening)
        self.addCleanup(asking.stopListening)
        asker.transport.write(b"hello", (self.address, listening.getHost().port))
        data, sender = await asker.answer
        self.assertEqual(data, b"echo hello")
        self.assertEqual(sender, (self.address, listening.getHost().port))

    def nearAddress(self) -> str:
        raise NotImplementedError

    def socketPath(self) -> str:
        raise NotImplementedError


class LoopbackTests(NetworkContract, TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.near = self.far = reactor
        self.address = "127.0.0.1"

    def finish(self, result: Deferred[None]) -> Deferred[None]:
        return result

    def nearAddress(self) -> str:
        return "127.0.0.1"

    def socketPath(self) -> str:
        return f"\0{self.id()}"


class InMemoryTests(NetworkContract, TestCase):
    def setUp(self) -> None:
        self.internet = Internet(seed=self.id())
        self.near = self.internet.host("192.0.2.1", "2001:db8::1")
        self.far = self.internet.host("203.0.113.1")
        self.address = "203.0.113.1"

    def finish(self, result: Deferred[None]) -> Deferred[None]:
        self.internet.clock.timeline.run(600, lambda: result.called)
        self.assertTrue(result.called, "nothing came of it")
        return result

    def nearAddress(self) -> str:
        return "192.0.2.1"

    def socketPath(self) -> str:
        # One host has it; the contract calls the listener's side far.
        self.near = self.far
        return "/run/test.sock"
