"""One suite for the loopback of a real reactor and for the network in memory; then what only the simulated one can."""

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
    DNSLookupError,
    NoRouteError,
    TimeoutError,
    UserError,
)
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport, ITCPTransport
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.platform import INetwork
from pysmtpd.testing.certificates import serverOptions
from pysmtpd.testing.internet import Condition, Internet
from pysmtpd.testing.network import SimulatedNetwork

if TYPE_CHECKING:
    _Case = TestCase
else:
    _Case = object

BIG = bytes(range(256)) * 8192  # 2 MiB

Self = TypeVar("Self", bound="NetworkContract")


class Recorder(Protocol):
    """Keeps what happens."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.made: Deferred[Recorder] = Deferred()
        self.lost: Deferred[Any] = Deferred()
        self._wanted: list[tuple[int, Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        waiting, self._wanted = self._wanted, []
        for size, got in waiting:
            if len(self.data) >= size:
                got.callback(self.data)
            else:
                self._wanted.append((size, got))

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(reason.value)

    def got(self, size: int) -> Deferred[bytes]:
        """Fires when so many octets are here."""
        done: Deferred[bytes] = Deferred()
        self._wanted.append((size, done))
        self.dataReceived(b"")
        return done


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.readEnded: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        self.readEnded.callback(None)

    def writeConnectionLost(self) -> None:
        """Nothing to do."""


class Server(Factory):
    noisy = False

    def __init__(self, make: Callable[[], Recorder | None] = Recorder) -> None:
        self._make = make
        self.protocols: list[Recorder] = []
        self.accepted: Deferred[Recorder] = Deferred()

    def buildProtocol(self, addr: Any) -> Any:
        protocol = self._make()
        if protocol is not None:
            self.protocols.append(protocol)
            if not self.accepted.called:
                protocol.made.addCallback(self._accepted)
        return protocol

    def _accepted(self, protocol: Recorder) -> Recorder:
        self.accepted.callback(protocol)
        return protocol


class Client(ClientFactory):
    noisy = False

    def __init__(self, protocol: Recorder) -> None:
        self.protocol_ = protocol
        self.failed: Deferred[Any] = Deferred()

    def buildProtocol(self, addr: Any) -> Any:
        return self.protocol_

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.failed.callback(reason.value)


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


class Producer:
    """Writes until it is told to pause."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._running = True
        self.sent = 0
        self.stopped = False
        self.paused: Deferred[None] = Deferred()
        self.resumed: Deferred[None] = Deferred()

    def go(self) -> None:
        while self._running and self.sent < 64 << 20:
            self.sent += 65_536
            self._transport.write(b"x" * 65_536)

    def pauseProducing(self) -> None:
        self._running = False
        if not self.paused.called:
            self.paused.callback(None)

    def resumeProducing(self) -> None:
        if not self.resumed.called:
            self.resumed.callback(None)

    def stopProducing(self) -> None:
        self.stopped = True


class PullProducer:
    def __init__(self, transport: Any, pieces: int) -> None:
        self._transport = transport
        self._left = pieces

    def resumeProducing(self) -> None:
        self._left -= 1
        self._transport.write(b"x" * 100)
        if not self._left:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """Nothing to do."""


class Echo(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        self.transport.write(b"echo " + datagram, addr)


class Asker(DatagramProtocol):
    transport: Any

    def __init__(self) -> None:
        self.answer: Deferred[tuple[bytes, Any]] = Deferred()
        self.refused: list[bool] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.answer.callback((datagram, addr))

    def connectionRefused(self) -> None:
        self.refused.append(True)


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


class WeatherTests(SynchronousTestCase):
    """What only the simulated network can."""

    def setUp(self) -> None:
        self.internet = Internet(seed=1)
        self.near = self.internet.host("192.0.2.1", "192.0.2.2", "2001:db8::1")
        self.far = self.internet.host("203.0.113.1", "2001:db8::25")
        self.server = Server()
        self.port = self.far.listenTCP(25, self.server)

    def connect(self, address: str = "203.0.113.1", network: SimulatedNetwork | None = None, **more: Any) -> Client:
        client = Client(Recorder())
        (network or self.near).connectTCP(address, 25, client, **more)
        return client

    def run_(self, seconds: float = 60.0) -> None:
        self.internet.clock.advance(seconds)

    def failure(self, client: Client) -> object:
        return self.successResultOf(client.failed)

    def test_interface(self) -> None:
        verifyObject(INetwork, self.near)

    def test_nobodyThere(self) -> None:
        client = self.connect("203.0.113.99", timeout=30)
        self.run_(29.9)
        self.assertFalse(client.failed.called)
        self.run_(0.2)
        self.assertIsInstance(self.failure(client), TimeoutError)

    def test_conditions(self) -> None:
        for condition, error in (
            (Condition.REFUSING, ConnectionRefusedError),
            (Condition.UNREACHABLE, NoRouteError),
            (Condition.SILENT, TimeoutError),
        ):
            self.internet.set("203.0.113.1", condition)
            client = self.connect()
            self.run_()
            self.assertIsInstance(self.failure(client), error)
        self.internet.set("203.0.113.1", Condition.NORMAL)
        client = self.connect()
        self.run_()
        self.successResultOf(client.protocol_.made)

    def test_silenceInTheMiddle(self) -> None:
        client = self.connect()
        self.run_(1)
        self.internet.set("203.0.113.1", Condition.SILENT)
        client.protocol_.transport.write(b"anybody?")
        self.server.protocols[0].transport.write(b"yes")
        self.run_()
        self.assertEqual((client.protocol_.data, self.server.protocols[0].data), (b"", b""))
        self.assertFalse(client.protocol_.lost.called)

    def test_resetInTheMiddle(self) -> None:
        client = self.connect()
        self.run_(1)
        self.assertEqual(self.internet.reset("203.0.113.1"), 1)
        self.assertIsInstance(self.successResultOf(client.protocol_.lost), ConnectionLost)
        self.assertIsInstance(self.successResultOf(self.server.protocols[0].lost), ConnectionLost)

    def test_resetsByChance(self) -> None:
        self.internet.resets = 0.05
        clients = [self.connect() for _ in range(20)]
        self.run_(1)
        for client in clients:
            for _ in range(5):
                client.protocol_.transport.write(b"x")
                self.run_(1)
        broken = sum(client.protocol_.lost.called for client in clients)
        self.assertTrue(0 < broken < 20, broken)

    def test_distance(self) -> None:
        self.internet.distance("192.0.2.1", "203.0.113.1", 1.0)
        client = self.connect()
        self.run_(1.9)
        self.assertFalse(client.protocol_.made.called)
        self.run_(0.2)
        self.assertTrue(client.protocol_.made.called)

    def test_sources(self) -> None:
        self.connect(bindAddress=("192.0.2.2", 0))
        self.connect("2001:db8::25")
        self.connect("2001:DB8:0::25")
        self.run_()
        self.assertEqual(
            [protocol.transport.getPeer().host for protocol in self.server.protocols],
            ["192.0.2.2", "2001:db8::1", "2001:db8::1"],
        )

    def test_noAddressOfThatFamily(self) -> None:
        client = self.connect("2001:db8::25", self.internet.host("198.51.100.1"))
        self.run_()
        self.failure(client)

    def test_namesAreNotResolvedHere(self) -> None:
        client = self.connect("mx.example.org")
        self.run_()
        self.assertIsInstance(self.failure(client), DNSLookupError)

    def test_loopbackStaysInside(self) -> None:
        own = Server()
        self.near.listenTCP(25, own, interface="127.0.0.1")
        inside = self.connect("127.0.0.1")
        outside = self.connect("192.0.2.1", self.far)
        self.run_()
        self.assertEqual(len(own.protocols), 1)
        self.successResultOf(inside.protocol_.made)
        self.assertIsInstance(self.failure(outside), ConnectionRefusedError)

    def test_aPausedPortKeepsThemWaiting(self) -> None:
        self.port.pauseProducing()  # type: ignore[attr-defined]
        client = self.connect()
        self.run_(1)
        self.assertTrue(client.protocol_.made.called)
        self.assertEqual(self.server.protocols, [])
        client.protocol_.transport.write(b"hello?")
        self.run_(1)
        self.port.resumeProducing()  # type: ignore[attr-defined]
        self.run_(1)
        self.assertEqual(self.server.protocols[0].data, b"hello?")

    def test_closingWithUnreadDataResets(self) -> None:
        client = self.connect()
        self.run_(1)
        self.server.protocols[0].transport.pauseProducing()
        client.protocol_.transport.write(b"QUIT")
        self.run_(1)
        self.server.protocols[0].transport.loseConnection()
        self.run_(1)
        self.assertIsInstance(self.successResultOf(client.protocol_.lost), ConnectionLost)

    def test_aKilledProcessResetsAndHearsNothing(self) -> None:
        client = self.connect()
        self.run_(1)
        self.far.crash()
        self.run_(1)
        self.assertIsInstance(self.successResultOf(client.protocol_.lost), ConnectionLost)
        self.assertFalse(self.server.protocols[0].lost.called)

    def test_aDeadMachineIsSilent(self) -> None:
        client = self.connect()
        self.run_(1)
        self.far.crash(isSilent=True)
        client.protocol_.transport.write(b"anybody?")
        self.run_(1)
        self.assertFalse(client.protocol_.lost.called)
        self.internet.host("203.0.113.1").listenTCP(25, Server())
        again = self.connect()
        self.run_(1)
        self.assertTrue(again.protocol_.made.called)

    def test_datagramsToNobody(self) -> None:
        asker = Asker()
        self.near.listenUDP(0, asker)
        asker.transport.connect("203.0.113.1", 53)
        asker.transport.write(b"x")
        self.run_()
        self.assertEqual(asker.refused, [True])

    def test_lostDatagrams(self) -> None:
        self.internet.losses = 1.0
        echo, asker = Echo(), Asker()
        self.far.listenUDP(53, echo)
        self.near.listenUDP(0, asker)
        asker.transport.write(b"x", ("203.0.113.1", 53))
        self.run_()
        self.assertFalse(asker.answer.called)

    def test_piecesAndTimesComeFromTheSeed(self) -> None:
        def scene(seed: int) -> list[tuple[float, int]]:
            internet = Internet(seed=seed)
            seen: list[tuple[float, int]] = []

            class Noting(Recorder):
                def dataReceived(self, data: bytes) -> None:
                    seen.append((internet.clock.seconds(), len(data)))

            internet.host("203.0.113.1").listenTCP(25, Server(Noting))
            client = Client(Recorder())
            internet.host("192.0.2.1").connectTCP("203.0.113.1", 25, client)
            internet.clock.advance(1)
            for _ in range(20):
                client.protocol_.transport.write(b"x" * 100)
                internet.clock.advance(1)
            self.assertEqual(sum(size for _, size in seen), 2000)
            return seen

        self.assertEqual(scene(1), scene(1))
        self.assertNotEqual(scene(1), scene(2))
        self.assertGreater(len(scene(1)), 20)
