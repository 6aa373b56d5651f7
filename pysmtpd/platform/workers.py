"""Lanes: ordered threads for blocking work."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IWorkers

T = TypeVar("T")

_Work: TypeAlias = "tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]"

IDLE_SECONDS = 30.0

# Seconds that C{close} waits for a lane; for those of the queue, whose work is durable, it waits longer.
PATIENCE = 2.0
DURABLE_PATIENCE = 60.0
_DURABLE = "queue."


class WorkersClosed(Exception):
    """Work was given after C{close}."""


class _Lane:
    """One thread and what it has to do."""

    __slots__ = ("inbox", "thread")

    def __init__(self, name: str, run: Callable[[str, SimpleQueue[_Work | None]], None]) -> None:
        self.inbox: SimpleQueue[_Work | None] = SimpleQueue()
        # The interpreter's end waits for no daemon thread: C{close} has waited, as long as there was hope.
        self.thread = threading.Thread(target=run, args=(name, self.inbox), name=f"lane {name}", daemon=True)


@implementer(IWorkers)
class RealWorkers:
    """A thread for each lane, made when it is first needed, ended when it was idle for long.

    Results go back in batches: while the reactor has not yet come to take them, no further wake-up is sent.
    """

    _log = Logger()

    def __init__(self, reactor: Any, idleSeconds: float = IDLE_SECONDS) -> None:
        """
        @param idleSeconds: after so long without work a lane's thread ends; the next work makes a new one.
        """
        self._callFromThread = reactor.callFromThread
        self._idleSeconds = idleSeconds
        self._lanes: dict[str, _Lane] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._finished: deque[tuple[Deferred[Any], Any]] = deque()
        self._isWaking = False

    def run(self, lane: str, work: Callable[..., T], *values: Any) -> Deferred[T]:
        """See L{IWorkers.run}. After C{close} it fails with L{WorkersClosed}."""
        done: Deferred[T] = Deferred()
        with self._lock:
            if self._closed:
                return fail(WorkersClosed(f"lane {lane} is closed"))
            found = self._lanes.get(lane)
            if found is None:
                found = self._lanes[lane] = _Lane(lane, self._work)
                found.thread.start()
            found.inbox.put((done, work, values))
        return done

    def close(self, patience: float = PATIENCE, durable: float = DURABLE_PATIENCE) -> tuple[str, ...]:
        """Wait until what was given is done, end the threads, and hand out the last results. Blocks; later calls do nothing.

        A lane whose work does not end (a file system hangs) is left to the end of the process, and the log says so.

        @param patience: seconds that lanes have.
        @param durable: seconds that those have whose names begin with C{queue.}.
        @return: the lanes that were left.
        """
        with self._lock:
            self._closed = True
            lanes = dict(self._lanes)
            self._lanes.clear()
            for lane in lanes.values():
                lane.inbox.put(None)
        began = time.monotonic()
        left: list[str] = []
        for name in sorted(lanes, key=lambda name: name.startswith(_DURABLE)):
            most = durable if name.startswith(_DURABLE) else patience
            thread = lanes[name].thread
            thread.join(max(0.0, began + most - time.monotonic()))
            if thread.is_alive():
                left.append(name)
                self._log.error(
                    "Not waited for: what the lane {name} does has not ended within {most:g} seconds.",
                    name=name,
                    most=most,
                )
        self._drain()
        return tuple(left)

    @property
    def lanes(self) -> tuple[str, ...]:
        """Names of the lanes that have a thread now, sorted."""
        with self._lock:
            return tuple(sorted(self._lanes))

    def _work(self, name: str, inbox: SimpleQueue[_Work | None]) -> None:
        """The lane's thread."""
        finished = self._finished
        while True:
            try:
                item = inbox.get(timeout=self._idleSeconds)
            except Empty:
                with self._lock:
                    # Work is put under the same lock: an empty inbox stays empty once the lane is out of the table.
                    if inbox.empty():
                        self._lanes.pop(name, None)
                        return
                continue
            if item is None:
                return
            done, work, values = item
            try:
                result = work(*values)
            except BaseException:
                result = Failure()
            finished.append((done, result))
            # First append, then look: a drain that clears the flag after this look still finds the result.
            if not self._isWaking:
                self._isWaking = True
                self._callFromThread(self._drain)
            del item, done, work, values, result

    def _drain(self) -> None:
        """In the reactor's thread: hand out everything that is finished."""
        self._isWaking = False
        finished = self._finished
        while finished:
            done, result = finished.popleft()
            try:
                # A Failure as a result starts the errbacks.
                done.callback(result)
            except Exception:
                self._log.failure("handing out a lane's result")


@implementer(IWorkers)
class InPlace:
    """Lanes of a process that has nothing else to do: work is done at once, and blocks it."""

    def run(self, lane: str, work: Callable[..., T], *values: Any) -> Deferred[T]:
        return maybeDeferred(work, *values)
