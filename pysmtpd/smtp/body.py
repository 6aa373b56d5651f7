"""Content on its way in: the end of data, dots, newlines, and what it may not hold. No Python runs per line.

Only CRLF.CRLF ends data (RFC 5321 2.3.8, 4.1.1.4). What else some server somewhere might take for an end (C{LF.LF}, C{CR.CR},
C{LF.CRLF}, C{CRLF.LF}, ...) is content; by default it is refused for its bare newline, but only after the true end was seen, so that a
message smuggled behind it is never read as commands.

A verdict never depends on how the octets were cut into segments: everything is counted to the end, and then judged in one order.
"""

from __future__ import annotations

from typing import Final

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.replies import BARE_NEWLINE, MESSAGE_TOO_BIG, TEXT_LINE_TOO_LONG

_END: Final = b"\r\n.\r\n"


class DataReader:
    """Finds the end of what follows DATA and takes away the stuffed dots (RFC 5321 4.5.2)."""

    __slots__ = ("_first", "_held")

    def __init__(self) -> None:
        # The CRLF that ended the DATA command begins the first line.
        self._held = b"\r\n"
        self._first = True

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """
        @return: content, with no CRLF cut in two; and what follows the end of data, or None: the end has not come.
        """
        if self._held:
            data = self._held + data
        # Mostly the first dot behind a CRLF is that of the end: then one search is all.
        dot = data.find(b"\r\n.")
        end = data.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            rest: bytes | None = data[end + len(_END) :]
            content = data[: end + 2]
            self._held = b""
        else:
            rest = None
            held = _beginningOfEnd(data)
            self._held = data[len(data) - held :] if held else b""
            content = data[:-held] if held else data
        if dot != end:
            # Before the end every dot behind CRLF is one too many, and no two of them share a CRLF.
            content = content.replace(b"\r\n.", b"\r\n")
        if self._first and content:
            self._first = False
            content = content[2:]
        return content, rest


def _beginningOfEnd(data: bytes) -> int:
    """How many octets at the end of C{data} might begin the end of data."""
    if data[-1:] not in (b"\r", b"\n", b"."):
        return 0
    for length in (4, 3, 2, 1):
        if data.endswith(_END[:length]):
            return length
    return 0


class ContentCheck:
    """One message's content, judged while it comes, whether by DATA or by BDAT.

    @ivar size: octets so far, as they are stored.
    @ivar eightBit: there was an octet above 127.
    """

    __slots__ = ("_bare", "_carried", "_long", "_maxLine", "_maxSize", "_normalise", "_open", "eightBit", "size")

    def __init__(self, maxSize: int, maxLine: int, normalise: bool) -> None:
        """
        @param maxSize: octets of the content, without stuffed dots.
        @param maxLine: octets of a line with its CRLF.
        @param normalise: make CRLF of a bare CR or LF, in place of refusing the message.
        """
        self.size = 0
        self.eightBit = False
        self._maxSize = maxSize
        self._maxLine = maxLine
        self._normalise = normalise
        self._bare = self._long = False
        # A CR whose LF may come with the next piece.
        self._carried = b""
        # Octets of the line that is not ended yet.
        self._open = 0

    @property
    def refusal(self) -> Reply | None:
        """Why the content so far cannot be accepted."""
        if self.size > self._maxSize:
            return MESSAGE_TOO_BIG
        if self._bare:
            return BARE_NEWLINE
        return TEXT_LINE_TOO_LONG if self._long else None

    def add(self, piece: bytes) -> bytes:
        """
        @return: the piece as it is stored; empty once the content is refused.
        """
        if self._carried:
            piece = self._carried + piece
            self._carried = b""
        if self.size > self._maxSize:
            return b""
        if piece[-1:] == b"\r":
            self._carried = b"\r"
            piece = piece[:-1]
        pairs = piece.count(b"\r\n")
        if piece.count(b"\n") != pairs or piece.count(b"\r") != pairs:
            if self._normalise:
                piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
            else:
                self._bare = True
        self.size += len(piece)
        if not self.eightBit and not piece.isascii():
            self.eightBit = True
        if self._open + len(piece) > self._maxLine and not self._long:
            self._long = self._holdsLongLine(piece)
        newline = piece.rfind(b"\n")
        self._open = len(piece) - newline - 1 if newline >= 0 else self._open + len(piece)
        return b"" if self._bare or self._long or self.size > self._maxSize else piece

    def finish(self) -> bytes:
        """The content is complete.

        @return: what is still to be stored: a last line without its CRLF (BDAT may bring one) gets it.
        """
        if self._carried and not self._normalise:
            self._bare = True
        if not (self._open or self._carried):
            return b""
        self._open = 0
        self._carried = b""
        self.size += 2
        return b"" if self.refusal else b"\r\n"

    def _holdsLongLine(self, piece: bytes) -> bool:
        """Jump from line end to line end, each time as far as one line may reach."""
        start = -self._open
        while len(piece) - start > self._maxLine:
            newline = piece.rfind(b"\n", max(start, 0), max(start + self._maxLine, 0))
            if newline < 0:
                return True
            start = newline + 1
        return False
