"""Copying a queue from one backend to another, record by record, content octet by octet.

Neither may be in use. The source is only read. A copy that was broken off is taken up again by running it once more: what is there
already is compared, not copied. A target that holds anything else is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from pysmtpd.interfaces.queue import IBody, IQueueBackend, NewMessage, SetAside, SpoolError, StoredMessage
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.ids import MessageId, formatMessageId

PAGE = 100

MEMORY_OCTETS = 262_144
"""Larger content is staged."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did.

    @ivar messages: copied now.
    @ivar present: were there from a run before.
    @ivar left: set aside in the source, and not copied.
    """

    messages: int
    present: int
    left: tuple[SetAside, ...]


def copy(
    source: IQueueBackend, target: IQueueBackend, progress: Callable[[int], None] = lambda copied: None
) -> Deferred[Copied]:
    """Open both, copy, close both.

    @param progress: told now and then how many messages were copied.
    @raise SpoolError: one cannot be opened, or the target holds other mail.
    @raise QueueError: reading or writing failed; run it again once that is mended.
    """
    return Deferred.fromCoroutine(_copy(source, target, progress))


async def _copy(source: IQueueBackend, target: IQueueBackend, progress: Callable[[int], None]) -> Copied:
    highest = MessageId(await source.open())
    try:
        await target.open()
        try:
            return await _copyOpened(source, target, highest, progress)
        finally:
            await target.close()
    finally:
        await source.close()


async def _copyOpened(
    source: IQueueBackend, target: IQueueBackend, highest: MessageId, progress: Callable[[int], None]
) -> Copied:
    present = await _compare(source, target)
    await target.reserve(highest)
    copied = 0
    left: list[SetAside] = []
    async for message, damaged in _walk(source):
        left.extend(damaged)
        if message is None:
            continue
        if message.id in present:
            await _copyStates(message, present[message.id], target)
        else:
            await _copyMessage(source, message, target)
            copied += 1
            if copied % PAGE == 0:
                progress(copied)
    known = {aside.item for aside in left}
    left.extend(aside for aside in await source.setAside() if aside.item not in known)
    return Copied(copied, len(present), tuple(left))


async def _walk(backend: IQueueBackend) -> AsyncIterator[tuple[StoredMessage | None, tuple[SetAside, ...]]]:
    cursor: str | None = None
    while True:
        page = await backend.walk(cursor, PAGE)
        if page.damaged:
            yield None, page.damaged
        for message in page.messages:
            yield message, ()
        cursor = page.cursor
        if cursor is None:
            return


async def _compare(source: IQueueBackend, target: IQueueBackend) -> dict[MessageId, tuple[bytes, ...]]:
    """What the target holds of the source, with its states.

    @raise SpoolError: it holds something else.
    """
    present: dict[MessageId, tuple[bytes, ...]] = {}
    asides = await target.setAside()
    if asides:
        raise SpoolError(f"the target has set {asides[0].item} aside: copy into an empty one")
    async for message, _ in _walk(target):
        if message is None:
            raise SpoolError("the target is damaged: copy into an empty one")
        origin = await source.load(message.id)
        if origin is None or _fixed(origin) != _fixed(message):
            raise SpoolError(
                f"the target holds {formatMessageId(message.id)}, which the source does not: use an empty one"
            )
        present[message.id] = tuple(state for _, _, state in message.envelopes)
    return present


def _fixed(message: StoredMessage) -> tuple[object, ...]:
    return message.record, tuple((id, record) for id, record, _ in message.envelopes)


async def _copyMessage(source: IQueueBackend, message: StoredMessage, target: IQueueBackend) -> None:
    body = await source.body(message.id)
    if body is None:
        raise SpoolError(f"the content of {formatMessageId(message.id)} is missing in the source")
    envelopes = tuple((id, record) for id, record, _ in message.envelopes)
    try:
        if body.size <= MEMORY_OCTETS:
            content = b"".join([chunk async for chunk in _chunks(body)])
            await target.commit([NewMessage(message.id, message.record, envelopes, content)])
        else:
            stage = await target.stage(message.id)
            async for chunk in _chunks(body):
                await stage.write(chunk)
            await stage.finish()
            await target.commit([NewMessage(message.id, message.record, envelopes, None, stage.name)])
    finally:
        body.close()
    await _copyStates(message, tuple(b"" for _ in envelopes), target)


async def _chunks(body: IBody) -> AsyncIterator[bytes]:
    while chunk := await asDeferred(body.read()):
        yield chunk


async def _copyStates(message: StoredMessage, there: tuple[bytes, ...], target: IQueueBackend) -> None:
    changed = {
        id: state for (id, _, state), old in zip(message.envelopes, there, strict=True) if state and state != old
    }
    if changed:
        await target.update(changed)
