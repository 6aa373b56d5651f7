"""The seam for filters in this process: one that rewrites MAIL and a line of the body, alone and in a chain."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pysmtpd.filter.chain import FilterChain, chain
from pysmtpd.interfaces import PROCEED, IBodyPipe, IFilter, Phase, Ready, Verdict
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.reply import Reply
from tests.listen.fakes import House

MAIL = "MAIL FROM:<anna@example.org>"
RCPT = "RCPT TO:<bert@example.org>"


@implementer(IBodyPipe)
class LinePipe:
    """A stage that sees lines: keeps what is no whole line yet. Answers later if it is slow."""

    def __init__(self, change: Callable[[bytes], bytes], slow: bool = False) -> None:
        self._change = change
        self._rest = b""
        self._slow = slow

    def write(self, chunk: bytes) -> Ready[bytes]:
        lines = (self._rest + chunk).split(b"\r\n")
        self._rest = lines.pop()
        return self._give(b"".join(self._change(line) + b"\r\n" for line in lines))

    def finish(self) -> Ready[bytes]:
        return self._give(self._change(self._rest) if self._rest else b"")

    def _give(self, data: bytes) -> Ready[bytes]:
        return succeed(data) if self._slow else data


@implementer(IFilter)
class Rewriter:
    """Rewrites the sender's domain, and C{old} to C{new} in lines of content."""

    def __init__(self, old: bytes = b"Hello", new: bytes = b"Good day", slow: bool = False) -> None:
        self.phases: list[Phase] = []
        self._old, self._new, self._slow = old, new, slow

    def ask(self, phase: Phase, value: str, facts: SessionFacts, transaction: Transaction | None) -> Ready[Verdict]:
        self.phases.append(phase)
        verdict = PROCEED
        if phase is Phase.MAIL_FROM:
            verdict = Verdict(rewritten=value.replace("example.org", "rewritten.example"))
        return succeed(verdict) if self._slow else verdict

    def pipe(self, facts: SessionFacts, transaction: Transaction) -> IBodyPipe | None:
        return LinePipe(lambda line: line.replace(self._old, self._new), self._slow)


@implementer(IFilter)
class Scripted:
    """Answers one phase as it is told."""

    def __init__(self, phase: Phase, answer: Ready[Verdict]) -> None:
        self._phase, self._answer = phase, answer

    def ask(self, phase: Phase, value: str, facts: SessionFacts, transaction: Transaction | None) -> Ready[Verdict]:
        return self._answer if phase is self._phase else PROCEED

    def pipe(self, facts: SessionFacts, transaction: Transaction) -> IBodyPipe | None:
        return None


class FilterTests(SynchronousTestCase):
    def send(self, house: House) -> list[str]:
        peer = house.greeted()
        heard = peer.lines(MAIL, RCPT, "DATA")
        # Cut inside the word that is rewritten.
        heard += peer.say("Subject: x\r\n\r\nHel")
        heard += peer.say("lo\r\nHello again\r\n.\r\n")
        return peer.codes(heard)

    def test_rewrites(self) -> None:
        for slow in (False, True):
            here = Rewriter(slow=slow)
            verifyObject(IFilter, here)
            house = House(filter=here)
            self.assertEqual(self.send(house), ["250", "250", "354", "250"])
            (submission,) = house.submit.accepted
            self.assertEqual(str(submission.transaction.sender), "anna@rewritten.example")
            self.assertEqual(submission.content, b"Subject: x\r\n\r\nGood day\r\nGood day again\r\n")
            self.assertEqual(
                here.phases,
                [Phase.CONNECT, Phase.EHLO, Phase.MAIL_FROM, Phase.RCPT_TO, Phase.DATA, Phase.COMMIT],
            )

    def test_chain(self) -> None:
        """Each sees what the ones before it have made."""
        for slow in (False, True):
            together = chain([Rewriter(slow=slow), Rewriter(b"Good", b"Fine", slow=not slow)])
            assert isinstance(together, FilterChain)
            verifyObject(IFilter, together)
            house = House(filter=together)
            self.assertEqual(self.send(house), ["250", "250", "354", "250"])
            (submission,) = house.submit.accepted
            self.assertEqual(submission.content, b"Subject: x\r\n\r\nFine day\r\nFine day again\r\n")
            self.assertEqual(str(submission.transaction.sender), "anna@rewritten.example")

    def test_refuses(self) -> None:
        for phase, codes in (
            (Phase.MAIL_FROM, ["550", "503", "503"]),
            (Phase.RCPT_TO, ["250", "550", "503"]),
            (Phase.DATA, ["250", "250", "550"]),
        ):
            house = House(filter=Scripted(phase, Verdict(Reply(550, "No", "5.7.1"))))
            peer = house.greeted()
            heard = peer.codes(peer.lines(MAIL, RCPT, "DATA"))
            # Without a valid recipient DATA may be answered 503 or 554 (RFC 5321 4.1.1.4).
            self.assertEqual([code.replace("554", "503") for code in heard], codes)

    def test_refusesTheMessage(self) -> None:
        house = House(filter=Scripted(Phase.COMMIT, Verdict(Reply(550, "Spam", "5.7.1"))))
        self.assertEqual(self.send(house), ["250", "250", "354", "550"])
        self.assertEqual([each.ended for each in house.submit.submissions], ["rollback"])

    def test_disconnects(self) -> None:
        house = House(filter=Scripted(Phase.MAIL_FROM, Verdict(disconnect=True)))
        peer = house.greeted()
        self.assertEqual(peer.codes(peer.lines(MAIL, RCPT)), ["421"])
        self.assertTrue(peer.isClosed)

    def test_refusesTheConnection(self) -> None:
        house = House(filter=Scripted(Phase.CONNECT, Verdict(Reply(554, "Go away", "5.7.1"), disconnect=True)))
        peer = house.connect()
        self.assertEqual(peer.codes(peer.hear()), ["554"])
        self.assertTrue(peer.isClosed)

    def test_fails(self) -> None:
        """A filter that fails costs that session."""
        failing: Deferred[Verdict] = Deferred()
        house = House(filter=Scripted(Phase.MAIL_FROM, failing))
        peer = house.greeted()
        peer.lines(MAIL)
        failing.errback(ZeroDivisionError("on purpose"))
        self.assertEqual(peer.codes(peer.hear()), ["421"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_rewritesToNonsense(self) -> None:
        house = House(filter=Scripted(Phase.RCPT_TO, Verdict(rewritten="no address")))
        peer = house.greeted()
        self.assertEqual(peer.codes(peer.lines(MAIL, RCPT)), ["250", "421"])
        self.flushLoggedErrors(ValueError)
