"""No queue: what is committed is thrown away. For measuring what comes before the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform, Space
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
from pysmtpd.model.ids import EnvelopeId, MessageId, formatMessageId


@implementer(IStage)
class _NullStage:
    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, chunk: bytes) -> Deferred[None]:
        return succeed(None)

    def finish(self) -> Deferred[None]:
        return succeed(None)

    def discard(self) -> Deferred[None]:
        return succeed(None)


@implementer(IBatchingBackend)
class NullBackend:
    """Accepts everything, keeps nothing."""

    durability = Durability.DISCARDING

    def open(self) -> Deferred[int]:
        return succeed(0)

    def reserve(self, ceiling: MessageId) -> Deferred[None]:
        return succeed(None)

    def stage(self, message: MessageId) -> Deferred[IStage]:
        return succeed(_NullStage(formatMessageId(message)))

    def apply(
        self, messages: Sequence[NewMessage], states: Mapping[EnvelopeId, bytes], deleted: Sequence[EnvelopeId]
    ) -> Deferred[None]:
        return succeed(None)

    def commit(self, messages: Sequence[NewMessage]) -> Deferred[None]:
        return succeed(None)

    def update(self, states: Mapping[EnvelopeId, bytes]) -> Deferred[None]:
        return succeed(None)

    def delete(self, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        return succeed(None)

    def load(self, message: MessageId) -> Deferred[StoredMessage | None]:
        return succeed(None)

    def body(self, message: MessageId) -> Deferred[IBody | None]:
        return succeed(None)

    def walk(self, cursor: str | None, limit: int) -> Deferred[StoredPage]:
        return succeed(StoredPage((), None))

    def page(self, after: MessageId, limit: int) -> Deferred[tuple[StoredMessage, ...]]:
        return succeed(())

    def putAside(self, message: MessageId, reason: str) -> Deferred[None]:
        return succeed(None)

    def setAside(self) -> Deferred[tuple[SetAside, ...]]:
        return succeed(())

    def space(self) -> Deferred[Space]:
        return succeed(Space(1.0, 1.0))

    def close(self) -> Deferred[None]:
        return succeed(None)


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> NullBackend:
    """
    @raise ValueError: there is an argument.
    """
    if argument:
        raise ValueError(f'queue backend null takes no argument, not {argument!r}: write "null:"')
    return NullBackend()
