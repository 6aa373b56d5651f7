"""Lanes: order, batches, failures, end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pysmtpd.platform.workers import RealWorkers, WorkersClosed

TIMEOUT = 10.0


class RecordingReactor:
    """Keeps what threads ask for until the test lets it happen."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], None]] = []

    def callFromThread(self, call: Callable[[], None], *args: Any) -> None:
        self.asked.append(call)


class BatchTests(SynchronousTestCase):
    def test_manyResultsOneWakeUp(self) -> None:
        waker = RecordingReactor()
        workers = RealWorkers(waker)
        results = gatherResults([workers.run("queue", abs, -number) for number in range(20)])
        workers.run("queue", len, "")
        workers.close()
        self.assertEqual(self.successResultOf(results), list(range(20)))
        self.assertEqual(len(waker.asked), 1)

    def test_anotherWakeUpAfterTheResultsWereTaken(self) -> None:
        waker = RecordingReactor()
        workers = RealWorkers(waker)
        for expected in (1, 2):
            done = threading.Event()
            result = workers.run("queue", abs, -expected)
            workers.run("queue", done.set)
            self.assertTrue(done.wait(TIMEOUT))
            self.assertEqual(len(waker.asked), expected)
            waker.asked[-1]()
            self.assertEqual(self.successResultOf(result), expected)
        workers.close()

    def test_closeDoesWhatWasGivenAndRefusesMore(self) -> None:
        workers = RealWorkers(RecordingReactor())
        did: list[int] = []
        for number in range(100):
            workers.run("queue", did.append, number)
        workers.close()
        self.assertEqual(did, list(range(100)))
        self.assertEqual(workers.lanes, ())
        self.failureResultOf(workers.run("queue", abs, 1), WorkersClosed)
        workers.close()

    def test_closeLeavesWhatDoesNotEnd(self) -> None:
        """Only what the queue was given is waited for longer."""
        workers = RealWorkers(RecordingReactor())
        release, queued = threading.Event(), threading.Event()
        # Both end in time where nothing goes wrong, and the queue's later than others may.
        timer = threading.Timer(0.3, queued.set)
        stuck = workers.run("table-x", release.wait, TIMEOUT)
        durable = workers.run("queue.write", queued.wait, TIMEOUT)
        fine = workers.run("other", abs, -1)
        timer.start()
        self.assertEqual(workers.close(patience=0.1, durable=TIMEOUT), ("table-x",))
        self.assertEqual((self.successResultOf(durable), self.successResultOf(fine)), (True, 1))
        self.assertNoResult(stuck)
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "lane table-x"]
        self.assertTrue(thread.daemon, "the interpreter's end does not wait for it")
        (event,) = self.logged
        self.assertIn("Not waited for: what the lane table-x does", formatEvent(event))
        release.set()
        thread.join(TIMEOUT)

    def setUp(self) -> None:
        self.logged: list[LogEvent] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def test_aCallbackThatRaisesCostsNobodyElse(self) -> None:
        workers = RealWorkers(RecordingReactor())
        broken: Deferred[int] = workers.run("queue", abs, -1)
        broken.addCallback(lambda value: 1 // 0)
        after = workers.run("queue", abs, -2)
        workers.close()
        self.failureResultOf(broken, ZeroDivisionError)
        self.assertEqual(self.successResultOf(after), 2)


class LaneTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.workers = RealWorkers(reactor, idleSeconds=0.05)
        self.addCleanup(self.workers.close)

    async def test_lanesRunSideBySide(self) -> None:
        first, second = threading.Event(), threading.Event()

        def meet(mine: threading.Event, other: threading.Event) -> bool:
            mine.set()
            return other.wait(TIMEOUT)

        met = await gatherResults(
            [self.workers.run("a", meet, first, second), self.workers.run("b", meet, second, first)]
        )
        self.assertEqual(met, [True, True])

    async def test_anIdleLaneEndsAndComesBack(self) -> None:
        before = await self.workers.run("a", threading.get_ident)
        thread = next(thread for thread in threading.enumerate() if thread.ident == before)
        await self.workers.run("b", thread.join, TIMEOUT)
        self.assertFalse(thread.is_alive())
        self.assertNotIn("a", self.workers.lanes)
        self.assertEqual(await self.workers.run("a", abs, -1), 1)
