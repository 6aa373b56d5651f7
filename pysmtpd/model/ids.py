"""Message, envelope and session ids.

A message id is a positive integer of 63 bits, unique for ever, written as 16 hex digits: 7 bits of shard, 44 bits of milliseconds,
12 bits of counter. An envelope id extends its message's id by 32 bits, written as 24 hex digits. Filters and control clients
treat both as opaque text.
"""

from __future__ import annotations

import re
from typing import NewType

MessageId = NewType("MessageId", int)
EnvelopeId = NewType("EnvelopeId", int)
SessionId = NewType("SessionId", int)

ENVELOPE_BITS = 32

# 63 bits, then 32: a database has no room for more. Nothing else that int() takes (signs, blanks, underscores) is an id.
_MESSAGE = re.compile(r"[0-7][0-9a-fA-F]{15}")
_ENVELOPE = re.compile(r"[0-7][0-9a-fA-F]{23}")


def envelopeId(message: MessageId, index: int) -> EnvelopeId:
    """The id of the C{index}-th envelope (from 0) of C{message}."""
    return EnvelopeId(message << ENVELOPE_BITS | index)


def messageOf(envelope: EnvelopeId) -> MessageId:
    """The message that C{envelope} belongs to."""
    return MessageId(envelope >> ENVELOPE_BITS)


def formatMessageId(message: MessageId) -> str:
    """16 hex digits."""
    return f"{message:016x}"


def formatEnvelopeId(envelope: EnvelopeId) -> str:
    """24 hex digits."""
    return f"{envelope:024x}"


def formatSessionId(session: SessionId) -> str:
    """16 hex digits."""
    return f"{session:016x}"


def parseMessageId(text: str) -> MessageId:
    """
    @raise ValueError: C{text} is not a message id.
    """
    if not _MESSAGE.fullmatch(text):
        raise ValueError(f"a message id has 16 hex digits, not {text[:40]!r}")
    return MessageId(int(text, 16))


def parseEnvelopeId(text: str) -> EnvelopeId:
    """
    @raise ValueError: C{text} is not an envelope id.
    """
    if not _ENVELOPE.fullmatch(text):
        raise ValueError(f"an envelope id has 24 hex digits, not {text[:40]!r}")
    return EnvelopeId(int(text, 16))
