"""A queue in memory: volatile, as fast as it gets. For tests, and where mail may be lost with the process."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform, Space
from pysmtpd.interfaces.queue import (
    Durability,
    IBody,
    IQueueBackend,
    IStage,
    NewMessage,
    QueueError,
    SetAside,
    StoredMessage,
    StoredPage,
)
from pysmtpd.model.ids import EnvelopeId, MessageId, formatMessageId, messageOf
from pysmtpd.queue.body import MemoryBody
from pysmtpd.queue.refusal import FAILED


class _Held:
    __slots__ = ("body", "envelopes", "record", "states")

    def __init__(self, record: bytes, envelopes: dict[EnvelopeId, bytes], body: bytes) -> None:
        self.record = record
        self.envelopes = envelopes
        self.states: dict[EnvelopeId, bytes] = {}
        self.body = body


@implementer(IStage)
class _RamStage:
    def __init__(self, name: str, stages: dict[str, bytearray]) -> None:
        self.name = name
        self._stages = stages
        stages[name] = bytearray()

    def write(self, chunk: bytes) -> Deferred[None]:
        self._stages[self.name] += chunk
        return succeed(None)

    def finish(self) -> Deferred[None]:
        return succeed(None)

    def discard(self) -> Deferred[None]:
        self._stages.pop(self.name, None)
        return succeed(None)


@implementer(IQueueBackend)
class RamBackend:
    """Everything in dictionaries; every Deferred has fired when it is returned."""

    durability = Durability.VOLATILE

    def __init__(self) -> None:
        self._held: dict[MessageId, _Held] = {}
        self._order: list[MessageId] = []
        self._aside: dict[MessageId, str] = {}
        self._stages: dict[str, bytearray] = {}
        self._ceiling = 0
        self._openedWith = 0

    def open(self) -> Deferred[int]:
        self._openedWith = max((self._ceiling, *self._order[-1:]))
        return succeed(self._openedWith)

    def reserve(self, ceiling: MessageId) -> Deferred[None]:
        self._ceiling = max(self._ceiling, ceiling)
        return succeed(None)

    def stage(self, message: MessageId) -> Deferred[IStage]:
        return succeed(_RamStage(formatMessageId(message), self._stages))

    def commit(self, messages: Sequence[NewMessage]) -> Deferred[None]:
        for new in messages:
            if new.id in self._held or (new.body is None and new.staged not in self._stages):
                reason = f"{formatMessageId(new.id)} is there already, or its content is missing"
                return fail(QueueError(FAILED, reason))
        for new in messages:
            body = bytes(self._stages.pop(new.staged)) if new.body is None else new.body
            self._held[new.id] = _Held(new.record, dict(new.envelopes), body)
            insort(self._order, new.id)
            self._forget(new.supersedes)
        return succeed(None)

    def update(self, states: Mapping[EnvelopeId, bytes]) -> Deferred[None]:
        for envelope, state in states.items():
            held = self._held.get(messageOf(envelope))
            if held is not None and envelope in held.envelopes:
                held.states[envelope] = state
        return succeed(None)

    def delete(self, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        self._forget(envelopes)
        return succeed(None)

    def _forget(self, envelopes: Sequence[EnvelopeId]) -> None:
        for envelope in envelopes:
            message = messageOf(envelope)
            held = self._held.get(message)
            if held is None:
                continue
            held.envelopes.pop(envelope, None)
            held.states.pop(envelope, None)
            if not held.envelopes:
                del self._held[message]
                del self._order[bisect_right(self._order, message) - 1]
                self._aside.pop(message, None)

    def load(self, message: MessageId) -> Deferred[StoredMessage | None]:
        isHere = message in self._held and message not in self._aside
        return succeed(self._stored(message) if isHere else None)

    def _stored(self, message: MessageId) -> StoredMessage:
        held = self._held[message]
        envelopes = tuple((id, record, held.states.get(id, b"")) for id, record in held.envelopes.items())
        return StoredMessage(message, held.record, envelopes)

    def body(self, message: MessageId) -> Deferred[IBody | None]:
        held = self._held.get(message)
        return succeed(None if held is None else MemoryBody(held.body))

    def walk(self, cursor: str | None, limit: int) -> Deferred[StoredPage]:
        found = self._after(MessageId(int(cursor or 0)), limit)
        messages = tuple(self._stored(id) for id in found if id <= self._openedWith)
        return succeed(StoredPage(messages, str(found[-1]) if len(messages) == limit else None))

    def page(self, after: MessageId, limit: int) -> Deferred[tuple[StoredMessage, ...]]:
        return succeed(tuple(self._stored(id) for id in self._after(after, limit)))

    def _after(self, after: MessageId, limit: int) -> list[MessageId]:
        start = bisect_right(self._order, after)
        found: list[MessageId] = []
        for index in range(start, len(self._order)):
            if len(found) == limit:
                break
            if self._order[index] not in self._aside:
                found.append(self._order[index])
        return found

    def putAside(self, message: MessageId, reason: str) -> Deferred[None]:
        if message in self._held:
            self._aside[message] = reason
        return succeed(None)

    def setAside(self) -> Deferred[tuple[SetAside, ...]]:
        return succeed(tuple(SetAside(formatMessageId(id), reason) for id, reason in self._aside.items()))

    def space(self) -> Deferred[Space]:
        return succeed(Space(1.0, 1.0))

    def close(self) -> Deferred[None]:
        self._stages.clear()
        return succeed(None)


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> RamBackend:
    """
    @raise ValueError: there is an argument.
    """
    if argument:
        raise ValueError(f'queue backend ram takes no argument, not {argument!r}: write "ram:"')
    return RamBackend()
