"""AUTH: who may, and how failures are damped."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import TableError
from pysmtpd.model.config import AuthMode, ListenerSpec, TableRef
from pysmtpd.model.events import CommandFailed, SessionAuthenticated, SessionDisconnected
from tests.listen.fakes import LOCALHOST, House

MAIL = "MAIL FROM:<anna@example.org>"
RCPT = "RCPT TO:<bert@example.org>"


def plain(user: str, password: str, authorization: str = "") -> str:
    return "AUTH PLAIN " + b64encode(f"{authorization}\0{user}\0{password}".encode()).decode()


def house(mode: AuthMode = AuthMode.OPTIONAL, table: TableRef | None = None) -> House:
    return House(
        ListenerSpec(LOCALHOST, (LOCALHOST,), 25, auth=mode, authTable=table, authWithoutTls=True),
    )


class AuthTests(SynchronousTestCase):
    def test_plain(self) -> None:
        here = house(table=TableRef("creds"))
        peer = here.greeted()
        self.assertRegex(peer.lines(plain("anna", "secret")), r"^235 2\.7\.0 ")
        self.assertEqual(here.authenticator.tables, ["creds"])
        peer.lines(MAIL, RCPT, "DATA")
        peer.lines("Subject: x", "", ".")
        (submission,) = here.submit.accepted
        self.assertEqual(submission.transaction.session.user, "anna")
        self.assertIn(b" with ESMTPA id ", submission.prefix)
        (event,) = here.report.of(SessionAuthenticated)
        self.assertEqual((event.user, event.result), ("anna", "ok"))

    def test_login(self) -> None:
        peer = house().greeted()
        self.assertEqual(peer.codes(peer.lines("AUTH LOGIN")), ["334"])
        self.assertEqual(peer.codes(peer.lines(b64encode(b"anna").decode())), ["334"])
        self.assertEqual(peer.codes(peer.lines(b64encode(b"secret").decode())), ["235"])

    def test_systemPasswords(self) -> None:
        """Without a table the system's passwords count."""
        here = house()
        here.greeted().lines(plain("anna", "secret"))
        self.assertEqual(here.authenticator.tables, [""])

    def test_wrongIsSlow(self) -> None:
        """Each failure is answered later than the one before, up to a bound, and nothing can be said meanwhile."""
        here = house()
        peer = here.greeted()
        for delay in (1, 2, 3, 4, 5, 5):
            self.assertEqual(peer.lines(plain("anna", "wrong")), "")
            here.clock.advance(delay - 0.1)
            self.assertEqual(peer.hear(), "")
            here.clock.advance(0.1)
            self.assertRegex(peer.hear(), r"^535 5\.7\.8 ")
        self.assertEqual({each.result for each in here.report.of(SessionAuthenticated)}, {"permfail"})
        self.assertRegex(peer.lines(plain("anna", "secret")), "^235 ")

    def test_tableIsDown(self) -> None:
        """When it cannot be told whether a password is right, that is no failure of the peer's."""
        here = house()
        here.authenticator.error = TableError("ldap.example.org does not answer")
        peer = here.greeted()
        heard = peer.lines(plain("anna", "secret"))
        self.assertRegex(heard, r"^454 4\.7\.0 ")
        self.assertNotIn("ldap", heard)
        self.assertEqual(here.report.of(CommandFailed)[0].reason, "ldap.example.org does not answer")

    def test_forSomebodyElse(self) -> None:
        here = house()
        peer = here.greeted()
        self.assertEqual(peer.lines(plain("anna", "secret", "root")), "")
        here.clock.advance(1)
        self.assertRegex(peer.hear(), "^535 ")
        self.assertEqual(here.authenticator.tables, [])

    def test_required(self) -> None:
        peer = house(AuthMode.REQUIRED).greeted()
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["530"])
        peer.lines(plain("anna", "secret"))
        self.assertEqual(peer.codes(peer.lines(MAIL)), ["250"])

    def test_lostWhileDamped(self) -> None:
        here = house()
        peer = here.greeted()
        peer.lines(plain("anna", "wrong"))
        peer.lose()
        here.clock.advance(10)
        self.assertEqual(here.listeners.sessions, 0)
        self.assertIsInstance(here.report.events[-1], SessionDisconnected)
