"""The contract of a durable queue backend when the power fails, or the disk."""

from __future__ import annotations

import errno

from pysmtpd.interfaces.queue import IQueueBackend, NewMessage, QueueError
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.testing.contracts.queuecase import QueueCase

# A number far from the others.
BOUNCE = 2 << 40

MAX_OPERATIONS = 400
"""A loop over crash points ends here at the latest."""


class QueueCrashContract(QueueCase):
    """With a harness that cuts the power."""

    async def test_acknowledgedSurvivesAPowerCut(self) -> None:
        harness, backend = await self.durable()
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


class QueueFailureContract(QueueCase):
    """With a harness that makes writes fail."""

    async def test_writeErrorAtAnyMoment(self) -> None:
        """Disk full and write errors fail the call, keep nothing of it, and later calls work."""
        for code, reply in ((errno.ENOSPC, 452), (errno.EIO, 451)):
            for operations in range(MAX_OPERATIONS):
                harness = self.newHarness()
                backend = await self.opened(harness)
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
