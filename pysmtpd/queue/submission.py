"""One message on its way in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn
from zlib import crc32

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from pysmtpd.interfaces.queue import IContentCodec, IContentStream, IStage, ISubmission, NewMessage
from pysmtpd.interfaces.ready import Ready
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.envelope import BodyRef, Destination, Envelope, Message
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId
from pysmtpd.queue.content import formatPlace
from pysmtpd.queue.record import encodeEnvelope, encodeMessage
from pysmtpd.queue.refusal import asQueueError


class IKeeper(Interface):
    """What a submission needs of the front."""

    limits: QueueLimits = Attribute("Bounds.")
    codec: IContentCodec | None = Attribute("For new content.")
    wallTime: Callable[[], float] = Attribute("Seconds since the epoch.")

    def ended() -> None:
        """A submission takes no more content: it was committed or rolled back."""

    def stage(message: MessageId) -> Deferred[IStage]: ...

    def notStaged(failure: Failure) -> NoReturn:
        """Content could not be kept in a stage: tell it, and raise it as what the peer is answered by.

        @raise QueueError: always.
        """

    def keep(
        new: NewMessage, message: Message, envelopes: Sequence[Envelope], content: bytes | None
    ) -> Deferred[Message]:
        """Make it durable, then schedulable."""


@implementer(ISubmission)
class Submission:
    """Content stays in memory up to C{QueueLimits.fileThreshold}, beyond that it goes to the backend's stage chunk by chunk."""

    __slots__ = (
        "_chunks",
        "_crc",
        "_destinations",
        "_eightBit",
        "_isBounce",
        "_isEnded",
        "_isTlsOptional",
        "_keeper",
        "_size",
        "_stage",
        "_staging",
        "_stream",
        "_transaction",
        "id",
    )

    def __init__(self, id: MessageId, transaction: Transaction, isBounce: bool, keeper: IKeeper) -> None:
        self.id = id
        self._transaction = transaction
        self._isBounce = isBounce
        self._keeper = keeper
        self._destinations: list[Destination] = []
        self._chunks: list[bytes] = []
        self._size = 0
        self._crc = 0
        self._eightBit = False
        self._isEnded = False
        self._stage: IStage | None = None
        self._stream: IContentStream | None = None
        # What the stage was asked for last; everything later waits for it.
        self._staging: Deferred[None] | None = None

    def recipient(self, destination: Destination) -> EnvelopeId:
        self._destinations.append(destination)
        return envelopeId(self.id, len(self._destinations) - 1)

    def write(self, chunk: bytes) -> Ready[None]:
        self._size += len(chunk)
        if not self._eightBit and not chunk.isascii():
            self._eightBit = True
        if self._stage is not None:
            return self._spool(self._stage, chunk)
        self._chunks.append(chunk)
        if self._size <= self._keeper.limits.fileThreshold:
            return None
        self._staging = self._keeper.stage(self.id).addCallback(self._staged)
        return self._staging

    def _staged(self, stage: IStage) -> Deferred[None]:
        self._stage = stage
        codec = self._keeper.codec
        if codec is not None:
            self._stream = codec.encoder(self.id)
        content = b"".join(self._chunks)
        self._chunks.clear()
        return self._spool(stage, content)

    def _spool(self, stage: IStage, chunk: bytes) -> Deferred[None]:
        self._crc = crc32(chunk, self._crc)
        stored = chunk if self._stream is None else self._stream.feed(chunk)
        self._staging = stage.write(stored).addErrback(self._keeper.notStaged)
        return self._staging

    def commit(
        self, prefix: bytes, supersedes: Sequence[EnvelopeId] = (), isTlsOptional: bool = False
    ) -> Deferred[Message]:
        if self._isEnded:
            return fail(RuntimeError("this submission has ended"))
        if not self._destinations:
            return fail(ValueError("a message without a recipient cannot be committed"))
        self._isEnded = True
        self._isTlsOptional = isTlsOptional
        self._keeper.ended()
        if self._stage is not None:
            return Deferred.fromCoroutine(self._commitStaged(self._stage, prefix, tuple(supersedes)))
        content = b"".join((prefix, *self._chunks))
        self._chunks.clear()
        codec = self._keeper.codec
        stored = content
        if codec is not None:
            stream = codec.encoder(self.id)
            stored = stream.feed(content) + stream.finish()
        ref = BodyRef(self.id, len(content), "" if codec is None else codec.name, formatPlace(crc32(content)))
        return self._keep(prefix, ref, stored, "", tuple(supersedes), content)

    async def _commitStaged(self, stage: IStage, prefix: bytes, supersedes: tuple[EnvelopeId, ...]) -> Message:
        codec = self._keeper.codec
        try:
            if self._stream is not None:
                await stage.write(self._stream.finish()).addErrback(self._keeper.notStaged)
            await stage.finish().addErrback(self._keeper.notStaged)
            place = formatPlace(self._crc, prefix)
            ref = BodyRef(self.id, len(prefix) + self._size, "" if codec is None else codec.name, place)
            return await self._keep(prefix, ref, None, stage.name, supersedes, None)
        except Exception as error:
            await stage.discard()
            raise asQueueError("staging content", error) from error

    def _keep(
        self,
        prefix: bytes,
        ref: BodyRef,
        stored: bytes | None,
        staged: str,
        supersedes: tuple[EnvelopeId, ...],
        content: bytes | None,
    ) -> Deferred[Message]:
        keeper = self._keeper
        now = keeper.wallTime()
        ttl = keeper.limits.ttl
        eightBit = self._eightBit or not prefix.isascii()
        message = Message(self.id, self._transaction, ref, now, self._isBounce, eightBit, self._isTlsOptional)
        envelopes: list[Envelope] = []
        records: list[tuple[EnvelopeId, bytes]] = []
        for number, destination in enumerate(self._destinations):
            expires = now + (ttl if destination.ttl is None else destination.ttl)
            envelope = Envelope(envelopeId(self.id, number), destination, now, expires)
            envelopes.append(envelope)
            records.append((envelope.id, encodeEnvelope(envelope)))
        new = NewMessage(self.id, encodeMessage(message), tuple(records), stored, staged, supersedes)
        return keeper.keep(new, message, envelopes, content)

    def rollback(self) -> Deferred[None]:
        if self._isEnded:
            return succeed(None)
        self._isEnded = True
        self._keeper.ended()
        self._chunks.clear()
        if self._staging is None:
            return succeed(None)
        return Deferred.fromCoroutine(self._unstage(self._staging))

    async def _unstage(self, staging: Deferred[None]) -> None:
        # The stage may still be on its way; who asked for it gets its failure.
        done: Deferred[None] = Deferred()

        def passOn(result: object) -> object:
            done.callback(None)
            return result

        staging.addBoth(passOn)
        await done
        if self._stage is not None:
            await self._stage.discard()
