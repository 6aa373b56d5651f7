"""A queue of plain files, one per message: slower than SQLite, but every message can be looked at, copied and rescued by itself.

Each message costs one sync of its file; the batch shares one sync of the directory. A log for all would need one sync per batch, and is
what the sqlite backend has in effect: this one is for those who want files. The syncs of a batch run side by side in several lanes, so
that they share commits of the file system's journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform, Space
from pysmtpd.interfaces.queue import (
    Durability,
    IBody,
    IQueueBackend,
    IStage,
    NewMessage,
    SetAside,
    StoredMessage,
    StoredPage,
)
from pysmtpd.model.ids import EnvelopeId, MessageId, formatMessageId, messageOf
from pysmtpd.queue.body import FileBody
from pysmtpd.queue.directory import Directory, Publisher
from pysmtpd.queue.frames import contentFrame
from pysmtpd.queue.refusal import asQueueError, refuse
from pysmtpd.queue.spool import placeOf
from pysmtpd.queue.stage import FileStage
from pysmtpd.queue.walker import Walker

T = TypeVar("T")
K = TypeVar("K", bound=int)

LANES = 4
PUBLISH_LANE = "queue.publish"
WALK_LANE = "queue.walk"

DEFAULT_PLACE = "queue"


@implementer(IQueueBackend)
class FsBackend:
    """See L{IQueueBackend}; the work on files is in L{pysmtpd.queue.directory}."""

    durability = Durability.DURABLE

    def __init__(self, place: str, platform: IPlatform) -> None:
        self._place = place
        self._disk = platform.disk
        self._workers = platform.workers
        self._directory = Directory(platform.disk, place)
        self._publisher = Publisher(platform.disk, place)
        self._walker = Walker(platform.disk, place)
        self._highest = MessageId(0)

    def open(self) -> Deferred[int]:
        def opened(highest: int) -> int:
            self._highest = MessageId(highest)
            return highest

        return self._workers.run(PUBLISH_LANE, self._publisher.open).addCallback(opened)

    def reserve(self, ceiling: MessageId) -> Deferred[None]:
        return self._run(PUBLISH_LANE, "reserving ids", self._publisher.reserve, ceiling)

    def stage(self, message: MessageId) -> Deferred[IStage]:
        lane = _laneOf(message)
        directory = self._directory.staged
        return FileStage(self._workers, lane, self._disk, directory, formatMessageId(message), contentFrame).begin()

    def commit(self, messages: Sequence[NewMessage]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._commit(messages))

    async def _commit(self, messages: Sequence[NewMessage]) -> None:
        try:
            await self._spread(self._directory.write, [(new.id, new) for new in messages], list)
            await self._workers.run(PUBLISH_LANE, self._publisher.publish, messages)
        except Exception as error:
            await self._run(PUBLISH_LANE, "committing", self._publisher.unwrite, messages)
            raise asQueueError("committing", error) from error

    def update(self, states: Mapping[EnvelopeId, bytes]) -> Deferred[None]:
        items = [(messageOf(id), (id, state)) for id, state in states.items()]
        return Deferred.fromCoroutine(self._update(items))

    async def _update(self, items: Sequence[tuple[MessageId, tuple[EnvelopeId, bytes]]]) -> None:
        try:
            await self._spread(self._directory.update, items, dict)
        except Exception as error:
            raise asQueueError("keeping states", error) from error

    def delete(self, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._delete(envelopes))

    async def _delete(self, envelopes: Sequence[EnvelopeId]) -> None:
        def work(ids: Sequence[EnvelopeId]) -> list[str]:
            return self._directory.delete(ids, isSynced=False)

        try:
            touched = await self._spread(work, [(messageOf(id), id) for id in envelopes], list)
        except Exception as error:
            raise asQueueError("deleting", error) from error
        buckets = list(dict.fromkeys(bucket for part in touched for bucket in part))
        if buckets:
            await self._run(PUBLISH_LANE, "deleting", self._publisher.prune, buckets)

    async def _spread(
        self,
        work: Callable[[Any], T],
        items: Sequence[tuple[MessageId, Any]],
        collect: Callable[[Iterable[Any]], Any],
    ) -> list[T]:
        """Work on items side by side, those of one message always in the same lane. All have ended when it returns or raises."""
        byLane: dict[str, list[Any]] = {}
        for message, item in items:
            byLane.setdefault(_laneOf(message), []).append(item)
        running = [self._workers.run(lane, work, collect(part)) for lane, part in byLane.items()]
        results: list[T] = []
        failed: BaseException | None = None
        for _, result in await DeferredList(running, consumeErrors=True):
            if isinstance(result, Failure):
                failed = failed or result.value
            else:
                results.append(result)
        if failed is not None:
            raise failed
        return results

    def load(self, message: MessageId) -> Deferred[StoredMessage | None]:
        return self._run(_laneOf(message), "loading", self._directory.load, message)

    def body(self, message: MessageId) -> Deferred[IBody | None]:
        lane = _laneOf(message)

        def opened(found: Any) -> IBody | None:
            return None if found is None else FileBody(self._workers, lane, *found)

        return self._run(lane, "reading", self._directory.body, message).addCallback(opened)

    def walk(self, cursor: str | None, limit: int) -> Deferred[StoredPage]:
        return self._run(WALK_LANE, "walking", self._walker.walk, cursor, self._highest, limit)

    def page(self, after: MessageId, limit: int) -> Deferred[tuple[StoredMessage, ...]]:
        return self._run(WALK_LANE, "listing", self._walker.page, after, limit)

    def putAside(self, message: MessageId, reason: str) -> Deferred[None]:
        return self._run(_laneOf(message), "setting aside", self._directory.putAside, message, reason)

    def setAside(self) -> Deferred[tuple[SetAside, ...]]:
        return self._run(WALK_LANE, "listing", self._walker.setAside)

    def space(self) -> Deferred[Space]:
        return self._run(WALK_LANE, "asking for free space", self._disk.space, self._place)

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        # What was given before ends before the lock is given back.
        for lane in (*map(_laneName, range(LANES)), WALK_LANE):
            await self._workers.run(lane, bool)
        await self._workers.run(PUBLISH_LANE, self._publisher.close)

    def _run(self, lane: str, doing: str, work: Callable[..., T], *values: Any) -> Deferred[T]:
        return self._workers.run(lane, work, *values).addErrback(refuse, doing)


def _laneName(number: int) -> str:
    return f"queue.files.{number}"


def _laneOf(message: MessageId) -> str:
    # Ids made in one millisecond differ in their lowest bits, ids of different ones in the bits above the counter.
    return _laneName((message ^ message >> 12) % LANES)


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> FsBackend:
    """
    @param argument: a directory, absolute or in the spool; empty: C{queue} in the spool.
    """
    return FsBackend(placeOf(argument, settings["spool"], DEFAULT_PLACE), platform)
