"""Content on its way in and out: codec, checksum, and the trace fields of large messages.

C{BodyRef.place} holds the CRC-32 of the stored content, taken of its plain form, as 8 hex digits. A large body is in its file
before the trace fields that belong in front of it are known: these follow after a colon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn
from zlib import crc32

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.queue import IBody, IContentCodec, IContentStream, QueueError
from pysmtpd.interfaces.ready import Ready
from pysmtpd.model.envelope import BodyRef
from pysmtpd.queue.body import CHUNK_OCTETS
from pysmtpd.queue.refusal import FAILED, asQueueError

_CRC_DIGITS = 8


def formatPlace(checksum: int, prefix: bytes = b"") -> str:
    """
    @param prefix: what stands before the stored content.
    """
    place = f"{checksum:08x}"
    return f"{place}:{prefix.decode('latin-1')}" if prefix else place


def parsePlace(place: str) -> tuple[int, bytes]:
    """Checksum and prefix.

    @raise ValueError:
    """
    digits, prefix = place[:_CRC_DIGITS], place[_CRC_DIGITS:]
    if len(digits) != _CRC_DIGITS or prefix[:1] not in ("", ":"):
        raise ValueError(f"no place of content: {place[:40]!r}")
    return int(digits, 16), prefix[1:].encode("latin-1")


class CodecMissing(QueueError):
    """Nothing is wrong with the content: who reads it does not know how it is stored, or lacks the key."""


@implementer(IBody)
class CheckedBody:
    """Stored content as it came in: decoded, with its prefix, its length and checksum compared at the end."""

    __slots__ = (
        "_checksum",
        "_crc",
        "_damaged",
        "_isEnded",
        "_newStream",
        "_prefix",
        "_ready",
        "_stored",
        "_stream",
        "_taken",
        "size",
    )

    def __init__(
        self,
        stored: IBody,
        ref: BodyRef,
        codec: IContentCodec | None,
        damaged: Callable[[str], None],
    ) -> None:
        """
        @param damaged: called with the reason when the content turns out to be wrong.
        @raise CodecMissing: its codec is not known here.
        @raise QueueError: the record says nonsense.
        """
        self.size = ref.size
        self._stored = stored
        self._damaged = damaged
        try:
            self._checksum, self._prefix = parsePlace(ref.place)
        except ValueError as error:
            stored.close()
            raise QueueError(FAILED, str(error)) from error
        self._newStream: Callable[[], IContentStream] | None = None
        if ref.codec:
            known = codec
            if known is None:
                stored.close()
                raise CodecMissing(FAILED, f"content is stored with codec {ref.codec}, and none is configured")
            self._newStream = lambda: known.decoder(ref.codec, ref.message)
        try:
            self._start()
        except LookupError as error:
            stored.close()
            raise CodecMissing(FAILED, f"content is stored with codec {ref.codec}: {error}") from error

    def _start(self) -> None:
        self._stream = self._newStream() if self._newStream is not None else None
        self._ready = self._prefix
        self._crc = 0
        self._taken = len(self._prefix)
        self._isEnded = False

    def read(self) -> Ready[bytes]:
        if self._ready:
            chunk, self._ready = self._ready[:CHUNK_OCTETS], self._ready[CHUNK_OCTETS:]
            return chunk
        if self._isEnded:
            return b""
        stored = self._stored.read()
        if isinstance(stored, Deferred):
            return stored.addCallbacks(self._take, self._unreadable)
        return self._take(stored)

    def _unreadable(self, failure: Failure) -> bytes:
        error = asQueueError("reading content", failure.value)
        self._damaged(error.reason)
        raise error

    def _take(self, stored: bytes) -> Ready[bytes]:
        plain = stored
        isLast = not stored
        if self._stream is not None:
            try:
                plain = self._stream.finish() if isLast else self._stream.feed(stored)
            except ValueError as error:
                self._fail(f"content cannot be decoded: {error}")
        self._crc = crc32(plain, self._crc)
        self._taken += len(plain)
        if isLast:
            self._isEnded = True
            if self._taken != self.size:
                self._fail(f"content has {self._taken} octets instead of {self.size}")
            if self._crc != self._checksum:
                self._fail("content has a wrong checksum")
        if len(plain) <= CHUNK_OCTETS and (plain or isLast):
            return plain
        self._ready = plain
        return self.read()

    def _fail(self, reason: str) -> NoReturn:
        self._isEnded = True
        self._ready = b""
        self._damaged(reason)
        raise QueueError(FAILED, reason)

    def rewind(self) -> None:
        self._stored.rewind()
        self._start()

    def close(self) -> None:
        self._stored.close()
