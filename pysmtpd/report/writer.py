"""Where log lines go: gathered, and written in a lane, so that a slow disk or a full pipe does not stop the reactor."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IWorkers

Sink = Callable[[bytes], int]
"""Called in a lane with some octets: writes as many as it can, and says how many.

Raises L{OSError} if it wrote none.
"""

DELAY = 0.1
LONGEST_DELAY = 5.0
LAST_PATIENCE = 5.0
HASTE = 65_536
MOST = 33_554_432


class LogWriter:
    """Keeps lines in memory for a moment, writes them in their order, and gives up none before C{close} has tried.

    While its sink fails it tries again, less and less often. What waits is bounded: lines beyond C{most} octets are dropped, and a
    line tells how many.
    """

    _log = Logger()

    def __init__(
        self,
        sink: Sink,
        workers: IWorkers,
        clock: IReactorTime,
        lane: str = "log",
        delay: float = DELAY,
        most: int = MOST,
    ) -> None:
        """
        @param delay: seconds that a line may wait for others.
        @param most: octets that may wait.
        """
        self._sink = sink
        self._workers = workers
        self._clock = clock
        self._lane = lane
        self._delay = self._patience = delay
        self._most = most
        self._lines: list[str] = []
        self._size = 0
        self._rest = b""
        self._dropped = 0
        self._timer: IDelayedCall | None = None
        self._writing = False
        self._failing = False
        self._closing = False
        self._end: IDelayedCall | None = None
        self._finished = False
        self._waiting: list[Deferred[None]] = []

    def write(self, line: str) -> None:
        """Take a line, with its newline. It is written within C{delay} if the sink is well. Never raises, never blocks."""
        if self._closing:
            return
        # Counted in characters: lines are ASCII but for a few names, and this is a bound, not a promise.
        if self._size + len(line) > self._most:
            self._dropped += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._timer is None and not self._writing:
            self._timer = self._clock.callLater(self._patience, self._flush)
        elif self._size >= HASTE and not self._writing and not self._failing and self._timer is not None:
            self._timer.cancel()
            self._flush()

    def close(self) -> Deferred[None]:
        """Write everything, and take nothing more. Fires when it is written, or after C{LAST_PATIENCE} seconds without success."""
        if not self._closing:
            self._closing = True
            self._patience = self._delay
            self._end = self._clock.callLater(LAST_PATIENCE, self._finish)
            if self._timer is not None:
                self._timer.cancel()
            if not self._writing:
                self._flush()
        if self._finished:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        return done

    def _flush(self) -> None:
        self._timer = None
        if self._dropped and not self._failing:
            self._lines.append(f"{self._dropped} log lines were dropped: they could not be written in time\n")
            self._dropped = 0
        data = self._rest + "".join(self._lines).encode("utf-8", "backslashreplace")
        self._lines.clear()
        self._rest = b""
        self._size = len(data)
        if not data:
            self._goOn()
            return
        self._writing = True
        self._workers.run(self._lane, self._sink, data).addCallbacks(
            self._written, self._failed, callbackArgs=(data,), errbackArgs=(data,)
        ).addErrback(lambda failure: self._log.failure("while writing the mail log", failure))

    def _written(self, count: int, data: bytes) -> None:
        self._writing = False
        self._rest = data[count:]
        self._size -= count
        if count:
            if self._failing:
                self._log.info("The mail log can be written again.")
            self._failing = False
            self._patience = self._delay
        self._goOn()

    def _failed(self, failure: Failure, data: bytes) -> None:
        self._writing = False
        self._rest = data
        if not self._failing:
            self._log.error("The mail log cannot be written: {error}", error=failure.value)
        self._failing = True
        self._patience = min(self._patience * 2, LONGEST_DELAY)
        self._goOn()

    def _goOn(self) -> None:
        if self._finished:
            return
        if self._size:
            self._timer = self._clock.callLater(self._patience, self._flush)
        elif self._closing:
            self._finish()

    def _finish(self) -> None:
        if self._size:
            self._log.error("{count} octets of the mail log were lost at the end.", count=self._size)
        self._finished = True
        for call in (self._timer, self._end):
            if call is not None and call.active():
                call.cancel()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)
