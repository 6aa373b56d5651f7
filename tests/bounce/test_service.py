"""Who is told of a failure, and how the report takes the place of what it reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from email import message_from_bytes
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pysmtpd.bounce.service import Bouncer
from pysmtpd.interfaces.delivery import IBounce
from pysmtpd.interfaces.queue import ISubmission, ISubmit, QueueError
from pysmtpd.interfaces.routing import IRouter
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision, Step
from pysmtpd.model.envelope import Agent, Attempt, BodyRef, Destination, Envelope, EnvelopeState, Message, Notify
from pysmtpd.model.events import EnvelopeBounced
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId
from pysmtpd.model.reply import Reply
from tests.scheduler.fakes import NO_ROOM, START, FakePlatform, FakeQueue, FakeReport, makeMessage

ANN = Path("ann", "example.org")
STATE = EnvelopeState(
    tries=1,
    lastTry=START + 5,
    failed="550 5.1.1 No such user",
    failedStatus="5.1.1",
    attempts=(Attempt(START + 5, "550 5.1.1 No such user", "mx.example.net [192.0.2.1]"),),
)


@implementer(ISubmission)
class FakeSubmission:
    def __init__(self, submit: FakeSubmit, transaction: Transaction, isBounce: bool) -> None:
        self.submit, self.transaction, self.isBounce = submit, transaction, isBounce
        self.id = MessageId(77 + len(submit.begun))
        self.destinations: list[Destination] = []
        self.content = b""
        self.supersedes: list[EnvelopeId] = []
        self.end = ""

    def recipient(self, destination: Destination) -> EnvelopeId:
        self.destinations.append(destination)
        return envelopeId(self.id, len(self.destinations) - 1)

    def write(self, chunk: bytes) -> Deferred[None] | None:
        self.content += chunk
        return fail(QueueError(NO_ROOM, "disk full")) if "write" in self.submit.failing else None

    def commit(
        self, prefix: bytes, supersedes: Sequence[EnvelopeId] = (), isTlsOptional: bool = False
    ) -> Deferred[Message]:
        self.end = "commit"
        if "commit" in self.submit.failing:
            return fail(QueueError(NO_ROOM, "disk full"))
        self.supersedes = list(supersedes)
        self.submit.queue.forget(supersedes)
        message = Message(self.id, self.transaction, BodyRef(self.id, len(self.content)), START, True)
        self.submit.accept(
            message,
            tuple(
                Envelope(envelopeId(self.id, index), destination, START, START + 345_600)
                for index, destination in enumerate(self.destinations)
            ),
        )
        return succeed(message)

    def rollback(self) -> Deferred[None]:
        self.end = "rollback"
        return succeed(None)


@implementer(ISubmit)
class FakeSubmit:
    def __init__(self, queue: FakeQueue) -> None:
        self.queue = queue
        self.failing: tuple[str, ...] = ()
        self.begun: list[FakeSubmission] = []
        self.accept: Callable[[Message, tuple[Envelope, ...]], None] = lambda message, envelopes: None

    def admit(self, size: int) -> Reply | None:
        return NO_ROOM if "admit" in self.failing else None

    def begin(self, transaction: Transaction, isBounce: bool = False) -> ISubmission:
        self.begun.append(FakeSubmission(self, transaction, isBounce))
        return self.begun[-1]


@implementer(IRouter)
class FakeRouter:
    def __init__(self) -> None:
        self.refusal: Reply | None = None
        self.asked: list[tuple[Path, Transaction]] = []

    def expand(self, config: Config, path: Path, transaction: Transaction) -> Decision:
        self.asked.append((path, transaction))
        destinations = () if self.refusal else (Destination(path, path, Agent.MDA, "local", "ann"),)
        return Decision(destinations, self.refusal, "for the test", Step(path))


class BouncerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue = FakeQueue()
        self.queue.content = b"Received: here\r\nSubject: Hello\r\n\r\nThe body\r\n" + b"x" * 300
        self.submit = FakeSubmit(self.queue)
        self.router = FakeRouter()
        self.report = FakeReport()
        self.config = Config("smtpd.conf", "mail.example.org")
        self.bouncer = Bouncer(
            FakePlatform(),
            self.submit,
            self.queue,
            self.router,
            lambda: self.config,
            self.report,
        )

    def make(self, recipients: int = 1, **more: Any) -> tuple[Message, tuple[Envelope, ...]]:
        message, envelopes = makeMessage(1, recipients=recipients, state=STATE, **more)
        self.queue.add(message, envelopes)
        return message, envelopes

    def bounce(self, message: Message, envelopes: Sequence[Envelope]) -> None:
        self.successResultOf(self.bouncer.bounce(message, envelopes))

    def test_oneReportTakesTheirPlace(self) -> None:
        verifyObject(IBounce, self.bouncer)
        message, envelopes = self.make(recipients=3)
        self.bounce(message, envelopes[:2])
        (submission,) = self.submit.begun
        self.assertEqual(submission.supersedes, [envelope.id for envelope in envelopes[:2]])
        self.assertEqual(list(self.queue.envelopes[message.id]), [envelopes[2].id])
        self.assertTrue(submission.isBounce)
        self.assertEqual(submission.transaction.sender, NULL_PATH)
        self.assertTrue(submission.transaction.session.isSocket and submission.transaction.session.isLocal)
        self.assertEqual([path for path, _ in self.router.asked], [ANN])
        self.assertEqual([event.bounce for event in self.report.of(EnvelopeBounced)], [77, 77])

    def test_oneDecisionForWhatEndsTogether(self) -> None:
        for number in (1, 2):
            self.bounce(*makeMessage(number, state=STATE))
        self.assertEqual([path for path, _ in self.router.asked], [ANN])
        contents = [submission.content for submission in self.submit.begun]
        self.assertEqual([submission.destinations[0].recipient for submission in self.submit.begun], [ANN, ANN])
        self.assertNotEqual(*[message_from_bytes(content)["Message-ID"] for content in contents])
        self.config = replace(self.config, serverName="other.example.org")
        self.bounce(*makeMessage(3, state=STATE))
        self.assertEqual([path for path, _ in self.router.asked], [ANN, ANN])
        self.assertIn(b"MAILER-DAEMON@other.example.org", self.submit.begun[2].content)

    def test_reportHoldsTheHeaderOnly(self) -> None:
        self.bounce(*self.make())
        parsed = message_from_bytes(self.submit.begun[0].content)
        text = parsed.as_string()
        self.assertIn("Subject: Hello", text)
        self.assertNotIn("The body", text)
        self.assertIn("Remote-MTA: dns; mx.example.net", text)

    def test_reportHoldsAllIfTheSenderWants(self) -> None:
        message, envelopes = self.make()
        message = replace(message, transaction=replace(message.transaction, ret="FULL"))
        self.bounce(message, envelopes)
        self.assertIn(b"The body", self.submit.begun[0].content)
        self.assertIn(b"message/rfc822", self.submit.begun[0].content)

    def test_largeOriginalsAreNotReturned(self) -> None:
        message, envelopes = self.make()
        body = replace(message.body, size=10_000_000)
        message = replace(message, transaction=replace(message.transaction, ret="FULL"), body=body)
        self.bounce(message, envelopes)
        self.assertNotIn(b"The body", self.submit.begun[0].content)

    def untold(self, message: Message, envelopes: Sequence[Envelope]) -> None:
        self.bounce(message, envelopes)
        self.assertEqual([submission.end for submission in self.submit.begun], [])
        self.assertEqual(self.queue.messages, {})
        (event,) = self.report.of(EnvelopeBounced)
        self.assertEqual(event.bounce, 0)
        self.assertIn("no report", event.stat)

    def test_theNullSenderIsNeverTold(self) -> None:
        self.untold(*self.make(sender=""))

    def test_bouncesAreNeverReported(self) -> None:
        message, envelopes = self.make()
        self.untold(replace(message, isBounce=True), envelopes)

    def test_notifyNever(self) -> None:
        self.untold(*self.notifying(Notify.NEVER))

    def test_notifyWithoutFailure(self) -> None:
        self.untold(*self.notifying(Notify.SUCCESS | Notify.DELAY))

    def notifying(self, notify: Notify) -> tuple[Message, tuple[Envelope, ...]]:
        message, (envelope,) = self.make()
        return message, (replace(envelope, destination=replace(envelope.destination, notify=notify)),)

    def test_thoseWhoAreNotReportedGoInTheSameStep(self) -> None:
        message, (first, second) = self.make(recipients=2)
        silent = replace(first, destination=replace(first.destination, notify=Notify.NEVER))
        self.bounce(message, (silent, second))
        (submission,) = self.submit.begun
        self.assertEqual(submission.supersedes, [first.id, second.id])
        self.assertNotIn(b"user0@example.net", submission.content)
        self.assertEqual(
            [(event.evpid, event.bounce) for event in self.report.of(EnvelopeBounced)], [(second.id, 77), (first.id, 0)]
        )

    def test_refusedSender(self) -> None:
        self.router.refusal = Reply(550, "No such user", "5.1.1")
        self.untold(*self.make())

    def failsNow(self) -> None:
        message, envelopes = self.make()
        self.failureResultOf(self.bouncer.bounce(message, envelopes), QueueError)
        self.assertEqual(list(self.queue.messages), [message.id])
        self.assertEqual(self.report.events, [])

    def test_senderThatCannotBeResolvedNow(self) -> None:
        self.router.refusal = Reply(451, "Try later", "4.3.0")
        self.failsNow()

    def test_noRoom(self) -> None:
        for step, end in (("admit", None), ("write", "rollback"), ("commit", "commit")):
            self.submit.failing = (step,)
            self.failsNow()
            self.assertEqual(self.submit.begun[-1].end if self.submit.begun else None, end)

    def test_originalThatCannotBeReadNow(self) -> None:
        self.queue.failing = ("open",)
        self.failsNow()
        self.assertEqual(self.submit.begun, [])
