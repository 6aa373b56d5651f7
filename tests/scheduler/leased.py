"""A scheduler whose leases end: what a shared scheduler for several workers would be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.model.schedule import Batch, Entry, Kind, Lease, Status
from tests.scheduler.naive import Naive

LEASE_SECONDS = 600.0


@implementer(IScheduler)
class LeasedScheduler:
    """It tells its listeners whatever happens: too often is allowed."""

    def __init__(self, now: Callable[[], float], limits: SchedulerLimits) -> None:
        self._now = now
        self._naive = Naive(limits, LEASE_SECONDS)
        self._listeners: list[Callable[[], None]] = []

    def insert(self, entries: Sequence[Entry]) -> Deferred[None]:
        self._naive.insert(entries)
        return succeed(None)

    def commit(self, message: MessageId) -> Deferred[int]:
        return self._told(self._naive.commit(message, self._now()))

    def rollback(self, message: MessageId) -> Deferred[int]:
        return succeed(self._naive.rollback(message))

    def batch(self, worker: str, capacity: Mapping[Kind, int]) -> Deferred[Batch]:
        return succeed(self._naive.batch(capacity, self._now()))

    def update(self, lease: Lease, entries: Sequence[Entry]) -> Deferred[None]:
        self._naive.update(lease, entries, self._now())
        return self._told(None)

    def postpone(self, leases: Sequence[Lease], nextTry: float) -> Deferred[None]:
        self._naive.postpone(leases, nextTry, self._now())
        return self._told(None)

    def delete(self, lease: Lease | None, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        self._naive.delete(lease, envelopes, self._now())
        return self._told(None)

    def hold(self, lease: Lease, envelopes: Sequence[EnvelopeId], key: str) -> Deferred[None]:
        self._naive.hold(lease, envelopes, key, self._now())
        return self._told(None)

    def release(self, key: str, count: int) -> Deferred[int]:
        return self._told(self._naive.release(key, count, self._now()))

    def schedule(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return self._told(self._naive.schedule(envelopes, self._now()))

    def remove(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return self._told(self._naive.remove(envelopes, self._now()))

    def suspend(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return self._told(self._naive.suspend(envelopes, self._now()))

    def resume(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return self._told(self._naive.resume(envelopes, self._now()))

    def query(self, envelopes: Sequence[EnvelopeId]) -> Deferred[tuple[Status, ...]]:
        return succeed(self._naive.query(envelopes, self._now()))

    def counts(self) -> Deferred[Mapping[str, int]]:
        return succeed(self._naive.counts(self._now()))

    def notify(self, ready: Callable[[], None]) -> None:
        self._listeners.append(ready)

    def _told(self, answer: Any) -> Deferred[Any]:
        for ready in self._listeners:
            ready()
        return succeed(answer)
