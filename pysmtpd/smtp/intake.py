"""The two ways in which content comes: after DATA up to its end, or by BDAT in counted chunks."""

from __future__ import annotations

from pysmtpd.model.config import BareNewline
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.body import ContentCheck, DataReader
from pysmtpd.smtp.events import NEED_DATA, Content, Idle, ServerSettings
from pysmtpd.smtp.lines import LineBuffer


def newCheck(settings: ServerSettings) -> ContentCheck:
    """For one message."""
    normalise = settings.bareNewline is BareNewline.NORMALISE
    return ContentCheck(settings.maxSize, settings.maxTextLine, normalise)


class DataIntake:
    """What follows a 354."""

    __slots__ = ("_isComplete", "_reader", "check")

    def __init__(self, check: ContentCheck) -> None:
        self.check = check
        self._reader = DataReader()
        self._isComplete = False

    def read(self, lines: LineBuffer) -> Content | Idle | None:
        """The next piece; NEED_DATA; or None: this was all."""
        if self._isComplete:
            return None
        data = lines.takeAll()
        if not data:
            return NEED_DATA
        content, rest = self._reader.feed(data)
        piece = self.check.add(content) if content else b""
        if rest is not None:
            self._isComplete = True
            lines.receive(rest)
        if piece:
            return Content(piece)
        return None if self._isComplete else NEED_DATA


class ChunkIntake:
    """The octets behind one BDAT command. They are always read, wanted or not: they must never be taken for commands (RFC 3030 2).

    @ivar check: of the message; None: the chunk is thrown away.
    @ivar refusal: why, said when its octets have been read.
    """

    __slots__ = ("_left", "check", "isLast", "refusal", "size")

    def __init__(self, size: int, isLast: bool, check: ContentCheck | None, refusal: Reply | None) -> None:
        self.size = size
        self.isLast = isLast
        self.check = check
        self.refusal = refusal
        self._left = size

    def read(self, lines: LineBuffer) -> Content | Idle | None:
        """The next piece; NEED_DATA; or None: this was all."""
        check = self.check
        while self._left:
            data = lines.take(self._left)
            if not data:
                return NEED_DATA
            self._left -= len(data)
            piece = check.add(data) if check is not None else b""
            if piece:
                return Content(piece)
        rest = check.finish() if check is not None and self.isLast else b""
        return Content(rest) if rest else None
