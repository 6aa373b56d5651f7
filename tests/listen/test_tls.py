"""STARTTLS and implicit TLS, with real handshakes in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import ListenerSpec, TlsMode
from pysmtpd.model.events import SessionDisconnected, SessionTls
from tests.listen.fakes import LOCALHOST, House

MAIL = "MAIL FROM:<anna@example.org>"
RCPT = "RCPT TO:<bert@example.org>"


def house(mode: TlsMode) -> House:
    return House(ListenerSpec(LOCALHOST, (LOCALHOST,), 25, tls=mode, pki=("mx.example.org",)))


class StartTlsTests(SynchronousTestCase):
    def test_message(self) -> None:
        here = house(TlsMode.STARTTLS)
        peer = here.connect()
        peer.hear()
        self.assertIn("STARTTLS", peer.lines("EHLO client.example.org"))
        self.assertRegex(peer.lines("STARTTLS"), r"^220 2\.0\.0 ")
        peer.startTls()
        (event,) = here.report.of(SessionTls)
        self.assertEqual(event.sni, "mx.example.org")
        # RFC 3207 4.2: the peer greets again, and STARTTLS is not offered a second time.
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["503"])
        self.assertNotIn("STARTTLS", peer.lines("EHLO client.example.org"))
        self.assertEqual(peer.codes(peer.lines(MAIL, RCPT, "DATA")), ["250", "250", "354"])
        self.assertEqual(peer.codes(peer.lines("Subject: x", "", ".")), ["250"])
        (submission,) = here.submit.accepted
        self.assertIn(b" with ESMTPS id ", submission.prefix)
        self.assertRegex(submission.prefix.decode(), r"\r\n\t\(TLSv1\.\d:\S+:\d+:NO\)\r\n")
        self.assertEqual(peer.codes(peer.lines("QUIT")), ["221"])
        self.assertTrue(peer.isClosed)

    def test_injection(self) -> None:
        """What stands behind STARTTLS in clear is never obeyed."""
        here = house(TlsMode.STARTTLS)
        peer = here.greeted()
        self.assertEqual(peer.codes(peer.lines("STARTTLS", "EHLO evil.example.org", MAIL, RCPT, "DATA")), ["220"])
        peer.startTls()
        self.assertEqual(peer.hear(), "")
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["503"])

    def test_required(self) -> None:
        peer = house(TlsMode.REQUIRED).greeted()
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["530"])

    def test_noCertificate(self) -> None:
        here = house(TlsMode.STARTTLS)
        here.certificates.missing = True
        peer = here.greeted()
        self.assertRegex(peer.lines("STARTTLS"), r"^454 4\.7\.0 ")
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["250"])

    def test_handshakeTimesOut(self) -> None:
        here = house(TlsMode.STARTTLS)
        peer = here.greeted()
        peer.lines("STARTTLS")
        here.clock.pump([1.0] * 70)
        self.assertTrue(peer.isClosed)
        peer.hear()
        (event,) = here.report.of(SessionDisconnected)
        self.assertEqual(event.reason, "timeout")

    def test_garbage(self) -> None:
        """No TLS at all where a handshake should be."""
        here = house(TlsMode.STARTTLS)
        peer = here.greeted()
        peer.lines("STARTTLS")
        peer.transport.protocol.dataReceived(b"EHLO client.example.org\r\n" * 3)
        peer.transport.output = b""
        peer.hear()
        self.assertTrue(peer.isClosed)
        self.assertRegex(here.report.of(SessionDisconnected)[0].reason, "^TLS handshake failed")
        self.assertEqual(here.listeners.sessions, 0)


class ImplicitTlsTests(SynchronousTestCase):
    def test_message(self) -> None:
        here = house(TlsMode.IMPLICIT)
        peer = here.connect()
        self.assertEqual(peer.transport.output, b"")
        peer.startTls()
        self.assertRegex(peer.hear(), "^220 ")
        self.assertNotIn("STARTTLS", peer.lines("EHLO client.example.org"))
        self.assertEqual(peer.codes(peer.lines(MAIL, RCPT, "DATA")), ["250", "250", "354"])
        self.assertEqual(peer.codes(peer.lines("Subject: x", "", ".")), ["250"])
        self.assertIn(b" with ESMTPS id ", here.submit.accepted[0].prefix)

    def test_noCertificate(self) -> None:
        here = house(TlsMode.IMPLICIT)
        here.certificates.missing = True
        peer = here.connect()
        self.assertEqual(peer.hear(), "")
        self.assertTrue(peer.isClosed)
        self.assertEqual(here.listeners.sessions, 0)

    def test_silence(self) -> None:
        here = house(TlsMode.IMPLICIT)
        peer = here.connect()
        here.clock.pump([1.0] * 70)
        self.assertTrue(peer.isClosed)
