"""Suspending envelopes so that a restart does not forget it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pysmtpd.interfaces.queue import IQueue, NoSuchItem
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.envelope import EnvelopeState
from pysmtpd.model.ids import EnvelopeId, MessageId, messageOf
from pysmtpd.scheduler.flight import Flight
from pysmtpd.scheduler.verdict import suspendedState


class Suspension:
    def __init__(self, scheduler: IScheduler, queue: IQueue, flights: Mapping[int, Flight]) -> None:
        """
        @param flights: what is under way, by the token of its lease.
        """
        self._scheduler = scheduler
        self._queue = queue
        self._flights = flights

    async def suspend(self, envelopes: Sequence[EnvelopeId]) -> int:
        changed = await self._scheduler.suspend(envelopes)
        await self._keep(envelopes, True)
        return changed

    async def resume(self, envelopes: Sequence[EnvelopeId]) -> int:
        changed = await self._scheduler.resume(envelopes)
        await self._keep(envelopes, False)
        return changed

    async def _keep(self, envelopes: Sequence[EnvelopeId], suspended: bool) -> None:
        byMessage: dict[MessageId, list[EnvelopeId]] = {}
        for id in envelopes:
            byMessage.setdefault(messageOf(id), []).append(id)
        # The state that a flight will keep is made from what it was given.
        for flight in self._flights.values():
            for id in byMessage.get(flight.lease.message, ()):
                flight.suspend(id, suspended)
        states: dict[EnvelopeId, EnvelopeState] = {}
        for message, ids in byMessage.items():
            try:
                _, found = await asDeferred(self._queue.load(message))
            except NoSuchItem:
                continue
            wanted = dict.fromkeys(ids)
            for envelope in found:
                if envelope.id in wanted:
                    states[envelope.id] = suspendedState(envelope.state, suspended)
        if states:
            await self._queue.update(states)
