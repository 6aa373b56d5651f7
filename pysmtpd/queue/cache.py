"""Messages in memory, so that relaying them at once, and trying them again, reads nothing back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pysmtpd.model.envelope import Envelope, EnvelopeState, Message, routed
from pysmtpd.model.ids import EnvelopeId, MessageId, messageOf

CACHE_OCTETS = 32 * 1024 * 1024
"""What the cache may hold, by its own estimate."""

MESSAGE_OCTETS = 2048
ENVELOPE_OCTETS = 1024


class _Fresh:
    __slots__ = ("body", "cost", "envelopes", "message")

    def __init__(self, message: Message, envelopes: dict[EnvelopeId, Envelope], body: bytes | None, cost: int) -> None:
        self.message = message
        self.envelopes = envelopes
        self.body = body
        self.cost = cost


class FreshCache:
    """Messages that were committed or read lately, until their last envelope goes or newer ones need the room (first in, first out)."""

    def __init__(self, octets: int = CACHE_OCTETS) -> None:
        self._octets = octets
        self._used = 0
        self._held: dict[MessageId, _Fresh] = {}

    def put(self, message: Message, envelopes: Iterable[Envelope], body: bytes | None) -> None:
        """Keep a message that was just committed or read.

        @param body: its whole content in plain form, or None if it is not in memory.
        """
        byId = {envelope.id: envelope for envelope in envelopes}
        cost = MESSAGE_OCTETS + len(byId) * ENVELOPE_OCTETS + (len(body) if body is not None else 0)
        if cost > self._octets // 8:
            # One large message must not push out many small ones.
            return
        self.drop(message.id)
        self._held[message.id] = _Fresh(message, byId, body, cost)
        self._used += cost
        while self._used > self._octets:
            self.drop(next(iter(self._held)))

    def get(self, message: MessageId) -> tuple[Message, tuple[Envelope, ...]] | None:
        """The message with the envelopes that are left, or None if it is not here."""
        fresh = self._held.get(message)
        return None if fresh is None else (fresh.message, tuple(fresh.envelopes.values()))

    def body(self, message: MessageId) -> bytes | None:
        """Its plain content, or None if that is not here."""
        fresh = self._held.get(message)
        return None if fresh is None else fresh.body

    def update(self, states: Mapping[EnvelopeId, EnvelopeState]) -> None:
        """What is here gets new states."""
        for envelope, state in states.items():
            fresh = self._held.get(messageOf(envelope))
            old = None if fresh is None else fresh.envelopes.get(envelope)
            if fresh is not None and old is not None:
                # Spelled out: replace() costs three times as much.
                destination = old.destination if state.route is None else routed(old.destination, state)
                fresh.envelopes[envelope] = Envelope(envelope, destination, old.created, old.expires, state)

    def delete(self, envelopes: Iterable[EnvelopeId]) -> None:
        """Forget envelopes, and messages with their last one."""
        for envelope in envelopes:
            fresh = self._held.get(messageOf(envelope))
            if fresh is not None:
                fresh.envelopes.pop(envelope, None)
                if not fresh.envelopes:
                    self.drop(fresh.message.id)

    def drop(self, message: MessageId) -> None:
        """Forget a message."""
        fresh = self._held.pop(message, None)
        if fresh is not None:
            self._used -= fresh.cost
