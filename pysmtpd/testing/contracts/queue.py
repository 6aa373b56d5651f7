"""The contract of a queue backend (L{IQueueBackend}), as tests.

Inherit from what your backend promises beside a test case, and say where it stores::

    class MyBackendTests(QueueBackendContract, QueueCrashContract, QueueFailureContract, TestCase):
        def harness(self) -> QueueHarness:
            return MyHarness(self.mktemp())

L{QueueBackendContract} is for a durable backend, L{VolatileQueueContract} for one that forgets with its process,
L{DiscardingQueueContract} for one that keeps nothing; L{BatchingQueueContract} comes beside it for an L{IBatchingBackend}.
L{QueueCrashContract} and L{QueueFailureContract} (L{pysmtpd.testing.contracts.queuetrouble}) need a harness that cuts the power, or fails
writes. All work with L{twisted.trial.unittest.TestCase} for any backend, also one that needs the reactor.
"""

from __future__ import annotations

from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.queue import (
    Durability,
    IBatchingBackend,
    IQueueBackend,
    NewMessage,
    SpoolError,
    StoredMessage,
    StoredPage,
)
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.testing.contracts.queuecase import QueueCase, QueueHarness
from pysmtpd.testing.contracts.queuetrouble import QueueCrashContract, QueueFailureContract

__all__ = (
    "BatchingQueueContract",
    "DiscardingQueueContract",
    "QueueBackendContract",
    "QueueCrashContract",
    "QueueFailureContract",
    "QueueHarness",
    "VolatileQueueContract",
)


class DiscardingQueueContract(QueueCase):
    """For all, also for what keeps nothing."""

    async def test_providesItsInterface(self) -> None:
        backend = self.newHarness().backend()
        verifyObject(IQueueBackend, backend)
        if IBatchingBackend.providedBy(backend):
            verifyObject(IBatchingBackend, backend)
        self.assertIsInstance(backend.durability, Durability)

    async def test_emptyAtFirst(self) -> None:
        backend = await self.opened(self.newHarness())
        self.assertEqual([StoredPage((), None)], await self.walked(backend))
        self.assertIsNone(await self.settle(backend.load(MessageId(1))))
        self.assertIsNone(await self.settle(backend.body(MessageId(1))))
        self.assertEqual((), await self.settle(backend.setAside()))
        await self.settle(backend.close())

    async def test_space(self) -> None:
        backend = await self.opened(self.newHarness())
        space = await self.settle(backend.space())
        self.assertTrue(0.0 <= space.blocks <= 1.0 and 0.0 <= space.inodes <= 1.0, space)
        await self.settle(backend.close())

    async def test_acceptsWhatItIsGiven(self) -> None:
        """Also one that discards."""
        backend = await self.opened(self.newHarness())
        await self.settle(backend.reserve(MessageId(0x9000)))
        await self.settle(backend.commit([self.new(1), self.new(2)]))
        _, large = await self.staged(backend, 3, [b"x" * 1000])
        await self.settle(backend.commit([large]))
        await self.settle(backend.update({large.envelopes[0][0]: b"state"}))
        await self.settle(backend.delete([large.envelopes[0][0]]))
        await self.settle(backend.putAside(self.new(1).id, "reason"))
        await self.settle(backend.close())


class VolatileQueueContract(DiscardingQueueContract):
    """What was given is there as long as the backend is open."""

    async def test_keepsRecordsAndContent(self) -> None:
        backend = await self.keeping()
        messages = [
            self.new(1),
            self.new(2, envelopes=3),
            self.new(3, body=b""),
            self.new(4, body=bytes(range(256)) * 800),
        ]
        await self.settle(backend.commit(messages))
        for new in messages:
            self.assertEqual(self.stored(new), await self.settle(backend.load(new.id)))
            self.assertEqual(new.body, await self.content(backend, new.id))
        await self.settle(backend.close())

    async def test_contentCanBeReadAgain(self) -> None:
        backend = await self.keeping()
        new = self.new(1, body=b"abc" * 50_000)
        _, large = await self.staged(backend, 2, [b"def" * 50_000, b"g"])
        await self.settle(backend.commit([new, large]))
        for id, content in ((new.id, b"abc" * 50_000), (large.id, b"def" * 50_000 + b"g")):
            body = await self.settle(backend.body(id))
            assert body is not None
            await self.settle(asDeferred(body.read()))
            body.rewind()
            self.assertEqual(content, await self.drain(body))
            body.rewind()
            self.assertEqual(content, await self.drain(body))
            body.close()
            body.close()
        await self.settle(backend.close())

    async def test_keepsStagedContent(self) -> None:
        backend = await self.keeping()
        _, large = await self.staged(backend, 1, [b"1" * 65_536, b"", b"2" * 300_000, b"3"])
        await self.settle(backend.commit([large, self.new(2)]))
        self.assertEqual(self.stored(large), await self.settle(backend.load(large.id)))
        self.assertEqual(b"1" * 65_536 + b"2" * 300_000 + b"3", await self.content(backend, large.id))
        await self.settle(backend.delete([large.envelopes[0][0]]))
        self.assertIsNone(await self.content(backend, large.id))
        await self.settle(backend.close())

    async def test_discardedStageIsGone(self) -> None:
        backend = await self.keeping()
        stage = await self.settle(backend.stage(MessageId(7)))
        await self.settle(stage.write(b"half"))
        await self.settle(stage.discard())
        finished, large = await self.staged(backend, 8, [b"whole"])
        await self.settle(finished.discard())
        self.assertIsNone(await self.settle(backend.body(MessageId(7))))
        self.assertIsNone(await self.settle(backend.body(large.id)))
        # The id is still good.
        _, again = await self.staged(backend, 8, [b"again"])
        await self.settle(backend.commit([again]))
        self.assertEqual(b"again", await self.content(backend, again.id))
        await self.settle(backend.close())

    async def test_callsMayOverlap(self) -> None:
        backend = await self.keeping()
        messages = [self.new(number) for number in range(30)]
        await self.settle(gatherResults([backend.commit(messages[n : n + 3]) for n in range(0, 30, 3)]))
        for new in messages:
            self.assertEqual(self.stored(new), await self.settle(backend.load(new.id)))
        await self.settle(backend.close())

    async def test_keepsStates(self) -> None:
        backend = await self.keeping()
        new = self.new(1, envelopes=3)
        other = self.new(2)
        await self.settle(backend.commit([new, other]))
        ids = [id for id, _ in new.envelopes]
        await self.settle(backend.update({ids[0]: b"first\x00", ids[2]: b"third"}))
        self.assertEqual(self.stored(new, (b"first\x00", b"", b"third")), await self.settle(backend.load(new.id)))
        await self.settle(backend.update({ids[0]: b"newer, and longer", EnvelopeId(99): b"unknown"}))
        self.assertEqual(
            self.stored(new, (b"newer, and longer", b"", b"third")), await self.settle(backend.load(new.id))
        )
        self.assertEqual(self.stored(other), await self.settle(backend.load(other.id)))
        await self.settle(backend.close())

    async def test_keepsStatesInCommon(self) -> None:
        """Many envelopes get one state, again and again, as those for a host that is down; some leave, some go."""
        backend = await self.keeping()
        messages = [self.new(number, envelopes=1 + number % 2) for number in range(40)]
        await self.settle(backend.commit(messages))
        wanted = {id: b"" for new in messages for id, _ in new.envelopes}
        ids = list(wanted)
        for number, (turning, leaving) in enumerate(
            ((ids, []), (ids, ids[:1]), (ids[5:], []), (ids[5:], ids[5:7]), (ids[:30], []), (ids[7:], ids[40:]))
        ):
            states = {id: b"common %d\x00" % number for id in turning if id in wanted}
            if number % 2:
                # One of its own in the midst of them.
                states[turning[len(turning) // 2]] = b"its own"
            await self.settle(backend.update(states))
            await self.settle(backend.delete(leaving))
            wanted.update(states)
            for id in leaving:
                del wanted[id]
            page = await self.settle(backend.page(MessageId(0), 100))
            self.assertEqual(wanted, {id: state for message in page for id, _, state in message.envelopes})
        await self.settle(backend.close())

    async def test_keepsManyStates(self) -> None:
        backend = await self.keeping()
        messages = [self.new(number, envelopes=1 + number % 2) for number in range(60)]
        await self.settle(backend.commit(messages))
        await self.settle(backend.delete([messages[7].envelopes[0][0], messages[8].envelopes[0][0]]))
        for round in range(2):
            states = {
                new.envelopes[0][0]: b"%d/%d\x00" % (round, at) * (1 + at) for at, new in enumerate(messages[:-3])
            }
            await self.settle(backend.update({**states, EnvelopeId(99): b"unknown"}))
            for at, new in enumerate(messages):
                found = await self.settle(backend.load(new.id))
                if at == 8:
                    self.assertIsNone(found)
                    continue
                assert found is not None
                kept = {id: state for id, _, state in found.envelopes}
                wanted = {id: states.get(id, b"") for id, _ in new.envelopes}
                if at == 7:
                    # What is gone stays gone.
                    del wanted[new.envelopes[0][0]]
                self.assertEqual(kept, wanted)
        self.assertIsNone(await self.settle(backend.load(MessageId(0))))
        await self.settle(backend.close())

    async def test_messageGoesWithItsLastEnvelope(self) -> None:
        backend = await self.keeping()
        new = self.new(1, envelopes=3)
        await self.settle(backend.commit([new, self.new(2)]))
        first, second, third = (id for id, _ in new.envelopes)
        await self.settle(backend.delete([second, EnvelopeId(99)]))
        found = await self.settle(backend.load(new.id))
        assert found is not None
        self.assertEqual([first, third], [id for id, _, _ in found.envelopes])
        self.assertIsNotNone(await self.content(backend, new.id))
        await self.settle(backend.delete([first, third]))
        self.assertIsNone(await self.settle(backend.load(new.id)))
        self.assertIsNone(await self.content(backend, new.id))
        self.assertIsNotNone(await self.settle(backend.load(self.new(2).id)))
        await self.settle(backend.delete([first, third]))
        await self.settle(backend.close())

    async def test_supersedes(self) -> None:
        backend = await self.keeping()
        whole, part = self.new(1), self.new(2, envelopes=2)
        await self.settle(backend.commit([whole, part]))
        bounce = self.new(3, supersedes=(whole.envelopes[0][0], part.envelopes[0][0]))
        await self.settle(backend.commit([bounce]))
        self.assertIsNone(await self.settle(backend.load(whole.id)))
        found = await self.settle(backend.load(part.id))
        assert found is not None
        self.assertEqual([part.envelopes[1][0]], [id for id, _, _ in found.envelopes])
        self.assertEqual(self.stored(bounce), await self.settle(backend.load(bounce.id)))
        await self.settle(backend.close())

    async def test_callsKeepTheirOrder(self) -> None:
        """What was asked for first is seen by what is asked for next, without waiting in between."""
        backend = await self.keeping()
        new, other = self.new(1, envelopes=2), self.new(2)
        await self.settle(backend.commit([new, other]))
        first, second = (id for id, _ in new.envelopes)
        answers = (
            backend.update({first: b"1"}),
            backend.update({first: b"2"}),
            backend.delete([second]),
            backend.delete([other.envelopes[0][0]]),
            backend.load(new.id),
            backend.load(other.id),
            backend.body(other.id),
        )
        results = await self.settle(gatherResults(list(answers)))
        self.assertEqual(StoredMessage(new.id, new.record, ((first, new.envelopes[0][1], b"2"),)), results[4])
        self.assertEqual([None, None], results[5:])
        await self.settle(backend.close())

    async def test_damagedCommitKeepsNothingOfTheBatch(self) -> None:
        backend = await self.keeping()
        lost = NewMessage(self.new(2).id, b"r", self.new(2).envelopes, None, "never-staged")
        # An id that is there already can only be a fault of ours: it must not replace a message.
        await self.settle(backend.commit([self.new(1)]))
        await self.refused(backend.commit([self.new(3), self.new(1, body=b"other")]))
        self.assertIsNone(await self.settle(backend.load(self.new(3).id)))
        self.assertEqual(self.new(1).body, await self.content(backend, self.new(1).id))
        await self.refused(backend.commit([self.new(4), lost]))
        self.assertIsNone(await self.settle(backend.load(self.new(4).id)))
        await self.settle(backend.commit([self.new(3), self.new(4)]))
        await self.settle(backend.close())

    # --- finding

    async def test_pagesAreInOrder(self) -> None:
        backend = await self.keeping()
        messages = [self.new(number) for number in (5, 1, 4, 2, 3)]
        await self.settle(backend.commit(messages))
        inOrder = sorted((self.stored(new) for new in messages), key=lambda message: message.id)
        self.assertEqual(tuple(inOrder[:2]), await self.settle(backend.page(MessageId(0), 2)))
        self.assertEqual(tuple(inOrder[2:4]), await self.settle(backend.page(inOrder[1].id, 2)))
        self.assertEqual(tuple(inOrder[4:]), await self.settle(backend.page(inOrder[3].id, 2)))
        self.assertEqual((), await self.settle(backend.page(inOrder[4].id, 2)))
        await self.settle(backend.close())

    async def test_asideIsOutOfSight(self) -> None:
        backend = await self.keeping()
        messages = [self.new(number) for number in range(4)]
        await self.settle(backend.commit(messages))
        await self.settle(backend.putAside(messages[1].id, "r\u00e9ason: \udcff"))
        await self.settle(backend.putAside(MessageId(99), "unknown"))
        self.assertIsNone(await self.settle(backend.load(messages[1].id)))
        page = await self.settle(backend.page(MessageId(0), 9))
        self.assertEqual([messages[n].id for n in (0, 2, 3)], [message.id for message in page])
        (aside,) = await self.settle(backend.setAside())
        self.assertEqual(f"{messages[1].id:016x}", aside.item)
        self.assertIn("r\u00e9ason", aside.reason)
        await self.settle(backend.close())


class QueueBackendContract(VolatileQueueContract):
    """What was given is there when the storage is opened again."""

    async def test_saysThatItIsDurable(self) -> None:
        self.assertIs(self.newHarness().backend().durability, Durability.DURABLE)

    async def test_durableAfterClose(self) -> None:
        harness, backend = await self.durable()
        messages = [self.new(number, envelopes=2) for number in range(7)]
        await self.settle(backend.commit(messages))
        _, large = await self.staged(backend, 20, [b"z" * 70_000])
        await self.settle(backend.commit([large]))
        crowd = [self.new(number) for number in range(30, 70)]
        await self.settle(backend.commit(crowd))
        await self.settle(backend.update({new.envelopes[0][0]: b"common" for new in crowd}))
        await self.settle(backend.update({messages[0].envelopes[0][0]: b"state"}))
        await self.settle(backend.delete([id for id, _ in messages[1].envelopes] + [messages[2].envelopes[0][0]]))
        await self.settle(backend.putAside(messages[3].id, "reason"))
        await self.settle(backend.close())
        again = harness.backend()
        self.assertGreaterEqual(await self.settle(again.open()), crowd[-1].id)
        rest = messages[2]
        expected = [
            self.stored(messages[0], (b"state",)),
            StoredMessage(rest.id, rest.record, ((*rest.envelopes[1], b""),)),
            *(self.stored(new) for new in messages[4:]),
            self.stored(large),
            *(self.stored(new, (b"common",)) for new in crowd),
        ]
        self.assertEqual(expected, await self.everything(again))
        self.assertEqual(messages[4].body, await self.content(again, messages[4].id))
        self.assertEqual(b"z" * 70_000, await self.content(again, large.id))
        self.assertEqual(["reason"], [aside.reason for aside in await self.settle(again.setAside())])
        await self.settle(again.close())

    async def test_walkPages(self) -> None:
        harness, backend = await self.durable()
        messages = [self.new(number) for number in range(7)]
        await self.settle(backend.reserve(MessageId(0x2000)))
        await self.settle(backend.commit(messages))
        await self.settle(backend.close())
        again = await self.opened(harness)
        first = await self.settle(again.walk(None, 3))
        # While it walks, mail comes in and goes.
        await self.settle(again.commit([self.new(0x2000)]))
        await self.settle(again.delete([messages[6].envelopes[0][0]]))
        found = list(first.messages)
        cursor = first.cursor
        while cursor is not None:
            page = await self.settle(again.walk(cursor, 3))
            found.extend(page.messages)
            cursor = page.cursor
        ids = sorted(message.id for message in found if message.id != messages[6].id)
        self.assertEqual([new.id for new in messages[:6]], ids)
        await self.settle(again.close())

    async def test_idsAreNeverUsedAgain(self) -> None:
        harness, backend = await self.durable()
        await self.settle(backend.reserve(MessageId(0x5000)))
        await self.settle(backend.reserve(MessageId(0x4000)))
        await self.settle(backend.close())
        again = harness.backend()
        self.assertGreaterEqual(await self.settle(again.open()), 0x5000)
        await self.settle(again.close())

    async def test_lockedAgainstASecondDaemon(self) -> None:
        harness, backend = await self.durable()
        await self.settle(backend.commit([self.new(1)]))
        try:
            await self.settle(harness.backend().open())
        except SpoolError as error:
            self.assertTrue(str(error))
        else:
            self.fail("two backends have the same storage open")
        # The first one goes on, and gives the place back at its end.
        await self.settle(backend.commit([self.new(2)]))
        await self.settle(backend.close())
        again = await self.opened(harness)
        self.assertEqual(2, len(await self.everything(again)))
        await self.settle(again.close())


class BatchingQueueContract(QueueCase):
    """Beside one of the above."""

    async def test_applyDoesAllThree(self) -> None:
        backend = await self.keeping()
        self.assertTrue(verifyObject(IBatchingBackend, backend))
        assert IBatchingBackend.providedBy(backend)
        kept, gone, new = self.new(1), self.new(2), self.new(3)
        await self.settle(backend.commit([kept, gone]))
        await self.settle(backend.apply([new], {kept.envelopes[0][0]: b"s"}, [gone.envelopes[0][0]]))
        self.assertEqual(self.stored(kept, (b"s",)), await self.settle(backend.load(kept.id)))
        self.assertIsNone(await self.settle(backend.load(gone.id)))
        self.assertEqual(self.stored(new), await self.settle(backend.load(new.id)))
        await self.settle(backend.close())

    async def test_applyDoesManyOfAllThree(self) -> None:
        """Messages, then states, then deletions; however many."""
        backend = await self.keeping()
        assert IBatchingBackend.providedBy(backend)
        old = [self.new(number, envelopes=2) for number in range(80)]
        await self.settle(backend.commit(old))
        fresh = [self.new(number, envelopes=2) for number in range(100, 170)]
        states = {new.envelopes[0][0]: b"state" for new in (*old, *fresh)}
        deleted = [new.envelopes[0][0] for new in old[:70]] + [fresh[0].envelopes[1][0]]
        await self.settle(backend.apply(fresh, states, deleted))
        for new in (*old, *fresh):
            found = await self.settle(backend.load(new.id))
            assert found is not None
            left = [(id, states.get(id, b"")) for id, _ in new.envelopes if id not in deleted]
            self.assertEqual([(id, state) for id, _, state in found.envelopes], left)
        await self.settle(backend.close())
