"""Large content on its way into a file."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces.platform import IDisk, IFile, IWorkers
from pysmtpd.interfaces.queue import IStage
from pysmtpd.queue.refusal import refuse
from pysmtpd.queue.spool import removeIfThere

STAGED_SUFFIX = ".tmp"

_DOING = "staging content"


@implementer(IStage)
class FileStage:
    """A file that has a temporary name until it is finished, and its final one from then on.

    What is not committed is removed by C{discard}, or at the next start.
    """

    def __init__(
        self,
        workers: IWorkers,
        lane: str,
        disk: IDisk,
        directory: str,
        name: str,
        frame: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """
        @param frame: what is written for a chunk; None: the chunk.
        """
        self.name = name
        self._workers = workers
        self._lane = lane
        self._disk = disk
        self._directory = directory
        self._path = f"{directory}/{name}"
        self._frame = frame
        self._file: IFile | None = None

    def begin(self) -> Deferred[IStage]:
        """Create the file.

        @raise QueueError:
        """

        def created(file: IFile) -> IStage:
            self._file = file
            return self

        creating = self._workers.run(self._lane, self._disk.create, self._path + STAGED_SUFFIX)
        return creating.addCallback(created).addErrback(refuse, _DOING)

    def write(self, chunk: bytes) -> Deferred[None]:
        assert self._file is not None
        data = chunk if self._frame is None else self._frame(chunk)
        return self._workers.run(self._lane, self._file.write, data).addErrback(refuse, _DOING)

    def finish(self) -> Deferred[None]:
        return self._workers.run(self._lane, self._finish, self._file).addErrback(refuse, _DOING)

    def _finish(self, file: IFile) -> None:
        file.sync()
        file.close()
        self._disk.rename(self._path + STAGED_SUFFIX, self._path)
        self._disk.syncDirectory(self._directory)

    def discard(self) -> Deferred[None]:
        return self._workers.run(self._lane, self._discard, self._file).addErrback(refuse, _DOING)

    def _discard(self, file: IFile | None) -> None:
        if file is not None:
            file.close()
        removeIfThere(self._disk, self._path + STAGED_SUFFIX)
        removeIfThere(self._disk, self._path)
