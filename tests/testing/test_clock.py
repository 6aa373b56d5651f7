"""Virtual time."""

from __future__ import annotations

import time

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.testing import clock as clocks
from pysmtpd.testing.clock import Livelock, SimulatedClock, Timeline


class ClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = SimulatedClock()
        self.seen: list[tuple[str, float]] = []

    def note(self, what: str) -> None:
        self.seen.append((what, self.clock.seconds()))

    def test_itKeepsItsInterface(self) -> None:
        verifyObject(IReactorTime, self.clock)

    def test_callsAreMadeAtTheirOwnTimesInOrder(self) -> None:
        self.clock.callLater(2, self.note, "b")
        self.clock.callLater(1, self.note, "a")
        self.clock.callLater(2, self.note, "c")
        self.clock.advance(10)
        self.assertEqual(self.seen, [("a", 1.0), ("b", 2.0), ("c", 2.0)])
        self.assertEqual(self.clock.seconds(), 10.0)

    def test_aCallMayMakeCalls(self) -> None:
        self.clock.callLater(1, lambda: self.clock.callLater(1, self.note, "later"))
        self.clock.callLater(1, lambda: self.clock.callLater(0, self.note, "now"))
        self.clock.advance(2)
        self.assertEqual(self.seen, [("now", 1.0), ("later", 2.0)])

    def test_cancelResetAndDelay(self) -> None:
        cancelled = self.clock.callLater(1, self.note, "cancelled")
        reset = self.clock.callLater(1, self.note, "reset")
        delayed = self.clock.callLater(1, self.note, "delayed")
        cancelled.cancel()
        reset.reset(5)
        delayed.delay(2)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [3.0, 5.0])
        self.clock.advance(10)
        self.assertEqual(self.seen, [("delayed", 3.0), ("reset", 5.0)])
        self.assertRaises(AlreadyCancelled, cancelled.cancel)
        self.assertRaises(AlreadyCalled, reset.cancel)
        self.assertRaises(AlreadyCalled, delayed.reset, 1)
        self.assertFalse(reset.active())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_resetToEarlier(self) -> None:
        self.clock.callLater(5, self.note, "a").reset(1)
        self.clock.advance(5)
        self.assertEqual(self.seen, [("a", 1.0)])

    def test_aCallThatRaisesIsLoggedAndTimeGoesOn(self) -> None:
        self.clock.callLater(1, lambda: 1 // 0)
        self.clock.callLater(2, self.note, "after")
        self.clock.advance(3)
        self.assertEqual(self.seen, [("after", 2.0)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_runStopsWhereTheConditionComesTrue(self) -> None:
        self.clock.callLater(1, self.note, "a")
        self.clock.callLater(2, self.note, "b")
        self.assertTrue(self.clock.timeline.run(10, lambda: self.seen))
        self.assertEqual(self.clock.seconds(), 1.0)
        self.assertFalse(self.clock.timeline.run(0.5, lambda: False))
        self.assertEqual(self.clock.timeline.nextDue(), 2.0)

    def test_thePastIsRefused(self) -> None:
        self.assertRaises(ValueError, self.clock.callLater, -1, print)

    def test_aDeadClockMakesNoCalls(self) -> None:
        other = SimulatedClock(self.clock.timeline)
        self.clock.callLater(1, self.note, "dead")
        other.callLater(1, self.note, "alive")
        self.clock.kill()
        self.clock.callLater(1, self.note, "dead")
        other.advance(2)
        self.assertEqual(self.seen, [("alive", 1.0)])

    def test_twistedsOwnToolsRunOnIt(self) -> None:
        loop = LoopingCall(self.note, "tick")
        loop.clock = self.clock
        loop.start(10, now=False)
        self.clock.advance(35)
        self.assertEqual([at for _, at in self.seen], [10.0, 20.0, 30.0])

    def test_timeThatStandsStillIsAnError(self) -> None:
        self.patch(clocks, "CALLS_PER_INSTANT", 1000)

        def again() -> None:
            self.clock.callLater(0, again)

        again()
        self.assertRaises(Livelock, self.clock.advance, 1)

    def test_aWeekOfTimersIsCheap(self) -> None:
        """100,000 calls over seven days; the bound is ten times what it takes."""
        timeline = Timeline()
        clock = SimulatedClock(timeline)
        for number in range(100_000):
            clock.callLater(number * 6.048, abs, 1)
        before = time.process_time()
        timeline.run(7 * 86_400)
        self.assertLess(time.process_time() - before, 2.0)
        self.assertEqual(timeline.made, 100_000)
