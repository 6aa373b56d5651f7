"""The client side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: the peer never learns the password, and has to prove
that it knows it."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import unicodedata
from base64 import b64decode, b64encode
from typing import Final

MECHANISM: Final = "SCRAM-SHA-256"

MIN_ITERATIONS: Final = 4096
"""RFC 7677 4: a peer that asks for less makes guessing cheap for whoever sees our answer."""
MAX_ITERATIONS: Final = 200_000
"""A fifth of a second of our time; a hostile peer would ask for hours."""

_NO_BINDING: Final = b"n,,"


class ScramError(ValueError):
    """The peer does not speak as it should, or does not know the password; the text says which."""


class Scram:
    """One authentication.

    @ivar isProven: the peer knows the password.
    """

    __slots__ = ("_bare", "_expected", "_nonce", "_password", "isProven")

    def __init__(self, user: str, password: bytes, nonce: str) -> None:
        """
        @param nonce: printable, without commas; never used before.
        """
        name = _prepared(user).replace("=", "=3D").replace(",", "=2C")
        self._nonce = nonce.encode("ascii")
        self._bare = b"n=%b,r=%b" % (name.encode("utf-8"), self._nonce)
        self._password = _prepared(password.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        self._expected = b""
        self.isProven = False

    def first(self) -> bytes:
        """What the client says first."""
        return _NO_BINDING + self._bare

    def answer(self, challenge: bytes) -> bytes:
        """
        @raise ScramError:
        """
        return self._prove(challenge) if not self._expected else self._check(challenge)

    def _prove(self, challenge: bytes) -> bytes:
        fields = _fields(challenge)
        nonce, salt, count = fields.get(b"r", b""), fields.get(b"s", b""), fields.get(b"i", b"")
        if b"m" in fields or not nonce.startswith(self._nonce) or len(nonce) <= len(self._nonce):
            raise ScramError("SCRAM: the host's first message is not an answer to ours")
        if not (count.isdigit() and len(count) < 10 and MIN_ITERATIONS <= int(count) <= MAX_ITERATIONS):
            raise ScramError(
                f"SCRAM: the host asks for {count[:20].decode('ascii', 'replace')} iterations; "
                f"{MIN_ITERATIONS} to {MAX_ITERATIONS} are done here"
            )
        salted = hashlib.pbkdf2_hmac("sha256", self._password, _decoded(salt), int(count))
        final = b"c=%b,r=%b" % (b64encode(_NO_BINDING), nonce)
        signed = b",".join((self._bare, challenge, final))
        clientKey = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(clientKey).digest(), signed)
        proof = bytes(one ^ other for one, other in zip(clientKey, signature, strict=True))
        self._expected = _hmac(_hmac(salted, b"Server Key"), signed)
        return b"%b,p=%b" % (final, b64encode(proof))

    def _check(self, challenge: bytes) -> bytes:
        fields = _fields(challenge)
        if b"e" in fields:
            raise ScramError(f"SCRAM: the host says: {fields[b'e'][:80].decode('ascii', 'replace')}")
        if self.isProven or not hmac.compare_digest(_decoded(fields.get(b"v", b"")), self._expected):
            raise ScramError("SCRAM: the host does not prove that it knows the password")
        self.isProven = True
        return b""


def _fields(message: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for field in message.split(b","):
        name, mark, value = field.partition(b"=")
        if not mark or len(name) != 1 or name in found:
            raise ScramError("SCRAM: the host's message is not of its form")
        found[name] = value
    return found


def _decoded(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except binascii.Error:
        raise ScramError("SCRAM: the host's message is not of its form") from None


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _prepared(text: str) -> str:
    """As SASLprep (RFC 4013) has it, of text that anybody has as a name or password: odd spaces are spaces, and forms are composed."""
    if text.isascii():
        return text
    spaced = "".join(" " if unicodedata.category(one) == "Zs" else one for one in text if one != "\u00ad")
    return unicodedata.normalize("NFKC", spaced)
