"""A bounded buffer between what arrives and who reads it: command lines now, content after DATA, in one stream."""

from __future__ import annotations

from typing import Final

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.replies import AUTH_TOO_LONG, BAD_CHARACTER, BARE_LF, ENDLESS_LINE, FOREIGN_PROTOCOL, LINE_TOO_LONG

# Octets of an AUTH command, or of a response, with CRLF (RFC 4954 4).
AUTH_LINE_MAX: Final = 12_288
# Octets of an over-long line that are read and thrown away before the session ends.
SKIP_MAX: Final = 65_536
# The first octet of a TLS handshake: no command begins with it, and no line end would come.
_TLS_RECORD: Final = 0x16


class LineRefused(Exception):
    """
    @ivar fatal: where the next command begins is not known, or not worth finding out: the session has to end.
    """

    def __init__(self, reply: Reply, line: bytes, fatal: bool = False) -> None:
        super().__init__(reply.text)
        self.reply = reply
        self.line = line
        self.fatal = fatal


class LineBuffer:
    """Octets received and not yet read.

    Only CRLF ends a command line (RFC 5321 2.3.8). A bare LF makes two readers of one stream disagree on where commands begin, so it ends
    the session, unless the listener is told to be kind to it. Whatever is decided depends on the octets alone, never on how they were cut.
    """

    __slots__ = ("_data", "_scanned", "_skipped", "_start", "_takesBareLF")

    def __init__(self, takesBareLF: bool = False) -> None:
        """
        @param takesBareLF: LF alone ends a line, too.
        """
        self._data = b""
        self._start = 0
        # From _start on, this much is known to hold no LF.
        self._scanned = 0
        # Octets thrown away of a line that was refused; -1: no such line.
        self._skipped = -1
        self._takesBareLF = takesBareLF

    def __len__(self) -> int:
        return len(self._data) - self._start

    def receive(self, data: bytes) -> None:
        """Add octets at the end."""
        self._data = self._data[self._start :] + data if len(self._data) > self._start else data
        self._start = 0

    def clear(self) -> None:
        """Forget everything."""
        self._data = b""
        self._start = self._scanned = 0
        self._skipped = -1

    def takeLine(self, limit: int) -> bytes | None:
        """The next line without its end, or None: more octets are needed.

        @param limit: octets with CRLF; an AUTH command may always have L{AUTH_LINE_MAX}.
        @raise LineRefused: once for each line that cannot be a command; go on with the next call unless it is fatal.
        """
        data, start = self._data, self._start
        if start == len(data):
            return None
        if self._skipped >= 0:
            if not self._skip():
                return None
            return self.takeLine(limit)
        if data[start] == _TLS_RECORD:
            raise LineRefused(FOREIGN_PROTOCOL, b"", fatal=True)
        end = data.find(b"\n", start + self._scanned, start + limit)
        if end < 0:
            waiting = len(data) - start
            if waiting < limit:
                self._scanned = waiting
                return None
            isAuth = data[start : start + 4].upper() == b"AUTH"
            if isAuth and limit < AUTH_LINE_MAX:
                return self.takeLine(AUTH_LINE_MAX)
            self._skipped = self._scanned = 0
            raise LineRefused(AUTH_TOO_LONG if isAuth else LINE_TOO_LONG, data[start : start + limit])
        self._scanned = 0
        self._start = end + 1
        if end > start and data[end - 1] == 13:
            line = data[start : end - 1]
        elif self._takesBareLF:
            line = data[start:end]
        else:
            raise LineRefused(BARE_LF, data[start:end], fatal=True)
        if b"\r" in line or b"\0" in line:
            raise LineRefused(BAD_CHARACTER, line)
        return line

    def takeAll(self) -> bytes:
        """Everything that waits."""
        data, start = self._data, self._start
        self._data = b""
        self._start = self._scanned = 0
        return data[start:] if start else data

    def take(self, count: int) -> bytes:
        """At most C{count} octets."""
        start = self._start
        if len(self._data) - start <= count:
            return self.takeAll()
        self._start = start + count
        return self._data[start : self._start]

    def _skip(self) -> bool:
        """Throw away the rest of a line that was refused. Was its end found?"""
        ending = b"\n" if self._takesBareLF else b"\r\n"
        end = self._data.find(ending, self._start)
        if end >= 0:
            gone = end + len(ending) - self._start
        else:
            # A CR at the end may be half of the CRLF.
            gone = max(len(self) - (self._data[-1:] == b"\r"), 0)
        self._start += gone
        self._skipped += gone
        if self._skipped > SKIP_MAX:
            raise LineRefused(ENDLESS_LINE, b"", fatal=True)
        if end < 0:
            return False
        self._skipped = -1
        return True
