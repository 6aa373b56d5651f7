"""The default queue: one SQLite database, and files for large content.

WAL journal, C{synchronous=FULL}: a transaction is durable when it ends, at the cost of one sync, whatever is in it. One lane writes, one
reads, one moves the journal back into the database so that no commit has to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IFile, IPlatform, Space
from pysmtpd.interfaces.queue import (
    Durability,
    IBatchingBackend,
    IBody,
    IStage,
    NewMessage,
    SetAside,
    StoredMessage,
    StoredPage,
)
from pysmtpd.model.ids import EnvelopeId, MessageId, formatMessageId, parseMessageId
from pysmtpd.queue.body import FileBody, MemoryBody
from pysmtpd.queue.database import Checkpointer, Reader, Writer
from pysmtpd.queue.refusal import refuse
from pysmtpd.queue.spool import placeOf
from pysmtpd.queue.stage import FileStage

T = TypeVar("T")

DEFAULT_PLACE = ""
"""The spool itself."""

WRITE_LANE = "queue.write"
READ_LANE = "queue.read"
STAGE_LANE = "queue.stage"
CHECKPOINT_LANE = "queue.checkpoint"


@implementer(IBatchingBackend)
class SqliteBackend:
    """See L{IBatchingBackend}; the statements are in L{pysmtpd.queue.database}."""

    durability = Durability.DURABLE

    _log = Logger()

    def __init__(self, place: str, platform: IPlatform) -> None:
        """
        @param place: the directory that holds C{queue.db} and C{bodies}.
        """
        self._place = place
        self._disk = platform.disk
        self._workers = platform.workers
        self._writer = Writer(platform.disk, place)
        self._reader = Reader(platform.disk, place)
        self._checkpointer = Checkpointer(platform.disk, place)
        self._writing = 0
        self._isCheckpointing = False
        self._isClosing = False
        self._openedWith = MessageId(0)
        self._loss: SetAside | None = None

    def open(self) -> Deferred[int]:
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> int:
        run = self._workers.run
        highest = await run(WRITE_LANE, self._writer.open)
        await run(READ_LANE, self._reader.open)
        await run(CHECKPOINT_LANE, self._checkpointer.open)
        self._openedWith = MessageId(highest)
        self._loss = await run(WRITE_LANE, self._writer.loss)
        if self._loss is not None:
            self._log.critical("{reason}", reason=self._loss.reason)
        return highest

    def reserve(self, ceiling: MessageId) -> Deferred[None]:
        return self._write("reserving ids", self._writer.reserve, ceiling)

    def stage(self, message: MessageId) -> Deferred[IStage]:
        directory = f"{self._place}/bodies"
        return FileStage(self._workers, STAGE_LANE, self._disk, directory, formatMessageId(message)).begin()

    def apply(
        self, messages: Sequence[NewMessage], states: Mapping[EnvelopeId, bytes], deleted: Sequence[EnvelopeId]
    ) -> Deferred[None]:
        return self._write("writing", self._writer.apply, messages, states, deleted)

    def commit(self, messages: Sequence[NewMessage]) -> Deferred[None]:
        return self._write("committing", self._writer.apply, messages, {}, ())

    def update(self, states: Mapping[EnvelopeId, bytes]) -> Deferred[None]:
        return self._write("keeping states", self._writer.apply, (), states, ())

    def delete(self, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        return self._write("deleting", self._writer.apply, (), {}, envelopes)

    def putAside(self, message: MessageId, reason: str) -> Deferred[None]:
        return self._write("setting aside", self._writer.putAside, message, reason)

    def load(self, message: MessageId) -> Deferred[StoredMessage | None]:
        # While something is being written, the writer reads, after it: so a reader sees what it asked for before.
        if self._writing:
            return self._run(WRITE_LANE, "loading", self._writer.load, message)
        return self._run(READ_LANE, "loading", self._reader.load, message)

    def body(self, message: MessageId) -> Deferred[IBody | None]:
        if self._writing:
            return self._run(WRITE_LANE, "reading", self._writer.body, message).addCallback(self._opened)
        return self._run(READ_LANE, "reading", self._reader.body, message).addCallback(self._opened)

    def _opened(self, found: bytes | tuple[IFile, int] | None) -> IBody | None:
        if found is None:
            return None
        if isinstance(found, bytes):
            return MemoryBody(found)
        file, size = found
        return FileBody(self._workers, STAGE_LANE, file, ((0, size),))

    def walk(self, cursor: str | None, limit: int) -> Deferred[StoredPage]:
        after = MessageId(0) if cursor is None else parseMessageId(cursor)
        walking = self._run(READ_LANE, "walking", self._reader.walk, after, self._openedWith, limit)
        return walking if cursor is not None or self._loss is None else walking.addCallback(_with, self._loss)

    def page(self, after: MessageId, limit: int) -> Deferred[tuple[StoredMessage, ...]]:
        return self._run(READ_LANE, "listing", self._reader.page, after, limit)

    def setAside(self) -> Deferred[tuple[SetAside, ...]]:
        return self._run(READ_LANE, "listing", self._reader.setAside)

    def space(self) -> Deferred[Space]:
        return self._run(READ_LANE, "asking for free space", self._disk.space, self._place)

    def close(self) -> Deferred[None]:
        self._isClosing = True
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        run = self._workers.run
        await run(STAGE_LANE, bool)
        await run(CHECKPOINT_LANE, self._checkpointer.close)
        await run(READ_LANE, self._reader.close)
        # Last, because the last one to close moves the journal into the database, and gives the lock back.
        await run(WRITE_LANE, self._writer.close)

    def _run(self, lane: str, doing: str, work: Callable[..., T], *values: Any) -> Deferred[T]:
        return self._workers.run(lane, work, *values).addErrback(refuse, doing)

    def _write(self, doing: str, work: Callable[..., bool | None], *values: Any) -> Deferred[None]:
        """The work answers whether the journal should be moved."""
        self._writing += 1
        return self._workers.run(WRITE_LANE, work, *values).addCallbacks(
            self._wrote, self._notWritten, (), {}, (doing,)
        )

    def _wrote(self, isJournalLong: bool | None) -> None:
        self._writing -= 1
        if isJournalLong and not self._isCheckpointing:
            self._checkpoint()

    def _notWritten(self, failure: Failure, doing: str) -> None:
        self._writing -= 1
        refuse(failure, doing)

    def _checkpoint(self) -> None:
        """Beside the commits; then the little that came in meanwhile, between them, so that the journal can start anew."""
        if self._isClosing:
            return
        self._isCheckpointing = True
        moving = self._workers.run(CHECKPOINT_LANE, self._checkpointer.checkpoint)
        moving.addCallback(lambda _: self._workers.run(WRITE_LANE, self._writer.checkpoint))
        # A checkpoint that fails loses nothing: the journal gets longer, and the next one tries again.
        moving.addErrback(lambda failure: self._log.failure("moving the journal into the database", failure))
        moving.addCallback(self._checkpointed)

    def _checkpointed(self, result: object) -> None:
        self._isCheckpointing = False


def _with(page: StoredPage, loss: SetAside) -> StoredPage:
    return replace(page, damaged=(loss, *page.damaged))


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> SqliteBackend:
    """
    @param argument: a directory, absolute or in the spool; empty: the spool itself.
    """
    return SqliteBackend(placeOf(argument, settings["spool"], DEFAULT_PLACE), platform)
