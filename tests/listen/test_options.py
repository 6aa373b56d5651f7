"""Options of C{listen on}: what each changes for a peer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import TableError
from pysmtpd.listen.senders import maySend
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import AuthMode, ListenerSpec, SmtpLimits, TableRef, TlsMode
from pysmtpd.model.events import CommandFailed, ListenerOpened, SessionConnected
from tests.listen.fakes import LOCALHOST, STRANGER, FakeSubmission, House, Peer

LOGIN = "AUTH PLAIN AGFubmEAc2VjcmV0"
MAIL = "MAIL FROM:<anna@example.org>"
RCPT = "RCPT TO:<bert@example.org>"


def house(**options: object) -> House:
    return House(ListenerSpec(LOCALHOST, (LOCALHOST,), 25, **options))  # type: ignore[arg-type]


def sent(here: House, peer: Peer) -> FakeSubmission:
    peer.lines(MAIL, RCPT, "DATA")
    peer.lines("Subject: x", "", ".")
    return here.submit.accepted[-1]


class SendersTests(SynchronousTestCase):
    def test_entries(self) -> None:
        anna = Path("Anna+lists", "Mail.Example.org")
        for entries, may in [
            ("anna@mail.example.org", True),
            ("anna+lists@mail.example.org", True),
            ("anna+other@mail.example.org", False),
            ("anna+lists", True),
            ("ANNA", True),
            ("anna@", True),
            ("bert, anna", True),
            ("@mail.example.org", True),
            ("@example.org", False),
            ("@*.example.org", True),
            ("anna@*.example.org", True),
            ("bert@*.example.org", False),
            ("@*ex*.org", True),
            ("@*ex*ex*.org", False),
            ("@", True),
            ("<>", False),
            ("", False),
            (",,", False),
        ]:
            self.assertEqual(maySend(entries, anna, "+"), may, entries)

    def test_theNullSender(self) -> None:
        for entries, may in [("<>", True), ("@", True), ("anna", False), ("@example.org", False), ("", False)]:
            self.assertEqual(maySend(entries, NULL_PATH, "+"), may, entries)

    def logged(self, **tables: str) -> tuple[House, Peer]:
        here = house(auth=AuthMode.OPTIONAL, authWithoutTls=True, senders=TableRef("senders"))
        here.table("senders", **tables)
        peer = here.greeted()
        self.assertEqual(peer.codes(peer.lines(LOGIN)), ["235"])
        return here, peer

    def test_onlyWhatTheUserMay(self) -> None:
        here, peer = self.logged(anna="anna@example.org")
        self.assertRegex(peer.lines("MAIL FROM:<bert@example.org>"), r"^550 5\.7\.1 ")
        self.assertIn("anna may not send from it", here.report.of(CommandFailed)[-1].reason)
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["250"])

    def test_aUserWithoutEntryMaySendNothing(self) -> None:
        _, peer = self.logged(bert="@")
        self.assertRegex(peer.lines(MAIL), r"^550 5\.7\.1 ")

    def test_aTableThatCannotTell(self) -> None:
        here, peer = self.logged(anna="@")
        here.tables["senders"].error = TableError("down")
        self.assertRegex(peer.lines(MAIL), r"^451 4\.3\.0 ")
        here.tables["senders"].error = None
        here.tables["senders"].isSlow = True
        self.assertEqual(peer.lines(MAIL), "")
        here.clock.pump([1.0] * 31)
        self.assertRegex(peer.hear(), r"^451 4\.3\.0 ")
        here.tables["senders"].isSlow = False
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["250"])

    def test_whoHasNotLoggedInIsNotAsked(self) -> None:
        here = house(auth=AuthMode.OPTIONAL, senders=TableRef("senders"))
        here.table("senders")
        peer = here.greeted()
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["250"])


class HostnamesTests(SynchronousTestCase):
    def test_byTheLocalAddress(self) -> None:
        here = house(hostnames=TableRef("names"), hostname="usual.example.org")
        here.table("names").entries[LOCALHOST] = "special.example.org"
        peer = here.connect()
        self.assertRegex(peer.hear(), "^220 special.example.org ESMTP ")
        self.assertRegex(peer.lines("EHLO client.example.org"), "^250-special.example.org ")
        self.assertIn(b"\tby special.example.org with", sent(here, peer).prefix)

    def test_notThere(self) -> None:
        here = house(hostnames=TableRef("names"), hostname="usual.example.org")
        here.table("names")
        self.assertRegex(here.connect().hear(), "^220 usual.example.org ESMTP ")
        here.tables["names"].error = TableError("down")
        self.assertRegex(here.connect().hear(), "^220 usual.example.org ESMTP ")


class TraceTests(SynchronousTestCase):
    def test_maskSource(self) -> None:
        here = house(maskSource=True)
        prefix = sent(here, here.greeted(STRANGER, "EHLO secret.example.org")).prefix
        self.assertTrue(prefix.startswith(b"Received: by mx.example.org with ESMTP id "), prefix)
        self.assertNotIn(b"secret", prefix)

    def test_receivedAuth(self) -> None:
        here = house(receivedAuth=True, auth=AuthMode.OPTIONAL, authWithoutTls=True, tls=TlsMode.STARTTLS, pki=("mx",))
        here.authenticator.users["a;b\u00e4"] = b"x"
        peer = here.greeted()
        peer.lines(LOGIN)
        self.assertNotIn(b"auth=", sent(here, peer).prefix)
        peer = here.greeted()
        peer.lines("STARTTLS")
        peer.startTls()
        peer.lines("EHLO client.example.org", LOGIN)
        self.assertRegex(sent(here, peer).prefix.decode(), r":NO\) auth=yes user=anna\r\n\tfor <")

    def test_noDsn(self) -> None:
        peer = house(noDsn=True).connect()
        peer.hear()
        self.assertNotIn("DSN", peer.lines("EHLO client.example.org"))
        self.assertEqual(peer.codes(peer.lines(MAIL + " RET=HDRS")), ["555"])


class LocalSocketTests(SynchronousTestCase):
    def house(self, **options: object) -> House:
        here = House(socketPath="/spool/smtp.sock", **options)  # type: ignore[arg-type]
        self.user = here.platform.users.add("anna")
        return here

    def connect(self, here: House, uid: int) -> Peer:
        return Peer(here.platform.network.ports[-1], here.clock, "local", uid=uid)

    def test_itIsLocalAndKnowsItsUser(self) -> None:
        here = self.house()
        self.assertIn("socket", [event.listener for event in here.report.of(ListenerOpened)])
        peer = self.connect(here, self.user.uid)
        self.assertRegex(peer.hear(), "^220 mx.example.org ESMTP ")
        self.assertNotIn("AUTH", peer.lines("EHLO localhost"))
        submission = sent(here, peer)
        facts = submission.transaction.session
        self.assertEqual(
            (facts.listener, facts.peer, facts.rdns, facts.user, facts.isLocal, facts.isSocket, facts.protocol),
            ("socket", "local", "mx.example.org", "anna", True, True, "ESMTP"),
        )
        self.assertTrue(
            submission.prefix.startswith(b"Received: from localhost (local user anna)\r\n"), submission.prefix
        )
        (event,) = here.report.of(SessionConnected)
        self.assertEqual((event.address, event.listener), ("local", "socket"))

    def test_aUserWithoutName(self) -> None:
        here = self.house()
        peer = self.connect(here, 77777)
        peer.lines("EHLO localhost")
        self.assertEqual(sent(here, peer).transaction.session.user, "uid:77777")
        here.platform.users.isFailing = True
        self.assertRegex(self.connect(here, self.user.uid).hear(), "^220 ")

    def test_oneUserCannotTakeAllSessions(self) -> None:
        here = self.house(smtp=SmtpLimits(maxSessionsPerPeer=1))
        first = self.connect(here, self.user.uid)
        self.assertRegex(first.hear(), "^220 ")
        self.assertRegex(self.connect(here, self.user.uid).hear(), r"^421 4\.7\.0 ")
        self.assertRegex(self.connect(here, 0).hear(), "^220 ")
        first.lines("QUIT")
        self.assertRegex(self.connect(here, self.user.uid).hear(), "^220 ")

    def test_options(self) -> None:
        spec = ListenerSpec("socket", (), 0, isSocket=True, maskSource=True, noDsn=True, tag="local")
        here = self.house(socket=spec)
        peer = self.connect(here, self.user.uid)
        self.assertNotIn("DSN", peer.lines("EHLO localhost"))
        submission = sent(here, peer)
        self.assertTrue(submission.prefix.startswith(b"Received: by "))
        self.assertEqual(submission.transaction.session.tag, "local")


class HeaderTests(SynchronousTestCase):
    def test_aMalformedOneIsTaken(self) -> None:
        """What a header must be is a filter's business; it passes as it came."""
        here = house()
        peer = here.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        self.assertEqual(peer.codes(peer.lines("Subject: x", "this is no field", "", "text", ".")), ["250"])
        self.assertIn(b"\r\nthis is no field\r\n", here.submit.accepted[-1].content)
