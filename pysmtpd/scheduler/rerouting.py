"""Giving envelopes another way to go, so that a crash at any moment leaves each with the old one or with the new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pysmtpd.interfaces.queue import IQueue, NoSuchItem, QueueError
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.envelope import Envelope, EnvelopeState, Route, routed
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.model.schedule import entryOf
from pysmtpd.scheduler.verdict import reroutedState


class Rerouting:
    def __init__(self, scheduler: IScheduler, queue: IQueue, isBusy: Callable[[EnvelopeId], bool]) -> None:
        """
        @param isBusy: is it handed out?
        """
        self._scheduler = scheduler
        self._queue = queue
        self._isBusy = isBusy

    async def reroute(
        self, message: MessageId, changes: Mapping[EnvelopeId, tuple[Route | None, str]]
    ) -> tuple[EnvelopeId, ...]:
        """
        @param changes: the way to go, or why it is held.
        @return: those that have not changed: they are handed out, or gone.
        @raise QueueError: nothing has changed, as far as a restart is concerned.
        """
        try:
            _, envelopes = await asDeferred(self._queue.load(message))
        except NoSuchItem:
            return tuple(changes)
        before = [one for one in envelopes if one.id in changes and not self._isBusy(one.id) and not one.state.failed]
        busy = tuple(id for id in changes if all(one.id != id for one in before))
        if not before:
            return busy
        # Whoever is out of the schedule cannot be handed out while the queue writes.
        await asDeferred(self._scheduler.delete(None, [one.id for one in before]))
        states = {one.id: reroutedState(one.state, *changes[one.id]) for one in before}
        try:
            await self._queue.update(states)
        except QueueError:
            await self._schedule(message, before)
            raise
        await self._schedule(message, [_with(one, states[one.id]) for one in before])
        return busy

    async def _schedule(self, message: MessageId, envelopes: list[Envelope]) -> None:
        await asDeferred(self._scheduler.insert([entryOf(envelope) for envelope in envelopes]))
        await asDeferred(self._scheduler.commit(message))


def _with(envelope: Envelope, state: EnvelopeState) -> Envelope:
    return replace(envelope, destination=routed(envelope.destination, state), state=state)
