"""Messages in memory, so that relaying them at once, and trying them again, reads nothing back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from pysmtpd.model.envelope import Envelope, EnvelopeState, Message, routed
from pysmtpd.model.ids import ENVELOPE_BITS, EnvelopeId, MessageId, messageOf

CACHE_OCTETS = 32 * 1024 * 1024
"""What the cache may hold, by its own estimate."""

MESSAGE_OCTETS = 2048
ENVELOPE_OCTETS = 1024


_Found: TypeAlias = tuple[Message, tuple[Envelope, ...]]


class _Fresh:
    __slots__ = ("body", "cost", "found")

    def __init__(self, found: _Found, body: bytes | None, cost: int) -> None:
        self.found = found
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
        found = (message, tuple(envelopes))
        cost = MESSAGE_OCTETS + len(found[1]) * ENVELOPE_OCTETS + (len(body) if body is not None else 0)
        if cost > self._octets // 8:
            # One large message must not push out many small ones.
            return
        self.drop(message.id)
        self._held[message.id] = _Fresh(found, body, cost)
        self._used += cost
        while self._used > self._octets:
            self.drop(next(iter(self._held)))

    def get(self, message: MessageId) -> _Found | None:
        """The message with the envelopes that are left, or None if it is not here."""
        fresh = self._held.get(message)
        return None if fresh is None else fresh.found

    def body(self, message: MessageId) -> bytes | None:
        """Its plain content, or None if that is not here."""
        fresh = self._held.get(message)
        return None if fresh is None else fresh.body

    def update(self, states: Mapping[EnvelopeId, EnvelopeState]) -> None:
        """What is here gets new states."""
        held = self._held
        several: dict[MessageId, None] = {}
        for id, state in states.items():
            fresh = held.get(MessageId(id >> ENVELOPE_BITS))
            if fresh is None:
                continue
            message, envelopes = fresh.found
            if len(envelopes) > 1:
                several[message.id] = None
            elif envelopes[0].id == id:
                fresh.found = (message, (_with(envelopes[0], state),))
        for each in several:
            # One by one it would be made anew as often as it has recipients.
            message, envelopes = held[each].found
            changed = [_with(one, states[one.id]) if one.id in states else one for one in envelopes]
            held[each].found = (message, tuple(changed))

    def delete(self, envelopes: Iterable[EnvelopeId]) -> None:
        """Forget envelopes, and messages with their last one."""
        gone: dict[MessageId, dict[EnvelopeId, None]] = {}
        for id in envelopes:
            if messageOf(id) in self._held:
                gone.setdefault(messageOf(id), {})[id] = None
        for each, ids in gone.items():
            message, known = self._held[each].found
            left = tuple([one for one in known if one.id not in ids])
            if left:
                self._held[each].found = (message, left)
            else:
                self.drop(each)

    def drop(self, message: MessageId) -> None:
        """Forget a message."""
        fresh = self._held.pop(message, None)
        if fresh is not None:
            self._used -= fresh.cost


def _with(old: Envelope, state: EnvelopeState) -> Envelope:
    # Spelled out: replace() costs three times as much.
    destination = old.destination if state.route is None else routed(old.destination, state)
    return Envelope(old.id, destination, old.created, old.expires, state)
