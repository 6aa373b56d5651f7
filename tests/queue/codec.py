"""A codec that encrypts, as a third party would write one: AES-GCM over frames of at most 64 KiB.

A frame is its length (4 octets) and its sealed text. The nonce counts frames, and the last frame says that it is the last, so that
frames can be neither moved nor cut off; the key of a message is derived from its id and a random salt in front.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from zope.interface import implementer

from pysmtpd.interfaces.queue import IContentCodec, IContentStream
from pysmtpd.model.ids import MessageId

FRAME_OCTETS = 65_536
SALT_OCTETS = 16
TAG_OCTETS = 16


def _cipher(key: bytes, salt: bytes, message: MessageId) -> AESGCM:
    return AESGCM(hashlib.sha256(key + salt + message.to_bytes(8, "big")).digest())


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


@implementer(IContentStream)
class _Sealing:
    def __init__(self, key: bytes, message: MessageId) -> None:
        salt = os.urandom(SALT_OCTETS)
        self._cipher = _cipher(key, salt, message)
        self._head = salt
        self._plain = b""
        self._number = 0

    def feed(self, chunk: bytes) -> bytes:
        self._plain += chunk
        done = [self._head]
        self._head = b""
        while len(self._plain) > FRAME_OCTETS:
            done.append(self._seal(self._plain[:FRAME_OCTETS], b"more"))
            self._plain = self._plain[FRAME_OCTETS:]
        return b"".join(done)

    def finish(self) -> bytes:
        return self._head + self._seal(self._plain, b"last")

    def _seal(self, plain: bytes, mark: bytes) -> bytes:
        sealed = self._cipher.encrypt(_nonce(self._number), plain, mark)
        self._number += 1
        return len(sealed).to_bytes(4, "big") + sealed


@implementer(IContentStream)
class _Opening:
    def __init__(self, key: bytes, message: MessageId) -> None:
        self._key = key
        self._message = message
        self._cipher: AESGCM | None = None
        self._sealed = b""
        self._number = 0

    def feed(self, chunk: bytes) -> bytes:
        self._sealed += chunk
        if self._cipher is None:
            if len(self._sealed) < SALT_OCTETS:
                return b""
            self._cipher = _cipher(self._key, self._sealed[:SALT_OCTETS], self._message)
            self._sealed = self._sealed[SALT_OCTETS:]
        done = []
        while len(self._sealed) >= 4:
            length = int.from_bytes(self._sealed[:4], "big")
            if length > FRAME_OCTETS + TAG_OCTETS:
                raise ValueError("a frame is too long")
            # What follows a frame shows that it is not the last.
            if len(self._sealed) <= 4 + length:
                break
            done.append(self._open(self._sealed[4 : 4 + length], b"more"))
            self._sealed = self._sealed[4 + length :]
        return b"".join(done)

    def finish(self) -> bytes:
        length = int.from_bytes(self._sealed[:4], "big")
        if self._cipher is None or len(self._sealed) != 4 + length:
            raise ValueError("it is cut off")
        return self._open(self._sealed[4:], b"last")

    def _open(self, sealed: bytes, mark: bytes) -> bytes:
        assert self._cipher is not None
        try:
            plain = self._cipher.decrypt(_nonce(self._number), sealed, mark)
        except InvalidTag as error:
            raise ValueError("a seal is broken") from error
        self._number += 1
        return plain


@implementer(IContentCodec)
class SealingCodec:
    """
    @ivar name: C{aesgcm/} and the id of the key that new content gets.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._keys = keys
        self._current = current
        self.name = f"aesgcm/{current}"

    def encoder(self, message: MessageId) -> IContentStream:
        return _Sealing(self._keys[self._current], message)

    def decoder(self, name: str, message: MessageId) -> IContentStream:
        kind, _, key = name.partition("/")
        if kind != "aesgcm" or key not in self._keys:
            raise LookupError(f"no key {name}")
        return _Opening(self._keys[key], message)
