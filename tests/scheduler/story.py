"""A day in the life of a dispatcher, told by its events: for comparing two runs."""

from __future__ import annotations

from random import Random

from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.envelope import Agent
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.schedule import Delivery, Kind, entryOf
from pysmtpd.scheduler.dispatcher import Dispatcher
from pysmtpd.scheduler.ram import RamScheduler
from tests.scheduler.fakes import (
    LATER,
    NEVER,
    OK,
    FakeAgent,
    FakeBounce,
    FakePlatform,
    FakeQueue,
    FakeReport,
    makeMessage,
)


def tell() -> None:
    random = Random(7)
    platform, queue, report = FakePlatform(), FakeQueue(), FakeReport()
    mta, mda = FakeAgent(), FakeAgent()
    scheduler = RamScheduler(platform, SchedulerLimits(maxInflight=20))
    agents = {Kind.MTA: mta, Kind.MDA: mda}
    dispatcher = Dispatcher(platform, scheduler, queue, agents, FakeBounce(queue), report)

    def attempt(delivery: Delivery, id: EnvelopeId) -> Outcome:
        result = random.choice((Result.DELIVERED, Result.TEMPORARY, Result.TEMPORARY, Result.PERMANENT))
        return Outcome(id, result, {Result.DELIVERED: OK, Result.TEMPORARY: LATER}.get(result, NEVER))

    mta.reply = mda.reply = attempt
    dispatcher.start()
    for number in range(1, 40):
        agent = random.choice((Agent.MTA, Agent.MDA))
        message, envelopes = makeMessage(number, recipients=random.randint(1, 4), agent=agent)
        queue.add(message, envelopes)
        scheduler.insert([entryOf(envelope) for envelope in envelopes])
        scheduler.commit(message.id)
        platform.clock.advance(random.choice((0, 1, 60)))
    for _ in range(2000):
        platform.clock.advance(60)
    for event in report.events:
        print(event)
