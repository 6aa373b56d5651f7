"""What scheduling costs: C{python -m tests.benchmarks.scheduler [ENVELOPES]}.

CPU of the whole path of a message through this room with agents that deliver at once, memory per queued envelope, and the time
of single operations. Bounded to about a minute at 1,000,000 envelopes.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import get_context

from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.events import Event
from pysmtpd.model.ids import MessageId, envelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Entry, Kind, entryOf
from pysmtpd.scheduler.dispatcher import Dispatcher
from pysmtpd.scheduler.plan import Plan
from pysmtpd.scheduler.ram import RamScheduler
from tests.scheduler.fakes import FakeAgent, FakeBounce, FakePlatform, FakeQueue, FakeReport, makeMessage

NOW = 1_700_000_000.0
DAY = 86_400.0
OK = Reply(250, "Ok", "2.0.0")
LATER = Reply(451, "Try later", "4.3.0")


class Silent(FakeReport):
    def happened(self, event: Event) -> None:
        """Only the making of events is measured."""

    def allHappened(self, events: Sequence[Event]) -> None:
        for event in events:
            self.happened(event)


def rss() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def say(what: str, value: str) -> None:
    print(f"{what:<64}{value:>16}", flush=True)


def timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def dispatching(messages: int, burst: int, result: Result) -> None:
    """Accept, deliver and delete (or try again later), in bursts as a busy reactor sees them."""
    platform, queue, agent = FakePlatform(), FakeQueue(), FakeAgent(room=1000)
    scheduler = RamScheduler(platform, SchedulerLimits())
    reply = OK if result is Result.DELIVERED else LATER
    agent.reply = lambda delivery, id: Outcome(id, result, reply, "mx.example.net [192.0.2.1]", "mx.example.net")
    dispatcher = Dispatcher(platform, scheduler, queue, {Kind.MTA: agent}, FakeBounce(queue), Silent())
    dispatcher.start()
    platform.clock.advance(0)
    made = [makeMessage(number) for number in range(1, messages + 1)]
    entries = [[entryOf(envelope) for envelope in envelopes] for _, envelopes in made]
    for message, envelopes in made:
        queue.add(message, envelopes)

    def run() -> None:
        for at in range(0, messages, burst):
            for (message, _), new in zip(made[at : at + burst], entries[at : at + burst], strict=True):
                scheduler.insert(new)
                scheduler.commit(message.id)
            while platform.clock.getDelayedCalls() and platform.clock.getDelayedCalls()[0].getTime() <= 0:
                platform.clock.advance(0)
            agent.taken.clear()

    seconds = timed(run)
    left = len(queue.messages)
    expected = 0 if result is Result.DELIVERED else messages
    if left != expected:
        raise SystemExit(f"{left} messages are left, not {expected}")
    say(f"{result.value}, {burst} a turn, CPU per message", f"{seconds / messages * 1e3:.4f} ms")


def plan(envelopes: int, perMessage: int) -> None:
    print(f"\n{envelopes} envelopes, {perMessage} a message")
    gc.collect()
    before = rss()
    schedule = Plan(SchedulerLimits(), NOW)
    messages = envelopes // perMessage

    def entries(number: int) -> Iterable[Entry]:
        message = MessageId((int(NOW * 1000) << 12) + (number << 12))
        for index in range(perMessage):
            yield Entry(envelopeId(message, index), Kind.MTA, NOW, NOW + 4 * DAY, 3, NOW + 3600 + number % 3600)

    def fill() -> None:
        for number in range(messages):
            new = tuple(entries(number))
            schedule.insert(new)
            schedule.commit(MessageId(new[0].id >> 32), NOW)

    seconds = timed(fill)
    say("insert and commit, CPU per envelope", f"{seconds / envelopes * 1e6:.1f} us")
    gc.collect()
    say("RSS per envelope, all waiting", f"{(rss() - before) / envelopes:.0f} octets")
    now = NOW + DAY
    longest = 0.0

    def comeDue() -> None:
        nonlocal longest
        due: float | None = now
        while due == now:
            seconds = time.process_time()
            due = schedule.batch({}, now).due
            longest = max(longest, time.process_time() - seconds)

    seconds = timed(comeDue)
    say("all come due at once, CPU per envelope", f"{seconds / envelopes * 1e6:.1f} us")
    say("longest of those calls", f"{longest * 1e3:.1f} ms")
    gc.collect()
    say("RSS per envelope, all ready", f"{(rss() - before) / envelopes:.0f} octets")
    done = 0

    def deliver() -> None:
        nonlocal done
        while done < min(envelopes, 100_000):
            for lease in schedule.batch({Kind.MTA: 256}, now).leases:
                schedule.delete(lease, lease.envelopes)
                done += len(lease.envelopes)

    seconds = timed(deliver)
    say("batch and delete, CPU per envelope", f"{seconds / done * 1e6:.1f} us")


def main() -> None:
    envelopes = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for burst in (1, 10, 100):
        dispatching(20_000, burst, Result.DELIVERED)
    dispatching(20_000, 100, Result.TEMPORARY)
    for perMessage in (1, 100):
        # In a process of its own: memory that another run has left would hide what this one takes.
        child = get_context("fork").Process(target=plan, args=(envelopes, perMessage))
        child.start()
        child.join()


if __name__ == "__main__":
    main()
