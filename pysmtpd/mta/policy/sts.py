"""MTA-STS (RFC 8461): what a domain publishes about TLS towards its hosts. Pure: whoever fetches it is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

MAX_POLICY = 65_536
"""Octets of a policy (RFC 8461 3.2 leaves the bound to us)."""

MAX_PATTERNS = 500
MAX_AGE = 31_557_600.0
"""Seconds; the most that a policy may ask for (3.2)."""

_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*\Z")
_FIELD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}\Z")


class BadPolicy(ValueError):
    """It is not one; the text says why."""


class Mode(Enum):
    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """
    @ivar mx: patterns of host names, in lower case: a name, or C{*.} and a name for exactly one label more.
    @ivar maxAge: seconds for which it holds.
    """

    mode: Mode
    mx: tuple[str, ...]
    maxAge: float

    def covers(self, host: str) -> bool:
        """Is C{host}, in A-labels, one of the hosts that it names?"""
        host = host.rstrip(".").lower()
        parent = "*." + host.partition(".")[2]
        return host in self.mx or parent in self.mx


def parseRecord(texts: Sequence[str]) -> str | None:
    """The id in the TXT records of C{_mta-sts.DOMAIN}; None: there is no policy. Of several records none counts (3.1)."""
    records = [text for text in texts if re.match(r"v=STSv1[ \t]*(?:;|\Z)", text)]
    if len(records) != 1:
        return None
    found = None
    for field in records[0].split(";")[1:]:
        name, equals, value = (part.strip(" \t") for part in field.partition("="))
        if name == "id" and found is None:
            found = value
        elif (name or equals) and not (equals and _FIELD.match(name)):
            return None
    return found if found is not None and _ID.match(found) else None


def parsePolicy(content: bytes) -> StsPolicy:
    """
    @param content: the body of C{https://mta-sts.DOMAIN/.well-known/mta-sts.txt}.
    @raise BadPolicy:
    """
    if len(content) > MAX_POLICY:
        raise BadPolicy(f"it has more than {MAX_POLICY} octets")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPolicy("it is not UTF-8") from None
    fields: dict[str, str] = {}
    patterns: dict[str, None] = {}
    for number, line in enumerate(re.split(r"\r?\n", text), 1):
        name, colon, value = (part.strip(" \t") for part in line.partition(":"))
        if not line.strip(" \t"):
            continue
        if not colon or not _FIELD.match(name):
            raise BadPolicy(f"line {number} is not a field and its value")
        if name == "mx":
            patterns[_pattern(number, value)] = None
            if len(patterns) > MAX_PATTERNS:
                raise BadPolicy(f"it names more than {MAX_PATTERNS} hosts")
        else:
            # Of a field that is given twice the first counts (3.2).
            fields.setdefault(name, value)
    if fields.get("version") != "STSv1":
        raise BadPolicy("its version is not STSv1")
    try:
        mode = Mode(fields.get("mode", ""))
    except ValueError:
        raise BadPolicy(f'its mode is not enforce, testing or none, but "{fields.get("mode", "")[:40]}"') from None
    age = fields.get("max_age", "")
    if not re.match(r"[0-9]{1,10}\Z", age):
        raise BadPolicy("its max_age is not a number of seconds")
    if mode is not Mode.NONE and not patterns:
        raise BadPolicy("it names no host")
    return StsPolicy(mode, tuple(patterns), min(float(age), MAX_AGE))


def _pattern(number: int, value: str) -> str:
    name = value.lower().rstrip(".")
    if not name.isascii() or not _NAME.match(name.removeprefix("*.")) or len(name) > 255:
        raise BadPolicy(f'line {number}: "{value[:80]}" is not the name of a host')
    return name
