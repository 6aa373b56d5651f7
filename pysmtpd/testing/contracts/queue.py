"""The contract of a queue backend (L{IQueueBackend}), as tests.

Inherit from it beside a test case and say where the backend stores::

    class MyBackendTests(QueueBackendContract, TestCase):
        def harness(self) -> QueueHarness:
            return MyHarness(self.mktemp())

It works with L{twisted.trial.unittest.TestCase} for any backend, also one that needs the reactor. What a harness cannot do (cut the
power, fail writes) is skipped. A backend is tested for what its C{durability} promises.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SkipTest
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.queue import (
    Durability,
    IBatchingBackend,
    IBody,
    IQueueBackend,
    IStage,
    NewMessage,
    QueueError,
    SpoolError,
    StoredMessage,
    StoredPage,
)
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Base
else:
    _Base = object

# A number far from the others.
BOUNCE = 2 << 40

MAX_OPERATIONS = 400
"""A loop over crash points ends here at the latest."""


class QueueHarness:
    """Where one backend under test stores. One harness is one storage.

    @ivar canCrash: C{crash} and C{crashAfter} work.
    @ivar canFail: C{failAfter} works.
    @ivar endings: what calls may fail with, beside L{QueueError}, once the power is off.
    """

    endings: tuple[type[BaseException], ...] = ()

    canCrash = False
    canFail = False

    def backend(self) -> IQueueBackend:
        """A backend on this storage, not opened: as a new process would make it."""
        raise NotImplementedError

    def crash(self) -> None:
        """Cut the power: what was not synced is gone, and backends made before can do nothing any more."""
        raise NotImplementedError

    def crashAfter(self, operations: int) -> None:
        """Let the disk do so many more operations, then none: the last moments before C{crash}."""
        raise NotImplementedError

    def failAfter(self, operations: int | None, error: int = errno.ENOSPC) -> None:
        """After so many more operations that write, every further one fails with C{error}; None: no more failures."""
        raise NotImplementedError

    def release(self) -> None:
        """The test is over."""


class QueueBackendContract(_Base):
    """The obligations, one test each."""

    def harness(self) -> QueueHarness:
        """A new, empty storage."""
        raise NotImplementedError

    def settle(self, answer: Deferred[Any]) -> Deferred[Any]:
        """Override it where time must be moved for an answer to come."""
        return answer

    # --- helpers

    def newHarness(self) -> QueueHarness:
        harness = self.harness()
        self.addCleanup(harness.release)
        return harness

    async def opened(self, harness: QueueHarness) -> IQueueBackend:
        backend = harness.backend()
        await self.settle(backend.open())
        return backend

    async def leave(self, backend: IQueueBackend, why: str) -> NoReturn:
        await self.settle(backend.close())
        raise SkipTest(why)

    async def keeping(self) -> IQueueBackend:
        """An open backend that keeps things at all."""
        backend = await self.opened(self.newHarness())
        if backend.durability is Durability.DISCARDING:
            await self.leave(backend, "it keeps nothing")
        return backend

    async def durable(self) -> tuple[QueueHarness, IQueueBackend]:
        harness = self.newHarness()
        backend = await self.opened(harness)
        if backend.durability is not Durability.DURABLE:
            await self.leave(backend, "it promises nothing beyond its life")
        return harness, backend

    def new(self, number: int, envelopes: int = 1, body: bytes | None = None, **more: object) -> NewMessage:
        """A message with recognisable records."""
        id = MessageId(0x1000 + number)
        records = tuple((envelopeId(id, n), b"envelope %d/%d\x00\xff" % (number, n)) for n in range(envelopes))
        content = b"body %d\r\n" % number if body is None else body
        return NewMessage(id, b"record %d\x00\xff" % number, records, content, **more)  # type: ignore[arg-type]

    def stored(self, new: NewMessage, states: Sequence[bytes] = ()) -> StoredMessage:
        known = (*states, *(b"" for _ in new.envelopes))
        return StoredMessage(
            new.id, new.record, tuple((id, record, known[n]) for n, (id, record) in enumerate(new.envelopes))
        )

    async def content(self, backend: IQueueBackend, message: MessageId) -> bytes | None:
        body = await self.settle(backend.body(message))
        if body is None:
            return None
        try:
            return await self.drain(body)
        finally:
            body.close()

    async def drain(self, body: IBody) -> bytes:
        chunks: list[bytes] = []
        while chunk := await self.settle(asDeferred(body.read())):
            self.assertLessEqual(len(chunk), 65_536)
            chunks.append(chunk)
        content = b"".join(chunks)
        self.assertEqual(body.size, len(content))
        return content

    async def walked(self, backend: IQueueBackend, limit: int = 2) -> list[StoredPage]:
        pages: list[StoredPage] = []
        cursor: str | None = None
        while True:
            page = await self.settle(backend.walk(cursor, limit))
            self.assertLessEqual(len(page.messages), limit)
            pages.append(page)
            cursor = page.cursor
            if cursor is None:
                return pages

    async def everything(self, backend: IQueueBackend) -> list[StoredMessage]:
        found = [message for page in await self.walked(backend, 100) for message in page.messages]
        return sorted(found, key=lambda message: message.id)

    async def staged(self, backend: IQueueBackend, number: int, chunks: Sequence[bytes]) -> tuple[IStage, NewMessage]:
        new = self.new(number)
        stage = await self.settle(backend.stage(new.id))
        for chunk in chunks:
            await self.settle(stage.write(chunk))
        await self.settle(stage.finish())
        return stage, NewMessage(new.id, new.record, new.envelopes, None, stage.name)

    async def refused(self, answer: Deferred[Any]) -> QueueError:
        try:
            await self.settle(answer)
        except QueueError as error:
            return error
        raise AssertionError("it should have failed with QueueError")

    # --- the shape

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

    # --- keeping

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

    async def test_applyDoesAllThree(self) -> None:
        backend = await self.keeping()
        if not IBatchingBackend.providedBy(backend):
            await self.leave(backend, "it takes no mixed batches")
        kept, gone, new = self.new(1), self.new(2), self.new(3)
        await self.settle(backend.commit([kept, gone]))
        await self.settle(backend.apply([new], {kept.envelopes[0][0]: b"s"}, [gone.envelopes[0][0]]))
        self.assertEqual(self.stored(kept, (b"s",)), await self.settle(backend.load(kept.id)))
        self.assertIsNone(await self.settle(backend.load(gone.id)))
        self.assertEqual(self.stored(new), await self.settle(backend.load(new.id)))
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

    # --- beyond a life

    async def test_durableAfterClose(self) -> None:
        harness, backend = await self.durable()
        messages = [self.new(number, envelopes=2) for number in range(7)]
        await self.settle(backend.commit(messages))
        _, large = await self.staged(backend, 20, [b"z" * 70_000])
        await self.settle(backend.commit([large]))
        await self.settle(backend.update({messages[0].envelopes[0][0]: b"state"}))
        await self.settle(backend.delete([id for id, _ in messages[1].envelopes] + [messages[2].envelopes[0][0]]))
        await self.settle(backend.putAside(messages[3].id, "reason"))
        await self.settle(backend.close())
        again = harness.backend()
        self.assertGreaterEqual(await self.settle(again.open()), large.id)
        rest = messages[2]
        expected = [
            self.stored(messages[0], (b"state",)),
            StoredMessage(rest.id, rest.record, ((*rest.envelopes[1], b""),)),
            *(self.stored(new) for new in messages[4:]),
            self.stored(large),
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

    # --- power cuts

    async def test_acknowledgedSurvivesAPowerCut(self) -> None:
        harness, backend = await self.durable()
        if not harness.canCrash:
            await self.leave(backend, "the harness cannot cut the power")
        await self.settle(backend.reserve(MessageId(0x7000)))
        messages = [self.new(number, envelopes=2) for number in range(3)]
        _, large = await self.staged(backend, 5, [b"z" * 70_000, b"end"])
        await self.settle(backend.commit([*messages, large]))
        await self.settle(backend.update({messages[0].envelopes[1][0]: b"state"}))
        aside = self.new(6)
        await self.settle(backend.commit([aside]))
        await self.settle(backend.putAside(aside.id, "reason"))
        harness.crash()
        again = harness.backend()
        self.assertGreaterEqual(await self.settle(again.open()), 0x7000)
        expected = [self.stored(messages[0], (b"", b"state")), *map(self.stored, messages[1:]), self.stored(large)]
        self.assertEqual(expected, await self.everything(again))
        for new in messages:
            self.assertEqual(new.body, await self.content(again, new.id))
        self.assertEqual(b"z" * 70_000 + b"end", await self.content(again, large.id))
        self.assertEqual(["reason"], [found.reason for found in await self.settle(again.setAside())])
        await self.settle(again.close())

    async def test_powerCutAtAnyMoment(self) -> None:
        """Each message is whole or not there, what was acknowledged is there, and each state is the old or the new one."""
        for operations in range(MAX_OPERATIONS):
            harness = self.newHarness()
            backend = await self.opened(harness)
            if backend.durability is not Durability.DURABLE or not harness.canCrash:
                await self.leave(backend, "nothing to cut")
            # Ids far apart: a backend may store them apart.
            old, gone = self.new(1, envelopes=2), self.new(1 << 40)
            await self.settle(backend.commit([old, gone]))
            await self.settle(backend.update({old.envelopes[0][0]: b"old state"}))
            harness.crashAfter(operations)
            known: dict[MessageId, bytes] = {}
            isWhole = await self.lastMoments(backend, old, gone, known, harness.endings)
            harness.crash()
            again = await self.opened(harness)
            await self.checkAfterCrash(again, old, gone, known)
            # And it works on.
            await self.settle(again.commit([self.new(50)]))
            self.assertIsNotNone(await self.settle(again.load(self.new(50).id)))
            await self.settle(again.close())
            if isWhole:
                return
        self.fail("the last moments never ended")

    async def lastMoments(
        self,
        backend: IQueueBackend,
        old: NewMessage,
        gone: NewMessage,
        known: dict[MessageId, bytes],
        endings: tuple[type[BaseException], ...],
    ) -> bool:
        """Work until the disk stops. Did it get to the end?"""
        stopped: tuple[type[BaseException], ...] = (QueueError, *endings)
        try:
            batch = [self.new(10), self.new(11, envelopes=2)]
            await self.settle(backend.commit(batch))
            known.update((each.id, each.body or b"") for each in batch)
            _, large = await self.staged(backend, 12, [b"y" * 70_000])
            await self.settle(backend.commit([large]))
            known[large.id] = b"y" * 70_000
            await self.settle(backend.update({old.envelopes[0][0]: b"new state"}))
            bounce = self.new(BOUNCE, supersedes=(gone.envelopes[0][0], old.envelopes[1][0]))
            await self.settle(backend.commit([bounce]))
            known[bounce.id] = bounce.body or b""
            second = self.new(14, supersedes=(EnvelopeId(99),))
            await self.settle(backend.commit([second]))
            known[second.id] = second.body or b""
            # From the moment on that it is asked for, it may be gone.
            known.pop(batch[0].id)
            await self.settle(backend.delete([batch[0].envelopes[0][0]]))
        except stopped:
            return False
        return True

    async def checkAfterCrash(
        self, backend: IQueueBackend, old: NewMessage, gone: NewMessage, known: dict[MessageId, bytes]
    ) -> None:
        found = {message.id: message for message in await self.everything(backend)}
        for id, expected in known.items():
            self.assertIn(id, found)
            self.assertEqual(expected, await self.content(backend, id))
        possible = {self.new(n).id: self.new(n, envelopes=2 if n == 11 else 1) for n in (10, 11, 12, 14, BOUNCE)}
        for id, message in found.items():
            if id in possible:
                self.assertEqual(self.stored(possible[id]), message)
                whole = b"y" * 70_000 if id == self.new(12).id else possible[id].body
                self.assertEqual(whole, await self.content(backend, id))
            else:
                self.assertIn(id, (old.id, gone.id))
        # The bounce and what it supersedes change in one step.
        hasBounce = self.new(BOUNCE).id in found
        self.assertEqual(hasBounce, gone.id not in found)
        self.assertEqual(1 if hasBounce else 2, len(found[old.id].envelopes))
        self.assertIn(found[old.id].envelopes[0][2], (b"old state", b"new state"))
        if hasBounce:
            self.assertEqual(b"new state", found[old.id].envelopes[0][2])
        self.assertEqual((), await self.settle(backend.setAside()))

    # --- failures

    async def test_writeErrorAtAnyMoment(self) -> None:
        """Disk full and write errors fail the call, keep nothing of it, and later calls work."""
        for code, reply in ((errno.ENOSPC, 452), (errno.EIO, 451)):
            for operations in range(MAX_OPERATIONS):
                harness = self.newHarness()
                backend = await self.opened(harness)
                if backend.durability is not Durability.DURABLE or not harness.canFail:
                    await self.leave(backend, "nothing to fail")
                old = self.new(1)
                await self.settle(backend.commit([old]))
                harness.failAfter(operations, code)
                try:
                    await self.settle(backend.commit([self.new(10), self.new(11)]))
                    isWhole = True
                except QueueError as error:
                    isWhole = False
                    self.assertEqual(reply, error.reply.code)
                try:
                    _, large = await self.staged(backend, 12, [b"y" * 70_000])
                    await self.settle(backend.commit([large]))
                    isStaged = True
                except QueueError as error:
                    isStaged = False
                    self.assertEqual(reply, error.reply.code)
                harness.failAfter(None)
                inBatch = [await self.settle(backend.load(self.new(n).id)) for n in (10, 11)]
                self.assertEqual([isWhole] * 2, [stored is not None for stored in inBatch])
                self.assertEqual(isStaged, await self.settle(backend.load(self.new(12).id)) is not None)
                await self.settle(backend.commit([self.new(20)]))
                await self.settle(backend.update({old.envelopes[0][0]: b"state"}))
                await self.settle(backend.close())
                again = await self.opened(harness)
                found = await self.everything(again)
                expected = [1, *((10, 11) if isWhole else ()), *((12,) if isStaged else ()), 20]
                self.assertEqual([self.new(n).id for n in expected], [message.id for message in found])
                self.assertEqual(self.stored(old, (b"state",)), found[0])
                await self.settle(again.close())
                if isWhole and isStaged:
                    break
            else:
                self.fail("the failing calls never ended")
