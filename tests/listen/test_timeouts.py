"""The wheel: never early, at most a tick late, one pending call."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.listen.timeouts import Timeouts


class Timer:
    def __init__(self, clock: Clock) -> None:
        self.deadline = 0.0
        self.slot = 0
        self.fired: list[float] = []
        self._clock = clock

    def timedOut(self) -> None:
        self.fired.append(self._clock.seconds())


class TimeoutsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timeouts = Timeouts(self.clock, 2.0)

    def run_(self, seconds: int) -> None:
        self.clock.pump([0.5] * (2 * seconds))

    def test_fires(self) -> None:
        timer = Timer(self.clock)
        self.timeouts.arm(timer, 5)
        self.run_(4)
        self.assertEqual(timer.fired, [])
        self.run_(3)
        self.assertEqual(len(timer.fired), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_movedOn(self) -> None:
        """Arming again moves the deadline; nothing fires while that goes on, and one call is pending."""
        timer = Timer(self.clock)
        for _ in range(20):
            self.timeouts.arm(timer, 5)
            self.run_(4)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(timer.fired, [])
        self.run_(7)
        self.assertEqual(len(timer.fired), 1)

    def test_sooner(self) -> None:
        """A shorter time-out than the one that was armed counts."""
        timer = Timer(self.clock)
        self.timeouts.arm(timer, 300)
        self.timeouts.arm(timer, 3)
        self.run_(6)
        self.assertEqual(len(timer.fired), 1)

    def test_disarm(self) -> None:
        timer = Timer(self.clock)
        self.timeouts.arm(timer, 3)
        self.timeouts.disarm(timer)
        self.run_(10)
        self.assertEqual(timer.fired, [])

    def test_disarmedByAnother(self) -> None:
        """Two are due at once, and the first ends the second."""
        second = Timer(self.clock)
        timeouts = self.timeouts

        class Ending(Timer):
            def timedOut(self) -> None:
                timeouts.disarm(second)

        timeouts.arm(Ending(self.clock), 3)
        timeouts.arm(second, 3)
        self.run_(10)
        self.assertEqual(second.fired, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @settings(max_examples=60, deadline=None)
    @given(delays=st.lists(st.floats(0.0, 60.0), min_size=1, max_size=30))
    def test_punctual(self, delays: list[float]) -> None:
        clock = Clock()
        timeouts = Timeouts(clock, 2.0)
        timers = [Timer(clock) for _ in delays]
        for timer, delay in zip(timers, delays, strict=True):
            timeouts.arm(timer, delay)
        clock.pump([0.25] * 300)
        for timer, delay in zip(timers, delays, strict=True):
            (fired,) = timer.fired
            self.assertGreaterEqual(fired, delay - 0.01)
            self.assertLessEqual(fired, delay + 2.3)
