"""Content that is gathered in a nameless file first, so that what follows has all of it at hand. Everything here blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysmtpd.interfaces import IDisk

_READ = 262_144


class Spooled:
    """A letter with LF line ends, as it comes."""

    def __init__(self, disk: IDisk) -> None:
        """
        @raise OSError: there is no room.
        """
        self.file = disk.temporary()
        self._endsWithCR = False

    def write(self, part: bytes) -> None:
        """
        @raise OSError: nothing of it is left.
        """
        # CRLF may fall between two pieces.
        if self._endsWithCR:
            part = b"\r" + part
        self._endsWithCR = part.endswith(b"\r")
        if self._endsWithCR:
            part = part[:-1]
        self._put(part.replace(b"\r\n", b"\n"))

    def end(self) -> None:
        """Nothing more comes.

        @raise OSError: nothing of it is left.
        """
        if self._endsWithCR:
            self._endsWithCR = False
            self._put(b"\r")

    def _put(self, octets: bytes) -> None:
        try:
            self.file.write(octets)
        except OSError:
            self.file.close()
            raise

    def readAt(self, offset: int) -> bytes:
        """A part of it; empty at its end."""
        return self.file.readAt(offset, _READ)

    def close(self) -> None:
        """It is gone."""
        self.file.close()
