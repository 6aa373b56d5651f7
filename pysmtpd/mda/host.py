"""A delivery host: the process that stores one user's letters, and runs this user's commands, as that user. No Twisted, no network, no
configuration.

It reads frames (see L{pysmtpd.mda.wire}) from the one socket that it has. Letters that wait while all threads are busy gather, and
share the sync of their directory; threads share the file system's commits. What may wait for others, a command or a mailbox that is locked,
has a thread of its own.
"""

from __future__ import annotations

import errno
import socket
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from pysmtpd.mda.maildir import BATCH, Letter, LetterWriter, storeAll
from pysmtpd.mda.wire import Answer, Frame, Kind, Status, exited, packAnswer, takeFrames
from pysmtpd.mda.writers import Writer, deliverWhole, maildirOf, openWriter
from pysmtpd.model.task import Exit, MaildirTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysmtpd.interfaces import IDisk, IProcesses

# Threads that store whole letters.
LANES = 4

# Letters in pieces under way at one time.
MAX_OPEN = 128

# Threads for what may wait for others.
MAX_SLOW = 64

_READ = 262_144


class DeliveryHost:
    """Serves one daemon until it hangs up."""

    def __init__(self, connection: socket.socket, disk: IDisk, processes: IProcesses, home: str) -> None:
        """
        @param home: what C{~} stands for.
        """
        self._connection = connection
        self._disk = disk
        self._processes = processes
        self._home = home
        self._sending = threading.Lock()
        self._letters: SimpleQueue[Frame] = SimpleQueue()
        self._pieces: SimpleQueue[Frame] = SimpleQueue()
        self._open: dict[int, Writer] = {}
        self._slow = threading.Semaphore(MAX_SLOW)

    def run(self) -> None:
        """Returns when the daemon has hung up; what is half done then stays so: the process is to end at once.

        @raise ValueError: what came was no frame.
        @raise OSError: the connection broke.
        """
        for _ in range(LANES):
            threading.Thread(target=self._storeLetters, daemon=True).start()
        threading.Thread(target=self._storePieces, daemon=True).start()
        buffer = bytearray()
        try:
            while octets := self._connection.recv(_READ):
                buffer += octets
                for frame in takeFrames(buffer):
                    self._take(frame)
        finally:
            # Nobody would hear how they end.
            self._processes.endCommands()

    def _take(self, frame: Frame) -> None:
        task = frame.task
        if frame.kind is Kind.STOP:
            self._processes.endCommands()
        elif frame.kind is not Kind.WHOLE or task is None:
            self._pieces.put(frame)
        elif isinstance(task, MaildirTask):
            self._letters.put(frame)
        else:
            whole = task
            self._start(
                frame.letter,
                lambda: deliverWhole(self._disk, self._processes, self._home, whole, (frame.content,)),
            )

    def _start(self, letter: int, work: Callable[[], str | Exit]) -> None:
        """Do something that may take its time, and answer."""
        if not self._slow.acquire(blocking=False):
            self._answer([_asAnswer(letter, OSError(errno.EAGAIN, "too much at once"))])
            return

        def run() -> None:
            try:
                result: str | Exit | OSError = work()
            except OSError as error:
                result = error
            except Exception as error:
                result = OSError(errno.EIO, f"unexpected: {error!r}")
            self._slow.release()
            self._answer([_asAnswer(letter, result)])

        threading.Thread(target=run, daemon=True).start()

    def _answer(self, answers: list[Answer]) -> None:
        octets = b"".join(map(packAnswer, answers))
        with self._sending:
            try:
                self._connection.sendall(octets)
            except OSError:
                # The daemon is gone; the reading thread learns it, too.
                return

    # --- whole letters

    def _storeLetters(self) -> None:
        waiting = self._letters
        while True:
            frames = [waiting.get()]
            # A fair share of what waits, so that no thread idles while another has a long batch.
            share = min(BATCH, 1 + waiting.qsize() // LANES)
            try:
                while len(frames) < share:
                    frames.append(waiting.get_nowait())
            except Empty:
                # Another thread was faster.
                share = len(frames)
            self._answer(self._store(frames))

    def _store(self, frames: list[Frame]) -> list[Answer]:
        results: dict[int, str | OSError] = {}
        letters: dict[int, Letter] = {}
        for frame in frames:
            try:
                letters[frame.letter] = self._letter(frame)
            except OSError as error:
                results[frame.letter] = error
        try:
            results.update(zip(letters, storeAll(self._disk, list(letters.values())), strict=True))
        except Exception as error:
            results.update(dict.fromkeys(letters, OSError(errno.EIO, f"unexpected: {error!r}")))
        return [_asAnswer(letter, result) for letter, result in results.items()]

    def _letter(self, frame: Frame) -> Letter:
        task = frame.task
        assert isinstance(task, MaildirTask)
        disk, directory = maildirOf(self._disk, self._home, task)
        return Letter(directory, task.name, (task.prefix, frame.content), disk if task.beneath else None)

    # --- letters in pieces

    def _storePieces(self) -> None:
        while True:
            frame = self._pieces.get()
            try:
                answer = self._storePiece(frame)
            except OSError as error:
                self._open.pop(frame.letter, None)
                answer = _asAnswer(frame.letter, error)
            except Exception as error:
                self._open.pop(frame.letter, None)
                answer = _asAnswer(frame.letter, OSError(errno.EIO, f"unexpected: {error!r}"))
            if answer is not None:
                self._answer([answer])

    def _storePiece(self, frame: Frame) -> Answer | None:
        letter = frame.letter
        if frame.kind is Kind.BEGIN:
            if len(self._open) >= MAX_OPEN or letter in self._open:
                raise OSError(errno.EMFILE, "too many letters at once")
            assert frame.task is not None
            self._open[letter] = openWriter(self._disk, self._processes, self._home, frame.task)
        writer = self._open.get(letter)
        if frame.kind is Kind.ABORT:
            if writer is not None:
                del self._open[letter]
                writer.abort()
            return None
        if writer is None:
            raise OSError(errno.EINVAL, "there is no such letter")
        if frame.kind is Kind.END:
            del self._open[letter]
            if not isinstance(writer, LetterWriter):
                self._start(letter, writer.finish)
                return None
            return _asAnswer(letter, writer.finish())
        writer.write(frame.content)
        return Answer(letter, Status.NEXT)


def _asAnswer(letter: int, result: str | Exit | OSError) -> Answer:
    if isinstance(result, Exit):
        return exited(letter, result)
    if isinstance(result, OSError):
        return Answer(letter, Status.FAILED, result.errno or errno.EIO, result.strerror or str(result))
    return Answer(letter, Status.STORED, 0, result)
