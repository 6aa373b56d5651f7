"""How sessions end when the peer does not end them: time-outs, an orderly stop, pausing."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import Config, ListenerSpec, SmtpLimits
from pysmtpd.model.events import ListenerOpened, SessionDisconnected
from tests.listen.fakes import House, Peer

MAIL = "MAIL FROM:<anna@example.org>"
RCPT = "RCPT TO:<bert@example.org>"

LIMITS = SmtpLimits(commandTimeout=30, dataTimeout=20, authTimeout=10, sessionTimeout=100)


class TimeoutTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House(smtp=LIMITS)

    def wait(self, seconds: int) -> None:
        self.house.clock.pump([0.5] * (2 * seconds))

    def assertTimedOut(self, peer: Peer) -> None:
        self.assertRegex(peer.hear(), r"^421 4\.4\.2 ")
        self.assertTrue(peer.isClosed)
        self.assertEqual(self.house.report.of(SessionDisconnected)[-1].reason, "timeout")

    def test_noCommand(self) -> None:
        peer = self.house.greeted()
        self.wait(29)
        self.assertEqual(peer.hear(), "")
        self.wait(4)
        self.assertTimedOut(peer)

    def test_eachCommandCounts(self) -> None:
        peer = self.house.greeted()
        for _ in range(5):
            self.wait(25)
            self.assertEqual(peer.codes(peer.lines("NOOP")), ["250"])

    def test_drippedCommand(self) -> None:
        """Octets that make no command do not keep a session alive."""
        peer = self.house.greeted()
        for _ in range(3):
            peer.say("N")
            self.wait(9)
        peer.say("O")
        self.wait(6)
        self.assertTimedOut(peer)

    def test_aRefusedChunkThatDrips(self) -> None:
        """BDAT without a transaction has its octets read before it is refused: not for ever."""
        peer = self.house.greeted()
        peer.say("BDAT 1000000 LAST\r\n")
        waited = 0
        while not peer.isClosed and waited < 10 * LIMITS.sessionTimeout:
            peer.say("x")
            self.wait(5)
            waited += 5
        self.assertLess(waited, 2 * LIMITS.sessionTimeout)
        self.assertTimedOut(peer)

    def test_silentInData(self) -> None:
        peer = self.house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        peer.say("Subject: x\r\n")
        self.wait(23)
        self.assertTimedOut(peer)
        self.assertEqual([each.ended for each in self.house.submit.submissions], ["rollback"])

    def test_drippedContent(self) -> None:
        """Content may come slowly, but not for ever."""
        peer = self.house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        for _ in range(9):
            self.assertEqual(peer.say("x"), "")
            self.wait(10)
        peer.say("x")
        self.wait(13)
        self.assertTimedOut(peer)

    def test_ourOwnSlowness(self) -> None:
        """While the queue has not taken what came, the peer is not timed out for its silence."""
        self.house.submit.slowWrites = True
        peer = self.house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        peer.say("Subject: x\r\n\r\nHello\r\n")
        self.wait(50)
        self.assertEqual(peer.hear(), "")
        self.house.submit.slowWrites = False
        self.house.submit.writes[0].callback(None)
        self.wait(10)
        self.assertRegex(peer.say(".\r\n"), "^250 ")

    def test_doesNotTakeTheLastWords(self) -> None:
        """A connection that does not close in its own time is cut."""
        peer = self.house.greeted()
        self.wait(33)
        peer.transport.disconnecting = False
        self.wait(40)
        self.assertTrue(peer.transport.aborted)


class StopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def test_idle(self) -> None:
        """No new sessions; idle ones end at once with 421."""
        peer = self.house.greeted()
        stopped = self.house.listeners.stop(10)
        self.assertEqual(self.house.platform.network.ports, [])
        self.assertRegex(peer.hear(), r"^421 4\.3\.2 ")
        self.assertTrue(peer.isClosed)
        self.successResultOf(stopped)
        self.assertEqual(self.house.clock.getDelayedCalls(), [])

    def test_nobody(self) -> None:
        self.successResultOf(self.house.listeners.stop(10))
        self.assertEqual(self.house.clock.getDelayedCalls(), [])

    def test_transactionEnds(self) -> None:
        """A transaction under way may be finished, then comes 421."""
        peer = self.house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        stopped = self.house.listeners.stop(10)
        self.assertEqual(peer.hear(), "")
        self.assertNoResult(stopped)
        self.assertEqual(peer.codes(peer.lines("Subject: x", "", ".")), ["250", "421"])
        self.assertEqual(len(self.house.submit.accepted), 1)
        self.successResultOf(stopped)

    def test_graceEnds(self) -> None:
        peer = self.house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        stopped = self.house.listeners.stop(10)
        self.house.clock.advance(10)
        self.assertRegex(peer.hear(), r"^421 4\.3\.2 ")
        self.assertEqual([each.ended for each in self.house.submit.submissions], ["rollback"])
        self.successResultOf(stopped)
        self.assertEqual(self.house.clock.getDelayedCalls(), [])

    def test_stopTwice(self) -> None:
        self.assertIs(self.house.listeners.stop(1), self.house.listeners.stop(1))

    def test_retire(self) -> None:
        """Sessions of an old generation end; those of the new one do not."""
        old = self.house.config
        first = self.house.greeted()
        self.house.config = Config("smtpd.conf", "mx.example.org", listeners=old.listeners)
        second = self.house.greeted()
        self.house.listeners.retire(old)
        self.assertRegex(first.hear(), "^421 ")
        self.assertEqual(second.hear(), "")


class PortTests(SynchronousTestCase):
    def test_opened(self) -> None:
        """One port for each address, with a long backlog."""
        house = House(ListenerSpec("lo", ("127.0.0.1", "::1"), 2525))
        self.assertEqual(house.listeners.names, ("127.0.0.1:2525", "[::1]:2525"))
        self.assertEqual([each.interface for each in house.platform.network.ports], ["127.0.0.1", "::1"])
        self.assertEqual([each.backlog for each in house.platform.network.ports], [1024, 1024])
        self.assertEqual(len(house.report.of(ListenerOpened)), 2)

    def test_cannotListen(self) -> None:
        """All or nothing: the ports that were opened before the one that cannot be had are closed."""
        house = House()
        self.successResultOf(house.listeners.stop(0))
        network: Any = house.platform.network
        network.refuse = CannotListenError("::1", 25, OSError())
        house.config = Config("smtpd.conf", "mx", listeners=(ListenerSpec("lo", ("127.0.0.1", "::1"), 25),))
        self.assertRaises(CannotListenError, house.listeners.start)
        self.assertEqual(network.ports, [])

    def test_pause(self) -> None:
        """Paused: a port that can leaves new connections waiting; what comes all the same is told 421. Old sessions go on."""
        house = House()
        peer = house.greeted()
        house.listeners.pause()
        self.assertFalse(house.port.reading)
        self.assertRegex(house.connect().hear(), r"^421 4\.3\.2 ")
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["250"])
        house.listeners.resume()
        self.assertTrue(house.port.reading)
        self.assertRegex(house.connect().hear(), "^220 ")

    def test_descriptorsRunShort(self) -> None:
        """A connection with a high descriptor makes accepting pause for a moment."""
        house = House(descriptors=50)
        house.connect(descriptor=49)
        self.assertTrue(house.port.reading)
        self.assertRegex(house.connect(descriptor=50).hear(), "^220 ")
        self.assertFalse(house.port.reading)
        house.clock.advance(1)
        self.assertTrue(house.port.reading)
