"""TLSA records (RFC 6698), as far as SMTP uses them (RFC 7672)."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256, sha512
from typing import NamedTuple

TRUST_ANCHOR, DOMAIN_ISSUED = 2, 3

_SIZES = {1: 32, 2: 64}


class Presented(NamedTuple):
    """A certificate that a host showed.

    @ivar der: all of it; C{key} is its SubjectPublicKeyInfo.
    @ivar isAnchor: the host's own certificate is good today if this one is trusted; of the host's own: always.
    """

    der: bytes
    key: bytes
    isAnchor: bool


class Tlsa(NamedTuple):
    """
    @ivar usage: 2 (DANE-TA) and 3 (DANE-EE) mean something to SMTP (RFC 7672 3.1).
    @ivar selector: 0: the whole certificate, 1: its key.
    @ivar matching: 0: C{data} is it, 1: its SHA-256, 2: its SHA-512.
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data[:8].hex()}..."

    @property
    def isUsable(self) -> bool:
        """May it authenticate anybody? One that may not counts as absent, but for TLS itself (RFC 7672 2.2)."""
        if self.usage not in (TRUST_ANCHOR, DOMAIN_ISSUED) or self.selector not in (0, 1):
            return False
        if self.matching == 0:
            return bool(self.data)
        return len(self.data) == _SIZES.get(self.matching)

    def matches(self, shown: Presented) -> bool:
        """Is this the certificate that is meant?"""
        content = shown.key if self.selector else shown.der
        if self.matching == 1:
            content = sha256(content).digest()
        elif self.matching == 2:
            content = sha512(content).digest()
        return content == self.data


def deciding(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """Those that decide who a host is: the usable ones, and of digests of the same thing only those of the best kind, so that nobody
    can fall back on a weaker one (RFC 7672 5, RFC 7671 9)."""
    usable = [record for record in records if record.isUsable]
    best: dict[tuple[int, int], int] = {}
    for record in usable:
        kind = (record.usage, record.selector)
        best[kind] = max(record.matching, best.get(kind, 0))
    return tuple(record for record in usable if record.matching in (0, best[record.usage, record.selector]))
