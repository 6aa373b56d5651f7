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


class FreshCache:
    """Messages that were committed or read lately, until their last envelope goes or newer ones need the room (first in, first out)."""

    def __init__(self, octets: int = CACHE_OCTETS) -> None:
        self._octets = octets
        self._used = 0
        self._held: dict[MessageId, _Found] = {}
        self._bodies: dict[MessageId, bytes] = {}

    def put(self, message: Message, envelopes: Iterable[Envelope], body: bytes | None) -> None:
        """Keep a message that was just committed or read.

        @param body: its whole content in plain form, or None if it is not in memory.
        """
        found = (message, tuple(envelopes))
        cost = _cost(found, body)
        if cost > self._octets // 8:
            # One large message must not push out many small ones.
            return
        self.drop(message.id)
        self._held[message.id] = found
        if body is not None:
            self._bodies[message.id] = body
        self._used += cost
        while self._used > self._octets:
            self.drop(next(iter(self._held)))

    def get(self, message: MessageId) -> _Found | None:
        """The message with the envelopes that are left, or None if it is not here."""
        return self._held.get(message)

    def body(self, message: MessageId) -> bytes | None:
        """Its plain content, or None if that is not here."""
        return self._bodies.get(message)

    def update(self, states: Mapping[EnvelopeId, EnvelopeState]) -> None:
        """What is here gets new states."""
        held = self._held
        several: dict[MessageId, None] = {}
        for id, state in states.items():
            found = held.get(MessageId(id >> ENVELOPE_BITS))
            if found is None:
                continue
            message, envelopes = found
            if len(envelopes) > 1:
                several[message.id] = None
            elif envelopes[0].id == id:
                held[message.id] = (message, (_with(envelopes[0], state),))
        for each in several:
            # One by one it would be made anew as often as it has recipients.
            message, envelopes = held[each]
            changed = [_with(one, states[one.id]) if one.id in states else one for one in envelopes]
            held[each] = (message, tuple(changed))

    def delete(self, envelopes: Iterable[EnvelopeId]) -> None:
        """Forget envelopes, and messages with their last one."""
        gone: dict[MessageId, dict[EnvelopeId, None]] = {}
        for id in envelopes:
            if messageOf(id) in self._held:
                gone.setdefault(messageOf(id), {})[id] = None
        for each, ids in gone.items():
            message, known = self._held[each]
            left = tuple([one for one in known if one.id not in ids])
            if left:
                self._used -= (len(known) - len(left)) * ENVELOPE_OCTETS
                self._held[each] = (message, left)
            else:
                self.drop(each)

    def drop(self, message: MessageId) -> None:
        """Forget a message."""
        found = self._held.pop(message, None)
        if found is not None:
            self._used -= _cost(found, self._bodies.pop(message, None))


def _cost(found: _Found, body: bytes | None) -> int:
    return MESSAGE_OCTETS + len(found[1]) * ENVELOPE_OCTETS + (len(body) if body is not None else 0)


def _with(old: Envelope, state: EnvelopeState) -> Envelope:
    # Spelled out: replace() costs three times as much.
    destination = old.destination if state.route is None else routed(old.destination, state)
    return Envelope(old.id, destination, old.created, old.expires, state)
