"""Passwords held against hashes: those that the system's libcrypt knows (crypt(3)), and Argon2, which it does not."""

from __future__ import annotations

import ctypes
import ctypes.util
import hmac
from functools import cache
from typing import Any

from pysmtpd.router import argon2
from pysmtpd.router.argon2 import NoCrypt

# Room for the largest C{struct crypt_data} there is (glibc's own, with libxcrypt's far below).
_SCRATCH = 256 * 1024

# MD5, bcrypt, SHA-256, SHA-512, yescrypt, gost-yescrypt, scrypt.
_SCHEMES = ("$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$y$", "$gy$", "$7$")

# A hash of nothing that anybody knows; for users that do not exist.
DUMMY = "$6$pysmtpddummysalt$"

MAX_PASSWORD = 1024


def isHash(text: str) -> bool:
    """Is it a hash of a scheme that is known? An empty, locked (C{!}, C{*}) or plain one is not."""
    known = text.startswith(_SCHEMES) or argon2.isHash(text)
    return known and text.isascii() and text.isprintable() and ":" not in text


def verify(password: bytes, stored: str) -> bool:
    """Does the password give this hash? Takes as long as the scheme wants: call it in a lane.

    @raise NoCrypt: it cannot be told.
    """
    if not isHash(stored) or not password or len(password) > MAX_PASSWORD or b"\0" in password:
        return False
    if argon2.isHash(stored):
        return argon2.verify(password, stored)
    result = _crypt(password, stored.encode("ascii"))
    return result is not None and hmac.compare_digest(result, stored.encode("ascii"))


def verifyNobody(password: bytes, like: str) -> bool:
    """Take as long as C{verify} with a hash like C{like}, and say no."""
    if password and len(password) <= MAX_PASSWORD and b"\0" not in password:
        if argon2.isHash(like):
            argon2.verify(password, like)
            return False
        _crypt(password, (like if isHash(like) else DUMMY).encode("ascii"))
    return False


def _crypt(password: bytes, setting: bytes) -> bytes | None:
    """crypt_r(3); None: the setting is not understood."""
    result = _library().crypt_r(password, setting, ctypes.create_string_buffer(_SCRATCH))
    # A failure is told by a null pointer, or by text that begins with "*" and never is a hash.
    return None if result is None or result[:1] == b"*" else bytes(result)


@cache
def _library() -> Any:
    for name in (ctypes.util.find_library("crypt"), "libcrypt.so.1", "libcrypt.so.2"):
        try:
            library = ctypes.CDLL(name) if name else None
        except OSError:
            continue
        if library is not None and hasattr(library, "crypt_r"):
            library.crypt_r.restype = ctypes.c_char_p
            library.crypt_r.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
            return library
    raise NoCrypt("this system has no libcrypt with crypt_r")
