"""Sender rewriting: senders of mail that we forward, wrapped into addresses of ours so that bounces find their way back.

C{SRS0=HASH=TT=domain=user} wraps an address, C{SRS1=HASH=first==...} one that another host has wrapped. TT are days modulo 1024. Our
hash is an HMAC that survives changes of case; the form with four characters is OpenSMTPD's, and taken while its addresses are still
about.
"""

from __future__ import annotations

import re
from base64 import b32encode, b64encode
from hashlib import sha1, sha256
from hmac import HMAC, compare_digest

from pysmtpd.model.address import Path
from pysmtpd.model.config import Config, SrsSpec

DAY = 86_400.0

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_DAYS = 1024
# 8 characters of base32.
_OCTETS = 5
_SIZE = 8
_FOREIGN_SIZE = 4

_WRAPPED = re.compile(r"SRS([01])[=+-]", re.IGNORECASE)
_SRS0 = re.compile(r"([^=]+)=([A-Z2-7]{2})=([^=]+)=(.+)\Z", re.IGNORECASE | re.DOTALL)
_SRS1 = re.compile(r"([^=]+)=([^=]+)=([=+-].+)\Z", re.IGNORECASE | re.DOTALL)
# A forged one shall not become what the grammar of addresses would never take: the short form can be guessed.
_DOMAIN = re.compile(r"(?:[0-9A-Za-z._\-\x80-\U0010ffff]{1,255}|\[[0-9A-Za-z.:]{1,255}\])\Z")
_INNER = re.compile(r"[=+-][^=]+=([A-Z2-7]{2})=", re.IGNORECASE)


class BadSrs(Exception):
    """It was not made with our keys, or too long ago; the text says which."""


def isSrs(path: Path) -> bool:
    """Does it look like a rewritten sender, whoever made it?"""
    return _WRAPPED.match(path.local) is not None


def dayOf(wallTime: float) -> int:
    """
    @param wallTime: seconds since the epoch.
    @return: days.
    """
    return int(wallTime // DAY)


def encode(spec: SrsSpec, sender: Path, domain: str, day: int) -> Path:
    """The sender as an address of C{domain}. The null path, and what is at that domain anyway, stay as they are.

    @param day: days since the epoch.
    """
    if sender.isNull or not sender.domain or sender.domain.lower() == domain.lower():
        return sender
    wrapped = _WRAPPED.match(sender.local)
    if wrapped is not None:
        rest = sender.local[wrapped.end() :]
        if wrapped[1] == "0":
            tail = f"{sender.domain}={sender.local[4:]}"
            return Path(f"SRS1={_hash(spec.key, '1', tail)}={tail}", domain)
        inner = _SRS1.match(rest)
        if inner is not None:
            tail = f"{inner[2]}={inner[3]}"
            return Path(f"SRS1={_hash(spec.key, '1', tail)}={tail}", domain)
    tail = f"{_DIGITS[day % _DAYS >> 5]}{_DIGITS[day & 31]}={sender.domain}={sender.local}"
    return Path(f"SRS0={_hash(spec.key, '0', tail)}={tail}", domain)


def rewriteSender(config: Config, sender: Path, original: Path, wallTime: float) -> Path:
    """The sender for mail to C{original} that is forwarded.

    @param original: the address of the RCPT command.
    @param wallTime: seconds since the epoch.
    """
    spec = config.srs
    return sender if spec is None else encode(spec, sender, srsDomain(config, original), dayOf(wallTime))


def decode(spec: SrsSpec, path: Path, day: int) -> Path:
    """The address that C{path} stands for.

    @param day: days since the epoch.
    @raise BadSrs: it is forged, mangled or too old.
    """
    wrapped = _WRAPPED.match(path.local)
    if wrapped is None:
        raise BadSrs("not a rewritten sender")
    rest = path.local[wrapped.end() :]
    kind = wrapped[1]
    form = (_SRS0 if kind == "0" else _SRS1).match(rest)
    if form is None:
        raise BadSrs("not in the form of a rewritten sender")
    said, tail = form[1], rest[len(form[1]) + 1 :]
    if not any(_agrees(key, kind, said, tail, path.domain) for key in (spec.key, spec.backupKey) if key):
        raise BadSrs("not made with our keys")
    if not _DOMAIN.match(form[3] if kind == "0" else form[2]):
        raise BadSrs("of an address that is none")
    if kind == "0":
        _checkDay(spec, form[2], day)
        return Path(form[4], form[3])
    # The first host's own day: it would refuse an old one, but we need not carry it there.
    inner = _INNER.match(form[3])
    if inner is not None:
        _checkDay(spec, inner[1], day)
    return Path(f"SRS0{form[3]}", form[2])


def srsDomain(config: Config, original: Path) -> str:
    """Where the senders of mail to C{original} are wrapped: in its own domain, where C{srs domain} lists that by name, else in ours."""
    spec = config.srs
    if spec is not None and spec.domains is not None:
        table = config.tables.get(spec.domains.name)
        domain = original.domain.lower()
        if table is not None and any(key.lower() == domain for key, _ in table.entries):
            return domain
    return config.serverName


def _checkDay(spec: SrsSpec, digits: str, day: int) -> None:
    """
    @raise BadSrs: it is neither of the last C{ttl} nor of tomorrow: clocks differ.
    """
    digits = digits.upper()
    age = (day - (_DIGITS.index(digits[0]) << 5 | _DIGITS.index(digits[1]))) % _DAYS
    if age > max(1, int(spec.ttl // DAY)) and age != _DAYS - 1:
        raise BadSrs(f"{age} days old")


def _agrees(key: str, kind: str, said: str, tail: str, domain: str) -> bool:
    if len(said) == _FOREIGN_SIZE:
        return any(
            compare_digest(_foreignHash(key, f"{tail}@{at}"), said.encode("utf-8", "replace"))
            for at in (domain, domain.lower())
        )
    return compare_digest(_hash(key, kind, tail).encode("ascii"), said.upper().encode("utf-8", "replace"))


def _hash(key: str, kind: str, tail: str) -> str:
    """Letters may change their case on the way; the kinds do not stand for each other."""
    made = HMAC(
        key.encode("utf-8", "surrogateescape"), f"SRS{kind}={tail.lower()}".encode("utf-8", "surrogatepass"), sha256
    )
    return b32encode(made.digest()[:_OCTETS]).decode("ascii")


def _foreignHash(key: str, tail: str) -> bytes:
    digest = sha1(
        key.encode("utf-8", "surrogateescape") + tail.encode("utf-8", "surrogatepass"), usedforsecurity=False
    ).digest()
    return b64encode(digest)[:_FOREIGN_SIZE].replace(b"/", b"_").replace(b"+", b"-")
