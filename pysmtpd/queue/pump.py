"""Group commit: whatever becomes ready while the backend is busy goes to it as one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces.queue import IBatchingBackend, IQueueBackend, NewMessage, QueueError
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.queue.refusal import asQueueError

_Apply: TypeAlias = Callable[[Sequence[NewMessage], Mapping[EnvelopeId, bytes], Sequence[EnvelopeId]], Deferred[None]]

Landed: TypeAlias = Callable[["QueueError | None"], None]
"""Told what became of it: None: it is kept."""

BATCH_OCTETS = 16 * 1024 * 1024
"""Content in one batch; more waits for the next."""

GATHER = 0.004
"""Seconds that a batch may wait for more.

A batch costs 0.15 ms of CPU whatever is in it, a third of what a message costs in all; and a sync that the first message of a crowd starts
alone makes all others wait.
"""


class _Batch:
    """What goes to the backend in one step, and who waits for it."""

    __slots__ = ("deleted", "messages", "octets", "states", "waiting")

    def __init__(self) -> None:
        self.messages: list[NewMessage] = []
        self.states: dict[EnvelopeId, bytes] = {}
        self.deleted: dict[EnvelopeId, None] = {}
        self.octets = 0
        # For each waiter: the message it waits for, or None for states and deletions.
        self.waiting: list[tuple[NewMessage | None, Landed]] = []


class Overlay:
    """Changes that are asked for, but that the backend may not show yet."""

    __slots__ = ("_batches",)

    def __init__(self, batches: Sequence[_Batch]) -> None:
        self._batches = batches

    def isGone(self, envelope: EnvelopeId) -> bool:
        """Is it to be deleted?"""
        return any(envelope in batch.deleted for batch in self._batches)

    def state(self, envelope: EnvelopeId, stored: bytes) -> bytes:
        """Its newest state; C{stored} if there is no newer one."""
        for batch in self._batches:
            stored = batch.states.get(envelope, stored)
        return stored


class Pump:
    """Feeds the backend one batch at a time: one hop to its lane and back, and one sync, for all that is in it.

    A batch that fails is tried again in parts, so that one bad item fails alone, and want of room costs the commits only.
    """

    _log = Logger()

    def __init__(self, backend: IQueueBackend, clock: IReactorTime) -> None:
        self._backend = backend
        self._clock = clock
        # Messages that are coming in, and how many of them are so slow that nobody waits for them.
        self._coming = self._slow = 0
        self._isGathering = False
        self._apply: _Apply | None = backend.apply if IBatchingBackend.providedBy(backend) else None
        self._next = _Batch()
        self._flying: _Batch | None = None
        self._queue: list[_Batch] = []
        self._idle: list[Deferred[None]] = []

    def expect(self) -> None:
        """A message is coming in: others may wait for it."""
        self._coming += 1

    def came(self) -> None:
        """It is here, or will not come."""
        self._coming -= 1
        self._slow = min(self._slow, self._coming)

    def commit(self, message: NewMessage, landed: Landed) -> None:
        """
        @param landed: called once, also inside this call. Not a Deferred: this is done for every message.
        """
        batch = self._next
        size = len(message.body) if message.body is not None else 0
        if batch.messages and batch.octets + size > BATCH_OCTETS:
            batch = self._seal()
        batch.octets += size
        batch.messages.append(message)
        self._wait(batch, message, landed)

    def update(self, states: Mapping[EnvelopeId, bytes]) -> Deferred[None]:
        """
        @raise QueueError: nothing is promised about any of them.
        """
        batch = self._next
        if not batch.states.keys().isdisjoint(states):
            # A waiter's fate must be that of his own values: a newer state of the same envelope goes later.
            batch = self._seal()
        batch.states.update(states)
        return self._promise(batch)

    def delete(self, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        """
        @raise QueueError: they are still there.
        """
        self._next.deleted.update(dict.fromkeys(envelopes))
        return self._promise(self._next)

    def overlay(self) -> Overlay:
        """What is asked for up to now and not known to be done."""
        flying = [self._flying] if self._flying is not None else []
        return Overlay([*flying, *self._queue, self._next])

    def settled(self) -> Deferred[None]:
        """Fires when the backend has answered everything that was asked for."""
        if self._flying is None and not self._next.waiting:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._idle.append(done)
        if self._flying is None:
            self._consider()
        return done

    def _seal(self) -> _Batch:
        if self._next.waiting:
            self._queue.append(self._next)
            self._next = _Batch()
        return self._next

    def _promise(self, batch: _Batch) -> Deferred[None]:
        done: Deferred[None] = Deferred()

        def landed(error: QueueError | None) -> None:
            if error is None:
                done.callback(None)
            else:
                done.errback(error)

        self._wait(batch, None, landed)
        return done

    def _wait(self, batch: _Batch, message: NewMessage | None, landed: Landed) -> None:
        batch.waiting.append((message, landed))
        if self._flying is None:
            self._consider()

    def _consider(self) -> None:
        """Nothing flies: send what there is, or wait for more. A message that comes alone does not wait; what nobody waits for does."""
        batch = self._next
        if self._queue or (batch.waiting and (self._idle or (batch.messages and self._coming <= self._slow))):
            self._send()
        elif batch.waiting and not self._isGathering:
            self._isGathering = True
            self._clock.callLater(GATHER, self._gathered)

    def _gathered(self) -> None:
        self._isGathering = False
        if self._flying is None and self._next.waiting:
            if len(self._next.messages) == 1:
                # It has waited in vain.
                self._slow = self._coming
            self._send()

    def _send(self) -> None:
        if self._queue:
            batch = self._queue.pop(0)
        else:
            batch, self._next = self._next, _Batch()
        self._flying = batch
        if self._apply is None:
            Deferred.fromCoroutine(self._inParts(batch))
        else:
            maybeDeferred(self._apply, batch.messages, batch.states, tuple(batch.deleted)).addCallbacks(
                self._applied, self._notApplied, (batch,), {}, (batch,)
            )

    def _applied(self, result: None, batch: _Batch) -> None:
        self._landed(batch, {})

    def _notApplied(self, failure: Failure, batch: _Batch) -> None:
        if len(batch.waiting) == 1:
            self._landed(batch, {0: asQueueError("writing", failure.value)})
        else:
            Deferred.fromCoroutine(self._inParts(batch))

    async def _inParts(self, batch: _Batch) -> None:
        """Each kind by itself; if the commits fail, each message by itself, unless it is for want of room."""
        backend = self._backend
        # All are asked in one turn: a backend keeps their order.
        committing = maybeDeferred(backend.commit, batch.messages) if batch.messages else succeed(None)
        updating = maybeDeferred(backend.update, batch.states) if batch.states else succeed(None)
        deleting = maybeDeferred(backend.delete, tuple(batch.deleted)) if batch.deleted else succeed(None)
        failed = await _outcome(committing)
        changed = await _outcome(updating)
        removed = await _outcome(deleting)
        fates: dict[int, QueueError] = {}
        isRetried = failed is not None and failed.reply.code != 452 and len(batch.messages) > 1
        for number, (message, _) in enumerate(batch.waiting):
            if message is None:
                fate = changed or removed
            elif isRetried:
                fate = await _outcome(maybeDeferred(backend.commit, (message,)))
            else:
                fate = failed
            if fate is not None:
                fates[number] = fate
        self._landed(batch, fates)

    def _landed(self, batch: _Batch, fates: Mapping[int, QueueError]) -> None:
        self._flying = None
        # The next batch starts first: the backend works while we answer.
        self._consider()
        for number, (_, landed) in enumerate(batch.waiting):
            try:
                landed(fates.get(number))
            except Exception:
                # A fault in one waiter is not the others'.
                self._log.failure("telling what became of a change")
        if self._flying is None and self._idle:
            idle, self._idle = self._idle, []
            for done in idle:
                done.callback(None)


async def _outcome(done: Deferred[None]) -> QueueError | None:
    try:
        await done
    except Exception as error:
        return asQueueError("writing", error)
    return None
