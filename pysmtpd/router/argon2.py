"""Argon2 (RFC 9106) in its text form. No crypt(3) knows it; the library that does our TLS does."""

from __future__ import annotations

import re

from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf import argon2

_FORM = re.compile(
    r"\$argon2(id|i|d)\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,3})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{6,}"
)

# KiB that one check may take: a table's slip shall not end the daemon.
MAX_MEMORY = 1_048_576


class NoCrypt(Exception):
    """This system cannot compute the hash; the text says what is missing."""


def isHash(text: str) -> bool:
    """Is it of a form that L{verify} takes?"""
    return text.startswith("$argon2") and _FORM.fullmatch(text) is not None


def verify(password: bytes, stored: str) -> bool:
    """
    @param stored: an C{isHash}.
    @raise NoCrypt: it cannot be told.
    """
    form = _FORM.fullmatch(stored)
    assert form is not None
    if int(form[2]) > MAX_MEMORY:
        raise NoCrypt(f"an Argon2 hash that takes {int(form[2]) // 1024} MiB; {MAX_MEMORY // 1024} are allowed")
    # Only Argon2id is in the oldest library that we run with.
    variant = getattr(argon2, f"Argon2{form[1]}", None)
    if variant is None:
        raise NoCrypt(f"Argon2{form[1]} needs a newer version of the package cryptography")
    try:
        variant.verify_phc_encoded(password, stored)
    except (InvalidKey, ValueError):
        # Another password, or parameters that no hash has.
        return False
    except UnsupportedAlgorithm:
        raise NoCrypt("Argon2 needs OpenSSL 3.2, with threads, below the package cryptography") from None
    except MemoryError:
        raise NoCrypt("there is not enough memory for an Argon2 hash") from None
    return True
