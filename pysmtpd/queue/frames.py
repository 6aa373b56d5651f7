"""A message as one file: frames, each with a checked header and a checked payload.

A frame is 19 octets of header (magic, kind, number, length, CRC-32 of the payload, CRC-32 of the header) and its payload. Content
frames may come before or after the records. States and deletions are appended later: a torn one is skipped, and what follows it
is found again.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from zlib import crc32

from pysmtpd.interfaces.platform import IFile
from pysmtpd.interfaces.queue import NewMessage, StoredMessage
from pysmtpd.model.ids import ENVELOPE_BITS, EnvelopeId, MessageId, envelopeId

MAGIC = b"\xf5Q"
MESSAGE, ENVELOPE, SUPERSEDES, CONTENT, STATE, DELETED = range(1, 7)

_HEADER = struct.Struct(">2sBIIII")
_CHECKED = struct.Struct(">2sBIII")
_COUNT = struct.Struct(">I")
_NUMBER_MASK = (1 << ENVELOPE_BITS) - 1
_ID_OCTETS = 12
_READ_OCTETS = 16_384


class DamagedFile(ValueError):
    """A message file cannot be read; the text says why."""


def frame(kind: int, number: int, payload: bytes) -> bytes:
    """One frame."""
    head = _CHECKED.pack(MAGIC, kind, number, len(payload), crc32(payload))
    return b"".join((head, _COUNT.pack(crc32(head)), payload))


def contentFrame(chunk: bytes) -> bytes:
    """A piece of content; an empty one needs no frame."""
    return frame(CONTENT, 0, chunk) if chunk else b""


def recordFrames(new: NewMessage) -> bytes:
    """Everything of a message but its content."""
    parts = [frame(MESSAGE, 0, _COUNT.pack(len(new.envelopes)) + new.record)]
    parts.extend(frame(ENVELOPE, id & _NUMBER_MASK, record) for id, record in new.envelopes)
    if new.supersedes:
        parts.append(frame(SUPERSEDES, 0, b"".join(id.to_bytes(_ID_OCTETS, "big") for id in new.supersedes)))
    return b"".join(parts)


def stateFrame(envelope: EnvelopeId, state: bytes) -> bytes:
    """A new state of one envelope."""
    return frame(STATE, envelope & _NUMBER_MASK, state)


def deletedFrame(envelope: EnvelopeId) -> bytes:
    """One envelope is gone."""
    return frame(DELETED, envelope & _NUMBER_MASK, b"")


class MessageFile:
    """What a file says.

    @ivar content: where the pieces of content lie: offset and length.
    @ivar isTorn: there was something between or after the frames that is no frame.
    """

    __slots__ = ("content", "envelopes", "id", "isTorn", "record", "states", "supersedes")

    def __init__(self, id: MessageId, file: IFile) -> None:
        """
        @raise DamagedFile: its records are not all there.
        """
        self.id = id
        self.record = b""
        self.envelopes: dict[int, bytes] = {}
        self.states: dict[int, bytes] = {}
        self.supersedes: tuple[EnvelopeId, ...] = ()
        self.content: list[tuple[int, int]] = []
        self.isTorn = False
        count, gone = self._read(file)
        if count is None:
            raise DamagedFile("it holds no message record that can be read")
        if len(self.envelopes) < count:
            raise DamagedFile(f"{count - len(self.envelopes)} of its {count} envelope records cannot be read")
        for number in gone:
            self.envelopes.pop(number, None)

    def _read(self, file: IFile) -> tuple[int | None, list[int]]:
        count: int | None = None
        gone: list[int] = []
        start = 0
        data = file.readAt(0, _READ_OCTETS)
        offset = 0
        while True:
            # [start, start + len(data)) of the file is in data; offset counts from the file's start.
            place = offset - start
            if place + _HEADER.size > len(data):
                start, data, place = offset, file.readAt(offset, _READ_OCTETS), 0
                if len(data) < _HEADER.size:
                    self.isTorn = self.isTorn or bool(data)
                    return count, gone
            magic, kind, number, length, checksum, headChecksum = _HEADER.unpack_from(data, place)
            if magic != MAGIC or crc32(data[place : place + _CHECKED.size]) != headChecksum:
                self.isTorn = True
                offset = self._resume(file, offset + 1)
                continue
            first = offset + _HEADER.size
            offset = first + length
            if kind == CONTENT:
                self.content.append((first, length))
                continue
            place = first - start
            payload = data[place : place + length] if place + length <= len(data) else file.readAt(first, length)
            if len(payload) != length or crc32(payload) != checksum:
                self.isTorn = True
                offset = self._resume(file, first)
            elif kind == MESSAGE:
                (count,) = _COUNT.unpack_from(payload)
                self.record = payload[_COUNT.size :]
            elif kind == ENVELOPE:
                self.envelopes[number] = payload
            elif kind == STATE:
                self.states[number] = payload
            elif kind == DELETED:
                gone.append(number)
            elif kind == SUPERSEDES:
                ids = range(0, length, _ID_OCTETS)
                self.supersedes = tuple(EnvelopeId(int.from_bytes(payload[n : n + _ID_OCTETS], "big")) for n in ids)

    def _resume(self, file: IFile, offset: int) -> int:
        """Where the next frame may begin, at or after C{offset}."""
        while True:
            data = file.readAt(offset, _READ_OCTETS)
            found = data.find(MAGIC)
            if found >= 0:
                return offset + found
            if len(data) < 2:
                return offset + len(data)
            # The magic may be cut by the end of what was read.
            offset += len(data) - 1

    def stored(self) -> StoredMessage:
        """As the front wants it."""
        states = self.states
        envelopes = tuple(
            (envelopeId(self.id, number), record, states.get(number, b"")) for number, record in self.envelopes.items()
        )
        return StoredMessage(self.id, self.record, envelopes)


def numbersOf(envelopes: Sequence[EnvelopeId]) -> list[int]:
    """Their numbers within their message."""
    return [id & _NUMBER_MASK for id in envelopes]
