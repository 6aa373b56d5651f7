"""The front, over real backends on small disks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from zlib import crc32

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.platform import Space
from pysmtpd.interfaces.queue import (
    IContentCodec,
    IQueue,
    IQueueBackend,
    ISubmission,
    ISubmit,
    NoSuchItem,
    QueueError,
    SpoolError,
)
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.envelope import Attempt, Envelope, EnvelopeState, Message
from pysmtpd.model.events import EnvelopeAccepted, InternalError, ItemSetAside, MessageAccepted, QueueFailed
from pysmtpd.model.ids import EnvelopeId, MessageId, messageOf
from pysmtpd.model.schedule import Entry, Kind
from pysmtpd.platform.disk import RealDisk
from pysmtpd.queue import fs, null, ram, sqlite
from pysmtpd.queue.codec import ContentCodec
from pysmtpd.queue.front import QueueFront
from pysmtpd.queue.pump import GATHER
from tests.queue.codec import SealingCodec
from tests.queue.support import CrashDisk, HeldWorkers, SmallPlatform
from tests.queue.values import LOCAL, REMOTE, TRANSACTION, ChangesetScheduler, Recorder

LIMITS = QueueLimits(fileThreshold=1000)
PREFIX = b"Received: by mx.example.org\r\n"
CONTENT = b"Subject: test\r\n\r\nHello.\r\n"
SETTINGS = {"spool": "/spool", "limits": LIMITS}


class FrontCase(SynchronousTestCase):
    """A front over the sqlite backend on a disk in memory."""

    def setUp(self) -> None:
        self.disk = CrashDisk(os.path.abspath(self.mktemp()))
        self.platform = SmallPlatform(self.disk)
        self.build()
        self.successResultOf(self.front.start())

    def makeBackend(self) -> IQueueBackend:
        return sqlite.make("", self.platform, SETTINGS)

    def build(self, codec: IContentCodec | None = None, cacheOctets: int = 1 << 20) -> None:
        self.scheduler = ChangesetScheduler()
        self.report = Recorder()
        self.backend = self.makeBackend()
        self.front = QueueFront(
            self.backend, self.scheduler, self.platform, self.report, LIMITS, codec, cacheOctets=cacheOctets
        )

    def restart(self, codec: IContentCodec | None = None, cacheOctets: int = 1 << 20) -> None:
        self.successResultOf(self.front.stop())
        self.build(codec, cacheOctets)
        self.successResultOf(self.front.start())

    def stored(self, done: Deferred[None]) -> None:
        """Changes that nobody waits for leave when a moment has passed."""
        self.platform.timer.advance(GATHER)
        self.successResultOf(done)

    def submission(self, content: bytes = CONTENT, step: int = 300) -> ISubmission:
        submission = self.front.begin(TRANSACTION)
        submission.recipient(LOCAL)
        submission.recipient(REMOTE)
        for place in range(0, len(content), step):
            self.successResultOf(asDeferred(submission.write(content[place : place + step])))
        return submission

    def accept(self, content: bytes = CONTENT) -> Message:
        return self.successResultOf(self.submission(content).commit(PREFIX))

    def read(self, message: Message) -> bytes:
        body = self.successResultOf(self.front.open(message.body))
        chunks = []
        while chunk := self.successResultOf(asDeferred(body.read())):
            self.assertLessEqual(len(chunk), 65_536)
            chunks.append(chunk)
        body.close()
        return b"".join(chunks)

    def walked(self) -> dict[MessageId, tuple[Message, tuple[Envelope, ...]]]:
        found = {}
        cursor = None
        while True:
            page = self.successResultOf(self.front.walk(cursor))
            found.update({message.id: (message, envelopes) for message, envelopes in page.messages})
            cursor = page.cursor
            if cursor is None:
                return found


class AcceptTests(FrontCase):
    def test_interfaces(self) -> None:
        verifyObject(IQueue, self.front)
        verifyObject(ISubmit, self.front)
        verifyObject(ISubmission, self.front.begin(TRANSACTION))

    def test_acceptedMessageIsWhole(self) -> None:
        message = self.accept()
        self.assertEqual(PREFIX + CONTENT, self.read(message))
        loaded, (local, remote) = self.successResultOf(asDeferred(self.front.load(message.id)))
        self.assertEqual(message, loaded)
        self.assertEqual((LOCAL, REMOTE), (local.destination, remote.destination))
        self.assertEqual(message.created + 3600.0, local.expires)
        self.assertEqual(message.created + LIMITS.ttl, remote.expires)
        self.assertEqual(len(PREFIX + CONTENT), message.body.size)
        self.assertFalse(message.eightBit)

    def test_sameAfterARestart(self) -> None:
        before = self.accept()
        large = self.accept(b"l\xe9\r\n" * 50_000)
        self.restart()
        self.assertEqual([before, large], [message for message, _ in self.walked().values()])
        loaded, envelopes = self.successResultOf(asDeferred(self.front.load(before.id)))
        self.assertEqual((before, 2), (loaded, len(envelopes)))
        self.assertEqual(PREFIX + CONTENT, self.read(before))
        self.assertEqual(PREFIX + b"l\xe9\r\n" * 50_000, self.read(large))
        self.assertTrue(large.eightBit)

    def test_bodyCanBeRewound(self) -> None:
        large = self.accept(b"l\r\n" * 50_000)
        body = self.successResultOf(self.front.open(large.body))
        self.assertEqual(large.body.size, body.size)
        self.successResultOf(asDeferred(body.read()))
        self.successResultOf(asDeferred(body.read()))
        body.rewind()
        chunks = []
        while chunk := self.successResultOf(asDeferred(body.read())):
            chunks.append(chunk)
        self.assertEqual(PREFIX + b"l\r\n" * 50_000, b"".join(chunks))

    def test_schedulableAfterItIsDurable(self) -> None:
        workers = HeldWorkers()
        self.successResultOf(self.front.stop())
        self.platform.workers = workers
        self.build()
        starting = self.front.start()
        workers.finish()
        self.successResultOf(starting)
        committing = self.submission().commit(PREFIX)
        self.assertNoResult(committing)
        self.assertNotIn("commit", self.scheduler.log)
        workers.finish()
        message = self.successResultOf(committing)
        self.assertEqual(["insert", "commit"], self.scheduler.log)
        self.assertEqual([Kind.MDA, Kind.MTA], [entry.kind for entry in self.scheduler.committed])
        self.assertEqual([message.id] * 2, [messageOf(entry.id) for entry in self.scheduler.committed])

    def test_tellsWhatItAccepted(self) -> None:
        message = self.accept()
        (accepted,) = self.report.of(MessageAccepted)
        self.assertEqual((message.id, message.body.size, 2), (accepted.msgid, accepted.size, accepted.nrcpt))
        envelopes = self.report.of(EnvelopeAccepted)
        self.assertEqual(["bob@example.org", "carol@example.com"], [event.to for event in envelopes])
        self.assertEqual(["postmaster@example.org", "carol@example.com"], [event.rcpt for event in envelopes])

    def test_rollbackLeavesNothing(self) -> None:
        for content in (CONTENT, b"l\r\n" * 1000):
            submission = self.submission(content)
            self.successResultOf(submission.rollback())
            self.successResultOf(submission.rollback())
            self.failureResultOf(submission.commit(PREFIX), RuntimeError)
            self.failureResultOf(asDeferred(self.front.load(submission.id)), NoSuchItem)
        self.assertEqual([], self.disk.listDirectory("/spool/bodies"))
        self.assertEqual([], self.report.events)

    def test_withoutRecipientsNothingIsCommitted(self) -> None:
        self.failureResultOf(self.front.begin(TRANSACTION).commit(PREFIX), ValueError)

    def test_idsGrowForEver(self) -> None:
        first = self.accept().id
        self.platform.wallTime = lambda: 1_600_000_000.0  # type: ignore[method-assign]
        self.restart()
        second = self.accept().id
        # A crash forgets what was begun, yet not that its ids may have been used.
        begun = self.front.begin(TRANSACTION).id
        self.platform.disk = self.disk = self.disk.powerCut()
        self.build()
        self.successResultOf(self.front.start())
        third = self.accept().id
        self.assertTrue(first < second < begun < third)

    def test_anotherShardsQueueIsRefused(self) -> None:
        self.successResultOf(self.front.stop())
        self.build()
        self.front._shard = 3
        self.successResultOf(self.front.start())
        self.accept()
        self.successResultOf(self.front.stop())
        self.build()
        self.failureResultOf(self.front.start(), SpoolError)


class GroupTests(FrontCase):
    def setUp(self) -> None:
        super().setUp()
        self.accept()
        self.successResultOf(self.front.stop())
        self.workers = HeldWorkers()
        self.platform.workers = self.workers
        self.build()
        starting = self.front.start()
        self.workers.finish()
        self.successResultOf(starting)

    def test_whatIsReadyMeanwhileGoesTogether(self) -> None:
        warm = self.submission().commit(PREFIX)
        self.workers.finish()
        message = self.successResultOf(warm)
        self.workers.count = 0
        committing = [self.submission().commit(PREFIX) for _ in range(20)]
        updating = self.front.update({EnvelopeId(message.id << 32): EnvelopeState(tries=1)})
        deleting = self.front.delete([EnvelopeId(message.id << 32 | 1)])
        self.workers.finish()
        messages: list[Message] = [self.successResultOf(done) for done in committing]
        self.assertEqual(20, len({message.id for message in messages}))
        self.successResultOf(updating)
        self.successResultOf(deleting)
        # The first went alone, all others in one step behind it.
        self.assertEqual(2, self.workers.count)

    def test_whatIsAskedForIsSeenAtOnce(self) -> None:
        """Even while the lane is busy, and when the cache does not hold the message."""
        (message, (first, second)) = next(iter(self.await_(self.front.page(MessageId(0), 9))))
        busy = self.submission().commit(PREFIX)
        updating = self.front.update({first.id: EnvelopeState(tries=1)})
        deleting = self.front.delete([second.id])
        loading = asDeferred(self.front.load(message.id))
        self.workers.finish()
        _, (left,) = self.successResultOf(loading)
        self.assertEqual((first.id, 1), (left.id, left.state.tries))
        self.successResultOf(busy)
        self.successResultOf(updating)
        self.successResultOf(deleting)

    def test_whatWasReadIsNotReadAgain(self) -> None:
        (message, (first, _)) = next(iter(self.await_(self.front.page(MessageId(0), 9))))
        loading = asDeferred(self.front.load(message.id))
        self.workers.finish()
        self.successResultOf(loading)
        keeping = self.front.update({first.id: EnvelopeState(tries=1)})
        found = self.front.load(message.id)
        self.assertNotIsInstance(found, Deferred)
        self.assertEqual(1, self.successResultOf(asDeferred(found))[1][0].state.tries)
        self.platform.timer.advance(GATHER)
        self.workers.finish()
        self.successResultOf(keeping)

    def test_whatChangesWhileItIsReadIsReadAgain(self) -> None:
        (message, (first, second)) = next(iter(self.await_(self.front.page(MessageId(0), 9))))
        loading = [asDeferred(self.front.load(message.id))]
        keeping = self.front.update({first.id: EnvelopeState(tries=1)})
        loading.append(asDeferred(self.front.load(message.id)))
        deleting = self.front.delete([second.id])
        self.workers.finish()
        again = self.front.load(message.id)
        assert isinstance(again, Deferred)
        self.platform.timer.advance(GATHER)
        self.workers.finish()
        for done in (*loading, again):
            self.assertEqual(1, self.successResultOf(done)[1][0].state.tries)
        self.successResultOf(keeping)
        self.successResultOf(deleting)

    def test_stopStoresWhatWasAskedFor(self) -> None:
        committing = self.submission().commit(PREFIX)
        stopping = self.front.stop()
        self.workers.finish()
        self.successResultOf(stopping)
        self.successResultOf(committing)

    def await_(
        self, done: Deferred[tuple[tuple[Message, tuple[Envelope, ...]], ...]]
    ) -> tuple[tuple[Message, tuple[Envelope, ...]], ...]:
        self.workers.finish()
        return self.successResultOf(done)


class GatherTests(FrontCase):
    """A batch waits for what is coming in, but not long, and not for those who do not come."""

    def test_aloneWaitsForNobody(self) -> None:
        self.successResultOf(self.submission().commit(PREFIX))

    def test_waitsForTheOther(self) -> None:
        first, second = self.submission(), self.submission()
        waiting = first.commit(PREFIX)
        self.assertNoResult(waiting)
        self.successResultOf(second.commit(PREFIX))
        self.successResultOf(waiting)

    def test_waitsUntilTheOtherGivesUp(self) -> None:
        first, second = self.submission(), self.submission()
        waiting = first.commit(PREFIX)
        self.successResultOf(second.rollback())
        self.platform.timer.advance(GATHER)
        self.successResultOf(waiting)

    def test_slowOnesAreNotWaitedForAgain(self) -> None:
        slow = self.submission()
        waiting = self.submission().commit(PREFIX)
        self.assertNoResult(waiting)
        self.platform.timer.advance(GATHER)
        self.successResultOf(waiting)
        for _ in range(3):
            self.successResultOf(self.submission().commit(PREFIX))
        self.successResultOf(slow.commit(PREFIX))
        first, second = self.submission(), self.submission()
        self.assertNoResult(first.commit(PREFIX))
        self.successResultOf(second.commit(PREFIX))

    def test_deletionsGoWithTheNextMessage(self) -> None:
        message = self.accept()
        deleting = self.front.delete([EnvelopeId(message.id << 32)])
        self.assertNoResult(deleting)
        self.successResultOf(self.submission().commit(PREFIX))
        self.successResultOf(deleting)


class ChangeTests(FrontCase):
    def test_statesAreKept(self) -> None:
        message = self.accept()
        first, second = (EnvelopeId(message.id << 32 | n) for n in range(2))
        state = EnvelopeState(
            3,
            10.0,
            5.0,
            "451 later",
            "why",
            True,
            "550 no",
            "5.1.1",
            1,
            (Attempt(5.0, "451", "mx"), Attempt(7.0, "451 later", "mx", 3, 5.5)),
        )
        self.stored(self.front.update({first: state, EnvelopeId(1): state}))
        for _ in range(2):
            _, envelopes = self.successResultOf(asDeferred(self.front.load(message.id)))
            self.assertEqual([state, EnvelopeState()], [envelope.state for envelope in envelopes])
            self.restart()
        self.stored(self.front.delete([second]))
        _, (left,) = self.successResultOf(asDeferred(self.front.load(message.id)))
        self.assertEqual((first, state), (left.id, left.state))

    def test_messageGoesWithItsLastEnvelope(self) -> None:
        message = self.accept()
        self.stored(self.front.delete([EnvelopeId(message.id << 32 | n) for n in range(2)]))
        self.failureResultOf(asDeferred(self.front.load(message.id)), NoSuchItem)
        self.failureResultOf(self.front.open(message.body), NoSuchItem)
        self.assertEqual((), self.successResultOf(self.front.page(MessageId(0), 10)))

    def test_bounceSupersedes(self) -> None:
        message = self.accept()
        bounce = self.front.begin(TRANSACTION, isBounce=True)
        bounce.recipient(REMOTE)
        made = self.successResultOf(bounce.commit(PREFIX, [EnvelopeId(message.id << 32)]))
        self.assertTrue(made.isBounce)
        _, (left,) = self.successResultOf(asDeferred(self.front.load(message.id)))
        self.assertEqual(message.id << 32 | 1, left.id)

    def test_cacheIsBounded(self) -> None:
        self.restart(cacheOctets=100_000)
        messages = [self.accept(b"%03d\r\n" % n * 180) for n in range(60)]
        self.assertLess(len(self.front._cache._held), 60)
        # The newest are there, the oldest went.
        self.assertIsNotNone(self.front._cache.get(messages[-1].id))
        self.assertIsNone(self.front._cache.get(messages[0].id))
        for n, message in enumerate(messages):
            self.assertEqual(PREFIX + b"%03d\r\n" % n * 180, self.read(message))


class TroubleTests(FrontCase):
    def test_diskFull(self) -> None:
        kept = self.accept()
        self.disk.failAfter(0)
        error = self.failureResultOf(self.submission().commit(PREFIX), QueueError).value
        self.assertEqual("452 4.3.1", str(error.reply)[:9])
        self.assertEqual({}, self.scheduler.open)
        self.assertEqual("rollback", self.scheduler.log[-1])
        large = self.front.begin(TRANSACTION)
        large.recipient(LOCAL)
        error = self.failureResultOf(asDeferred(large.write(b"x" * 2000)), QueueError).value
        self.assertEqual(452, error.reply.code)
        self.successResultOf(large.rollback())
        self.assertTrue(self.report.of(QueueFailed))
        self.disk.failAfter(None)
        again = self.accept()
        self.restart()
        self.assertEqual([kept.id, again.id], list(self.walked()))
        self.assertEqual([], self.disk.listDirectory("/spool/bodies"))

    def test_diskFullWhileStaging(self) -> None:
        submission = self.submission(b"x" * 1500)
        self.disk.failAfter(0)
        self.failureResultOf(asDeferred(submission.write(b"more")), QueueError)
        self.assertEqual(1, len(self.report.of(QueueFailed)))
        self.failureResultOf(submission.commit(PREFIX), QueueError)
        self.assertEqual(["staging content"] * 2, [event.operation for event in self.report.of(QueueFailed)])
        self.disk.failAfter(None)
        self.assertEqual([], self.disk.listDirectory("/spool/bodies"))
        self.accept()

    def test_schedulerFails(self) -> None:
        self.scheduler.error = RuntimeError("away")
        error = self.failureResultOf(self.submission().commit(PREFIX), QueueError).value
        self.assertEqual(451, error.reply.code)
        self.assertEqual((), self.successResultOf(self.front.page(MessageId(0), 10)))

    def test_idsThatCannotBeReserved(self) -> None:
        """Neither at once nor after a while: what waits for them is refused, nobody waits for ever, and later mail is taken."""
        reserving: Deferred[None] = Deferred()
        original = self.backend.reserve
        self.platform.timer.advance(3600)
        self.patch(self.backend, "reserve", lambda ceiling: reserving)
        waiting = [self.submission().commit(PREFIX) for _ in range(2)]
        self.assertNoResult(waiting[0])
        reserving.errback(OSError(5, "I/O error"))
        for done in waiting:
            self.assertEqual(self.failureResultOf(done, QueueError).value.reply.code, 451)

        def raising(ceiling: MessageId) -> Deferred[None]:
            raise OSError(5, "I/O error")

        for reserve in (lambda ceiling: fail(OSError(5, "I/O error")), raising):
            self.patch(self.backend, "reserve", reserve)
            self.failureResultOf(self.submission().commit(PREFIX), QueueError)
        failures = [event for event in self.report.events if isinstance(event, QueueFailed)]
        self.assertEqual({event.operation for event in failures}, {"reserving ids"})
        self.assertEqual((self.scheduler.open, self.scheduler.committed), ({}, []))
        self.patch(self.backend, "reserve", original)
        self.assertEqual(self.read(self.accept()), PREFIX + CONTENT)

    def test_aSchedulerThatRaisesHoldsNobodyUpWhoWaitsForIds(self) -> None:
        reserving: Deferred[None] = Deferred()
        insert = self.scheduler.insert
        self.platform.timer.advance(3600)
        self.patch(self.backend, "reserve", lambda ceiling: reserving)
        submissions = [self.submission() for _ in range(3)]
        first, second, third = (submission.commit(PREFIX) for submission in submissions)

        def raising(entries: Sequence[Entry]) -> Deferred[None]:
            if messageOf(entries[0].id) == submissions[1].id:
                raise ZeroDivisionError("for the test")
            return insert(entries)

        self.patch(self.scheduler, "insert", raising)
        reserving.callback(None)
        self.failureResultOf(second, ZeroDivisionError)
        for done in (first, third):
            self.assertEqual(self.read(self.successResultOf(done)), PREFIX + CONTENT)

    def test_oneBadMessageFailsAlone(self) -> None:
        workers = HeldWorkers()
        self.successResultOf(self.front.stop())
        self.platform.workers = workers
        self.build()
        starting = self.front.start()
        workers.finish()
        self.successResultOf(starting)
        bad = self.submission()
        good = [self.submission() for _ in range(3)]
        committing = [submission.commit(PREFIX) for submission in good[:1]]
        workers.finish()
        # The same id twice can only be a fault of ours; here it stands for whatever a database refuses.
        bad.id = good[0].id
        committing.extend(submission.commit(PREFIX) for submission in good[1:])
        failing = bad.commit(PREFIX)
        workers.finish()
        for done in committing:
            self.successResultOf(done)
        self.failureResultOf(failing, QueueError)

    def test_aBackendThatRaisesHoldsNobodyUp(self) -> None:
        """Not by its Deferred, as it should, but in the caller's face: also then each waiter has an answer, and the next batch goes."""

        def raising(*arguments: object) -> None:
            raise RuntimeError("boom")

        pump = self.front._pump
        self.patch(pump, "_apply", raising)
        submissions = [self.submission() for _ in range(3)]
        for name in ("commit", "update", "delete"):
            self.patch(self.backend, name, raising)
        waiting = [submission.commit(PREFIX) for submission in submissions]
        waiting.append(self.submission().commit(PREFIX))
        for refused in waiting:
            self.assertEqual(451, self.failureResultOf(refused, QueueError).value.reply.code)
        self.successResultOf(pump.settled())

    def test_damagedRecordIsSetAside(self) -> None:
        messages = [self.accept() for _ in range(3)]
        self.successResultOf(self.front.stop())
        self.change("UPDATE message SET record = x'0102' WHERE id = ?", messages[1].id)
        self.build()
        self.successResultOf(self.front.start())
        self.assertEqual([messages[0].id, messages[2].id], list(self.walked()))
        (event,) = self.report.of(ItemSetAside)
        self.assertIn("checksum", event.reason)
        for _ in range(2):
            (aside,) = self.successResultOf(self.front.setAside())
            self.assertEqual((f"{messages[1].id:016x}", event.reason), (aside.item, aside.reason))
            self.failureResultOf(asDeferred(self.front.load(messages[1].id)), NoSuchItem)
            self.restart()

    def test_aMessageWithoutEnvelopesIsSetAside(self) -> None:
        """Its envelopes lay where the database is damaged: that is told, the message is not passed over in silence."""
        first, second = self.accept(), self.accept()
        self.restart()
        database = self.disk.database("/spool/queue.db")
        database.execute("DELETE FROM envelope WHERE message = ?", (first.id,))
        database.close()
        walked = self.successResultOf(self.front.walk(None))
        self.assertEqual([second.id], [message.id for message, _ in walked.messages])
        (aside,) = self.successResultOf(self.front.setAside())
        self.assertIn("none of its envelopes", aside.reason)

    def test_damagedEnvelopeAndState(self) -> None:
        messages = [self.accept() for _ in range(2)]
        self.successResultOf(self.front.stop())
        self.change("UPDATE envelope SET record = 'text' WHERE number = 1 AND message = ?", messages[0].id)
        self.change("UPDATE envelope SET state = x'0199' WHERE message = ?", messages[1].id)
        self.build()
        self.successResultOf(self.front.start())
        self.failureResultOf(asDeferred(self.front.load(messages[0].id)), QueueError)
        _, envelopes = self.successResultOf(asDeferred(self.front.load(messages[1].id)))
        self.assertEqual([EnvelopeState()] * 2, [envelope.state for envelope in envelopes])
        self.assertEqual([messages[1].id], list(self.walked()))

    def test_aVanishedCommonState(self) -> None:
        """Whoever had it starts anew, and that is said of each."""
        messages = [self.accept() for _ in range(10)]
        ids = [EnvelopeId(message.id << 32 | number) for message in messages for number in range(2)]
        self.stored(self.front.update(dict.fromkeys(ids, EnvelopeState(3, 1.0, 2.0, "451 later"))))
        self.successResultOf(self.front.stop())
        self.change("DELETE FROM share")
        self.build()
        self.successResultOf(self.front.start())
        walked = self.walked()
        self.assertEqual([EnvelopeState()] * 20, [each.state for _, some in walked.values() for each in some])
        events = self.report.of(ItemSetAside)
        self.assertEqual([f"{id:024x}" for id in ids], [event.item for event in events])
        self.assertIn("its state starts anew", events[0].reason)

    def test_damagedContentIsSetAside(self) -> None:
        message = self.accept()
        self.successResultOf(self.front.stop())
        self.change("UPDATE body SET content = x'00' || substr(content, 2) WHERE message = ?", message.id)
        self.build()
        self.successResultOf(self.front.start())
        body = self.successResultOf(self.front.open(message.body))

        def readAll() -> None:
            while self.successResultOf(asDeferred(body.read())):
                pass

        error = self.assertRaises(QueueError, readAll)
        self.assertIn("checksum", error.reason)
        self.assertEqual(1, len(self.successResultOf(self.front.setAside())))

    def test_vanishedContentIsSetAside(self) -> None:
        message = self.accept()
        self.successResultOf(self.front.stop())
        self.change("DELETE FROM body WHERE message = ?", message.id)
        self.build()
        self.successResultOf(self.front.start())
        self.failureResultOf(self.front.open(message.body), QueueError)
        (aside,) = self.successResultOf(self.front.setAside())
        self.assertEqual("its content has vanished from the database", aside.reason)

    def test_cutContent(self) -> None:
        message = self.accept(b"x" * 5000)
        name = f"/spool/bodies/{message.id:016x}"
        node = self.disk._node(name)
        del node.data[100:]
        body = self.successResultOf(self.front.open(message.body))

        def readAll() -> None:
            while self.successResultOf(asDeferred(body.read())):
                pass

        self.assertIn("octets", self.assertRaises(QueueError, readAll).reason)

    def change(self, sql: str, *values: object) -> None:
        connection = sqlite3.connect(f"{self.disk._real}/_spool_queue.db")
        connection.execute(sql, values)
        connection.commit()
        connection.close()


class FloorTests(FrontCase):
    def test_refusesBelowTheFloor(self) -> None:
        free = [Space(0.5, 0.01)]
        self.disk.space = lambda path: free[0]  # type: ignore[method-assign]
        self.assertIsNone(self.front.admit(0))
        self.platform.timer.advance(10)
        # The answer that is at hand is given, the next one is asked for.
        self.front.admit(0)
        reply = self.front.admit(0)
        assert reply is not None
        self.assertEqual("452 4.3.1", str(reply)[:9])
        self.assertEqual(1, len(self.report.of(QueueFailed)))
        free[0] = Space(0.5, 0.5)
        self.platform.timer.advance(10)
        self.front.admit(0)
        self.assertIsNone(self.front.admit(0))
        self.assertEqual([], self.platform.timer.getDelayedCalls())

    def test_aWriteWithoutRoomIsTheFirstToKnow(self) -> None:
        """Whoever comes next is told before the content, however large what failed was."""
        for size in (10, 1500):
            self.restart()
            submission = self.submission(b"x" * size)
            self.disk.space = lambda path: Space(0.0, 0.5)  # type: ignore[method-assign]
            self.disk.failAfter(0)
            self.failureResultOf(submission.commit(PREFIX), QueueError)
            self.disk.failAfter(None)
            self.assertIsNotNone(self.front.admit(0), size)
            del self.disk.space


class CodecTests(FrontCase):
    def test_contentIsSealed(self) -> None:
        codec = SealingCodec({"1": bytes(32)}, "1")
        self.restart(codec)
        small, large = self.accept(), self.accept(b"secret l\xe9tter\r\n" * 20_000)
        self.assertEqual("aesgcm/1", small.body.codec)
        # With a second key the content of the first is still read.
        self.restart(SealingCodec({"1": bytes(32), "2": bytes([2]) * 32}, "2"))
        self.assertEqual(PREFIX + CONTENT, self.read(small))
        self.assertEqual(PREFIX + b"secret l\xe9tter\r\n" * 20_000, self.read(large))
        stored = bytes(self.disk._node(f"/spool/bodies/{large.id:016x}").data)
        self.assertNotIn(b"secret", stored)
        with open(f"{self.disk._real}/_spool_queue.db", "rb") as file:
            self.assertNotIn(b"Hello", file.read())

    def test_withoutItsKeyItWaits(self) -> None:
        """A key that is missing today may be there tomorrow: nothing is damaged."""
        codec = SealingCodec({"1": bytes(32)}, "1")
        self.restart(codec)
        small = self.accept()
        for other in (None, SealingCodec({"2": bytes(32)}, "2")):
            self.restart(other)
            error = self.failureResultOf(self.front.open(small.body), QueueError).value
            self.assertIn("aesgcm/1", error.reason)
            self.assertEqual((), self.successResultOf(self.front.setAside()))
            self.assertIn(small.id, self.walked())
        self.restart(codec)
        self.assertEqual(PREFIX + CONTENT, self.read(small))

    def test_aCodecWithoutANameReadsOnly(self) -> None:
        self.restart(ContentCodec(bytes, isCompressing=True))
        small = self.accept()
        self.restart(ContentCodec(bytes))
        self.assertEqual(PREFIX + CONTENT, self.read(small))
        self.assertEqual("", self.accept().body.codec)


class FsFrontTests(AcceptTests):
    """The same over files."""

    def makeBackend(self) -> IQueueBackend:
        return fs.make(".", self.platform, SETTINGS)

    def test_rollbackLeavesNothing(self) -> None:
        submission = self.submission(b"l\r\n" * 1000)
        self.successResultOf(submission.rollback())
        self.assertEqual([], self.disk.listDirectory("/spool/./staged"))


class OtherBackendTests(SynchronousTestCase):
    def front(self, backend: IQueueBackend) -> tuple[QueueFront, ChangesetScheduler]:
        scheduler = ChangesetScheduler()
        front = QueueFront(backend, scheduler, SmallPlatform(RealDisk()), Recorder(), LIMITS)
        self.successResultOf(front.start())
        return front, scheduler

    def test_nullSchedulesNothing(self) -> None:
        front, scheduler = self.front(null.NullBackend())
        submission = front.begin(TRANSACTION)
        submission.recipient(REMOTE)
        message = self.successResultOf(submission.commit(PREFIX))
        self.assertEqual([], scheduler.log)
        self.failureResultOf(front.load(message.id), NoSuchItem)

    def test_ramDeletesInOneBatchWithCommits(self) -> None:
        front, _ = self.front(ram.RamBackend())
        submission = front.begin(TRANSACTION)
        submission.recipient(REMOTE)
        message = self.successResultOf(submission.commit(PREFIX))
        deleting = front.delete([EnvelopeId(message.id << 32)])
        self.successResultOf(front.stop())
        self.successResultOf(deleting)
        self.failureResultOf(asDeferred(front.load(message.id)), NoSuchItem)

    def test_crcIsOfThePlainContent(self) -> None:
        front, _ = self.front(ram.RamBackend())
        submission = front.begin(TRANSACTION)
        submission.recipient(REMOTE)
        submission.write(CONTENT)
        message = self.successResultOf(submission.commit(PREFIX))
        self.assertEqual(f"{crc32(PREFIX + CONTENT):08x}", message.body.place)

    def test_schedulerThatCannotCommitIsTold(self) -> None:
        front, scheduler = self.front(ram.RamBackend())
        scheduler.commit = lambda message: fail_()  # type: ignore[method-assign]
        submission = front.begin(TRANSACTION)
        submission.recipient(REMOTE)
        self.successResultOf(submission.commit(PREFIX))
        report = front._report
        assert isinstance(report, Recorder)
        self.assertEqual(1, len(report.of(InternalError)))

    def test_argumentsAreChecked(self) -> None:
        platform = SmallPlatform(RealDisk())
        self.assertRaises(ValueError, ram.make, "x", platform, SETTINGS)
        self.assertRaises(ValueError, null.make, "x", platform, SETTINGS)


def fail_() -> Deferred[int]:
    from twisted.internet.defer import fail

    return fail(RuntimeError("away"))
