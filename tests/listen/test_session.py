"""Whole dialogues: what a client sees, and what the queue is given."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import QueueError
from pysmtpd.model.config import Config, SmtpLimits
from pysmtpd.model.envelope import Notify
from pysmtpd.model.events import (
    CommandFailed,
    InternalError,
    SessionConnected,
    SessionDisconnected,
)
from pysmtpd.model.reply import Reply
from tests.listen.fakes import STRANGER, House

MAIL = "MAIL FROM:<anna@example.org>"
RCPT = "RCPT TO:<bert@example.org>"
BODY = "Subject: x\r\n\r\nHello\r\n..dot\r\n"


class SessionTests(SynchronousTestCase):
    def test_oneMessage(self) -> None:
        house = House()
        peer = house.connect(STRANGER)
        self.assertRegex(peer.hear(), r"^220 mx\.example\.org ESMTP")
        self.assertIn("PIPELINING", peer.lines("EHLO client.example.org"))
        self.assertRegex(peer.lines(MAIL), r"^250 2\.1\.0 ")
        self.assertRegex(peer.lines(RCPT), r"^250 2\.1\.5 ")
        self.assertRegex(peer.lines("DATA"), r"^354 ")
        self.assertRegex(peer.say(BODY + ".\r\n"), r"^250 2\.0\.0 0000000000000001 Message accepted")
        self.assertRegex(peer.lines("QUIT"), r"^221 ")
        self.assertTrue(peer.isClosed)

        (submission,) = house.submit.accepted
        self.assertEqual(submission.content, b"Subject: x\r\n\r\nHello\r\n.dot\r\n")
        self.assertEqual(str(submission.transaction.sender), "anna@example.org")
        self.assertEqual([str(each.recipient) for each in submission.destinations], ["bert@example.org"])
        self.assertEqual(
            submission.prefix.decode(),
            "Received: from client.example.org (peer.example.org [192.0.2.7])\r\n"
            "\tby mx.example.org with ESMTP id 0000000000000001\r\n"
            "\tfor <bert@example.org>;\r\n"
            "\tTue, 14 Nov 2023 22:13:20 +0000\r\n",
        )
        kinds = [type(event) for event in house.report.events if type(event).room == "smtp"]
        self.assertEqual(kinds, [SessionConnected, SessionDisconnected])
        (end,) = house.report.of(SessionDisconnected)
        self.assertEqual((end.reason, end.messages), ("quit", 1))
        self.assertEqual(house.listeners.sessions, 0)

    def test_pipelinedBehindASlowRouter(self) -> None:
        """A whole transaction in one segment: every reply comes, in order, though the router takes 50 ms for each RCPT."""
        house = House()
        house.router.delay = 0.05
        house.router.refused["nobody@example.org"] = Reply(550, "No such user", "5.1.1")
        peer = house.greeted()
        heard = peer.lines(MAIL, RCPT, "RCPT TO:<nobody@example.org>", "RCPT TO:<carl@example.org>", "DATA")
        self.assertEqual(peer.codes(heard), ["250"])
        house.clock.advance(0.05)
        self.assertEqual(peer.codes(peer.hear()), ["250"])
        house.clock.advance(0.05)
        self.assertEqual(peer.codes(peer.hear()), ["550"])
        house.clock.advance(0.05)
        self.assertEqual(peer.codes(peer.hear()), ["250", "354"])
        heard = peer.say(BODY + ".\r\nMAIL FROM:<>\r\nQUIT\r\n")
        self.assertEqual(peer.codes(heard), ["250", "250", "221"])
        (submission,) = house.submit.accepted
        self.assertEqual(len(submission.destinations), 2)
        # Naming one of two recipients would betray the other.
        self.assertNotIn(b"for <", submission.prefix)
        (failed,) = house.report.of(CommandFailed)
        self.assertEqual(failed.reason, "smtpd.conf:7 rejects it")

    def test_duplicatesAreMerged(self) -> None:
        """Two recipients that lead to the same mailbox give one envelope."""
        house = House()
        house.router.aliases = {
            "all@example.org": ("anna@example.org", "bert@example.org"),
            "team@example.org": ("Bert@Example.ORG", "carl@example.org"),
        }
        peer = house.greeted()
        peer.lines(MAIL, "RCPT TO:<all@example.org>", "RCPT TO:<team@example.org>", "DATA")
        peer.say(BODY + ".\r\n")
        (submission,) = house.submit.accepted
        self.assertEqual(
            [str(each.recipient) for each in submission.destinations],
            ["anna@example.org", "bert@example.org", "carl@example.org"],
        )

    def test_whatMergedRecipientsWantToHear(self) -> None:
        """Whatever one of them asks for; and as the recipient that asks."""
        failure, success, delay, never = Notify.FAILURE, Notify.SUCCESS, Notify.DELAY, Notify.NEVER
        rows = (
            ("NEVER", "FAILURE", failure, "two"),
            ("FAILURE", "NEVER", failure, "one"),
            ("NEVER", "NEVER", never, "one"),
            ("NEVER", "", Notify.UNSET, "two"),
            ("SUCCESS", "", success | failure, "one"),
            ("", "DELAY", failure | delay, "one"),
            ("SUCCESS", "FAILURE,DELAY", success | failure | delay, "one"),
        )
        for first, second, expected, original in rows:
            house = House()
            house.router.aliases = {f"{name}@example.org": ("anna@example.org",) for name in ("one", "two")}
            peer = house.greeted()
            wishes = [f" NOTIFY={wish}" if wish else "" for wish in (first, second)]
            rcpts = [
                f"RCPT TO:<{n}@example.org>{w} ORCPT=rfc822;{n}@x" for n, w in zip(("one", "two"), wishes, strict=True)
            ]
            peer.lines(MAIL, *rcpts, "DATA")
            peer.say(BODY + ".\r\n")
            (destination,) = house.submit.accepted[0].destinations
            said = (destination.notify, destination.orcpt, destination.original.local)
            self.assertEqual(said, (expected, f"rfc822;{original}@x", original), (first, second))

    def test_dsnParameters(self) -> None:
        house = House()
        peer = house.greeted()
        peer.lines(MAIL + " RET=HDRS ENVID=q+2B1", RCPT + " NOTIFY=NEVER ORCPT=rfc822;b+2Bx@example.org", "DATA")
        peer.say(BODY + ".\r\n")
        (submission,) = house.submit.accepted
        self.assertEqual((submission.transaction.ret, submission.transaction.envid), ("HDRS", "q+1"))
        (destination,) = submission.destinations
        self.assertEqual(destination.notify.name, "NEVER")
        self.assertEqual(destination.orcpt, "rfc822;b+x@example.org")

    def test_resetForgets(self) -> None:
        house = House()
        peer = house.greeted()
        heard = peer.lines(MAIL, RCPT, "RSET", "DATA", MAIL, "RCPT TO:<carl@example.org>", "DATA")
        self.assertEqual(peer.codes(heard), ["250", "250", "250", "503", "250", "250", "354"])
        peer.say(BODY + ".\r\n")
        (submission,) = house.submit.accepted
        self.assertEqual([str(each.recipient) for each in submission.destinations], ["carl@example.org"])

    def test_reuse(self) -> None:
        house = House()
        peer = house.greeted()
        for _ in range(3):
            self.assertEqual(peer.codes(peer.lines(MAIL, RCPT, "DATA")), ["250", "250", "354"])
            self.assertEqual(peer.codes(peer.say(BODY + ".\r\n")), ["250"])
        self.assertEqual(len(house.submit.accepted), 3)

    def test_noNameForSeconds(self) -> None:
        """A resolver that does not answer delays the greeting by 5 s, not more."""
        house = House()
        peer = house.connect("192.0.2.99")
        self.assertEqual(peer.hear(), "")
        house.clock.advance(5)
        self.assertRegex(peer.hear(), r"^220 ")
        self.assertEqual(house.report.of(SessionConnected)[0].host, "")

    def test_loopbackIsNotLookedUp(self) -> None:
        house = House()
        self.assertRegex(house.connect().hear(), r"^220 ")
        self.assertEqual(house.resolver.asked, [])

    def test_talksBeforeTheName(self) -> None:
        """What is said while the name is looked up is answered after the greeting, or refused as out of turn; it never overtakes it."""
        house = House()
        peer = house.connect("192.0.2.99")
        self.assertEqual(peer.lines("EHLO client.example.org"), "")
        house.clock.advance(5)
        self.assertRegex(peer.hear(), r"^(220|421|554) ")

    def test_lostWhileWaiting(self) -> None:
        """The peer goes while the router thinks: the answer reaches nobody, and nothing is left."""
        house = House()
        house.router.delay = 1.0
        peer = house.greeted()
        peer.lines(MAIL, RCPT)
        peer.lose()
        house.clock.advance(1)
        self.assertEqual(house.report.of(InternalError), [])
        self.assertEqual(house.listeners.sessions, 0)

    def test_lostInData(self) -> None:
        house = House()
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        peer.say(BODY)
        peer.lose()
        self.assertEqual([each.ended for each in house.submit.submissions], ["rollback"])

    def test_lostInCommit(self) -> None:
        """The peer goes while the queue syncs: the message is accepted."""
        house = House()
        house.submit.slowCommits = True
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        self.assertEqual(peer.say(BODY + ".\r\n"), "")
        peer.lose()
        house.submit.commits[0]()
        self.assertEqual(len(house.submit.accepted), 1)
        self.assertEqual(house.report.of(InternalError), [])

    def test_no250BeforeTheCommit(self) -> None:
        house = House()
        house.submit.slowCommits = True
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        self.assertEqual(peer.say(BODY + ".\r\nNOOP\r\n"), "")
        house.submit.commits[0]()
        self.assertEqual(peer.codes(peer.hear()), ["250", "250"])

    def test_generationOfTheSession(self) -> None:
        """A session keeps the configuration that it began with."""
        house = House()
        old = house.config
        peer = house.greeted()
        house.config = Config("smtpd.conf", "new.example.org", listeners=old.listeners)
        peer.lines(MAIL, RCPT)
        self.assertIs(house.router.configs[-1], old)
        self.assertRegex(house.connect().hear(), r"^220 new\.example\.org ")

    def test_fault(self) -> None:
        """A fault of ours costs the session 421 and is reported; the next session works."""
        house = House()

        def broken(*arguments: object) -> None:
            raise ZeroDivisionError("on purpose")

        expand = house.router.expand
        house.router.expand = broken  # type: ignore[assignment,method-assign]
        peer = house.greeted()
        self.assertEqual(peer.codes(peer.lines(MAIL, RCPT)), ["250", "421"])
        self.assertTrue(peer.isClosed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(house.report.of(InternalError)), 1)
        house.router.expand = expand  # type: ignore[method-assign]
        peer = house.greeted()
        self.assertEqual(peer.codes(peer.lines(MAIL, RCPT)), ["250", "250"])

    def test_halfClosed(self) -> None:
        """A peer that has said all, and closed its side, still gets its replies."""
        house = House()
        house.submit.slowCommits = True
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        peer.say(BODY + ".\r\nQUIT\r\n")
        peer.transport.protocol.readConnectionLost()
        self.assertFalse(peer.isClosed)
        house.submit.commits[0]()
        self.assertEqual(peer.codes(peer.hear()), ["250", "221"])
        self.assertTrue(peer.isClosed)

    def test_halfClosedIdle(self) -> None:
        house = House()
        peer = house.greeted()
        peer.transport.protocol.readConnectionLost()
        peer.hear()
        self.assertTrue(peer.isClosed)


class QueueTroubleTests(SynchronousTestCase):
    def test_full(self) -> None:
        """No room: 452 before DATA, and nothing is written."""
        house = House()
        house.submit.full = Reply(452, "Insufficient system storage", "4.3.1")
        peer = house.greeted()
        self.assertRegex(peer.lines(MAIL), r"^452 4\.3\.1 ")
        house.submit.full = None
        peer.lines(MAIL, RCPT)
        house.submit.full = Reply(452, "Insufficient system storage", "4.3.1")
        self.assertRegex(peer.lines("DATA"), r"^452 4\.3\.1 ")
        self.assertEqual(house.submit.submissions, [])

    def test_writeFails(self) -> None:
        """The disk fills while content comes: it is read to its end, 452 answers it, and the session goes on."""
        house = House()
        house.submit.writeError = QueueError(Reply(452, "Insufficient system storage", "4.3.1"), "ENOSPC")
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        peer.say(b"x" * 1000 + b"\r\n")
        self.assertRegex(peer.say(BODY + ".\r\n"), r"^452 4\.3\.1 ")
        self.assertEqual([each.ended for each in house.submit.submissions], ["rollback"])
        self.assertEqual([each.reason for each in house.report.of(CommandFailed)], ["ENOSPC"])
        house.submit.writeError = None
        self.assertEqual(peer.codes(peer.lines(MAIL, RCPT, "DATA")), ["250", "250", "354"])
        self.assertEqual(peer.codes(peer.say(BODY + ".\r\n")), ["250"])

    def test_commitFails(self) -> None:
        house = House()
        house.submit.commitError = QueueError(Reply(451, "Queue error", "4.3.0"), "EIO")
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        self.assertRegex(peer.say(BODY + ".\r\n"), r"^451 4\.3\.0 ")
        house.submit.commitError = None
        peer.lines(MAIL, RCPT, "DATA")
        self.assertRegex(peer.say(BODY + ".\r\n"), r"^250 ")

    def test_commitFaults(self) -> None:
        """A fault in the queue is temporary for the peer."""
        house = House()
        house.submit.commitError = ZeroDivisionError("on purpose")
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        self.assertRegex(peer.say(BODY + ".\r\n"), r"^451 4\.3\.0 ")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_loop(self) -> None:
        """100 Received fields are a loop, wherever segments end."""
        house = House(smtp=SmtpLimits(maxReceived=5))
        peer = house.greeted()
        for count, code in ((4, "250"), (5, "554")):
            peer.lines(MAIL, RCPT, "DATA")
            for octet in b"Received: by example.org\r\n" * count:
                peer.say(bytes([octet]))
            heard = peer.say("\r\nReceived: in the body\r\n.\r\n")
            self.assertEqual(peer.codes(heard), [code])
        self.assertIn("554 5.4.6", heard)
        self.assertEqual([each.ended for each in house.submit.submissions], ["commit", "rollback"])

    def test_refusedContent(self) -> None:
        """What the core refuses at the end of data leaves nothing in the queue."""
        house = House(smtp=SmtpLimits(maxMessageSize=2000))
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        heard = peer.say(b"x" * 900 + b"\r\n" + b"y" * 900 + b"\r\n" + b"z" * 900 + b"\r\n.\r\n")
        self.assertIn("5.3.4", heard)
        # The log tells what the peer was told.
        (told,) = house.report.of(CommandFailed)
        self.assertEqual(f"{told.result}\r\n", heard)
        self.assertEqual(house.submit.accepted, [])
        self.assertNotIn("", [each.ended for each in house.submit.submissions])
        self.assertEqual(peer.codes(peer.lines(MAIL, RCPT, "DATA")), ["250", "250", "354"])


class BackPressureTests(SynchronousTestCase):
    def test_slowQueue(self) -> None:
        """While the queue has not taken a chunk, no other is given, and after a bound the connection is not read."""
        house = House()
        house.submit.slowWrites = True
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        line = b"x" * 998 + b"\r\n"
        sent = 0
        while not peer.transport.paused:
            peer.say(line * 16)
            sent += 16
            self.assertLess(sent, 400, "the connection is read without end")
        (submission,) = house.submit.submissions
        self.assertEqual(len(submission.chunks), 1)
        while house.submit.writes:
            house.submit.writes.pop(0).callback(None)
        self.assertFalse(peer.transport.paused)
        peer.say(".\r\n")
        while house.submit.writes:
            house.submit.writes.pop(0).callback(None)
        self.assertEqual(submission.ended, "commit")
        self.assertEqual(submission.content, line * sent)

    def test_lostWhileWriting(self) -> None:
        """A rollback waits for the write that is under way."""
        house = House()
        house.submit.slowWrites = True
        peer = house.greeted()
        peer.lines(MAIL, RCPT, "DATA")
        peer.say(b"x" * 998 + b"\r\n" + b"y" * 5000)
        peer.lose()
        (submission,) = house.submit.submissions
        self.assertEqual(submission.ended, "")
        house.submit.writes[0].callback(None)
        self.assertEqual(submission.ended, "rollback")

    def test_slowReader(self) -> None:
        """A peer that does not read our replies is not read from."""
        house = House()
        peer = house.greeted()
        peer.lines("NOOP")
        peer.transport.producer.pauseProducing()
        self.assertTrue(peer.transport.paused)
        self.assertEqual(peer.lines("NOOP"), "")
        peer.transport.producer.resumeProducing()
        self.assertEqual(peer.codes(peer.hear()), ["250"])
        self.assertFalse(peer.transport.paused)
