"""Bodies open for reading."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger
from zope.interface import implementer

from pysmtpd.interfaces.platform import IFile, IWorkers
from pysmtpd.interfaces.queue import IBody
from pysmtpd.interfaces.ready import Ready
from pysmtpd.queue.refusal import refuse

CHUNK_OCTETS = 65_536

_log = Logger()


@implementer(IBody)
class MemoryBody:
    """Content that is in memory already."""

    __slots__ = ("_content", "_place", "size")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0
        self.size = len(content)

    def read(self) -> Ready[bytes]:
        place = self._place
        self._place = end = place + CHUNK_OCTETS
        if place == 0 and end >= self.size:
            return self._content
        return self._content[place:end]

    def rewind(self) -> None:
        self._place = 0

    def close(self) -> None:
        self._content = b""
        self.size = 0


@implementer(IBody)
class FileBody:
    """Parts of a file, read in a lane one after the other."""

    __slots__ = ("_file", "_lane", "_part", "_parts", "_place", "_workers", "size")

    def __init__(self, workers: IWorkers, lane: str, file: IFile, parts: Sequence[tuple[int, int]]) -> None:
        """
        @param file: open for reading; it is closed with this.
        @param parts: offset and length of each.
        """
        self._workers = workers
        self._lane = lane
        self._file: IFile | None = file
        self._parts = parts
        self.size = sum(length for _, length in parts)
        self._part = 0
        self._place = 0

    def read(self) -> Ready[bytes]:
        while self._file is not None and self._part < len(self._parts):
            offset, length = self._parts[self._part]
            count = min(CHUNK_OCTETS, length - self._place)
            if count:
                reading = self._workers.run(self._lane, _readWhole, self._file, offset + self._place, count)
                self._place += count
                return reading.addErrback(refuse, "reading content")
            self._part += 1
            self._place = 0
        return b""

    def rewind(self) -> None:
        self._part = 0
        self._place = 0

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # After the reads that were asked for before. Closing what was only read cannot lose anything.
            self._workers.run(self._lane, file.close).addErrback(
                lambda failure: _log.failure("closing content", failure)
            )


def _readWhole(file: IFile, offset: int, size: int) -> bytes:
    data = file.readAt(offset, size)
    if len(data) < size:
        raise OSError(f"the file ends {size - len(data)} octets early")
    return data
