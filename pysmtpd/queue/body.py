"""Bodies open for reading."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IFile, IWorkers
from pysmtpd.interfaces.queue import IBody
from pysmtpd.interfaces.ready import Ready
from pysmtpd.queue.refusal import asQueueError

CHUNK_OCTETS = 65_536


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
    """A part of a file, read in a lane.

    @ivar size: octets from the start to the end of the part.
    """

    __slots__ = ("_file", "_lane", "_place", "_start", "_workers", "size")

    def __init__(self, workers: IWorkers, lane: str, file: IFile, start: int, size: int) -> None:
        """
        @param file: open for reading; it is closed with this.
        """
        self._workers = workers
        self._lane = lane
        self._file: IFile | None = file
        self._start = start
        self._place = 0
        self.size = size

    def read(self) -> Deferred[bytes]:
        file, place = self._file, self._place
        count = 0 if file is None else min(CHUNK_OCTETS, self.size - place)
        self._place += count
        if file is None or count == 0:
            return self._workers.run(self._lane, bytes)
        return self._workers.run(self._lane, _readWhole, file, self._start + place, count).addErrback(_asRefusal)

    def rewind(self) -> None:
        self._place = 0

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # Only after the reads that were asked for before; closing what was only read cannot lose anything.
            self._workers.run(self._lane, file.close).addErrback(lambda failure: None)


def _readWhole(file: IFile, offset: int, size: int) -> bytes:
    data = file.readAt(offset, size)
    if len(data) < size:
        raise OSError(f"the file ends {size - len(data)} octets early")
    return data


def _asRefusal(failure: Failure) -> bytes:
    raise asQueueError("reading content", failure.value)
