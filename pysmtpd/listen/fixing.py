"""What a message from its author's program lacks is added (RFC 6409 8): Date and Message-ID, domains of addresses; Bcc goes.

Only the header is kept in memory, up to L{MAX_HEADER}; a longer one passes as it is. Content behind it is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces import IBodyPipe, Ready
from pysmtpd.listen.addresses import qualified, replaced
from pysmtpd.model.address import Path
from pysmtpd.model.date import formatDate
from pysmtpd.model.value import value

MAX_HEADER = 262_144

# A field begins with its name; lines that begin with a blank go on with it (RFC 5322 2.2, 2.2.3).
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")

# Nobody but the hidden recipients themselves may see them (RFC 5322 3.6.3).
_HIDDEN = (b"bcc", b"resent-bcc")
_ADDRESSES = (b"from", b"sender", b"reply-to", b"to", b"cc")


@value
class Fixing:
    """What is needed to fix one message.

    @ivar domain: for addresses without one, and for the Message-ID.
    @ivar seconds: wall-clock time.
    @ivar unique: makes the Message-ID.
    @ivar masquerade: what From shall say; None: what it says.
    """

    domain: str
    seconds: float
    unique: str
    masquerade: Path | None = None


def fixHeader(header: bytes, fixing: Fixing) -> bytes:
    """
    @param header: a message's header with the CRLF of its last line, without the empty line.
    """
    domain = fixing.domain.encode("ascii", "ignore")
    present: set[bytes] = set()
    parts: list[bytes] = []
    for name, field in _fields(header):
        present.add(name)
        if name in _HIDDEN:
            continue
        if name in _ADDRESSES:
            head, colon, rest = field.partition(b":")
            if name == b"from" and fixing.masquerade is not None:
                rest = replaced(rest, str(fixing.masquerade).encode())
            field = head + colon + qualified(rest, domain)
        parts.append(field)
    if b"message-id" not in present:
        parts.insert(0, b"Message-ID: <%s@%s>\r\n" % (fixing.unique.encode("ascii"), domain))
    if b"date" not in present:
        parts.insert(0, f"Date: {formatDate(fixing.seconds)}\r\n".encode("ascii"))
    return b"".join(parts)


class _Lines:
    """Finds the end of a header while it comes. Each line is looked at once.

    @ivar data: what has come.
    """

    __slots__ = ("_at", "_isFirst", "_searched", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._at = 0
        self._isFirst = True
        self._searched = 0

    def size(self, isWhole: bool) -> int:
        """
        @param isWhole: nothing follows.
        @return: octets of the header, without the empty line behind it; -1: that cannot be told yet. A line that can be in no header
            ends it, as the text does that a program sends without any.
        """
        data = self.data
        while True:
            at = self._at
            end = data.find(b"\r\n", self._searched)
            if end < 0:
                # Its first half may be there.
                self._searched = max(at, len(data) - 1)
                if not isWhole:
                    return -1
                end = len(data)
            if not self._isField(at, end):
                return at
            self._isFirst = False
            self._at = self._searched = min(end + 2, len(data))

    def _isField(self, at: int, end: int) -> bool:
        """Is this line one of the header?"""
        if at == end:
            return False
        if self._isFirst:
            # The first line of an mbox is in no header, and before one.
            return self.data.startswith(b"From ") or _FIELD.match(self.data, at, end) is not None
        return self.data[at] in b" \t" or _FIELD.match(self.data, at, end) is not None


def _fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name in lower case, and all lines, of each field."""
    lines = header.split(b"\r\n")[:-1]
    start = 1 if header.startswith(b"From ") else 0
    for index in range(start + 1, len(lines) + 1):
        if index < len(lines) and lines[index][:1] in (b" ", b"\t"):
            continue
        found = _FIELD.match(lines[start]) if start < len(lines) else None
        yield found.group(1).lower() if found is not None else b"", b"\r\n".join(lines[start:index]) + b"\r\n"
        start = index


@implementer(IBodyPipe)
class FixingPipe:
    """The stage before all others."""

    def __init__(self, fixing: Fixing, then: IBodyPipe | None) -> None:
        """
        @param then: the next stage.
        """
        self._fixing = fixing
        self._then = then
        self._lines: _Lines | None = _Lines()

    def write(self, chunk: bytes) -> Ready[bytes]:
        lines = self._lines
        if lines is not None:
            lines.data += chunk
            chunk = self._header(lines, False)
        return chunk if self._then is None or not chunk else self._then.write(chunk)

    def finish(self) -> Ready[bytes]:
        lines = self._lines
        rest = b"" if lines is None else self._header(lines, True)
        then = self._then
        if then is None:
            return rest
        if not rest:
            return then.finish()
        written = then.write(rest)
        if isinstance(written, Deferred):
            return written.addCallback(self._finishAfter)
        return self._finishAfter(written)

    def _header(self, lines: _Lines, isWhole: bool) -> bytes:
        """What may pass on; the rest is held."""
        size = lines.size(isWhole)
        if size < 0 and len(lines.data) <= MAX_HEADER:
            return b""
        self._lines = None
        data = bytes(lines.data)
        if size < 0 or size > MAX_HEADER:
            return data
        header, rest = data[:size], data[size:]
        if header and not header.endswith(b"\r\n"):
            header += b"\r\n"
        if rest and not rest.startswith(b"\r\n"):
            # Text without a header.
            rest = b"\r\n" + rest
        return fixHeader(header, self._fixing) + rest

    def _finishAfter(self, written: bytes) -> Ready[bytes]:
        assert self._then is not None
        rest = self._then.finish()
        if isinstance(rest, Deferred):
            return rest.addCallback(lambda last: written + last)
        return written + rest
