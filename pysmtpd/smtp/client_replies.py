"""Replies as they come from a server: bounded, checked, and made fit to be logged."""

from __future__ import annotations

import re
from functools import lru_cache

from pysmtpd.model.reply import Reply

MAX_REPLY_LINE = 2048
"""Octets of a line without its end. RFC 5321 4.5.3.1.5 says 512; OpenSMTPD and Postfix allow 2,048."""

MAX_REPLY_LINES = 100
"""Lines of one reply; answers to EHLO have about twenty."""

MAX_REPLY_TEXT = 1024
"""Characters that are kept of a reply's text."""

_SHORT = 80

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?:\s+|\Z)")
_UNPRINTABLE = re.compile(r"[^ -~]")


class ReplyError(Exception):
    """This is not a reply; the text says why, for people."""


def _printable(line: bytes) -> str:
    """Only printable ASCII: what a peer says ends in logs, terminals and other people's mail."""
    return _UNPRINTABLE.sub("?", line.decode("latin-1"))


def makeReply(code: int, lines: tuple[bytes, ...]) -> Reply:
    """The peer's enhanced code is kept where its class fits (RFC 2034 4); else, for 2xx, 4xx and 5xx, it is C{x.0.0}."""
    enhanced = f"{code // 100}.0.0" if code // 100 != 3 else ""
    texts = []
    for index, line in enumerate(lines):
        text = _printable(line)
        match = _ENHANCED.match(text)
        if match and int(match[1]) == code // 100:
            text = text[match.end() :]
            if index == 0:
                enhanced = f"{match[1]}.{int(match[2])}.{int(match[3])}"
        texts.append(text.strip())
    return Reply(code, "\n".join(texts)[:MAX_REPLY_TEXT], enhanced)


@lru_cache(maxsize=512)
def _shortReply(line: bytes) -> Reply:
    """Peers say the same few things all day."""
    return makeReply(int(line[:3]), (line[4:],))


class ReplyReader:
    """Cuts octets into replies.

    @ivar lines: of the last reply, without codes, as they came.
    """

    __slots__ = ("_at", "_buffer", "_code", "_parts", "lines")

    def __init__(self) -> None:
        self.lines: tuple[bytes, ...] = ()
        self._buffer = b""
        self._at = 0
        self._parts: list[bytes] = []
        self._code = b""

    def feed(self, data: bytes) -> None:
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    @property
    def isEmpty(self) -> bool:
        """Nothing waits to be read, not even part of a reply."""
        return self._at >= len(self._buffer) and not self._parts

    def clear(self) -> None:
        self._buffer, self._at, self._code = b"", 0, b""
        self._parts.clear()

    def next(self) -> Reply | None:
        """
        @raise ReplyError: the peer does not speak SMTP; there is no way on from here.
        """
        while True:
            end = self._buffer.find(b"\n", self._at)
            length = (end if end >= 0 else len(self._buffer)) - self._at
            if length > MAX_REPLY_LINE:
                raise ReplyError("reply line too long")
            if end < 0:
                return None
            line = self._buffer[self._at : end].removesuffix(b"\r")
            self._at = end + 1
            code, mark = line[:3], line[3:4]
            if not (len(code) == 3 and code.isdigit() and b"2" <= code[:1] <= b"5") or mark not in (b" ", b"-", b""):
                raise ReplyError(f"not an SMTP reply: {_printable(line[:80])}")
            if self._parts and code != self._code:
                raise ReplyError("different codes in one reply")
            if mark == b"-":
                self._code = code
                self._parts.append(line[4:])
                if len(self._parts) >= MAX_REPLY_LINES:
                    raise ReplyError("endless reply")
                continue
            if self._parts:
                self.lines = (*self._parts, line[4:])
                self._parts.clear()
                return makeReply(int(code), self.lines)
            self.lines = (line[4:],)
            return _shortReply(line) if len(line) <= _SHORT else makeReply(int(code), self.lines)
