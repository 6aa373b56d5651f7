"""The plan behaves as the naive model does, whatever is done to it."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId, messageOf
from pysmtpd.model.schedule import Entry, Kind, Lease
from pysmtpd.scheduler.plan import Plan
from pysmtpd.scheduler.plan.due import Due
from pysmtpd.scheduler.plan.index import Index
from tests.scheduler.naive import Naive

LIMITS = SchedulerLimits(maxInflight=6, maxBatch=5)
START = 1000.0

ids = st.builds(lambda m, n: envelopeId(MessageId(m), n), st.integers(1, 3), st.integers(0, 2))
someIds = st.lists(ids, min_size=1, max_size=4)
kinds = st.sampled_from((Kind.MTA, Kind.MDA, Kind.BOUNCE))
expiry = st.sampled_from((5, 15, 40, 1000)).map(lambda seconds: START + seconds)
tryAt = st.sampled_from((-5, 0, 0, 10, 25)).map(lambda seconds: START + seconds)


def entries(id: st.SearchStrategy[EnvelopeId] = ids) -> st.SearchStrategy[Entry]:
    return st.builds(
        Entry,
        id=id,
        kind=kinds,
        created=st.just(START),
        expires=expiry,
        tries=st.integers(0, 3),
        nextTry=tryAt,
        priority=st.integers(-1, 1),
        held=st.sampled_from((False, False, False, True)),
        suspended=st.just(False),
    )


class PlanMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.plan = Plan(LIMITS, self.now)
        self.naive = Naive(LIMITS)
        # Each as the plan and as the naive model have it: their tokens differ.
        self.leases: list[tuple[Lease, Lease]] = []

    @rule(new=st.lists(entries(), min_size=1, max_size=4), commit=st.integers(0, 3))
    def insert(self, new: list[Entry], commit: int) -> None:
        self.plan.insert(new)
        self.naive.insert(new)
        if commit:
            self.commit(messageOf(new[0].id), 1)

    @rule(message=st.integers(1, 3).map(MessageId), rollback=st.integers(0, 3))
    def commit(self, message: MessageId, rollback: int) -> None:
        if rollback == 0:
            assert self.plan.rollback(message) == self.naive.rollback(message)
        else:
            assert self.plan.commit(message, self.now) == self.naive.commit(message, self.now)

    @rule(capacity=st.fixed_dictionaries({kind: st.integers(0, 4) for kind in Kind}))
    def batch(self, capacity: dict[Kind, int]) -> None:
        given, expected = self.plan.batch(capacity, self.now), self.naive.batch(capacity, self.now)
        assert [lease[1:] for lease in given.leases] == [lease[1:] for lease in expected.leases]
        # The plan may be early, never late.
        if expected.due is not None:
            assert given.due is not None and given.due <= expected.due
        self.leases.extend(zip(given.leases, expected.leases, strict=True))

    @rule(data=st.data())
    def giveBack(self, data: Any) -> None:
        if not self.leases:
            return
        lease, its = data.draw(st.sampled_from(self.leases))
        some = data.draw(st.sampled_from((list(lease.envelopes), list(lease.envelopes[:1]), None)))
        if some is None:
            some = data.draw(someIds)
        how = data.draw(st.sampled_from(("update", "delete", "hold")))
        if how == "update":
            updated = [data.draw(entries(st.just(id))) for id in some]
            self.plan.update(lease, updated, self.now)
            self.naive.update(its, updated, self.now)
        elif how == "delete":
            self.plan.delete(lease, some)
            self.naive.delete(its, some, self.now)
        else:
            key = data.draw(st.sampled_from(("a", "b")))
            self.plan.hold(lease, some, key, self.now)
            self.naive.hold(its, some, key, self.now)

    @rule(data=st.data(), nextTry=tryAt)
    def postpone(self, data: Any, nextTry: float) -> None:
        some = data.draw(st.lists(st.sampled_from(self.leases[-6:]), max_size=6, unique=True)) if self.leases else []
        self.plan.postpone([lease for lease, _ in some], nextTry, self.now)
        self.naive.postpone([lease for _, lease in some], nextTry, self.now)

    @rule(some=someIds)
    def delete(self, some: list[EnvelopeId]) -> None:
        self.plan.delete(None, some)
        self.naive.delete(None, some, self.now)

    @rule(key=st.sampled_from(("a", "b", "c")), count=st.integers(0, 3))
    def release(self, key: str, count: int) -> None:
        assert self.plan.release(key, count, self.now) == self.naive.release(key, count, self.now)

    @rule(some=someIds, what=st.sampled_from(("schedule", "remove", "suspend", "resume")))
    def operate(self, some: list[EnvelopeId], what: str) -> None:
        assert getattr(self.plan, what)(some, self.now) == getattr(self.naive, what)(some, self.now), what

    @rule(seconds=st.integers(1, 10), isAsked=st.booleans())
    def wait(self, seconds: int, isAsked: bool) -> None:
        self.now += seconds
        if isAsked:
            # Without capacity a batch only moves what is due.
            self.plan.batch({}, self.now)
            self.naive.batch({}, self.now)

    @rule(new=st.lists(ids, min_size=2, max_size=6, unique=True), expires=expiry, seconds=st.integers(1, 3))
    def failTogether(self, new: list[EnvelopeId], expires: float, seconds: int) -> None:
        """They are tried, and come due together."""
        self.delete(new)
        self.insert([Entry(id, Kind.MTA, START, max(expires, self.now + 1)) for id in new], 0)
        for message in dict.fromkeys(messageOf(id) for id in new):
            self.commit(message, 1)
        before = len(self.leases)
        self.batch(dict.fromkeys(Kind, 9))
        nextTry, later = self.now + seconds, self.leases[before:]
        self.plan.postpone([lease for lease, _ in later], nextTry, self.now)
        self.naive.postpone([lease for _, lease in later], nextTry, self.now)
        self.now += seconds

    @invariant()
    def sameView(self) -> None:
        everything = sorted(self.naive.items)
        assert self.plan.query(everything) == self.naive.query(everything, self.now)
        assert self.plan.counts() == self.naive.counts(self.now)


class PlanTests(SynchronousTestCase):
    def test_behavesAsTheNaiveModel(self) -> None:
        run_state_machine_as_test(
            PlanMachine,
            settings=settings(
                max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )

    def test_freedSlotsAreUsedAgain(self) -> None:
        plan = Plan(SchedulerLimits(), START)
        for message in range(1, 5001):
            plan.insert([Entry(envelopeId(MessageId(message), 0), Kind.MTA, START, START + 1000)])
            plan.commit(MessageId(message), START)
            (lease,) = plan.batch({Kind.MTA: 10}, START).leases
            plan.delete(lease, lease.envelopes)
        self.assertEqual(len(plan._columns.message), 1)
        self.assertLess(len(plan._due._heap), 2000)

    def test_manyDueAreMovedInPieces(self) -> None:
        plan = Plan(SchedulerLimits(), START)
        for message in range(1, 5001):
            plan.insert([Entry(envelopeId(MessageId(message), 0), Kind.MTA, START, START + 1000, nextTry=START + 10)])
            plan.commit(MessageId(message), START)
        batch = plan.batch({Kind.MTA: 1}, START + 10)
        self.assertEqual(len(batch.leases), 1)
        self.assertEqual(batch.due, START + 10)
        plan.batch({}, START + 10)
        self.assertEqual(plan.batch({}, START + 10).due, START + 1000)

    def test_whatLivesLongEndsOnTheFullMinute(self) -> None:
        """So that what came within a minute ends in one step; what lives for less than an hour ends at once."""
        plan = Plan(LIMITS, START)
        for number, lifetime in ((1, 3_610.0), (2, 3_640.0), (3, 3_500.0)):
            plan.insert([Entry(envelopeId(MessageId(number), 0), Kind.MTA, START, START + lifetime, 0, START + 1e6)])
            plan.commit(MessageId(number), START)
        ended: list[tuple[float | None, list[int]]] = []
        now = START
        for _ in range(4):
            batch = plan.batch({Kind.EXPIRE: 10}, now)
            ended.append((batch.due, [int(lease.message) for lease in batch.leases]))
            now = batch.due or now
        self.assertEqual(ended, [(4500.0, []), (4620.0, [3]), (4680.0, [1]), (None, [2])])

    def test_noLeaseSplitsAMessage(self) -> None:
        plan = Plan(SchedulerLimits(maxInflight=2, maxBatch=2), START)
        new = [Entry(envelopeId(MessageId(7), number), Kind.MTA, START, START + 1000) for number in range(100)]
        plan.insert(reversed(new))
        plan.commit(MessageId(7), START)
        (lease,) = plan.batch({Kind.MTA: 1}, START).leases
        self.assertEqual(lease.envelopes, tuple(entry.id for entry in new))

    def test_roomInFlightIsTold(self) -> None:
        """When a batch was cut short by the limit of envelopes in flight, the next that comes back asks for another."""
        plan = Plan(SchedulerLimits(maxInflight=1), START)
        for message in (1, 2):
            plan.insert([Entry(envelopeId(MessageId(message), 0), Kind.MTA, START, START + 1000)])
            plan.commit(MessageId(message), START)
        (lease,) = plan.batch({Kind.MTA: 10}, START).leases
        plan.stirred = False
        plan.delete(lease, lease.envelopes)
        self.assertTrue(plan.stirred)

    def test_timesThatAreNoTimes(self) -> None:
        due = Due(START)
        for slot, when in enumerate((float("nan"), float("inf"), float("-inf"), -1.0)):
            due.set(slot, when)
        self.assertEqual([due.pop(START) for _ in range(3)], [2, 3, -1])


class IndexTests(SynchronousTestCase):
    def test_findsWhatIsThereAndNothingElse(self) -> None:
        from array import array

        messages, numbers = array("Q", range(10_000)), array("I", [3]) * 10_000
        index = Index(messages, numbers)
        for slot in range(10_000):
            index.add(slot)
        for slot in range(0, 10_000, 3):
            index.discard(slot)
        for slot in range(10_000):
            self.assertEqual(index.find(slot, 3), -1 if slot % 3 == 0 else slot)
        self.assertEqual(index.find(5, 4), -1)
        for slot in range(10_000):
            if slot % 3:
                index.discard(slot)
        self.assertLess(sum(len(part) for part in index._parts), 10_000)
