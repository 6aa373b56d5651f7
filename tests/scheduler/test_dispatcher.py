"""What becomes of envelopes between queue, scheduler and agents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from subprocess import run
from sys import executable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.delivery import IRelease
from pysmtpd.interfaces.queue import QueueError
from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.envelope import Agent, Envelope, EnvelopeState, Message
from pysmtpd.model.events import (
    DeliveryAttempted,
    EnvelopeExpired,
    EnvelopeRemoved,
    InternalError,
    QueueFailed,
    QueueLoaded,
)
from pysmtpd.model.ids import MessageId, envelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Condition, Kind, entryOf
from pysmtpd.scheduler.dispatcher import Dispatcher
from pysmtpd.scheduler.ram import RamScheduler
from tests.scheduler.fakes import (
    LATER,
    NEVER,
    NO_ROOM,
    OK,
    START,
    FakeAgent,
    FakeBounce,
    FakePlatform,
    FakeQueue,
    FakeReport,
    makeMessage,
)

ROOT = Path(__file__).resolve().parents[2]
ONE = envelopeId(MessageId(1), 0)


class DispatcherCase(SynchronousTestCase):
    """
    @ivar warnAfter: ages in seconds at which a sender is told that mail is late.
    """

    warnAfter: Sequence[float] = ()

    def setUp(self) -> None:
        self.platform = FakePlatform()
        self.clock = self.platform.clock
        self.queue = FakeQueue()
        self.scheduler = RamScheduler(self.platform, SchedulerLimits())
        self.mta, self.mda = FakeAgent(), FakeAgent()
        self.bounce = FakeBounce(self.queue)
        self.report = FakeReport()
        self.dispatcher = Dispatcher(
            self.platform,
            self.scheduler,
            self.queue,
            {Kind.MTA: self.mta, Kind.MDA: self.mda},
            self.bounce,
            self.report,
            warnAfter=lambda: self.warnAfter,
        )
        self.dispatcher.start()

    def accept(self, made: tuple[Message, Sequence[Envelope]]) -> None:
        message, envelopes = made
        self.queue.add(message, envelopes)
        self.scheduler.insert([entryOf(envelope) for envelope in envelopes])
        self.scheduler.commit(message.id)
        self.turn()

    def turn(self) -> None:
        for _ in range(4):
            self.clock.advance(0)


class DispatcherTests(DispatcherCase):
    def known(self) -> int:
        counts = self.successResultOf(self.scheduler.counts())
        return sum(counts.values())

    # --- the good case

    def test_deliveredMailIsForgotten(self) -> None:
        self.accept(makeMessage(1, recipients=3))
        ((delivery, _),) = self.mta.taken
        self.assertEqual(delivery.message.id, 1)
        self.assertEqual(len(delivery.envelopes), 3)
        self.mta.land()
        self.turn()
        self.assertEqual(self.queue.messages, {})
        self.assertEqual(self.known(), 0)
        self.assertEqual([event.result for event in self.report.of(DeliveryAttempted)], ["Ok"] * 3)

    def test_outcomesOfOneTurnAreOneCall(self) -> None:
        for number in range(1, 6):
            self.accept(makeMessage(number))
        while self.mta.taken:
            self.mta.land()
        self.turn()
        self.assertEqual(len(self.queue.calls), 1)
        self.assertEqual(self.queue.messages, {})

    def test_eachKindGoesToItsAgent(self) -> None:
        self.accept(makeMessage(1, agent=Agent.MDA))
        self.accept(makeMessage(2, agent=Agent.MTA))
        self.assertEqual([delivery.message.id for delivery, _ in self.mda.taken], [1])
        self.assertEqual([delivery.message.id for delivery, _ in self.mta.taken], [2])

    def test_afullAgentDoesNotBlockAnother(self) -> None:
        self.mta.room = 0
        self.accept(makeMessage(1, agent=Agent.MTA))
        self.accept(makeMessage(2, agent=Agent.MDA))
        self.assertEqual(self.mta.taken, [])
        self.assertEqual(len(self.mda.taken), 1)
        self.mta.room = 1
        self.mda.land()
        self.turn()
        self.assertEqual(len(self.mta.taken), 1)

    # --- not now

    def test_temporaryFailureIsTriedAgainByTheBackoff(self) -> None:
        self.accept(makeMessage(1))
        for at in (400, 1600, 3600):
            self.mta.land(result=Result.TEMPORARY, reply=LATER, remote="mx.example.net [192.0.2.1]")
            self.turn()
            self.assertEqual(self.queue.state(ONE).nextTry, START + at)
            self.clock.advance(at - self.clock.seconds() - 1)
            self.assertEqual(self.mta.taken, [])
            self.clock.advance(1)
            self.turn()
            self.assertEqual(len(self.mta.taken), 1)
        state = self.queue.state(ONE)
        self.assertEqual(state.tries, 3)
        self.assertEqual(state.lastReply, "451 4.3.0 Try later")
        self.assertEqual(state.attempts[-1].host, "mx.example.net [192.0.2.1]")

    def test_agentMayNameTheTime(self) -> None:
        self.accept(makeMessage(1))
        self.mta.land(result=Result.TEMPORARY, reply=LATER, retryAt=START + 60)
        self.turn()
        self.clock.advance(60)
        self.turn()
        self.assertEqual(len(self.mta.taken), 1)

    def test_attemptsAreBounded(self) -> None:
        self.accept(makeMessage(1))
        for number in range(12):
            reply = Reply(451, f"Try later, {number}", "4.3.0")
            self.mta.land(result=Result.TEMPORARY, reply=reply, retryAt=self.platform.wallTime() + 10)
            self.turn()
            self.clock.advance(10)
            self.turn()
        self.assertEqual(len(self.queue.state(ONE).attempts), 8)
        self.assertEqual(self.queue.state(ONE).tries, 12)

    def test_attemptsThatEndAlikeAreOne(self) -> None:
        self.accept(makeMessage(1))
        for reply in (Reply(450, "Busy", "4.2.0"), LATER, LATER, LATER):
            self.mta.land(result=Result.TEMPORARY, reply=reply, retryAt=self.platform.wallTime() + 10)
            self.turn()
            self.clock.advance(10)
            self.turn()
        once, run = self.queue.state(ONE).attempts
        self.assertEqual((once.times, once.since, once.at), (1, 0.0, START))
        self.assertEqual((run.times, run.since, run.at), (3, START + 10, START + 30))

    def test_heldMailWaitsForRoom(self) -> None:
        self.assertTrue(IRelease.providedBy(self.dispatcher))
        self.accept(makeMessage(1))
        delivery, outcomes = self.mta.taken.pop()
        outcomes.hold(delivery.lease.envelopes, "example.net")
        self.turn()
        (status,) = self.successResultOf(self.scheduler.query([ONE]))
        self.assertEqual((status.condition, status.holdKey), (Condition.QUEUED, "example.net"))
        self.dispatcher.release("example.net", 1)
        self.turn()
        self.assertEqual(len(self.mta.taken), 1)

    def test_pausedKindsWait(self) -> None:
        self.dispatcher.pause(Kind.MTA)
        self.accept(makeMessage(1))
        self.assertEqual(self.mta.taken, [])
        self.dispatcher.resume(Kind.MTA)
        self.turn()
        self.assertEqual(len(self.mta.taken), 1)

    # --- never

    def test_permanentFailureIsKeptThenBounced(self) -> None:
        self.accept(makeMessage(1, recipients=2))
        self.mta.land(result=Result.PERMANENT, reply=NEVER)
        self.turn()
        state = self.queue.state(ONE)
        self.assertEqual((state.failed, state.failedStatus), ("550 5.1.1 No such user", "5.1.1"))
        self.clock.advance(2)
        self.turn()
        ((message, envelopes),) = self.bounce.told
        self.assertEqual((message.id, len(envelopes)), (1, 2))
        self.assertEqual(self.known(), 0)

    def test_failuresThatCloseTogetherAreOneReport(self) -> None:
        self.accept(makeMessage(1, recipients=3))
        delivery, outcomes = self.mta.taken.pop()
        for at, envelope in enumerate(delivery.lease.envelopes):
            outcomes.finished([Outcome(envelope, Result.PERMANENT, NEVER)])
            self.clock.advance(0.1 if at else 0.2)
            self.turn()
        self.clock.advance(2)
        self.turn()
        ((_, envelopes),) = self.bounce.told
        self.assertEqual(len(envelopes), 3)

    def test_expiredMailIsBouncedWithItsLastReply(self) -> None:
        self.accept(makeMessage(1))
        self.mta.land(result=Result.TEMPORARY, reply=LATER, retryAt=START + 1e9)
        self.turn()
        for _ in range(12):
            self.clock.advance(345_600 / 10)
            self.turn()
        ((_, (envelope,)),) = self.bounce.told
        self.assertEqual(envelope.state.failedStatus, "5.4.7")
        self.assertIn("451 4.3.0 Try later", envelope.state.failed)
        self.assertEqual(len(self.report.of(EnvelopeExpired)), 1)

    def test_expiredMailWhoseBounceCannotBeMadeNow(self) -> None:
        """It has failed once and for all, also for the queue, and is not called expired again."""
        self.bounce.failing = QueueError(NO_ROOM, "disk full")
        self.accept(makeMessage(1))
        self.mta.land(result=Result.TEMPORARY, reply=LATER, retryAt=START + 1e9)
        self.turn()
        self.clock.advance(345_600 + 60)
        self.turn()
        self.assertEqual(self.bounce.told, [])
        self.assertEqual(self.queue.state(ONE).failedStatus, "5.4.7")
        self.bounce.failing = None
        self.clock.advance(20)
        self.turn()
        ((_, (envelope,)),) = self.bounce.told
        self.assertIn("451 4.3.0 Try later", envelope.state.failed)
        self.assertEqual(len(self.report.of(EnvelopeExpired)), 1)

    def test_bounceThatCannotBeMadeNowIsMadeLater(self) -> None:
        self.bounce.failing = QueueError(NO_ROOM, "disk full")
        self.accept(makeMessage(1))
        self.mta.land(result=Result.LOOP, reply=NEVER)
        self.turn()
        self.clock.advance(3)
        self.turn()
        self.assertEqual(self.bounce.told, [])
        self.bounce.failing = None
        self.clock.advance(20)
        self.turn()
        self.assertEqual(len(self.bounce.told), 1)

    def test_faultOfTheBouncerLosesNothing(self) -> None:
        self.bounce.failing = RuntimeError("fault")
        self.accept(makeMessage(1))
        self.mta.land(result=Result.PERMANENT, reply=NEVER)
        self.turn()
        self.clock.advance(3)
        self.turn()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(len(self.report.of(InternalError)), 1)
        self.bounce.failing = None
        self.clock.advance(20)
        self.turn()
        self.assertEqual(len(self.bounce.told), 1)

    def test_removedMailIsForgotten(self) -> None:
        self.mta.room = 0
        self.accept(makeMessage(1, recipients=2))
        self.scheduler.remove([ONE])
        self.turn()
        self.assertEqual([event.evpid for event in self.report.of(EnvelopeRemoved)], [ONE])
        self.assertEqual(list(self.queue.envelopes[MessageId(1)]), [envelopeId(MessageId(1), 1)])

    def test_removedInFlightGoesWhenItComesBack(self) -> None:
        self.accept(makeMessage(1))
        self.scheduler.remove([ONE])
        self.turn()
        self.assertEqual(self.report.of(EnvelopeRemoved), [])
        self.mta.land(result=Result.TEMPORARY, reply=LATER)
        self.turn()
        self.assertEqual(len(self.report.of(EnvelopeRemoved)), 1)
        self.assertEqual(self.queue.messages, {})

    def test_suspendedOutlastsTheAttemptUnderWay(self) -> None:
        self.accept(makeMessage(1, recipients=2))
        self.assertEqual(self.successResultOf(self.dispatcher.suspendEnvelopes([ONE])), 1)
        self.assertTrue(self.queue.state(ONE).suspended)
        self.mta.land(result=Result.TEMPORARY, reply=LATER)
        self.turn()
        self.assertTrue(self.queue.state(ONE).suspended)
        self.clock.advance(400)
        self.turn()
        ((delivery, _),) = self.mta.taken
        self.assertEqual(delivery.lease.envelopes, (envelopeId(MessageId(1), 1),))
        self.assertEqual(self.successResultOf(self.dispatcher.resumeEnvelopes([ONE, envelopeId(MessageId(9), 0)])), 1)
        self.assertFalse(self.queue.state(ONE).suspended)
        self.turn()
        self.assertEqual(len(self.mta.taken), 2)

    # --- faults of neighbours

    def test_schedulerThatGivesWhatNobodyAskedFor(self) -> None:
        """It is taken, and the scheduler is asked again."""
        batch = self.scheduler.batch
        self.patch(self.scheduler, "batch", lambda worker, capacity: batch(worker, {**capacity, Kind.MTA: 9}))
        self.dispatcher.pause(Kind.MTA)
        self.accept(makeMessage(1))
        self.accept(makeMessage(2))
        self.assertEqual([delivery.message.id for delivery, _ in self.mta.taken], [1, 2])

    def test_faultWhileHandingOutIsNotTheLastQuestion(self) -> None:
        batch = self.scheduler.batch
        self.patch(self.scheduler, "batch", lambda worker, capacity: succeed(None))
        self.accept(makeMessage(1))
        self.assertTrue(self.flushLoggedErrors(AttributeError))
        self.patch(self.scheduler, "batch", batch)
        self.clock.advance(6)
        self.turn()
        self.assertEqual(len(self.mta.taken), 1)

    def test_secondOutcomeIsIgnored(self) -> None:
        self.accept(makeMessage(1))
        ((_, outcomes),) = self.mta.taken
        outcomes.finished([Outcome(ONE, Result.DELIVERED, OK)])
        outcomes.finished([Outcome(ONE, Result.PERMANENT, NEVER)])
        outcomes.hold([ONE], "key")
        self.turn()
        self.assertEqual(len(self.report.of(DeliveryAttempted)), 1)
        self.assertEqual(self.queue.messages, {})

    def test_brokenAgentCostsOneTry(self) -> None:
        self.mta.broken = True
        self.accept(makeMessage(1))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.queue.state(ONE).tries, 1)
        self.mta.broken = False
        self.clock.advance(400)
        self.turn()
        self.assertEqual(len(self.mta.taken), 1)

    def test_whatIsNotInTheQueueIsForgotten(self) -> None:
        message, envelopes = makeMessage(1, recipients=2)
        self.scheduler.insert([entryOf(envelope) for envelope in envelopes])
        self.scheduler.commit(message.id)
        self.turn()
        self.assertEqual(self.known(), 0)
        self.queue.add(message, envelopes[1:])
        self.scheduler.insert([entryOf(envelope) for envelope in envelopes])
        self.scheduler.commit(message.id)
        self.turn()
        self.assertEqual(self.known(), 1)
        self.assertEqual([delivery.envelopes for delivery, _ in self.mta.taken], [envelopes[1:]])

    def test_onlyWhatIsLeasedIsDelivered(self) -> None:
        """A message may have as many envelopes left as the lease names, and yet others."""
        message, envelopes = makeMessage(1, recipients=3)
        self.queue.add(message, envelopes[:2])
        self.scheduler.insert([entryOf(envelopes[0]), entryOf(envelopes[2])])
        self.scheduler.commit(message.id)
        self.turn()
        self.assertEqual([delivery.envelopes for delivery, _ in self.mta.taken], [envelopes[:1]])

    def test_unreadableMessageIsTriedLater(self) -> None:
        self.queue.failing = ("load",)
        self.accept(makeMessage(1))
        self.assertEqual(self.mta.taken, [])
        self.assertEqual(self.queue.loads, 1)
        self.queue.failing = ()
        self.clock.advance(60)
        self.turn()
        self.assertEqual(len(self.mta.taken), 1)

    def test_unreadableExpiredMailIsTriedLater(self) -> None:
        self.mta.room = 0
        self.accept(makeMessage(1))
        self.queue.failing = ("load",)
        self.clock.advance(345_600 + 60)
        self.turn()
        self.assertEqual(self.queue.loads, 1, "not over and over")
        self.clock.advance(30)
        self.dispatcher.wake()
        self.turn()
        self.clock.advance(30)
        self.turn()
        self.assertEqual(self.queue.loads, 2)
        self.queue.failing = ()
        self.clock.advance(60)
        self.clock.advance(2)
        self.turn()
        self.assertEqual(len(self.bounce.told), 1)

    def test_stopDropsWhatCannotBeRead(self) -> None:
        self.mta.room = 0
        self.accept(makeMessage(1))
        self.queue.failing = ("load",)
        self.clock.advance(345_600 + 60)
        self.turn()
        self.successResultOf(self.stopped())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_deliveredMailThatCannotBeDeletedIsNotDeliveredAgain(self) -> None:
        self.queue.failing = ("delete",)
        self.accept(makeMessage(1))
        self.mta.land()
        for _ in range(100):
            self.clock.advance(60)
            self.turn()
        self.assertEqual(self.mta.taken, [])
        self.queue.failing = ()
        self.clock.advance(10)
        self.turn()
        self.assertEqual(self.queue.messages, {})
        self.assertEqual(self.known(), 0)

    def test_failureThatCannotBeKeptIsKeptLater(self) -> None:
        self.queue.failing = ("update",)
        self.accept(makeMessage(1))
        self.mta.land(result=Result.PERMANENT, reply=NEVER)
        self.turn()
        self.clock.advance(3)
        self.turn()
        self.assertEqual(self.bounce.told, [])
        self.queue.failing = ()
        self.clock.advance(6)
        self.turn()
        self.assertEqual(len(self.bounce.told), 1)

    def test_lostStateCostsATryOnly(self) -> None:
        self.queue.failing = ("update",)
        self.accept(makeMessage(1))
        self.mta.land(result=Result.TEMPORARY, reply=LATER)
        self.turn()
        self.clock.advance(400)
        self.turn()
        self.assertEqual(len(self.mta.taken), 1)

    def test_bounceWithoutAKnownFailureIsADeliveryAgain(self) -> None:
        message, envelopes = makeMessage(1)
        self.queue.add(message, envelopes)
        self.scheduler.insert([entryOf(envelope)._replace(kind=Kind.BOUNCE) for envelope in envelopes])
        self.scheduler.commit(message.id)
        self.turn()
        self.assertEqual(self.bounce.told, [])
        self.assertEqual(len(self.mta.taken), 1)

    # --- start and stop

    def test_queuedMailIsLoadedInPages(self) -> None:
        for number in range(1, 6):
            self.queue.add(*makeMessage(number, recipients=2))
        owed = EnvelopeState(failed="550 5.0.0 No", failedStatus="5.0.0")
        self.queue.add(*makeMessage(6, state=owed))
        loaded = self.dispatcher.load()
        self.turn()
        self.assertEqual(self.successResultOf(loaded), 11)
        self.assertEqual(len(self.mta.taken), 5)
        self.assertEqual(len(self.bounce.told), 1)
        (event,) = self.report.of(QueueLoaded)
        self.assertEqual(event.envelopes, 11)
        self.assertFalse(self.dispatcher.isLoading)

    def test_loadingGoesOnAfterAnError(self) -> None:
        self.queue.add(*makeMessage(1))
        self.queue.failing = ("walk",)
        loaded = self.dispatcher.load()
        self.turn()
        self.assertNoResult(loaded)
        self.assertEqual([event.operation for event in self.report.of(QueueFailed)], ["walk"])
        self.queue.failing = ()
        self.clock.advance(5)
        self.turn()
        self.assertEqual(self.successResultOf(loaded), 1)

    def test_stopEndsLoading(self) -> None:
        self.queue.add(*makeMessage(1))
        self.queue.failing = ("walk",)
        loaded = self.dispatcher.load()
        self.successResultOf(self.stopped())
        self.successResultOf(loaded)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def stopped(self) -> Deferred[None]:
        stopped = self.dispatcher.stop()
        self.turn()
        return stopped

    def test_stopWaitsForOutcomes(self) -> None:
        self.accept(makeMessage(1))
        stopped = self.dispatcher.stop()
        self.accept(makeMessage(2))
        self.assertNoResult(stopped)
        self.queue.waiting = []
        self.mta.land()
        self.turn()
        self.assertNoResult(stopped)
        self.queue.waiting.pop().callback(None)
        self.turn()
        self.successResultOf(stopped)
        self.assertEqual(list(self.queue.messages), [2])
        self.assertEqual(self.mta.taken, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.dispatcher.stop())

    def test_whatIsHeldWhileStoppingGoesBackUntried(self) -> None:
        """A scheduler that outlives us must not keep it in a hold queue that nobody will release."""
        self.accept(makeMessage(1))
        stopped = self.dispatcher.stop()
        ((delivery, outcomes),) = self.mta.taken
        outcomes.hold(delivery.lease.envelopes, "relay")
        self.turn()
        self.successResultOf(stopped)
        (status,) = self.successResultOf(self.scheduler.query(delivery.lease.envelopes))
        self.assertEqual((status.condition, status.entry.tries, status.holdKey), (Condition.READY, 0, ""))
        self.assertEqual(self.queue.calls, [])

    def test_stopDoesNotWaitForAQueueThatRefuses(self) -> None:
        self.queue.failing = ("delete",)
        self.accept(makeMessage(1))
        self.mta.land()
        stopped = self.dispatcher.stop()
        self.turn()
        self.clock.advance(5)
        self.turn()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slowQueueIsNotAskedForMoreThanAgentsTake(self) -> None:
        """What is still being loaded counts against the agent's room."""
        slow: list[Deferred[None]] = []
        load = self.queue.load

        def later(message: MessageId) -> Deferred[tuple[Message, tuple[Envelope, ...]]]:
            slow.append(Deferred())
            return slow[-1].addCallback(lambda _: load(message))

        self.queue.load = later  # type: ignore[method-assign]
        self.mta.room = 2
        for number in range(1, 6):
            self.accept(makeMessage(number))
        self.assertEqual(len(slow), 2)
        for waiting in slow[:]:
            waiting.callback(None)
        self.mta.room = 0
        self.turn()
        self.assertEqual(len(self.mta.taken), 2)
        self.assertEqual(len(slow), 2)

    def test_schedulerThatFailsIsAskedAgain(self) -> None:
        batch = self.scheduler.batch
        self.scheduler.batch = lambda worker, capacity: fail(RuntimeError("away"))  # type: ignore[method-assign]
        self.accept(makeMessage(1))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.scheduler.batch = batch  # type: ignore[method-assign]
        self.clock.advance(5)
        self.turn()
        self.assertEqual(len(self.mta.taken), 1)

    def test_theSameEventsInEveryRun(self) -> None:
        """No order depends on hashing: two daemons under different seeds tell the same story."""
        script = "from tests.scheduler.story import tell; tell()"
        stories = [
            run(
                [executable, "-c", script], env={"PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, check=True
            ).stdout
            for seed in ("1", "2")
        ]
        self.assertIn(b"result='TempFail'", stories[0])
        self.assertEqual(stories[0], stories[1])

    def test_thereIsOneTimer(self) -> None:
        for number in range(1, 50):
            self.accept(makeMessage(number))
            self.mta.land(result=Result.TEMPORARY, reply=LATER)
        self.turn()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
