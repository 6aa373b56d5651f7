"""Many messages whose outcome is known without an attempt have it in one step, each its own."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from pysmtpd.model.envelope import Agent, Attempt
from pysmtpd.model.events import DeliveryAttempted, EnvelopeExpired, InternalError
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Condition, Delivery, entryOf
from tests.scheduler.fakes import START, makeMessage
from tests.scheduler.test_dispatcher import DispatcherCase

DOWN = Reply(451, "No host could be reached", "4.4.1")
REPLY = "451 4.4.1 No host could be reached"


class AlikeTests(DispatcherCase):
    def known(self, retryAt: float, *but: int) -> None:
        """From now on the agent knows that all messages but these would fail until then."""

        def answer(deliveries: Sequence[Delivery]) -> Sequence[tuple[Outcome, Sequence[Delivery]]]:
            some = [delivery for delivery in deliveries if delivery.message.id not in but]
            if not some:
                return ()
            first = some[0].envelopes[0].id
            return ((Outcome(first, Result.TEMPORARY, DOWN, relay="example.net", retryAt=retryAt), some),)

        self.mta.known = answer

    def acceptMany(self, *numbers: int, recipients: int = 1) -> list[EnvelopeId]:
        ids: list[EnvelopeId] = []
        for number in numbers:
            message, envelopes = makeMessage(number, recipients)
            self.queue.add(message, envelopes)
            self.scheduler.insert([entryOf(envelope) for envelope in envelopes])
            self.scheduler.commit(message.id)
            ids += [envelope.id for envelope in envelopes]
        self.turn()
        return ids

    def taken(self) -> list[int]:
        return [delivery.message.id for delivery, _ in self.mta.taken]

    def test_oneStepForAll(self) -> None:
        self.known(START + 600)
        ids = self.acceptMany(*range(1, 51), recipients=2)
        self.assertEqual(self.taken(), [])
        ((what, states),) = self.queue.calls
        self.assertEqual((what, list(states)), ("update", ids))
        for id in ids:
            state = self.queue.state(id)
            self.assertEqual((state.tries, state.nextTry, state.lastTry), (1, START + 600, START))
            self.assertEqual((state.lastReply, state.attempts), (REPLY, (Attempt(START, REPLY),)))
        events = self.report.of(DeliveryAttempted)
        self.assertEqual([event.evpid for event in events], ids)
        self.assertEqual(
            {(one.agent, one.result, one.relay, one.stat) for one in events},
            {("mta", "TempFail", "example.net", REPLY)},
        )
        self.assertEqual(
            {(one.sender, one.to) for one in events}, {("ann@example.org", f"user{n}@example.net") for n in (0, 1)}
        )
        for status in self.successResultOf(self.scheduler.query(ids)):
            self.assertEqual((status.condition, status.due, status.entry.tries), (Condition.WAITING, START + 600, 1))

    def test_eachHasItsOwnHistory(self) -> None:
        self.known(START + 600)
        first = self.acceptMany(1, 2)
        self.clock.advance(100)
        later = self.acceptMany(3, 4)
        self.known(START + 1200)
        self.clock.advance(500)
        self.turn()
        self.assertEqual(self.taken(), [])
        for ids, began in ((first, START), (later, START + 100)):
            for id in ids:
                (attempt,) = self.queue.state(id).attempts
                self.assertEqual((attempt.at, attempt.reply, attempt.times), (START + 600, REPLY, 2))
                self.assertEqual(attempt.began(created=START), began)
        self.mta.known = lambda deliveries: ()
        self.clock.advance(600)
        self.turn()
        self.assertEqual(self.taken(), [1, 2, 3, 4])

    def test_neighboursThatFailedSinceTheyCameShareAState(self) -> None:
        """Each is written by itself all the same, and what an operator does to one is not done to the others."""
        self.known(START + 600)
        ids = self.acceptMany(1, 2, 3)
        for round in (1, 2):
            self.known(START + 600 + 600 * round)
            self.clock.advance(600)
            self.turn()
        states = [self.queue.state(id) for id in ids]
        self.assertEqual([id(state) for state in states], [id(states[0])] * 3)
        (attempt,) = states[0].attempts
        self.assertEqual((attempt.times, attempt.began(created=START), states[0].tries), (3, START, 3))
        self.assertEqual(list(self.queue.calls[-1][1]), ids)
        self.successResultOf(self.dispatcher.suspendEnvelopes(ids[:1]))
        self.assertEqual([self.queue.state(id).suspended for id in ids], [True, False, False])

    def test_othersAreDelivered(self) -> None:
        self.known(START + 600, 2, 4)
        self.acceptMany(1, 2, 3, 4, 5)
        self.assertEqual(self.taken(), [2, 4])
        self.mta.land()
        self.mta.land()
        self.turn()
        self.assertEqual(sorted(self.queue.messages), [1, 3, 5])

    def test_aSingleOneIsDelivered(self) -> None:
        self.known(START + 600)
        self.acceptMany(1)
        self.assertEqual(self.taken(), [1])

    def test_eachAgentIsAskedForItsOwn(self) -> None:
        self.known(START + 600)
        for number, agent in enumerate((Agent.MDA, Agent.MTA, Agent.MDA, Agent.MTA), start=1):
            message, envelopes = makeMessage(number, agent=agent)
            self.queue.add(message, envelopes)
            self.scheduler.insert([entryOf(envelope) for envelope in envelopes])
            self.scheduler.commit(message.id)
        self.turn()
        self.assertEqual(self.taken(), [])
        self.assertEqual([delivery.message.id for delivery, _ in self.mda.taken], [1, 3])

    def test_timesThatArePastAreNoAnswer(self) -> None:
        """The clock may have jumped."""
        self.known(START - 5)
        self.acceptMany(1, 2)
        self.assertEqual(self.taken(), [1, 2])

    def test_aFaultIsToldAndAllAreDelivered(self) -> None:
        def broken(deliveries: Sequence[Delivery]) -> Sequence[tuple[Outcome, Sequence[Delivery]]]:
            raise RuntimeError("agent is broken")

        self.mta.known = broken
        self.acceptMany(1, 2)
        self.assertEqual(self.taken(), [1, 2])
        self.assertEqual(len(self.report.of(InternalError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_sendersAreWarnedOnceForEachMessage(self) -> None:
        self.warnAfter = (500.0,)
        self.known(START + 400)
        ids = self.acceptMany(1, 2, recipients=2)
        for seconds, nextTry, warned in ((400, 600, []), (200, 900, [(1, 2), (2, 2)]), (290, 1500, [(1, 2), (2, 2)])):
            self.known(START + nextTry)
            self.clock.advance(seconds)
            self.turn()
            self.assertEqual({self.queue.state(id).nextTry for id in ids}, {START + nextTry})
            if seconds == 200:
                self.clock.advance(10)
            self.assertEqual([(message.id, len(late)) for message, late in self.bounce.warned], warned)
        self.assertEqual({self.queue.state(id).warned for id in ids}, {1})

    def test_theyExpireEachAtItsTime(self) -> None:
        self.known(START + 400_000)
        self.acceptMany(1, 2)
        self.clock.advance(345_600 + 60)
        self.turn()
        self.assertEqual([event.evpid >> 32 for event in self.report.of(EnvelopeExpired)], [1, 2])
        self.clock.advance(3)
        self.turn()
        self.assertEqual([message.id for message, _ in self.bounce.told], [1, 2])

    def test_aQueueThatRefusesCostsATryOnly(self) -> None:
        self.queue.failing = ("update",)
        self.known(START + 600)
        ids = self.acceptMany(1, 2)
        self.assertEqual(self.queue.state(ids[0]).tries, 0)
        self.mta.known = lambda deliveries: ()
        self.clock.advance(600)
        self.turn()
        self.assertEqual(self.taken(), [1, 2])

    def test_stopWaitsUntilTheQueueHasIt(self) -> None:
        self.queue.waiting = waiting = list[Deferred[None]]()
        self.known(START + 600)
        ids = self.acceptMany(1, 2)
        stopped = self.dispatcher.stop()
        self.turn()
        self.assertNoResult(stopped)
        waiting.pop().callback(None)
        self.turn()
        self.successResultOf(stopped)
        for status in self.successResultOf(self.scheduler.query(ids)):
            self.assertEqual(status.condition, Condition.WAITING)

    def test_whatIsSaidOfThemMeanwhileHolds(self) -> None:
        self.queue.waiting = waiting = list[Deferred[None]]()
        self.known(START + 600)
        self.acceptMany(1, 2, 3)
        one, two = envelopeId(MessageId(1), 0), envelopeId(MessageId(2), 0)
        self.dispatcher.suspendEnvelopes([one])
        self.scheduler.remove([two])
        while waiting:
            waiting.pop(0).callback(None)
            self.turn()
        self.assertNotIn(2, self.queue.messages)
        (status,) = self.successResultOf(self.scheduler.query([one]))
        self.assertEqual(status.condition, Condition.SUSPENDED)
        self.assertTrue(self.queue.state(one).suspended)
        self.clock.advance(600)
        self.mta.known = lambda deliveries: ()
        self.turn()
        self.assertEqual(self.taken(), [3])
