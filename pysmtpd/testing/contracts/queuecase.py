"""Where the contracts of a queue backend store, and what they ask."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from pysmtpd.interfaces.queue import IBody, IQueueBackend, IStage, NewMessage, QueueError, StoredMessage, StoredPage
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.ids import MessageId, envelopeId

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Base
else:
    _Base = object


class QueueHarness:
    """Where one backend under test stores. One harness is one storage.

    @ivar endings: what calls may fail with, beside L{QueueError}, once the power is off.
    """

    endings: tuple[type[BaseException], ...] = ()

    def backend(self) -> IQueueBackend:
        """A backend on this storage, not opened: as a new process would make it."""
        raise NotImplementedError

    # for QueueCrashContract

    def crash(self) -> None:
        """Cut the power: what was not synced is gone, and backends made before can do nothing any more."""
        raise NotImplementedError

    def crashAfter(self, operations: int) -> None:
        """Let the disk do so many more operations, then none: the last moments before C{crash}."""
        raise NotImplementedError

    # for QueueFailureContract

    def failAfter(self, operations: int | None, error: int = errno.ENOSPC) -> None:
        """After so many more operations that write, every further one fails with C{error}; None: no more failures."""
        raise NotImplementedError

    def release(self) -> None:
        """The test is over."""


class QueueCase(_Base):
    """What the contracts have in common: storages, messages, questions."""

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

    async def keeping(self) -> IQueueBackend:
        """An open backend, on a new storage."""
        return await self.opened(self.newHarness())

    async def durable(self) -> tuple[QueueHarness, IQueueBackend]:
        """The same, with its storage."""
        harness = self.newHarness()
        return harness, await self.opened(harness)

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
