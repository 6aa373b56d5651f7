"""The server side of SASL PLAIN (RFC 4616) and LOGIN, as RFC 4954 carries them. Nothing here is ever logged."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Final, Protocol

from pysmtpd.smtp.grammar import GrammarError
from pysmtpd.smtp.replies import AUTH_CANCELLED, AUTH_INVALID, AUTH_SYNTAX

# Octets of a user name, of an authorization identity and of a password (RFC 4616 2 asks for 255 at least).
NAME_MAX: Final = 255
PASSWORD_MAX: Final = 4096

# LOGIN has no standard; clients know it by these words.
_USERNAME: Final = b"Username:"
_PASSWORD: Final = b"Password:"


@dataclass(slots=True, repr=False)
class Credentials:
    """Its repr tells nothing."""

    user: str
    password: bytes
    authorization: str = ""


class Exchange(Protocol):
    """One authentication under way."""

    def step(self, response: bytes | None) -> bytes | Credentials:
        """
        @param response: decoded; None at the beginning, when the client sent no initial response.
        @return: the next challenge, or the credentials.
        @raise GrammarError: the exchange ends with its reply.
        """
        raise NotImplementedError


class Plain:
    """One response: authorization NUL user NUL password."""

    __slots__ = ()

    def step(self, response: bytes | None) -> bytes | Credentials:
        if response is None:
            return b""
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise GrammarError(AUTH_SYNTAX)
        authorization, user, password = parts
        return _credentials(user, password, authorization)


class Login:
    """User name, then password."""

    __slots__ = ("_user",)

    def __init__(self) -> None:
        self._user: bytes | None = None

    def step(self, response: bytes | None) -> bytes | Credentials:
        if response is None:
            return _USERNAME
        if self._user is None:
            self._user = response
            return _PASSWORD
        return _credentials(self._user, response, b"")


MECHANISMS: Final[dict[str, type[Plain] | type[Login]]] = {"PLAIN": Plain, "LOGIN": Login}


def decodeInitial(argument: bytes) -> bytes:
    """An initial response: C{=} stands for an empty one (RFC 4954 4).

    @raise GrammarError: 501.
    """
    return b"" if argument == b"=" else decodeResponse(argument)


def decodeResponse(line: bytes) -> bytes:
    """
    @raise GrammarError: 501: the client gave up with C{*}, or this is not base64.
    """
    if line == b"*":
        raise GrammarError(AUTH_CANCELLED)
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise GrammarError(AUTH_SYNTAX) from None


def encodeChallenge(challenge: bytes) -> bytes:
    """The line to write."""
    return b"334 " + binascii.b2a_base64(challenge, newline=False) + b"\r\n"


def _credentials(user: bytes, password: bytes, authorization: bytes) -> Credentials:
    # An empty password opens some directories to everyone (RFC 4513 5.1.2), and CR, LF or NUL would end the field in others' protocols.
    fields = user + password + authorization
    if not user or not password or b"\0" in fields or b"\r" in fields or b"\n" in fields:
        raise GrammarError(AUTH_INVALID)
    if len(user) > NAME_MAX or len(authorization) > NAME_MAX or len(password) > PASSWORD_MAX:
        raise GrammarError(AUTH_INVALID)
    try:
        return Credentials(user.decode(), password, authorization.decode())
    except UnicodeDecodeError:
        raise GrammarError(AUTH_SYNTAX) from None
