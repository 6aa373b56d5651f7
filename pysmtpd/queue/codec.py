"""How content is stored, as the configuration says: plain, compressed, encrypted, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from pysmtpd.interfaces.queue import IContentCodec, IContentStream
from pysmtpd.model.config import Config
from pysmtpd.model.ids import MessageId
from pysmtpd.model.queuekey import STDIN, keyOctets
from pysmtpd.queue import compression, encryption
from pysmtpd.queue.compression import Compressing, Decompressing
from pysmtpd.queue.encryption import Decrypting, Encrypting, keyId


@implementer(IContentStream)
class _Chain:
    """What comes out of one stream goes into the next."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: IContentStream, second: IContentStream) -> None:
        self._first = first
        self._second = second

    def feed(self, chunk: bytes) -> bytes:
        return self._second.feed(self._first.feed(chunk))

    def finish(self) -> bytes:
        return self._second.feed(self._first.finish()) + self._second.finish()


@implementer(IContentCodec)
class ContentCodec:
    """Reads all that this release has ever written, whatever the configuration says today, as far as it has the key.

    @ivar name: C{zlib}, C{aesgcm/} and the id of the key, or both with C{+} between them, in the order in which they are done; empty: new
        content is stored plain.
    """

    def __init__(
        self, secret: Callable[[int], bytes], isCompressing: bool = False, key: bytes = b"", backupKey: bytes = b""
    ) -> None:
        """
        @param secret: gives so many random octets that nobody can guess.
        @param key: 32 octets; empty: new content is not encrypted.
        @param backupKey: opens what was stored under it.
        """
        self._secret = secret
        self._isCompressing = isCompressing
        self._key = key
        self._keys = {keyId(each): each for each in (backupKey, key) if each}
        sealed = [f"{encryption.NAME}/{keyId(key)}"] if key else []
        self.name = "+".join((*([compression.NAME] if isCompressing else []), *sealed))

    def encoder(self, message: MessageId) -> IContentStream:
        streams: list[IContentStream] = [Compressing()] if self._isCompressing else []
        if self._key:
            streams.append(Encrypting(self._key, self._secret(encryption.SALT_OCTETS), message))
        return _joined(streams)

    def decoder(self, name: str, message: MessageId) -> IContentStream:
        return _joined([self._decoder(step, message) for step in reversed(name.split("+"))])

    def _decoder(self, step: str, message: MessageId) -> IContentStream:
        kind, _, key = step.partition("/")
        if kind == encryption.NAME and key in self._keys:
            return Decrypting(self._keys[key], message)
        if step == compression.NAME:
            return Decompressing()
        if kind == encryption.NAME:
            raise LookupError(f'it takes the key {key}: say it with "queue encryption" or "queue encryption backup"')
        raise LookupError("this release does not know it")


def contentCodec(config: Config, queueKey: str, secret: Callable[[int], bytes]) -> ContentCodec:
    """The one that a configuration asks for.

    @param queueKey: what standard input said, where the configuration refers to that.
    @raise ValueError: a key has the wrong length, or is missing.
    """
    key = queueKey if config.queueEncryption == STDIN else config.queueEncryption
    return ContentCodec(
        secret,
        config.queueCompression,
        keyOctets(key) if config.queueEncryption else b"",
        keyOctets(config.queueBackupKey) if config.queueBackupKey else b"",
    )


def _joined(streams: Sequence[IContentStream]) -> IContentStream:
    """
    @param streams: at least one.
    """
    joined = streams[0]
    for stream in streams[1:]:
        joined = _Chain(joined, stream)
    return joined
