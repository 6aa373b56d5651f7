"""Content is stored encrypted: AES-256-GCM (NIST SP 800-38D) over frames of at most 64 KiB.

In front stands a random salt, from which, with the message's id and the queue's key, comes the key of this content alone: so what is
stored for one message opens as no other's, and a nonce can count frames. Each frame is its length, 4 octets, and its sealed text; the seal
of the last one says that it is the last. Frames can be neither moved nor cut off.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from zope.interface import implementer

from pysmtpd.interfaces.queue import IContentStream
from pysmtpd.model.ids import MessageId

NAME: Final = "aesgcm"

SALT_OCTETS = 16

_FRAME_OCTETS = 65_536
_LENGTH_OCTETS = 4
_NONCE_OCTETS = 12
_TAG_OCTETS = 16
_MORE, _LAST = b"more", b"last"


def keyId(key: bytes) -> str:
    """Tells keys apart, and nothing of them."""
    return hmac.digest(key, b"the id of this key", "sha256")[:4].hex()


def _cipher(key: bytes, salt: bytes, message: MessageId) -> AESGCM:
    return AESGCM(hmac.digest(key, b"content" + salt + message.to_bytes(8, "big"), "sha256"))


@implementer(IContentStream)
class Encrypting:
    __slots__ = ("_cipher", "_number", "_plain", "_ready")

    def __init__(self, key: bytes, salt: bytes, message: MessageId) -> None:
        """
        @param key: of the queue, 32 octets.
        @param salt: L{SALT_OCTETS} that were never used before.
        """
        self._cipher = _cipher(key, salt, message)
        self._ready = salt
        self._plain = b""
        self._number = 0

    def feed(self, chunk: bytes) -> bytes:
        plain = self._plain + chunk
        sealed = [self._ready]
        self._ready = b""
        start = 0
        # The last frame is sealed at the end, whatever is in it: only then it is known to be the last.
        while len(plain) - start > _FRAME_OCTETS:
            sealed.append(self._seal(plain[start : start + _FRAME_OCTETS], _MORE))
            start += _FRAME_OCTETS
        self._plain = plain[start:]
        return b"".join(sealed)

    def finish(self) -> bytes:
        return self._ready + self._seal(self._plain, _LAST)

    def _seal(self, plain: bytes, mark: bytes) -> bytes:
        sealed = self._cipher.encrypt(self._number.to_bytes(_NONCE_OCTETS, "big"), plain, mark)
        self._number += 1
        return len(sealed).to_bytes(_LENGTH_OCTETS, "big") + sealed


@implementer(IContentStream)
class Decrypting:
    __slots__ = ("_cipher", "_key", "_message", "_number", "_sealed")

    def __init__(self, key: bytes, message: MessageId) -> None:
        self._key = key
        self._message = message
        self._cipher: AESGCM | None = None
        self._sealed = b""
        self._number = 0

    def feed(self, chunk: bytes) -> bytes:
        sealed = self._sealed + chunk
        start = 0
        if self._cipher is None and len(sealed) >= SALT_OCTETS:
            self._cipher = _cipher(self._key, sealed[:SALT_OCTETS], self._message)
            start = SALT_OCTETS
        opened: list[bytes] = []
        while self._cipher is not None and len(sealed) - start >= _LENGTH_OCTETS:
            text = start + _LENGTH_OCTETS
            end = text + int.from_bytes(sealed[start:text], "big")
            if end - text > _FRAME_OCTETS + _TAG_OCTETS:
                raise ValueError("a frame is too long")
            # What follows a frame shows that it is not the last one.
            if len(sealed) <= end:
                break
            opened.append(self._open(self._cipher, sealed[text:end], _MORE))
            start = end
        self._sealed = sealed[start:]
        return b"".join(opened)

    def finish(self) -> bytes:
        length = int.from_bytes(self._sealed[:_LENGTH_OCTETS], "big")
        if self._cipher is None or len(self._sealed) != _LENGTH_OCTETS + length:
            raise ValueError("it is cut off")
        return self._open(self._cipher, self._sealed[_LENGTH_OCTETS:], _LAST)

    def _open(self, cipher: AESGCM, sealed: bytes, mark: bytes) -> bytes:
        try:
            plain = cipher.decrypt(self._number.to_bytes(_NONCE_OCTETS, "big"), sealed, mark)
        except InvalidTag as error:
            raise ValueError("it was changed, or belongs to another message") from error
        self._number += 1
        return plain
