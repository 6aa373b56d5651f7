"""The router is asked once for a sender in one turn, and anew in the next."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysmtpd.bounce.senders import Senders
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import IRouter
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision, Step
from pysmtpd.model.envelope import Agent, Destination
from pysmtpd.model.facts import Transaction
from pysmtpd.model.reply import Reply
from tests.scheduler.fakes import makeMessage

ANN = Path("ann", "example.org")
EVE = Path("eve", "example.org")


@implementer(IRouter)
class SlowRouter:
    """
    @ivar isSlow: answers with a Deferred.
    """

    def __init__(self) -> None:
        self.isSlow = False
        self.asked: list[tuple[Path, Transaction]] = []
        self.deciding: list[Deferred[Decision]] = []

    def expand(self, config: Config, path: Path, transaction: Transaction) -> Ready[Decision]:
        self.asked.append((path, transaction))
        if self.isSlow:
            self.deciding.append(Deferred())
            return self.deciding[-1]
        return decisionFor(path, f"decision {len(self.asked)}")


def decisionFor(path: Path, reason: str) -> Decision:
    return Decision((Destination(path, path, Agent.MDA, "local", "ann"),), None, reason, Step(path))


class SendersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.router = SlowRouter()
        self.senders = Senders(Config("smtpd.conf", "mail.example.org"), self.clock, self.router)
        self.message, _ = makeMessage(1)

    def find(self, sender: Path = ANN, requireTls: bool = False) -> Ready[Decision]:
        original = replace(self.message.transaction, requireTls=requireTls)
        transaction = self.senders.transaction(replace(self.message, transaction=original))
        return self.senders.find(sender, transaction)

    def test_onceInATurn(self) -> None:
        first = self.find()
        self.assertIs(self.find(), first)
        self.assertIsNot(self.find(EVE), first)
        self.assertIsNot(self.find(requireTls=True), first)
        self.assertEqual([path for path, _ in self.router.asked], [ANN, EVE, ANN])
        self.clock.advance(0)
        self.assertIsNot(self.find(), first)
        self.assertEqual(len(self.router.asked), 4)

    def test_refusalsAreNotRemembered(self) -> None:
        refused = replace(decisionFor(ANN, "no"), refusal=Reply(550, "No such user", "5.1.1"))
        asked: list[Path] = []

        def expand(config: Config, path: Path, transaction: Transaction) -> Decision:
            asked.append(path)
            return refused

        self.patch(self.router, "expand", expand)
        self.assertIs(self.find(), refused)
        self.assertIs(self.find(), refused)
        self.assertEqual(asked, [ANN, ANN])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_onceWhileItDecides(self) -> None:
        self.router.isSlow = True
        first, second = self.find(), self.find()
        self.clock.advance(1)
        third, other = self.find(), self.find(EVE)
        assert isinstance(first, Deferred) and isinstance(second, Deferred)
        assert isinstance(third, Deferred) and isinstance(other, Deferred)
        decision = decisionFor(ANN, "at last")
        again: list[Ready[Decision]] = []

        def ask(found: Decision) -> Decision:
            again.append(self.find())
            return found

        first.addCallback(ask)
        self.router.deciding[0].callback(decision)
        for found in (first, second, third):
            self.assertIs(self.successResultOf(found), decision)
        self.assertNoResult(other)
        # Whoever asks after it was made has another one.
        self.assertEqual([path for path, _ in self.router.asked], [ANN, EVE, ANN])
        (later,) = again
        assert isinstance(later, Deferred)
        self.assertNoResult(later)

    def test_aFaultIsToldToAll(self) -> None:
        self.router.isSlow = True
        first, second = self.find(), self.find()
        assert isinstance(first, Deferred) and isinstance(second, Deferred)
        self.router.deciding[0].errback(ZeroDivisionError("for the test"))
        self.failureResultOf(first, ZeroDivisionError)
        self.failureResultOf(second, ZeroDivisionError)
        self.router.isSlow = False
        self.assertIsInstance(self.find(), Decision)

    def test_anAnswerThatIsThereAlready(self) -> None:
        decision = decisionFor(ANN, "there already")
        self.patch(self.router, "expand", lambda config, path, transaction: succeed(decision))
        found = self.find()
        assert isinstance(found, Deferred)
        self.assertIs(self.successResultOf(found), decision)

    def test_transactions(self) -> None:
        """RFC 5321 6.1, RFC 6533 and RFC 8689 5: from <>, and with the original's needs."""
        plain = self.senders.transaction(self.message)
        self.assertEqual((plain.sender, plain.smtputf8, plain.requireTls), (NULL_PATH, False, False))
        self.assertTrue(plain.session.isLocal and plain.session.isSocket)
        self.assertIs(self.senders.transaction(makeMessage(2)[0]), plain)
        original = self.message.transaction
        utf8 = self.senders.transaction(
            replace(self.message, transaction=replace(original, sender=Path("änn", "example.org")))
        )
        self.assertTrue(utf8.smtputf8)
        wished = replace(self.message, transaction=replace(original, requireTls=True, smtputf8=True))
        protected = self.senders.transaction(wished)
        self.assertTrue(protected.smtputf8 and protected.requireTls)
