"""The front of the queue: ids, records, group commit, cache, floors, events. Every submission and every reader passes here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import (
    ContentLost,
    Durability,
    IBody,
    IContentCodec,
    IQueue,
    IQueueBackend,
    IStage,
    ISubmission,
    ISubmit,
    NewMessage,
    NoSuchItem,
    QueueError,
    SetAside,
    SpoolError,
    StoredMessage,
    Walked,
)
from pysmtpd.interfaces.ready import Ready, unlessFailed, whenReady
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.envelope import BodyRef, Envelope, EnvelopeState, Message, formatVia
from pysmtpd.model.events import EnvelopeAccepted, InternalError, ItemSetAside, MessageAccepted, QueueFailed
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, formatEnvelopeId, formatMessageId, messageOf
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import entryOf
from pysmtpd.queue.body import MemoryBody
from pysmtpd.queue.cache import CACHE_OCTETS, FreshCache
from pysmtpd.queue.content import CheckedBody, CodecMissing
from pysmtpd.queue.ids import IdSource
from pysmtpd.queue.pump import Overlay, Pump
from pysmtpd.queue.record import Damaged, decodeEnvelope, decodeMessage, decodeState, encodeStates
from pysmtpd.queue.refusal import FAILED, asQueueError
from pysmtpd.queue.reservation import Reservation
from pysmtpd.queue.space import SpaceFloor
from pysmtpd.queue.submission import IKeeper, Submission

WALK_PAGE = 50
"""Messages in one page of a walk: two milliseconds of work between two turns of the reactor, for new mail comes first."""


@implementer(IQueue, ISubmit, IKeeper)
class QueueFront:
    """See L{IQueue} and L{ISubmit}. C{start} it before anything else; C{stop} it last."""

    def __init__(
        self,
        backend: IQueueBackend,
        scheduler: IScheduler,
        platform: IPlatform,
        report: IReport,
        limits: QueueLimits,
        codec: IContentCodec | None = None,
        shard: int = 0,
        cacheOctets: int = CACHE_OCTETS,
    ) -> None:
        """
        @param codec: how new content is stored; None, or without a name: plain. Content of older codecs is read by its C{decoder}.
        @param shard: from 0 to 127: which of several queues of one daemon this is.
        @param cacheOctets: memory for fresh messages.
        """
        self.durability: Durability = backend.durability
        self.limits = limits
        self.codec = codec if codec is not None and codec.name else None
        self._decoder = codec
        self.wallTime = platform.wallTime
        self._backend = backend
        self._scheduler = scheduler
        self._report = report
        self._shard = shard
        self._pump = Pump(backend, platform.clock)
        self._cache = FreshCache(cacheOctets)
        # Messages that are being read, and whether nothing about them has changed meanwhile.
        self._reading: dict[MessageId, bool] = {}
        self._floor = SpaceFloor(backend, platform, report, limits)
        self._ids: Reservation | None = None
        self._isDiscarding = backend.durability is Durability.DISCARDING

    # --- from start to stop

    def start(self) -> Deferred[None]:
        """Open the backend. Does not wait for a walk.

        @raise SpoolError: it cannot be opened.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        highest = MessageId(await self._backend.open())
        try:
            ids = IdSource(self.wallTime, highest, self._shard)
        except ValueError as error:
            await self._backend.close()
            raise SpoolError(str(error)) from error
        self._ids = Reservation(ids, self._backend, self._report)
        await self._floor.refresh()

    def stop(self) -> Deferred[None]:
        """Fires when everything asked for is stored and the backend is closed."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._pump.settled()
        await self._backend.close()

    def adopt(self, limits: QueueLimits) -> None:
        """New bounds, for what comes in from now on."""
        self.limits = limits
        self._floor.adopt(limits)

    # --- ISubmit

    def admit(self, size: int) -> Reply | None:
        return self._floor.admit()

    def begin(self, transaction: Transaction, isBounce: bool = False) -> ISubmission:
        ids = self._ids
        if ids is None:
            raise RuntimeError("the queue is not open")
        self._pump.expect()
        return Submission(ids.next(), transaction, isBounce, self)

    # --- IKeeper

    def ended(self) -> None:
        self._pump.came()

    def stage(self, message: MessageId) -> Deferred[IStage]:
        return self._backend.stage(message).addErrback(self.notStaged)

    def notStaged(self, failure: Failure) -> NoReturn:
        error = asQueueError("staging content", failure.value)
        self._failed("staging content", error)
        raise error

    def keep(
        self, new: NewMessage, message: Message, envelopes: Sequence[Envelope], content: bytes | None
    ) -> Deferred[Message]:
        assert self._ids is not None
        done: Deferred[Message] = Deferred()

        def reserved(refused: QueueError | None) -> None:
            if refused is not None:
                done.errback(refused)
                return
            try:
                self._keep(done, new, message, envelopes, content)
            except Exception:
                done.errback()

        self._ids.whenReserved(new.id, reserved)
        return done

    def _keep(
        self,
        done: Deferred[Message],
        new: NewMessage,
        message: Message,
        envelopes: Sequence[Envelope],
        content: bytes | None,
    ) -> None:
        def inserted(result: None) -> None:
            self._pump.commit(new, landed)

        def notInserted(failure: Failure) -> None:
            landed(asQueueError("scheduling", failure.value))

        def landed(error: QueueError | None) -> None:
            if error is None:
                self._kept(new, message, envelopes, content)
                done.callback(message)
            else:
                self._notKept(new, error)
                done.errback(error)

        if self._isDiscarding:
            inserted(None)
        else:
            entries = [entryOf(envelope) for envelope in envelopes]
            whenReady(self._scheduler.insert(entries), inserted, notInserted)

    def _kept(self, new: NewMessage, message: Message, envelopes: Sequence[Envelope], content: bytes | None) -> None:
        if new.supersedes:
            self._changes(new.supersedes)
            self._cache.delete(new.supersedes)
        if self._isDiscarding:
            self._tell(message, envelopes)
            return
        self._cache.put(message, envelopes, content)
        self._tell(message, envelopes)
        unlessFailed(self._scheduler.commit(new.id), self._notScheduled)

    def _notKept(self, new: NewMessage, error: QueueError) -> None:
        self._failed("committing", error)
        if not self._isDiscarding:
            self._scheduler.rollback(new.id).addErrback(self._lost, "rolling back a changeset")

    def _notScheduled(self, failure: Failure) -> None:
        self._lost(failure, "scheduling a committed message")

    def _tell(self, message: Message, envelopes: Sequence[Envelope]) -> None:
        happened = self._report.happened
        facts = message.transaction.session
        session = facts.session
        sender = str(message.transaction.sender)
        happened(MessageAccepted(session, message.id, sender, message.body.size, len(envelopes), facts.protocol))
        for envelope in envelopes:
            destination = envelope.destination
            recipient = str(destination.recipient)
            original = recipient if destination.original is destination.recipient else str(destination.original)
            happened(
                EnvelopeAccepted(
                    session,
                    envelope.id,
                    sender,
                    recipient,
                    original,
                    destination.action,
                    destination.rule,
                    formatVia(destination.via) if destination.via else "",
                )
            )

    def _failed(self, doing: str, error: QueueError) -> None:
        self._report.happened(QueueFailed(doing, error.reason))
        if error.reply.code == 452:
            self._floor.refresh()

    def _lost(self, failure: Failure, doing: str) -> None:
        # The message is safe in the queue; the walk of the next start will find it.
        self._report.happened(InternalError(doing, failure.getErrorMessage()))

    # --- IQueue

    def open(self, ref: BodyRef) -> Deferred[IBody]:
        content = self._cache.body(ref.message)
        if content is not None:
            return succeed(MemoryBody(content))
        return Deferred.fromCoroutine(self._open(ref))

    async def _open(self, ref: BodyRef) -> IBody:
        item = formatMessageId(ref.message)

        def damaged(reason: str) -> None:
            self._putAside(ref.message, item, reason)

        try:
            stored = await self._backend.body(ref.message)
        except ContentLost as error:
            damaged(error.reason)
            raise
        except Exception as error:
            refusal = asQueueError(f"opening the content of {item}", error)
            self._report.happened(QueueFailed("reading", refusal.reason))
            raise refusal from error
        if stored is None:
            raise NoSuchItem(item)
        try:
            return CheckedBody(stored, ref, self._decoder, damaged)
        except CodecMissing as error:
            # The mail waits for its key.
            self._report.happened(QueueFailed(f"reading {item}", error.reason))
            raise
        except QueueError as error:
            damaged(error.reason)
            raise

    def load(self, message: MessageId) -> Ready[tuple[Message, tuple[Envelope, ...]]]:
        fresh = self._cache.get(message)
        if fresh is not None:
            return fresh
        overlay = self._pump.overlay()
        # Whatever is changed from now on is not in what comes: then it is not kept in memory.
        self._reading.setdefault(message, True)
        return self._backend.load(message).addCallbacks(
            self._loaded, self._notLoaded, (message, overlay), {}, (message,)
        )

    def _notLoaded(self, failure: Failure, message: MessageId) -> tuple[Message, tuple[Envelope, ...]]:
        self._reading.pop(message, None)
        error = asQueueError(f"loading {formatMessageId(message)}", failure.value)
        self._report.happened(QueueFailed("reading", error.reason))
        raise error

    def _loaded(
        self, stored: StoredMessage | None, id: MessageId, before: Overlay
    ) -> tuple[Message, tuple[Envelope, ...]]:
        item = formatMessageId(id)
        isCurrent = self._reading.pop(id, False)
        if stored is None:
            raise NoSuchItem(item)
        try:
            message, envelopes = self._decode(stored, before, self._pump.overlay())
        except Damaged as error:
            self._putAside(id, item, str(error))
            raise QueueError(FAILED, f"{item}: {error}") from error
        if not envelopes:
            raise NoSuchItem(item)
        if isCurrent:
            # It will be tried again: a queue full of dead destinations is not read back at each try.
            self._cache.put(message, envelopes, None)
        return message, envelopes

    def _changes(self, envelopes: Iterable[EnvelopeId]) -> None:
        reading = self._reading
        if reading:
            for message in map(messageOf, envelopes):
                if message in reading:
                    reading[message] = False

    def _decode(self, stored: StoredMessage, *overlays: Overlay) -> tuple[Message, tuple[Envelope, ...]]:
        message = decodeMessage(stored.id, stored.record)
        envelopes: list[Envelope] = []
        for id, record, state in stored.envelopes:
            if any(overlay.isGone(id) for overlay in overlays):
                continue
            for overlay in overlays:
                state = overlay.state(id, state)
            envelopes.append(self._decodeEnvelope(id, record, state) if state else decodeEnvelope(id, record))
        return message, tuple(envelopes)

    def _decodeEnvelope(self, id: EnvelopeId, record: bytes, state: bytes) -> Envelope:
        try:
            known = decodeState(id, state)
        except Damaged as error:
            # A lost state costs tries, a lost envelope costs mail: it starts anew.
            self._report.happened(ItemSetAside(formatEnvelopeId(id), f"its state starts anew: {error}"))
            known = EnvelopeState()
        return decodeEnvelope(id, record, known)

    def _putAside(self, message: MessageId, item: str, reason: str) -> None:
        self._cache.drop(message)
        self._report.happened(ItemSetAside(item, reason))
        self._backend.putAside(message, reason).addErrback(
            lambda failure: self._report.happened(QueueFailed(f"setting {item} aside", failure.getErrorMessage()))
        )

    def update(self, states: Mapping[EnvelopeId, EnvelopeState]) -> Deferred[None]:
        if not states:
            return succeed(None)
        self._changes(states)
        self._cache.update(states)
        return self._pump.update(encodeStates(states)).addErrback(self._notWritten, "keeping states")

    def delete(self, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        if not envelopes:
            return succeed(None)
        self._changes(envelopes)
        self._cache.delete(envelopes)
        return self._pump.delete(envelopes).addErrback(self._notWritten, "deleting")

    def _notWritten(self, failure: Failure, doing: str) -> None:
        error = asQueueError(doing, failure.value)
        self._failed(doing, error)
        raise error

    def walk(self, cursor: str | None) -> Deferred[Walked]:
        return Deferred.fromCoroutine(self._walk(cursor))

    async def _walk(self, cursor: str | None) -> Walked:
        overlay = self._pump.overlay()
        page = await self._backend.walk(cursor, WALK_PAGE)
        for damaged in page.damaged:
            self._report.happened(ItemSetAside(damaged.item, damaged.reason))
        return Walked(self._decodeAll(page.messages, overlay), page.cursor)

    def _decodeAll(
        self, messages: Sequence[StoredMessage], before: Overlay
    ) -> tuple[tuple[Message, tuple[Envelope, ...]], ...]:
        now = self._pump.overlay()
        found: list[tuple[Message, tuple[Envelope, ...]]] = []
        for stored in messages:
            try:
                if not stored.envelopes:
                    # A message goes with its last envelope: these were lost.
                    raise Damaged("none of its envelopes is there")
                message, envelopes = self._decode(stored, before, now)
            except Damaged as error:
                self._putAside(stored.id, formatMessageId(stored.id), str(error))
                continue
            if envelopes:
                found.append((message, envelopes))
        return tuple(found)

    def setAside(self) -> Deferred[tuple[SetAside, ...]]:
        return self._backend.setAside()

    def page(self, after: MessageId, limit: int) -> Deferred[tuple[tuple[Message, tuple[Envelope, ...]], ...]]:
        overlay = self._pump.overlay()
        return self._backend.page(after, limit).addCallback(self._decodeAll, overlay)
