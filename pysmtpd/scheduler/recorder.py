"""Keeping what became of envelopes: first in the queue, then in the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IQueue, QueueError
from pysmtpd.interfaces.ready import unlessFailed
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.envelope import EnvelopeState
from pysmtpd.model.events import InternalError
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.schedule import Entry, Kind, Lease

# Seconds until a queue that refused is asked again.
RETRY = 5.0

_Finished = tuple[Lease, list[EnvelopeId]]
_Changed = tuple[Lease, EnvelopeState, Entry]
# Leases that are over, the states that they have ended with, and when they are tried again.
_Postponed = tuple[Sequence[Lease], Mapping[EnvelopeId, EnvelopeState], float]


class Recorder:
    """Gathers outcomes until C{flush}; then each queue call carries all of them.

    What the queue refuses to forget or to call failed is kept, in flight as before, and tried again: mail that was delivered
    must not be delivered again, and a failure must not be forgotten.
    """

    _log = Logger()

    def __init__(
        self, platform: IPlatform, scheduler: IScheduler, queue: IQueue, report: IReport, wake: Callable[[float], None]
    ) -> None:
        """
        @param wake: see that C{flush} is called in so many seconds.
        """
        self._clock = platform.clock
        self._scheduler = scheduler
        self._queue = queue
        self._report = report
        self._wake = wake
        self._finished: dict[int, _Finished] = {}
        # In the order of their coming: those of one lease stand together.
        self._changed: list[_Changed] = []
        self._postponed: list[_Postponed] = []
        self._calls = 0
        self._isFlushing = False
        self._pauseUntil = 0.0

    @property
    def isIdle(self) -> bool:
        """Is everything recorded that it was given?"""
        return not (self._calls or self._finished or self._changed or self._postponed)

    @property
    def isBusy(self) -> bool:
        """Does it wait for the queue?"""
        return self._calls > 0

    def finished(self, lease: Lease, envelope: EnvelopeId) -> None:
        """Forget this envelope."""
        kept = self._finished.get(lease.token)
        if kept is None:
            self._finished[lease.token] = (lease, [envelope])
        else:
            kept[1].append(envelope)

    def changed(self, lease: Lease, state: EnvelopeState, entry: Entry) -> None:
        """Keep the state, then give the envelope back to the scheduler as C{entry}."""
        self._changed.append((lease, state, entry))

    def postponed(self, leases: Sequence[Lease], states: Mapping[EnvelopeId, EnvelopeState], nextTry: float) -> None:
        """The same for all that these leases hold: keep the states, then give all back to be tried at C{nextTry}."""
        self._postponed.append((leases, states, nextTry))

    def flush(self, last: bool = False) -> None:
        """Record what was gathered.

        @param last: also while the queue is given a rest after an error.
        """
        if not (self._finished or self._changed or self._postponed):
            return
        rest = self._pauseUntil - self._clock.seconds()
        if rest > 0 and not last:
            self._wake(rest)
            return
        self._isFlushing = True
        if self._finished:
            finished = list(self._finished.values())
            self._finished = {}
            gone = [id for _, ids in finished for id in ids]
            self._record(self._queue.delete, gone, self._deleted, self._notDeleted, finished)
        if self._changed:
            changed, self._changed = self._changed, []
            states = {entry.id: state for _, state, entry in changed}
            self._record(self._queue.update, states, self._updated, self._notUpdated, changed)
        if self._postponed:
            postponed, self._postponed = self._postponed, []
            kept: dict[EnvelopeId, EnvelopeState] = {}
            for _, each, _ in postponed:
                kept.update(each)
            self._record(self._queue.update, kept, self._kept, self._notKept, postponed)
        self._isFlushing = False

    def giveUp(self) -> None:
        """The daemon ends and the queue still refuses: the log says what will be done again."""
        for _, ids in self._finished.values():
            self._log.error("finished but still queued: {ids}", ids=ids)
        self._finished = {}
        self._changed = []
        self._postponed = []

    def _record(
        self,
        call: Callable[[Any], Deferred[None]],
        values: Any,
        done: Callable[[Any, Any], None],
        refused: Callable[[Failure, Any], None],
        batch: Any,
    ) -> None:
        self._calls += 1
        recorded = maybeDeferred(call, values)
        recorded.addCallbacks(done, refused, callbackArgs=(batch,), errbackArgs=(batch,))
        recorded.addErrback(self._broken)

    def _deleted(self, result: object, finished: Sequence[_Finished]) -> None:
        self._calls -= 1
        for lease, ids in finished:
            unlessFailed(self._scheduler.delete(lease, ids), self._lost)
        self._recorded()

    def _notDeleted(self, failure: Failure, finished: Sequence[_Finished]) -> None:
        self._calls -= 1
        for lease, ids in finished:
            for id in ids:
                self.finished(lease, id)
        self._refused("delete", failure)

    def _updated(self, result: object, changed: Sequence[_Changed]) -> None:
        self._calls -= 1
        self._giveBack(changed)
        self._recorded()

    def _giveBack(self, changed: Sequence[_Changed]) -> None:
        for lease, group in groupby(changed, itemgetter(0)):
            unlessFailed(self._scheduler.update(lease, [entry for _, _, entry in group]), self._lost)

    def _kept(self, result: object, postponed: Sequence[_Postponed]) -> None:
        self._calls -= 1
        self._postpone(postponed)
        self._recorded()

    def _notKept(self, failure: Failure, postponed: Sequence[_Postponed]) -> None:
        self._calls -= 1
        # A lost state costs one try.
        self._postpone(postponed)
        self._refused("update", failure)

    def _postpone(self, postponed: Sequence[_Postponed]) -> None:
        for leases, _, nextTry in postponed:
            unlessFailed(self._scheduler.postpone(leases, nextTry), self._lost)

    def _recorded(self) -> None:
        # Whoever calls flush looks for work afterwards anyway.
        if not self._isFlushing:
            self._wake(0.0)

    def _notUpdated(self, failure: Failure, changed: Sequence[_Changed]) -> None:
        self._calls -= 1
        # A lost state of a delivery costs one try; a lost failure would cost its report.
        self._changed += [one for one in changed if one[2].kind is Kind.BOUNCE]
        self._giveBack([one for one in changed if one[2].kind is not Kind.BOUNCE])
        self._refused("update", failure)

    def _refused(self, operation: str, failure: Failure) -> None:
        # The queue itself reports what it refuses; anything else is a fault.
        if not failure.check(QueueError):
            self._log.failure("the queue failed at {operation}", failure, operation=operation)
            self._report.happened(InternalError(f"recording outcomes: {operation}", repr(failure.value)))
        self._pauseUntil = self._clock.seconds() + RETRY
        self._wake(RETRY)

    def _lost(self, failure: Failure) -> None:
        self._log.failure("the scheduler did not take an envelope back", failure)

    def _broken(self, failure: Failure) -> None:
        self._log.failure("while recording outcomes", failure)
        self._wake(0.0)
