"""The key that content is encrypted with in the queue, as people write it."""

from __future__ import annotations

from typing import Final

KEY_OCTETS: Final = 32
"""As AES-256 has."""

STDIN: Final = "stdin"
"""It stands for a key that is read from standard input when the daemon starts."""

UNUSED: Final = "-" * KEY_OCTETS
"""For a daemon that is made to be looked at, and stores nothing."""


def keyOctets(text: str) -> bytes:
    """
    @raise ValueError: it is too long or too short.
    """
    octets = text.encode("utf-8", "surrogateescape")
    if len(octets) != KEY_OCTETS:
        raise ValueError(f"the key of the queue has exactly {KEY_OCTETS} octets, not {len(octets)}")
    return octets
