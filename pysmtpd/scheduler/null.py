"""The scheduler C{null}: takes everything, remembers nothing, hands out nothing. What is queued stays in the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.model.schedule import Batch, Condition, Entry, Kind, Lease, Status


@implementer(IScheduler)
class NullScheduler:
    """No envelope is ever known."""

    def insert(self, entries: Sequence[Entry]) -> Deferred[None]:
        return succeed(None)

    def commit(self, message: MessageId) -> Deferred[int]:
        return succeed(0)

    def rollback(self, message: MessageId) -> Deferred[int]:
        return succeed(0)

    def batch(self, worker: str, capacity: Mapping[Kind, int]) -> Deferred[Batch]:
        return succeed(Batch((), None))

    def update(self, lease: Lease, entries: Sequence[Entry]) -> Deferred[None]:
        return succeed(None)

    def postpone(self, leases: Sequence[Lease], nextTry: float) -> Deferred[None]:
        return succeed(None)

    def delete(self, lease: Lease | None, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        return succeed(None)

    def hold(self, lease: Lease, envelopes: Sequence[EnvelopeId], key: str) -> Deferred[None]:
        return succeed(None)

    def release(self, key: str, count: int) -> Deferred[int]:
        return succeed(0)

    def schedule(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return succeed(0)

    def remove(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return succeed(0)

    def suspend(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return succeed(0)

    def resume(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return succeed(0)

    def query(self, envelopes: Sequence[EnvelopeId]) -> Deferred[tuple[Status, ...]]:
        return succeed(())

    def counts(self) -> Deferred[Mapping[str, int]]:
        return succeed({**{condition.value: 0 for condition in Condition}, "stale": 0})

    def notify(self, ready: Callable[[], None]) -> None:
        """There is never anything to tell."""


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> IScheduler:
    """
    @raise ValueError: there is an argument.
    """
    if argument:
        raise ValueError('the scheduler backend "null:" takes no argument')
    return NullScheduler()
