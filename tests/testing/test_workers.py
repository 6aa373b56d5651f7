"""One suite for real lanes and simulated ones."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.platform import IWorkers
from pysmtpd.platform.workers import RealWorkers
from pysmtpd.testing.faults import PowerCut
from pysmtpd.testing.platform import SimulatedPlatform

if TYPE_CHECKING:
    _Case = TestCase
else:
    _Case = object


class WorkersContract(_Case):
    """A subclass makes C{workers} and says how a Deferred of theirs is waited for."""

    workers: IWorkers

    def finish(self, result: Deferred[Any]) -> Deferred[Any]:
        raise NotImplementedError

    def test_interface(self) -> None:
        verifyObject(IWorkers, self.workers)

    def test_resultsAndOrder(self) -> Deferred[Any]:
        did: list[int] = []

        def work(number: int) -> int:
            did.append(number)
            return number * 2

        results = gatherResults([self.workers.run("a", work, number) for number in range(200)])
        self.assertEqual(results.called, False)

        def check(found: list[int]) -> None:
            self.assertEqual(found, [number * 2 for number in range(200)])
            self.assertEqual(did, list(range(200)))

        return self.finish(results.addCallback(check))

    def test_nothingIsToldBeforeRunReturned(self) -> Deferred[Any]:
        told: list[int] = []
        result = self.workers.run("a", abs, -1).addCallback(told.append)
        self.assertEqual(told, [])
        return self.finish(result.addCallback(lambda ignored: self.assertEqual(told, [1])))

    def test_whatIsRaisedFailsThatCallOnly(self) -> Deferred[Any]:
        def work(number: int) -> float:
            return 1 / number

        good, bad, after = (self.workers.run("a", work, number) for number in (1, 0, 2))
        broken: Deferred[Any] = self.assertFailure(bad, ZeroDivisionError)
        return self.finish(
            gatherResults([good, broken, after]).addCallback(
                lambda found: self.assertEqual((found[0], found[2]), (1.0, 0.5))
            )
        )

    def test_workMayBeGivenFromAResult(self) -> Deferred[Any]:
        first = self.workers.run("a", abs, -1)
        first.addCallback(lambda number: self.workers.run("b", abs, number - 5))
        return self.finish(first.addCallback(lambda number: self.assertEqual(number, 4)))

    def test_aCancelledResultIsDropped(self) -> Deferred[Any]:
        cancelled = self.workers.run("a", abs, -1)
        cancelled.addErrback(lambda failure: None)
        cancelled.cancel()
        return self.finish(self.workers.run("a", abs, -2).addCallback(lambda number: self.assertEqual(number, 2)))


class RealWorkersTests(WorkersContract, TestCase):
    timeout = 20

    def setUp(self) -> None:
        workers = RealWorkers(reactor)
        self.workers = workers
        self.addCleanup(workers.close)

    def finish(self, result: Deferred[Any]) -> Deferred[Any]:
        return result


class SimulatedWorkersTests(WorkersContract, TestCase):
    def setUp(self) -> None:
        self.platform = SimulatedPlatform(1)
        self.workers = self.platform.workers

    def finish(self, result: Deferred[Any]) -> Deferred[Any]:
        self.platform.timeline.run(60)
        self.assertTrue(result.called)
        return result


class LanesOfAWorldTests(SynchronousTestCase):
    def lanes(self, seed: int) -> list[str]:
        platform = SimulatedPlatform(seed)
        did: list[str] = []
        for number in range(20):
            for lane in "ab":
                platform.workers.run(lane, did.append, f"{lane}{number}")
        platform.timeline.run(60)
        self.assertTrue(platform.workers.isIdle)
        return did

    def test_lanesInterleaveByTheSeed(self) -> None:
        self.assertEqual(self.lanes(1), self.lanes(1))
        self.assertNotEqual(self.lanes(1), self.lanes(2))

    def test_aSlowLane(self) -> None:
        platform = SimulatedPlatform()
        platform.workers.delays["slow"] = 3.0
        ended: dict[str, float] = {}

        def note(lane: str) -> Callable[[Any], None]:
            return lambda ignored: ended.update({lane: platform.timeline.now})

        for lane in ("slow", "fast"):
            platform.workers.run(lane, abs, 1).addCallback(note(lane))
        platform.timeline.run(10)
        self.assertLess(ended["fast"], 0.2)
        self.assertGreater(ended["slow"], 3.0)

    def test_aCrashBetweenWorkAndItsResult(self) -> None:
        """The work is done, and nobody is told: in some seeds; in others neither happened."""
        found: dict[tuple[bool, bool], int] = {}
        for seed in range(60):
            platform = SimulatedPlatform(seed)
            did: list[int] = []
            told: list[object] = []
            platform.workers.run("a", did.append, 1).addCallback(told.append)
            platform.timeline.run(0.0003)
            platform.crash()
            platform.timeline.run(10)
            found[bool(did), bool(told)] = seed
        self.assertEqual(sorted(found), [(False, False), (True, False), (True, True)])

    def test_theDeadDoNothing(self) -> None:
        did: list[int] = []
        unwound: list[bool] = []

        async def careful(workers: IWorkers) -> None:
            try:
                await workers.run("a", did.append, 1)
            finally:
                await workers.run("a", did.append, 2)
                unwound.append(True)

        def live() -> None:
            platform = SimulatedPlatform()
            Deferred.fromCoroutine(careful(platform.workers))
            platform.crash()
            platform.timeline.run(10)

        live()
        gc.collect()
        self.assertEqual((did, unwound), ([], [True]))

    def test_aPowerCutInsideOfWorkTellsNobody(self) -> None:
        platform = SimulatedPlatform()

        def work() -> None:
            raise PowerCut

        told: list[object] = []
        platform.workers.run("a", work).addBoth(told.append)
        platform.timeline.run(10)
        self.assertEqual(told, [])
