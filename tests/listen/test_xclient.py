"""XCLIENT: who may say it, and what it changes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import PROCEED, IBodyPipe, Phase, Ready, TableError, Verdict
from pysmtpd.model.config import ListenerSpec, ProxySpec, SmtpLimits, TableRef
from pysmtpd.model.events import SessionAnnounced
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.reply import Reply
from tests.listen.fakes import LOCALHOST, STRANGER, House, Peer


class NotTheStranger:
    """A filter at connect."""

    def ask(self, phase: Phase, value: str, facts: SessionFacts, transaction: Transaction | None) -> Ready[Verdict]:
        isRefused = phase is Phase.CONNECT and value == STRANGER
        return Verdict(Reply(554, "Not you", "5.7.1")) if isRefused else PROCEED

    def pipe(self, facts: SessionFacts, transaction: Transaction) -> IBodyPipe | None:
        return None


class XclientTests(SynchronousTestCase):
    def house(self, login: bool = False, filter: object = None, **config: object) -> House:
        spec = ListenerSpec(LOCALHOST, (LOCALHOST,), 25, xclient=TableRef("proxies"), xclientLogin=login)
        here = House(spec, filter=filter, **config)  # type: ignore[arg-type]
        here.table("proxies", LOCALHOST)
        return here

    def facts(self, here: House, peer: Peer) -> SessionFacts:
        peer.lines("EHLO client.example.org", "MAIL FROM:<anna@example.org>", "RCPT TO:<b@example.org>", "DATA")
        peer.lines("Subject: x", "", ".")
        return here.submit.accepted[-1].transaction.session

    def test_itIsTheClientsSession(self) -> None:
        here = self.house()
        peer = here.greeted()
        self.assertRegex(
            peer.lines(f"XCLIENT ADDR={STRANGER} PORT=1234 DESTADDR=198.51.100.1 DESTPORT=26"),
            "^220 mx.example.org ESMTP ",
        )
        facts = self.facts(here, peer)
        self.assertEqual(
            (facts.peer, facts.peerPort, facts.rdns, facts.localAddress, facts.localPort, facts.isLocal),
            (STRANGER, 1234, "peer.example.org", "198.51.100.1", 26, False),
        )
        (event,) = here.report.of(SessionAnnounced)
        self.assertEqual((event.how, event.via, event.address), ("xclient", LOCALHOST, STRANGER))

    def test_onlyWhoIsInTheTable(self) -> None:
        here = self.house()
        peer = here.greeted(STRANGER)
        self.assertNotIn("XCLIENT", peer.lines("EHLO client.example.org"))
        self.assertRegex(peer.lines("XCLIENT ADDR=127.0.0.1"), r"^500 5\.5\.1 ")
        self.assertIn("XCLIENT NAME", here.greeted().lines("EHLO client.example.org"))
        here.tables["proxies"].error = TableError("down")
        self.assertNotIn("XCLIENT", here.greeted().lines("EHLO client.example.org"))

    def test_neverLocal(self) -> None:
        for announced in ("ADDR=127.0.0.1", "ADDR=::1", "ADDR=[UNAVAILABLE]", "HELO=x", "NAME=localhost"):
            here = self.house()
            peer = here.greeted()
            self.assertRegex(peer.lines(f"XCLIENT {announced}"), "^220 ")
            self.assertFalse(self.facts(here, peer).isLocal, announced)

    def test_aNameThatIsToldIsNotLookedUp(self) -> None:
        here = self.house()
        peer = here.greeted()
        peer.lines(f"XCLIENT ADDR={STRANGER} NAME=told.example.net")
        self.assertEqual(self.facts(here, peer).rdns, "told.example.net")
        peer.lines(f"XCLIENT ADDR={STRANGER} NAME=[UNAVAILABLE]")
        self.assertEqual(self.facts(here, peer).rdns, "")
        self.assertEqual(here.resolver.asked, [])

    def test_login(self) -> None:
        here = self.house(login=True)
        peer = here.greeted()
        peer.lines(f"XCLIENT ADDR={STRANGER} LOGIN=anna")
        self.assertEqual(self.facts(here, peer).user, "anna")
        peer.lines(f"XCLIENT ADDR={STRANGER}")
        self.assertEqual(self.facts(here, peer).user, "")
        self.assertRegex(self.house().greeted().lines("XCLIENT LOGIN=anna"), "^501 ")

    def test_limitsCountTheClient(self) -> None:
        here = self.house(smtp=SmtpLimits(maxSessionsPerPeer=1))
        first = here.greeted()
        self.assertRegex(first.lines(f"XCLIENT ADDR={STRANGER}"), "^220 ")
        second = here.greeted()
        self.assertRegex(second.lines(f"XCLIENT ADDR={STRANGER}"), r"^421 4\.7\.0 ")
        self.assertTrue(second.isClosed)
        second.hear()
        first.lines("QUIT")
        third = here.greeted()
        self.assertRegex(third.lines(f"XCLIENT ADDR={STRANGER}"), "^220 ")
        third.lines("QUIT")
        self.assertEqual(here.listeners.sessions, 0)

    def test_filtersSeeTheClient(self) -> None:
        here = self.house(filter=NotTheStranger())
        peer = here.greeted()
        self.assertRegex(peer.lines(f"XCLIENT ADDR={STRANGER}"), r"^554 5\.7\.1 ")
        self.assertTrue(peer.isClosed)

    def test_behindABalancer(self) -> None:
        """The table is asked about the peer that the balancer has announced."""
        spec = ListenerSpec(LOCALHOST, (LOCALHOST,), 25, xclient=TableRef("proxies"), proxy=ProxySpec(True))
        here = House(spec)
        here.table("proxies", STRANGER)
        peer = here.connect()
        peer.say(f"PROXY TCP4 {STRANGER} 198.51.100.1 1 25\r\n")
        self.assertIn("XCLIENT", peer.lines("EHLO proxy.example.org"))
        self.assertRegex(peer.lines("XCLIENT ADDR=127.0.0.1"), "^220 ")
        self.assertFalse(self.facts(here, peer).isLocal)
