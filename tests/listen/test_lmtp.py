"""LMTP: one outcome for each recipient (RFC 2033)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import QueueError
from pysmtpd.model.config import ListenerSpec
from pysmtpd.model.reply import Reply
from tests.listen.fakes import LOCALHOST, House

MAIL = "MAIL FROM:<anna@example.org>"


class LmtpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House(ListenerSpec(LOCALHOST, (LOCALHOST,), 24, lmtp=True))
        self.house.router.refused["nobody@example.org"] = Reply(550, "No such user", "5.1.1")
        self.peer = self.house.greeted(hello="LHLO client.example.org")

    def send(self) -> str:
        rcpts = [f"RCPT TO:<{name}@example.org>" for name in ("bert", "nobody", "carl")]
        self.assertEqual(self.peer.codes(self.peer.lines(MAIL, *rcpts, "DATA")), ["250", "250", "550", "250", "354"])
        return self.peer.lines("Subject: x", "", ".", "NOOP")

    def test_accepted(self) -> None:
        self.assertEqual(self.peer.codes(self.send()), ["250", "250", "250"])
        (submission,) = self.house.submit.accepted
        self.assertIn(b" with LMTP id ", submission.prefix)

    def test_refused(self) -> None:
        self.house.submit.commitError = QueueError(Reply(452, "No room", "4.3.1"), "ENOSPC")
        self.assertEqual(self.peer.codes(self.send()), ["452", "452", "250"])

    def test_noHelo(self) -> None:
        peer = self.house.connect()
        peer.hear()
        self.assertRegex(peer.lines("EHLO client.example.org"), "^5")
