"""Who may have a session."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.listen.limits import TOO_MANY, TOO_MANY_FROM_YOU, Limits, peerKey
from pysmtpd.model.config import SmtpLimits
from pysmtpd.model.events import SessionRefused
from tests.listen.fakes import STRANGER, House


class LimitsTests(SynchronousTestCase):
    def test_inAll(self) -> None:
        limits = Limits(2)
        self.assertIsNone(limits.admit("192.0.2.1", 0, 100))
        self.assertIsNone(limits.admit("192.0.2.2", 0, 100))
        self.assertEqual(limits.admit("192.0.2.3", 0, 100), TOO_MANY)
        limits.leave("192.0.2.1")
        self.assertIsNone(limits.admit("192.0.2.3", 0, 100))

    def test_configuredMaximum(self) -> None:
        limits = Limits(100)
        self.assertIsNone(limits.admit("192.0.2.1", 1, 100))
        self.assertEqual(limits.admit("192.0.2.2", 1, 100), TOO_MANY)

    def test_perPeer(self) -> None:
        limits = Limits(100)
        self.assertIsNone(limits.admit("192.0.2.1", 0, 1))
        self.assertEqual(limits.admit("192.0.2.1", 0, 1), TOO_MANY_FROM_YOU)
        self.assertIsNone(limits.admit("192.0.2.2", 0, 1))
        limits.leave("192.0.2.1")
        self.assertIsNone(limits.admit("192.0.2.1", 0, 1))

    def test_perNetwork(self) -> None:
        """All of an IPv6 /64 is one peer."""
        self.assertEqual(peerKey("2001:db8::1"), peerKey("2001:db8::ffff:1"))
        self.assertNotEqual(peerKey("2001:db8::1"), peerKey("2001:db8:0:1::1"))
        self.assertEqual(peerKey("fe80::1%eth0"), peerKey("fe80::2"))

    def test_mapped(self) -> None:
        """IPv4 by a socket of both families is the same peer."""
        house = House(smtp=SmtpLimits(maxSessionsPerPeer=1))
        house.connect("::ffff:192.0.2.7")
        self.assertTrue(house.connect(STRANGER).hear().startswith("421 4.7.0 "))

    def test_loopbackIsFree(self) -> None:
        limits = Limits(100)
        for address in ("127.0.0.1", "127.0.0.1", "::1", "::1"):
            self.assertIsNone(limits.admit(address, 0, 1))

    def test_refusedWith421(self) -> None:
        """A peer that has too many sessions is told so, and the connection is closed."""
        house = House(smtp=SmtpLimits(maxSessionsPerPeer=1))
        first = house.connect(STRANGER)
        self.assertTrue(first.hear().startswith("220 "))
        second = house.connect(STRANGER)
        self.assertTrue(second.hear().startswith("421 4.7.0 "))
        self.assertTrue(second.isClosed)
        self.assertEqual(len(house.report.of(SessionRefused)), 1)
        first.lose()
        self.assertTrue(house.connect(STRANGER).hear().startswith("220 "))

    def test_refusedInAll(self) -> None:
        house = House(maxSessions=1)
        house.connect()
        self.assertTrue(house.connect().hear().startswith("421 4.3.2 "))
        self.assertEqual(house.listeners.sessions, 1)
