"""Leases that no agent takes: expired and removed envelopes, and failures that are owed to the sender."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces.delivery import IBounce
from pysmtpd.interfaces.queue import QueueError
from pysmtpd.interfaces.ready import unlessFailed
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.events import EnvelopeExpired, EnvelopeRemoved, InternalError, QueueFailed
from pysmtpd.model.schedule import Kind, Lease, entryOf
from pysmtpd.scheduler.backoff import nextTry
from pysmtpd.scheduler.recorder import Recorder
from pysmtpd.scheduler.verdict import expired


class Ends:
    """Each method takes a lease with what is left of it in the queue, and calls C{over} when it needs the lease no more."""

    _log = Logger()

    def __init__(
        self,
        now: Callable[[], float],
        scheduler: IScheduler,
        recorder: Recorder,
        bounce: IBounce,
        report: IReport,
        over: Callable[[Lease], None],
    ) -> None:
        self._now = now
        self._scheduler = scheduler
        self._recorder = recorder
        self._bounce = bounce
        self._report = report
        self._over = over

    def take(self, lease: Lease, message: Message, envelopes: Sequence[Envelope]) -> None:
        if lease.kind is Kind.EXPIRE:
            self._expire(lease, message, envelopes)
        elif lease.kind is Kind.REMOVE:
            self._remove(lease, message, envelopes)
        else:
            self._tell(lease, message, envelopes)

    def _expire(self, lease: Lease, message: Message, envelopes: Sequence[Envelope]) -> None:
        """Its failure is told at once: the report takes its place in one step, and until then it is in the queue as it was."""
        now = self._now()
        sender = str(message.transaction.sender)
        owed = []
        for envelope in envelopes:
            state = envelope.state if envelope.state.failed else expired(envelope, now)
            if state.hold or state.suspended:
                state = state._replace(hold="", suspended=False)
            owed.append(envelope.withState(state))
            self._report.happened(EnvelopeExpired(envelope.id, sender, str(envelope.destination.recipient)))
        self._tellOf(lease, message, owed)

    def _remove(self, lease: Lease, message: Message, envelopes: Sequence[Envelope]) -> None:
        sender = str(message.transaction.sender)
        for envelope in envelopes:
            self._recorder.finished(lease, envelope.id)
            self._report.happened(EnvelopeRemoved(envelope.id, sender, str(envelope.destination.recipient)))
        self._over(lease)

    def _tell(self, lease: Lease, message: Message, envelopes: Sequence[Envelope]) -> None:
        owed = [envelope for envelope in envelopes if envelope.state.failed]
        if len(owed) < len(envelopes):
            # The queue does not know of their failure: it is found again by trying again.
            again = [entryOf(envelope) for envelope in envelopes if not envelope.state.failed]
            unlessFailed(self._scheduler.update(lease, again), self._lost)
        if not owed:
            self._over(lease)
            return
        self._tellOf(lease, message, owed)

    def _tellOf(self, lease: Lease, message: Message, owed: Sequence[Envelope]) -> None:
        told = maybeDeferred(self._bounce.bounce, message, owed)
        told.addCallbacks(self._told, self._notTold, callbackArgs=(lease, owed), errbackArgs=(lease, owed))
        told.addErrback(self._lost)
        told.addBoth(lambda _: self._over(lease))

    def _told(self, result: object, lease: Lease, owed: Sequence[Envelope]) -> None:
        unlessFailed(self._scheduler.delete(lease, [envelope.id for envelope in owed]), self._lost)

    def _notTold(self, failure: Failure, lease: Lease, owed: Sequence[Envelope]) -> None:
        if failure.check(QueueError):
            self._report.happened(QueueFailed("bounce", str(failure.value)))
        else:
            self._log.failure("while reporting a failed delivery", failure)
            self._report.happened(InternalError("bounce", repr(failure.value)))
        now = self._now()
        for envelope in owed:
            again = entryOf(envelope)._replace(nextTry=nextTry(Kind.BOUNCE, envelope.state.nextTry, 0, now))
            if lease.kind is Kind.EXPIRE:
                # The queue does not know of its failure yet.
                self._recorder.changed(lease, envelope.state, again)
            else:
                unlessFailed(self._scheduler.update(lease, [again]), self._lost)

    def _lost(self, failure: Failure) -> None:
        self._log.failure("the scheduler did not take an envelope back", failure)
