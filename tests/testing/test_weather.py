"""What only the simulated network can: distance, silence, losses, and the ends of machines."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import (
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TimeoutError,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.platform import INetwork
from pysmtpd.testing.internet import Condition, Internet
from pysmtpd.testing.network import SimulatedNetwork
from tests.testing.recording import Asker, Client, Echo, Recorder, Server


class WeatherTests(SynchronousTestCase):
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
