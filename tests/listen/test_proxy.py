"""The PROXY protocol: its header, who may send it, and what its word is worth."""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import TableError
from pysmtpd.listen.proxy import MAX_REST, MAX_TEXT, ProxyError, ProxyHeader, parseProxy
from pysmtpd.model.config import ListenerSpec, ProxySpec, SmtpLimits, TableRef, TlsMode
from pysmtpd.model.events import SessionAnnounced, SessionConnected, SessionRefused
from tests.listen.fakes import LOCALHOST, STRANGER, House, Peer

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TEXT = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"


def binary(source: str = STRANGER, destination: str = "198.51.100.1", tlvs: bytes = b"") -> bytes:
    here, there = ip_address(source), ip_address(destination)
    rest = here.packed + there.packed + pack("!HH", 40000, 25) + tlvs
    family = 0x11 if here.version == 4 else 0x21
    return SIGNATURE + bytes((0x21, family)) + pack("!H", len(rest)) + rest


class HeaderTests(SynchronousTestCase):
    def test_text(self) -> None:
        self.assertEqual(
            parseProxy(TEXT + b"EHLO x\r\n", True), ProxyHeader(len(TEXT), "192.0.2.7", 40000, "198.51.100.1", 25)
        )
        self.assertEqual(
            parseProxy(b"PROXY TCP6 2001:db8:0::7 2001:DB8::1 1 2\r\n", True),
            ProxyHeader(42, "2001:db8::7", 1, "2001:db8::1", 2),
        )

    def test_textOfTheUnknown(self) -> None:
        for line in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff:f...f:ffff 65535 and more\r\n"):
            self.assertEqual(parseProxy(line, True), ProxyHeader(len(line)))

    def test_textThatIsNone(self) -> None:
        for line in (
            b"EHLO client.example.org\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25 26\r\n",
            b"PROXY  TCP4 192.0.2.7 198.51.100.1 40000 25\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 65536\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 025\r\n",
            b"PROXY TCP4 192.0.2.07 198.51.100.1 40000 25\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 25\r\n",
            b"PROXY TCP6 192.0.2.7 198.51.100.1 40000 25\r\n",
            b"PROXY TCP6 fe80::1%eth0 2001:db8::1 40000 25\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 40000 25\r\n",
            b"PROXY TCP4 192.0.2.\xff 198.51.100.1 40000 25\r\n",
            b"PROXY UNKNOWN " + b"x" * MAX_TEXT + b"\r\n",
            b"proxy TCP4 192.0.2.7 198.51.100.1 40000 25\r\n",
        ):
            with self.assertRaises(ProxyError, msg=line):
                parseProxy(line, True)

    def test_binary(self) -> None:
        for source, destination in ((STRANGER, "198.51.100.1"), ("2001:db8::7", "2001:db8::1")):
            for tlvs in (b"", b"\x03\x00\x04\x01\x02\x03\x04", bytes(2000)):
                header = binary(source, destination, tlvs)
                self.assertEqual(
                    parseProxy(header + b"rest", False), ProxyHeader(len(header), source, 40000, destination, 25)
                )

    def test_binaryWithoutAddresses(self) -> None:
        local = SIGNATURE + b"\x20\x11\x00\x03abc"
        self.assertEqual(parseProxy(local, False), ProxyHeader(len(local), isLocal=True))
        for header in (
            SIGNATURE + b"\x21\x00\x00\x02ab",
            SIGNATURE + b"\x21\x31\x00\xd8" + b"/run/x".ljust(216, b"\0"),
        ):
            self.assertEqual(parseProxy(header, False), ProxyHeader(len(header)))

    def test_binaryThatIsNone(self) -> None:
        for header in (
            SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
            SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
            SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),
            SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
            SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12),
            SIGNATURE + b"\x21\x31\x00\x0c" + bytes(12),
            SIGNATURE + b"\x21\x11" + pack("!H", MAX_REST + 1),
        ):
            with self.assertRaises(ProxyError, msg=header):
                parseProxy(header, True)

    def test_mappedAddresses(self) -> None:
        """One peer has one name."""
        header = parseProxy(binary("::ffff:192.0.2.7", "::ffff:192.0.2.1"), False)
        assert header is not None
        self.assertEqual((header.source, header.destination), ("192.0.2.7", "192.0.2.1"))

    def test_textIsRefusedWhereOnlyBinaryIsTaken(self) -> None:
        with self.assertRaisesRegex(ProxyError, "version 1"):
            parseProxy(TEXT, False)

    @given(st.sampled_from((TEXT, binary(), binary("2001:db8::7", "2001:db8::1", b"\x04\0\1x"))), st.data())
    def test_anyPiece(self, header: bytes, data: st.DataObject) -> None:
        """A piece is never taken for the whole, and never refused."""
        cut = data.draw(st.integers(0, len(header) - 1))
        self.assertIsNone(parseProxy(header[:cut], True))
        found = parseProxy(header + header, True)
        assert found is not None
        self.assertEqual(found.size, len(header))

    @given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda rest: SIGNATURE + b"\x21" + rest)))
    def test_anyOctets(self, data: bytes) -> None:
        try:
            header = parseProxy(data, True)
        except ProxyError:
            return
        if header is not None:
            self.assertLessEqual(header.size, len(data))


def house(proxy: ProxySpec, **options: object) -> House:
    return House(ListenerSpec(LOCALHOST, (LOCALHOST,), 25, proxy=proxy, **options))  # type: ignore[arg-type]


class BalancerTests(SynchronousTestCase):
    def connect(self, here: House, header: bytes, address: str = LOCALHOST) -> Peer:
        peer = here.connect(address)
        self.assertEqual(peer.hear(), "")
        peer.say(header)
        return peer

    def test_theClientIsWhoItSays(self) -> None:
        here = house(ProxySpec(True))
        peer = here.connect()
        self.assertRegex(peer.say(TEXT + b"EHLO client.example.org\r\n"), r"^220 .*\r\n250-.* \[192\.0\.2\.7\]")
        (connected,) = here.report.of(SessionConnected)
        self.assertEqual((connected.address, connected.host), (STRANGER, "peer.example.org"))
        (announced,) = here.report.of(SessionAnnounced)
        self.assertEqual((announced.how, announced.via, announced.address), ("proxy", LOCALHOST, STRANGER))

    def test_octetByOctet(self) -> None:
        here = house(ProxySpec(False))
        peer = here.connect()
        header = binary()
        for index in range(len(header) - 1):
            self.assertEqual(peer.say(header[index : index + 1]), "")
        self.assertRegex(peer.say(header[-1:]), "^220 ")

    def test_neverLocal(self) -> None:
        """Whatever a balancer says, what it brings is not from this machine."""
        for header in (
            binary("127.0.0.1", "127.0.0.1"),
            b"PROXY UNKNOWN\r\n",
            SIGNATURE + b"\x20\x00\x00\x00",
            b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
        ):
            here = house(ProxySpec(True))
            peer = self.connect(here, header)
            peer.lines("EHLO client.example.org", "MAIL FROM:<anna@example.org>", "RCPT TO:<b@example.org>", "DATA")
            peer.lines("Subject: x", "", ".")
            (submission,) = here.submit.accepted
            facts = submission.transaction.session
            self.assertEqual((facts.isLocal, facts.isSocket, facts.rdns), (False, False, ""), header)

    def test_limitsCountTheClient(self) -> None:
        spec = ListenerSpec(LOCALHOST, (LOCALHOST,), 25, proxy=ProxySpec(True))
        here = House(spec, smtp=SmtpLimits(maxSessionsPerPeer=1))
        first = self.connect(here, TEXT)
        second = here.connect()
        self.assertRegex(second.say(TEXT), r"^421 4\.7\.0 ")
        self.assertTrue(second.isClosed)
        first.lose()
        self.assertRegex(here.connect().say(TEXT), "^220")

    def test_onlyWhoIsInTheTable(self) -> None:
        here = House(
            ListenerSpec(LOCALHOST, (LOCALHOST,), 25, proxy=ProxySpec(True, TableRef("balancers"))),
        )
        here.table("balancers", LOCALHOST)
        self.assertRegex(here.connect().say(TEXT), "^220 ")
        stranger = here.connect(STRANGER)
        self.assertRegex(stranger.hear(), r"^421 4\.7\.0 ")
        self.assertTrue(stranger.isClosed)
        self.assertEqual(here.report.of(SessionRefused)[0].address, STRANGER)

    def test_aTableThatCannotTell(self) -> None:
        here = house(ProxySpec(True, TableRef("balancers")))
        here.table("balancers").error = TableError("down")
        self.assertRegex(here.connect().hear(), r"^421 4\.3\.0 ")
        here.tables.clear()
        self.assertRegex(here.connect().hear(), r"^421 4\.3\.0 ")

    def test_aTableThatTakesItsTime(self) -> None:
        here = house(ProxySpec(True, TableRef("balancers")))
        table = here.table("balancers", LOCALHOST)
        table.isSlow = True
        peer = here.connect()
        self.assertTrue(peer.transport.paused)
        table.answer()
        self.assertFalse(peer.transport.paused)
        self.assertRegex(peer.say(TEXT), "^220 ")
        gone = here.connect()
        gone.lose()
        here.clock.pump([1.0] * 40)
        self.assertEqual(here.listeners.sessions, 1)

    def test_noHeader(self) -> None:
        here = house(ProxySpec(True))
        peer = here.connect()
        self.assertRegex(peer.say("EHLO client.example.org\r\n"), r"^421 4\.7\.0 ")
        self.assertTrue(peer.isClosed)
        self.assertEqual(here.listeners.sessions, 0)

    def test_silence(self) -> None:
        here = house(ProxySpec(True))
        peer = here.connect()
        here.clock.pump([1.0] * 13)
        self.assertRegex(peer.hear(), r"^421 4\.7\.0 ")
        self.assertEqual(here.listeners.sessions, 0)

    def test_beforeTls(self) -> None:
        """The header stands before the handshake, and may come in one piece with it."""
        here = house(ProxySpec(True), tls=TlsMode.IMPLICIT, pki=("mx.example.org",))
        peer = here.connect()
        self.assertEqual(peer.say(TEXT), "")
        peer.startTls()
        self.assertRegex(peer.hear(), "^220 ")
        self.assertRegex(peer.lines("EHLO client.example.org"), r"\[192\.0\.2\.7\]")

    def test_nothingIsSaidBeforeTls(self) -> None:
        peer = house(ProxySpec(True), tls=TlsMode.IMPLICIT, pki=("mx.example.org",)).connect()
        self.assertEqual(peer.say("EHLO client.example.org\r\n"), "")
        self.assertTrue(peer.isClosed)

    def test_stopping(self) -> None:
        here = house(ProxySpec(True))
        peer = here.connect()
        stopped = here.listeners.stop(10.0)
        self.assertTrue(peer.transport.aborted)
        peer.hear()
        self.successResultOf(stopped)
        self.assertEqual(here.listeners.sessions, 0)
