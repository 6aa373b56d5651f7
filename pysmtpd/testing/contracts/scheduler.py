"""What every scheduler has to keep (L{pysmtpd.interfaces.scheduler.IScheduler}). Mix it into a C{twisted.trial.unittest.TestCase}::

class MyTests(SchedulerContract, TestCase):  # and LeaseContract, if its leases end
    def makeScheduler(self, limits):
        return MyScheduler(...)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zope.interface.verify import verifyObject

from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId, messageOf
from pysmtpd.model.schedule import Batch, Condition, Entry, Kind, Lease

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Base
else:
    _Base = object

_EVERYTHING = dict.fromkeys(Kind, 1000)
_HOUR = 3600.0


def _id(message: int, index: int) -> EnvelopeId:
    return envelopeId(MessageId(message), index)


def _ids(message: int, *indexes: int) -> tuple[EnvelopeId, ...]:
    return tuple(envelopeId(MessageId(message), index) for index in indexes)


class ForgetfulSchedulerContract(_Base):
    """For all, also for one that never hands out anything."""

    def makeScheduler(self, limits: SchedulerLimits) -> Any:
        """A new, empty scheduler, or a Deferred of one."""
        raise NotImplementedError

    def now(self) -> float:
        """Wall-clock seconds, as the scheduler sees them."""
        raise NotImplementedError

    def wait(self, seconds: float) -> Any:
        """Let time pass; may answer with a Deferred."""
        raise NotImplementedError

    # --- helpers

    async def begin(self, limits: SchedulerLimits | None = None) -> IScheduler:
        made = self.makeScheduler(limits or SchedulerLimits())
        scheduler: IScheduler = await made if hasattr(made, "addCallback") else made
        return scheduler

    async def elapse(self, seconds: float) -> None:
        waited = self.wait(seconds)
        if hasattr(waited, "addCallback"):
            await waited

    def entry(self, id: EnvelopeId, kind: Kind = Kind.MTA, **more: Any) -> Entry:
        return Entry(id, kind, self.now(), self.now() + 100 * _HOUR)._replace(**more)

    async def filled(self, *ids: EnvelopeId, **more: Any) -> IScheduler:
        """A scheduler with these committed."""
        scheduler = await self.begin()
        await self.add(scheduler, *ids, **more)
        return scheduler

    async def add(self, scheduler: IScheduler, *ids: EnvelopeId, **more: Any) -> None:
        await asDeferred(scheduler.insert([self.entry(id, **more) for id in ids]))
        for message in dict.fromkeys(messageOf(id) for id in ids):
            await asDeferred(scheduler.commit(message))

    async def batch(self, scheduler: IScheduler, **capacity: int) -> Batch:
        wanted = {Kind(kind): room for kind, room in capacity.items()} if capacity else _EVERYTHING
        return await scheduler.batch("worker", wanted)

    async def leases(self, scheduler: IScheduler, **capacity: int) -> tuple[Lease, ...]:
        return (await self.batch(scheduler, **capacity)).leases

    async def lease(self, scheduler: IScheduler, **capacity: int) -> Lease:
        (lease,) = await self.leases(scheduler, **capacity)
        return lease

    async def conditions(self, scheduler: IScheduler, ids: Sequence[EnvelopeId]) -> list[Condition]:
        return [status.condition for status in await scheduler.query(ids)]

    # --- for all

    async def test_keepsTheInterface(self) -> None:
        verifyObject(IScheduler, await self.begin())

    async def test_emptyHasNothing(self) -> None:
        scheduler = await self.begin()
        batch = await self.batch(scheduler)
        self.assertEqual((batch.leases, batch.due), ((), None))
        counts = await scheduler.counts()
        self.assertEqual(counts, {**{condition.value: 0 for condition in Condition}, "stale": 0})

    async def test_unknownIdsAreIgnored(self) -> None:
        scheduler = await self.begin()
        ids = _ids(9, 0, 1)
        await asDeferred(scheduler.delete(None, ids))
        await asDeferred(scheduler.update(Lease(1, Kind.MTA, MessageId(9), ids), [self.entry(id) for id in ids]))
        await asDeferred(scheduler.postpone([Lease(1, Kind.MTA, MessageId(9), ids)], self.now()))
        await scheduler.hold(Lease(1, Kind.MTA, MessageId(9), ids), ids, "key")
        for change in (scheduler.schedule, scheduler.remove, scheduler.suspend, scheduler.resume):
            self.assertEqual(await change(ids), 0)
        self.assertEqual(await scheduler.query(ids), ())
        self.assertEqual(await scheduler.release("key", 5), 0)
        self.assertEqual(await asDeferred(scheduler.commit(MessageId(9))), 0)
        self.assertEqual(await scheduler.rollback(MessageId(9)), 0)

    async def test_takesWhatItIsGiven(self) -> None:
        scheduler = await self.begin()
        await self.add(scheduler, *_ids(1, 0, 1))
        await self.leases(scheduler)


class SchedulerContract(ForgetfulSchedulerContract):
    """Whatever its leases are like."""

    # --- changesets

    async def test_nothingIsScheduledBeforeItsCommit(self) -> None:
        scheduler = await self.filled()
        await asDeferred(scheduler.insert([self.entry(id) for id in _ids(1, 0, 1)]))
        self.assertEqual(await self.leases(scheduler), ())
        self.assertEqual(await asDeferred(scheduler.commit(MessageId(1))), 2)
        lease = await self.lease(scheduler)
        self.assertEqual((lease.message, lease.kind, lease.envelopes), (1, Kind.MTA, _ids(1, 0, 1)))

    async def test_rollbackForgets(self) -> None:
        scheduler = await self.filled()
        await asDeferred(scheduler.insert([self.entry(id) for id in _ids(1, 0, 1) + _ids(2, 0)]))
        self.assertEqual(await scheduler.rollback(MessageId(1)), 2)
        self.assertEqual(await asDeferred(scheduler.commit(MessageId(1))), 0)
        self.assertEqual(await asDeferred(scheduler.commit(MessageId(2))), 1)
        self.assertEqual((await self.lease(scheduler)).envelopes, _ids(2, 0))

    async def test_rollbackLeavesWhatWasCommittedBefore(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        await asDeferred(scheduler.insert([self.entry(id) for id in _ids(1, 1)]))
        await scheduler.rollback(MessageId(1))
        self.assertEqual((await self.lease(scheduler)).envelopes, _ids(1, 0))

    async def test_whatIsKnownIsNotInsertedAgain(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        await self.add(scheduler, *_ids(1, 0), kind=Kind.MDA)
        lease = await self.lease(scheduler)
        self.assertEqual(lease.kind, Kind.MTA)
        await self.add(scheduler, *_ids(1, 0))
        self.assertEqual(await self.leases(scheduler), ())

    # --- leases

    async def test_allReadyOfAMessageLeaveTogether(self) -> None:
        scheduler = await self.filled(*_ids(1, 2, 0, 1), *_ids(2, 0))
        await self.add(scheduler, *_ids(1, 3), kind=Kind.MDA)
        await self.add(scheduler, *_ids(1, 4), nextTry=self.now() + 10)
        leases = {(lease.kind, lease.message): lease.envelopes for lease in await self.leases(scheduler)}
        self.assertEqual(
            leases, {(Kind.MTA, 1): _ids(1, 0, 1, 2), (Kind.MDA, 1): _ids(1, 3), (Kind.MTA, 2): _ids(2, 0)}
        )

    async def test_kindsWithoutCapacityStay(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        await self.add(scheduler, *_ids(2, 0), kind=Kind.MDA)
        self.assertEqual((await self.lease(scheduler, mda=5, mta=0)).message, 2)
        self.assertEqual(await self.leases(scheduler, mda=5), ())

    async def test_capacityIsRespectedButNoMessageIsSplit(self) -> None:
        scheduler = await self.filled(*_ids(1, 0, 1, 2), *_ids(2, 0), *_ids(3, 0))
        self.assertEqual([lease.message for lease in await self.leases(scheduler, mta=1)], [1])
        self.assertEqual([lease.message for lease in await self.leases(scheduler, mta=1)], [2])

    async def test_higherPriorityLeavesFirst(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        await self.add(scheduler, *_ids(2, 0), priority=1)
        await self.add(scheduler, *_ids(3, 0), priority=-1)
        order = [(await self.lease(scheduler, mta=1)).message for _ in range(3)]
        self.assertEqual(order, [2, 1, 3])

    async def test_finishedIsForgotten(self) -> None:
        scheduler = await self.filled(*_ids(1, 0, 1))
        lease = await self.lease(scheduler)
        await asDeferred(scheduler.delete(lease, _ids(1, 0)))
        self.assertEqual(await self.conditions(scheduler, _ids(1, 0, 1)), [Condition.INFLIGHT])
        await asDeferred(scheduler.delete(lease, _ids(1, 1)))
        self.assertEqual(await scheduler.query(_ids(1, 0, 1)), ())

    async def test_triedComesBackWhenItsTimeComes(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        lease = await self.lease(scheduler)
        await asDeferred(scheduler.update(lease, [self.entry(_id(1, 0), tries=1, nextTry=self.now() + 30)]))
        batch = await self.batch(scheduler)
        self.assertEqual(batch.leases, ())
        assert batch.due is not None
        self.assertAlmostEqual(batch.due, self.now() + 30, delta=1)
        self.assertEqual(await self.conditions(scheduler, _ids(1, 0)), [Condition.WAITING])
        await self.elapse(31)
        self.assertEqual((await self.lease(scheduler)).envelopes, _ids(1, 0))

    async def test_postponedComeBackWhenTheirTimeComes(self) -> None:
        """However many messages they are of: each lease is handed out again, whole, the oldest first."""
        scheduler = await self.filled(*_ids(3, 0), *_ids(1, 0, 1), *_ids(2, 0), tries=4)
        later = self.now() + 30
        leases = await self.leases(scheduler)
        await asDeferred(scheduler.postpone(leases, later))
        batch = await self.batch(scheduler)
        self.assertEqual(batch.leases, ())
        assert batch.due is not None
        self.assertAlmostEqual(batch.due, later, delta=1)
        for status in await scheduler.query([*_ids(1, 0, 1), *_ids(2, 0), *_ids(3, 0)]):
            self.assertEqual(status.condition, Condition.WAITING)
            self.assertEqual((status.entry.tries, status.entry.nextTry), (5, later))
        await self.elapse(31)
        again = await self.leases(scheduler)
        self.assertEqual([lease.envelopes for lease in again], [_ids(1, 0, 1), _ids(2, 0), _ids(3, 0)])
        self.assertFalse({lease.token for lease in leases} & {lease.token for lease in again})

    async def test_whatIsPostponedTwiceCountsOnce(self) -> None:
        scheduler = await self.filled(*_ids(1, 0), *_ids(2, 0, 1), tries=4)
        leases = await self.leases(scheduler)
        await asDeferred(scheduler.postpone([*leases, *leases], self.now() + 30))
        await asDeferred(scheduler.postpone(leases, self.now() + 60))
        counts = await scheduler.counts()
        self.assertEqual((counts["waiting"], counts["inflight"], counts["stale"]), (3, 0, 6))
        for status in await scheduler.query([*_ids(1, 0), *_ids(2, 0, 1)]):
            self.assertEqual((status.entry.tries, status.entry.nextTry), (5, self.now() + 30))

    async def test_postponedAreHandedOutInPieces(self) -> None:
        scheduler = await self.begin(SchedulerLimits(maxBatch=2))
        for message in range(1, 6):
            await self.add(scheduler, *_ids(message, 0))
        leases = [*await self.leases(scheduler), *await self.leases(scheduler), *await self.leases(scheduler)]
        await asDeferred(scheduler.postpone(leases, self.now() + 30))
        await self.elapse(31)
        await scheduler.suspend(_ids(4, 0))
        # Meanwhile others are ready, too.
        await self.add(scheduler, *_ids(3, 1), *_ids(6, 0))
        handed = []
        while batch := await self.leases(scheduler):
            handed.append([lease.envelopes for lease in batch])
            if len(handed) == 1:
                await scheduler.remove(_ids(5, 0))
        flat = [ids for each in handed for ids in each]
        self.assertEqual(flat, [_ids(1, 0), _ids(2, 0), _ids(5, 0), _ids(3, 0, 1), _ids(6, 0)])
        self.assertEqual(await self.conditions(scheduler, _ids(4, 0)), [Condition.SUSPENDED])

    async def test_whatWasSaidOfPostponedMeanwhileHolds(self) -> None:
        expires = self.now() + 20
        scheduler = await self.filled(*_ids(1, 0), *_ids(2, 0))
        await self.add(scheduler, *_ids(3, 0), expires=expires)
        await self.add(scheduler, *_ids(4, 0), kind=Kind.MDA)
        leases = await self.leases(scheduler)
        await scheduler.suspend(_ids(1, 0))
        await scheduler.remove(_ids(2, 0))
        await asDeferred(scheduler.postpone(leases, self.now() + 30))
        self.assertEqual(await self.conditions(scheduler, _ids(1, 0)), [Condition.SUSPENDED])
        self.assertEqual((await self.lease(scheduler)).kind, Kind.REMOVE)
        await self.elapse(21)
        lease = await self.lease(scheduler)
        self.assertEqual((lease.kind, lease.envelopes), (Kind.EXPIRE, _ids(3, 0)))
        await self.elapse(10)
        lease = await self.lease(scheduler)
        self.assertEqual((lease.kind, lease.envelopes), (Kind.MDA, _ids(4, 0)))
        await asDeferred(scheduler.postpone(leases, self.now() + 30))
        self.assertEqual((await scheduler.counts())["stale"], 4)

    async def test_failureBecomesABounce(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        await asDeferred(scheduler.update(await self.lease(scheduler), [self.entry(_id(1, 0), kind=Kind.BOUNCE)]))
        self.assertEqual((await self.lease(scheduler)).kind, Kind.BOUNCE)

    async def test_staleLeasesAreRefusedAndCounted(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        old = await self.lease(scheduler)
        await asDeferred(scheduler.update(old, [self.entry(_id(1, 0))]))
        new = await self.lease(scheduler)
        self.assertNotEqual(old.token, new.token)
        await asDeferred(scheduler.delete(old, old.envelopes))
        await asDeferred(scheduler.update(old, [self.entry(_id(1, 0))]))
        await scheduler.hold(old, old.envelopes, "key")
        self.assertEqual(await self.conditions(scheduler, _ids(1, 0)), [Condition.INFLIGHT])
        self.assertEqual((await scheduler.counts())["stale"], 3)
        await asDeferred(scheduler.delete(new, new.envelopes))
        self.assertEqual(await scheduler.query(_ids(1, 0)), ())

    async def test_inflightIsLimited(self) -> None:
        scheduler = await self.begin(SchedulerLimits(maxInflight=2))
        for message in range(1, 4):
            await self.add(scheduler, *_ids(message, 0))
        first, second = await self.leases(scheduler)
        self.assertEqual(await self.leases(scheduler), ())
        told: list[None] = []
        scheduler.notify(lambda: told.append(None))
        await asDeferred(scheduler.delete(first, first.envelopes))
        self.assertEqual((await self.lease(scheduler)).message, 3)
        self.assertTrue(told)
        await asDeferred(scheduler.delete(second, second.envelopes))

    async def test_batchIsLimited(self) -> None:
        scheduler = await self.begin(SchedulerLimits(maxBatch=2))
        for message in range(1, 4):
            await self.add(scheduler, *_ids(message, 0))
        batch = await self.batch(scheduler)
        self.assertEqual(len(batch.leases), 2)
        assert batch.due is not None
        self.assertLessEqual(batch.due, self.now())
        self.assertEqual(len(await self.leases(scheduler)), 1)

    # --- hold queues

    async def test_heldComesBackOldestFirst(self) -> None:
        scheduler = await self.filled(*_ids(3, 0), *_ids(1, 0), *_ids(2, 0))
        for lease in await self.leases(scheduler):
            await scheduler.hold(lease, lease.envelopes, "key")
        self.assertEqual(await self.leases(scheduler), ())
        (status,) = await scheduler.query(_ids(1, 0))
        self.assertEqual((status.condition, status.holdKey), (Condition.QUEUED, "key"))
        self.assertEqual(await scheduler.release("other", 9), 0)
        self.assertEqual(await scheduler.release("key", 2), 1)
        self.assertEqual([lease.message for lease in await self.leases(scheduler)], [1, 2])
        self.assertEqual(await scheduler.release("key", 9), 0)
        self.assertEqual((await self.lease(scheduler)).message, 3)

    # --- the operator

    async def test_scheduleTriesNow(self) -> None:
        scheduler = await self.filled(*_ids(1, 0), nextTry=self.now() + _HOUR)
        self.assertEqual(await self.leases(scheduler), ())
        self.assertEqual(await scheduler.schedule(_ids(1, 0, 1)), 1)
        self.assertEqual((await self.lease(scheduler)).envelopes, _ids(1, 0))
        self.assertEqual(await scheduler.schedule(_ids(1, 0)), 0)

    async def test_suspendedWaitsUntilResume(self) -> None:
        scheduler = await self.filled(*_ids(1, 0, 1))
        self.assertEqual(await scheduler.suspend(_ids(1, 0)), 1)
        self.assertEqual(await scheduler.suspend(_ids(1, 0)), 0)
        self.assertEqual((await self.lease(scheduler)).envelopes, _ids(1, 1))
        self.assertEqual(await self.conditions(scheduler, _ids(1, 0)), [Condition.SUSPENDED])
        self.assertEqual(await scheduler.resume(_ids(1, 0)), 1)
        self.assertEqual((await self.lease(scheduler)).envelopes, _ids(1, 0))

    async def test_suspendedInFlightWaitsWhenItComesBack(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        lease = await self.lease(scheduler)
        await scheduler.suspend(_ids(1, 0))
        await asDeferred(scheduler.update(lease, [self.entry(_id(1, 0))]))
        self.assertEqual(await self.leases(scheduler), ())
        self.assertEqual(await self.conditions(scheduler, _ids(1, 0)), [Condition.SUSPENDED])

    async def test_heldForAnOperator(self) -> None:
        scheduler = await self.filled(*_ids(1, 0), held=True)
        self.assertEqual(await self.leases(scheduler), ())
        self.assertEqual(await self.conditions(scheduler, _ids(1, 0)), [Condition.HELD])
        self.assertEqual(await scheduler.resume(_ids(1, 0)), 1)
        self.assertEqual((await self.lease(scheduler)).envelopes, _ids(1, 0))

    async def test_removeHandsOutForRemoval(self) -> None:
        scheduler = await self.filled(*_ids(1, 0, 1), nextTry=self.now() + _HOUR)
        await scheduler.suspend(_ids(1, 1))
        self.assertEqual(await scheduler.remove(_ids(1, 0, 1)), 2)
        lease = await self.lease(scheduler)
        self.assertEqual((lease.kind, lease.envelopes), (Kind.REMOVE, _ids(1, 0, 1)))

    async def test_removedInFlightIsRemovedWhenItComesBack(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        lease = await self.lease(scheduler)
        self.assertEqual(await scheduler.remove(_ids(1, 0)), 1)
        self.assertEqual(await self.leases(scheduler), ())
        await asDeferred(scheduler.update(lease, [self.entry(_id(1, 0), nextTry=self.now() + _HOUR)]))
        self.assertEqual((await self.lease(scheduler)).kind, Kind.REMOVE)

    async def test_deleteWithoutALease(self) -> None:
        scheduler = await self.filled(*_ids(1, 0, 1))
        lease = await self.lease(scheduler)
        await asDeferred(scheduler.delete(None, _ids(1, 0)))
        await asDeferred(scheduler.update(lease, [self.entry(_id(1, 0))]))
        self.assertEqual(await scheduler.query(_ids(1, 0)), ())
        self.assertEqual((await scheduler.counts())["stale"], 0)

    # --- expiry

    async def test_expiredIsHandedOutAsSuch(self) -> None:
        end = self.now() + 50
        scheduler = await self.filled(*_ids(1, 0), expires=end, nextTry=end + 50)
        await self.add(scheduler, *_ids(2, 0), expires=end)
        await scheduler.suspend(_ids(2, 0))
        self.assertEqual(await self.leases(scheduler), ())
        await self.elapse(51)
        leases = await self.leases(scheduler)
        self.assertEqual([(lease.kind, lease.message) for lease in leases], [(Kind.EXPIRE, 1), (Kind.EXPIRE, 2)])

    async def test_expiredInFlightExpiresWhenItComesBack(self) -> None:
        scheduler = await self.filled()
        expires = self.now() + 5
        await self.add(scheduler, *_ids(1, 0), expires=expires)
        lease = await self.lease(scheduler)
        await self.elapse(6)
        self.assertEqual(await self.leases(scheduler), ())
        await asDeferred(scheduler.update(lease, [self.entry(_id(1, 0), expires=expires, nextTry=self.now() + 10)]))
        self.assertEqual((await self.lease(scheduler)).kind, Kind.EXPIRE)

    async def test_expiryEndsASuspension(self) -> None:
        scheduler = await self.filled(*_ids(1, 0), expires=self.now() + 5)
        await scheduler.suspend(_ids(1, 0))
        await self.elapse(6)
        await asDeferred(scheduler.update(await self.lease(scheduler), [self.entry(_id(1, 0), kind=Kind.BOUNCE)]))
        self.assertEqual((await self.lease(scheduler)).kind, Kind.BOUNCE)

    async def test_bouncesDoNotExpire(self) -> None:
        scheduler = await self.filled(*_ids(1, 0), kind=Kind.BOUNCE, expires=self.now() - 1)
        self.assertEqual((await self.lease(scheduler)).kind, Kind.BOUNCE)

    # --- telling

    async def test_newWorkIsTold(self) -> None:
        scheduler = await self.filled()
        told: list[None] = []
        scheduler.notify(lambda: told.append(None))
        await self.add(scheduler, *_ids(1, 0))
        self.assertTrue(told)
        del told[:]
        await self.add(scheduler, *_ids(2, 0), nextTry=self.now() + 5)
        self.assertTrue(told, "the next due time has moved nearer")

    async def test_countsSayWhereEverythingIs(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        await self.leases(scheduler)
        await self.add(scheduler, *_ids(2, 0), nextTry=self.now() + 5)
        await self.add(scheduler, *_ids(3, 0, 1))
        await asDeferred(scheduler.insert([self.entry(_id(4, 0))]))
        counts = await scheduler.counts()
        self.assertEqual(
            {name: number for name, number in counts.items() if number},
            {
                "inflight": 1,
                "waiting": 1,
                "ready": 2,
                "uncommitted": 1,
            },
        )


class LeaseContract(ForgetfulSchedulerContract):
    """For a scheduler whose leases end.

    @cvar leaseSeconds: after which they do.
    """

    leaseSeconds: float

    async def test_leasesEnd(self) -> None:
        scheduler = await self.filled(*_ids(1, 0))
        old = await self.lease(scheduler)
        assert old.deadline is not None
        self.assertEqual(await self.leases(scheduler), ())
        await self.elapse(self.leaseSeconds + 1)
        new = await self.lease(scheduler)
        self.assertEqual(new.envelopes, old.envelopes)
        await asDeferred(scheduler.delete(old, old.envelopes))
        self.assertEqual(await self.conditions(scheduler, _ids(1, 0)), [Condition.INFLIGHT])
        self.assertEqual((await scheduler.counts())["stale"], 1)
