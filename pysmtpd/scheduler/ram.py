"""The scheduler C{ram}: everything in this process's memory. Its leases never expire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.model.schedule import Batch, Entry, Kind, Lease, Status
from pysmtpd.scheduler.plan import Plan


@implementer(IScheduler)
class RamScheduler:
    """L{Plan} with a clock. Every answer is there at once."""

    def __init__(self, platform: IPlatform, limits: SchedulerLimits) -> None:
        self._now: Callable[[], float] = platform.wallTime
        self._plan = Plan(limits, platform.wallTime())
        self._listeners: list[Callable[[], None]] = []

    def insert(self, entries: Sequence[Entry]) -> None:
        self._plan.insert(entries)

    def commit(self, message: MessageId) -> int:
        count = self._plan.commit(message, self._now())
        self._tell()
        return count

    def rollback(self, message: MessageId) -> Deferred[int]:
        return succeed(self._plan.rollback(message))

    def batch(self, worker: str, capacity: Mapping[Kind, int]) -> Deferred[Batch]:
        batch = self._plan.batch(capacity, self._now())
        # Whoever asks hears of what the asking itself made ready.
        self._plan.stirred = False
        return succeed(batch)

    def update(self, lease: Lease, entries: Sequence[Entry]) -> None:
        self._plan.update(lease, entries, self._now())
        self._tell()

    def postpone(self, leases: Sequence[Lease], nextTry: float) -> None:
        self._plan.postpone(leases, nextTry, self._now())
        self._tell()

    def delete(self, lease: Lease | None, envelopes: Sequence[EnvelopeId]) -> None:
        self._plan.delete(lease, envelopes)
        self._tell()

    def hold(self, lease: Lease, envelopes: Sequence[EnvelopeId], key: str) -> Deferred[None]:
        self._plan.hold(lease, envelopes, key, self._now())
        return self._told(None)

    def release(self, key: str, count: int) -> Deferred[int]:
        return self._told(self._plan.release(key, count, self._now()))

    def schedule(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return self._told(self._plan.schedule(envelopes, self._now()))

    def remove(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return self._told(self._plan.remove(envelopes, self._now()))

    def suspend(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return self._told(self._plan.suspend(envelopes, self._now()))

    def resume(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return self._told(self._plan.resume(envelopes, self._now()))

    def query(self, envelopes: Sequence[EnvelopeId]) -> Deferred[tuple[Status, ...]]:
        return succeed(self._plan.query(envelopes))

    def counts(self) -> Deferred[Mapping[str, int]]:
        return succeed(self._plan.counts())

    def notify(self, ready: Callable[[], None]) -> None:
        self._listeners.append(ready)

    def _told(self, answer: Any) -> Deferred[Any]:
        self._tell()
        return succeed(answer)

    def _tell(self) -> None:
        if self._plan.stirred:
            self._plan.stirred = False
            for ready in self._listeners:
                ready()


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> IScheduler:
    """
    @param settings: C{limits}, a L{SchedulerLimits}.
    @raise ValueError: there is an argument.
    """
    if argument:
        raise ValueError('the scheduler backend "ram:" takes no argument')
    return RamScheduler(platform, settings.get("limits", SchedulerLimits()))
