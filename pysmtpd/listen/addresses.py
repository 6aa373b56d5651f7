"""Finding the addresses in a header field (RFC 5322 3.4), to complete or replace them and leave all else as it is. Pure.

What is no address list is left alone: nobody's field is made worse than it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# What is in quotes, the ends of comments (which nest), literals, brackets, words. No alternative looks far ahead in vain twice.
_TOKEN = re.compile(
    rb'(?P<quoted>"(?:[^"\\]|\\[^\r\n])*+")|(?P<open>\()|(?P<close>\))|(?P<literal>\[(?:[^\[\]\\]|\\[^\r\n])*+\])|(?P<special>[<>,;:])'
    rb"|(?P<space>[ \t\r\n]++)|(?P<word>(?:[^\x00-\x20()<>\[\],;:\"\\]|\\[^\r\n])++)|(?P<other>.)",
    re.DOTALL,
)


class Span(NamedTuple):
    """Where an address stands in the field.

    @ivar hasDomain: there is an C{@} in it.
    """

    start: int
    end: int
    hasDomain: bool


def addressSpans(value: bytes) -> Iterator[Span]:
    """The addresses of a field, in order; a display name, a comment or the name of a group is none.

    @param value: what stands after the colon, folded as it came.
    """
    depth = 0
    start = end = -1
    words = 0
    inAngle = isBroken = hasAngle = False
    for match in _TOKEN.finditer(value):
        kind = match.lastgroup
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(0, depth - 1)
        elif depth or kind == "space":
            continue
        elif kind == "special":
            mark = match.group()
            if mark == b"<":
                isBroken = isBroken or inAngle or hasAngle
                inAngle, start, words = True, -1, 0
            elif mark == b">":
                if inAngle and not isBroken and start >= 0 and words == 1:
                    yield Span(start, end, b"@" in value[start:end])
                isBroken = isBroken or not inAngle
                inAngle, hasAngle = False, True
            elif mark == b":" and not inAngle:
                # The name of a group.
                start, words, isBroken, hasAngle = -1, 0, False, False
            elif mark in b",;" and not inAngle:
                yield from _bare(value, start, end, words, isBroken or hasAngle)
                start, words, isBroken, hasAngle = -1, 0, False, False
            else:
                # A route, or rubbish.
                isBroken = True
        elif kind == "other":
            isBroken = True
        else:
            if start < 0:
                start = match.start()
            # What touches is one: "quoted"@example.org, user@[192.0.2.1].
            if match.start() != end or words == 0:
                words += 1
            end = match.end()
    if not inAngle:
        yield from _bare(value, start, end, words, isBroken or hasAngle)


def _bare(value: bytes, start: int, end: int, words: int, isOther: bool) -> Iterator[Span]:
    """An address without brackets is a single word; several are a name without an address, or blanks around the C{@}: left alone."""
    if start < 0 or words != 1 or isOther or value[start : start + 2] == b"=?":
        return
    yield Span(start, end, b"@" in value[start:end])


def qualified(value: bytes, domain: bytes) -> bytes:
    """The field with C{@domain} behind each address that has no domain."""
    parts: list[bytes] = []
    at = 0
    for span in addressSpans(value):
        if not span.hasDomain:
            parts += (value[at : span.end], b"@", domain)
            at = span.end
    return b"".join((*parts, value[at:])) if parts else value


def replaced(value: bytes, address: bytes) -> bytes:
    """The field with C{address} in the place of each of its addresses; display names stay."""
    parts: list[bytes] = []
    at = 0
    for span in addressSpans(value):
        parts += (value[at : span.start], address)
        at = span.end
    return b"".join((*parts, value[at:])) if parts else value
