"""Whatever happens to mail, no envelope ends without one last word: delivered, bounced or removed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.bounce.service import Bouncer
from pysmtpd.model.config import Config, SchedulerLimits
from pysmtpd.model.envelope import Agent, Envelope, Message
from pysmtpd.model.events import DeliveryAttempted, EnvelopeBounced, EnvelopeRemoved
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery, Kind, entryOf
from pysmtpd.scheduler.dispatcher import Dispatcher
from pysmtpd.scheduler.ram import RamScheduler
from tests.bounce.test_service import FakeRouter, FakeSubmit
from tests.scheduler.fakes import (
    LATER,
    NEVER,
    OK,
    FakeAgent,
    FakePlatform,
    FakeQueue,
    FakeReport,
    makeMessage,
)

REPLIES = {Result.DELIVERED: OK, Result.TEMPORARY: LATER, Result.PERMANENT: NEVER, Result.LOOP: NEVER}


class JourneyTests(SynchronousTestCase):
    @given(
        results=st.lists(st.sampled_from(tuple(Result)), min_size=1, max_size=30),
        senders=st.lists(st.sampled_from(("ann", "")), min_size=1, max_size=4),
        refusal=st.sampled_from((None, Reply(550, "No", "5.1.1"), Reply(451, "Later", "4.3.0"))),
        removed=st.integers(0, 3),
        outages=st.lists(st.sampled_from(("", "load", "update", "delete")), max_size=6),
    )
    @settings(max_examples=80, deadline=None)
    def test_eachEnvelopeHasOneLastWord(
        self, results: list[Result], senders: list[str], refusal: Reply | None, removed: int, outages: list[str]
    ) -> None:
        platform, queue, report = FakePlatform(), FakeQueue(), FakeReport()
        scheduler = RamScheduler(platform, SchedulerLimits(maxInflight=3))
        submit, router = FakeSubmit(queue), FakeRouter()
        router.refusal = refusal
        every: list[EnvelopeId] = []

        def accept(message: Message, envelopes: tuple[Envelope, ...]) -> None:
            queue.add(message, envelopes)
            every.extend(envelope.id for envelope in envelopes)
            scheduler.insert([entryOf(envelope) for envelope in envelopes])
            scheduler.commit(message.id)

        submit.accept = accept
        bouncer = Bouncer(platform, submit, queue, router, lambda: Config("f", "mail.example.org"), report)
        agent = FakeAgent()
        script = iter(results)

        def attempt(delivery: Delivery, id: EnvelopeId) -> Outcome:
            result = next(script, Result.TEMPORARY)
            return Outcome(id, result, REPLIES[result])

        agent.reply = attempt
        agents = {Kind.MTA: agent, Kind.MDA: agent}
        dispatcher = Dispatcher(platform, scheduler, queue, agents, bouncer, report)
        dispatcher.start()
        for number, sender in enumerate(senders, 1):
            agentKind = Agent.MTA if number % 2 else Agent.MDA
            accept(*makeMessage(number, recipients=number, agent=agentKind, sender=sender))
        for outage in outages:
            queue.failing = (outage,)
            platform.clock.advance(300)
        queue.failing = ()
        scheduler.remove(every[:removed])
        for hour in range(200):
            platform.clock.advance(3600)
            if hour == 150 and refusal is not None and refusal.isTemporary:
                router.refusal = None
        fates = [event.evpid for event in report.of(DeliveryAttempted) if event.result == "Ok"]
        fates += [event.evpid for event in report.of(EnvelopeBounced)]
        fates += [event.evpid for event in report.of(EnvelopeRemoved)]
        self.assertEqual(sorted(fates), sorted(every))
        self.assertEqual(queue.messages, {})
        counts = self.successResultOf(scheduler.counts())
        self.assertEqual(sum(counts.values()), 0)
        self.assertTrue(all(not path.isNull for path, _ in router.asked), "never a bounce to the null sender")
