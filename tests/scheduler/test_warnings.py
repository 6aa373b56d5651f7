"""How many warnings are made at one time, and that none of them holds up the rest."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.queue import QueueError
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.events import InternalError, QueueFailed
from pysmtpd.scheduler.warnings import GATHER, MAX_BUSY, Warnings
from tests.scheduler.fakes import NO_ROOM, FakeBounce, FakeQueue, FakeReport, makeMessage


class SlowBounce(FakeBounce):
    """Warnings take until they are let go."""

    def __init__(self) -> None:
        super().__init__(FakeQueue())
        self.making: list[Deferred[None]] = []

    def warn(self, message: Message, late: Sequence[Envelope]) -> Deferred[None]:
        self.warned.append((message, tuple(late)))
        self.making.append(Deferred())
        return self.making[-1]


class WarningsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.bounce = SlowBounce()
        self.report = FakeReport()
        self.woken: list[float] = []
        self.warnings = Warnings(self.clock, self.bounce, self.report, lambda: self.woken.append(self.clock.seconds()))
        self.count = 3 * MAX_BUSY
        for number in range(self.count):
            message, (envelope,) = makeMessage(number + 1)
            self.assertTrue(self.warnings.add(message, envelope))

    def test_soManyAtOneTime(self) -> None:
        self.assertEqual(self.bounce.warned, [])
        self.clock.advance(GATHER)
        self.assertEqual(len(self.bounce.warned), MAX_BUSY)
        for made in range(1, self.count + 1):
            self.assertTrue(self.warnings.isBusy)
            self.bounce.making[made - 1].callback(None)
            self.clock.advance(0)
            self.assertEqual(len(self.bounce.warned), min(self.count, made + MAX_BUSY))
        self.assertFalse(self.warnings.isBusy)
        self.assertEqual(len({message.id for message, _ in self.bounce.warned}), self.count)
        self.assertEqual(self.woken, [GATHER])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_oneThatFailsIsToldAndHoldsUpNobody(self) -> None:
        self.clock.advance(GATHER)
        self.bounce.making[0].errback(QueueError(NO_ROOM, "disk full"))
        self.bounce.making[1].errback(ZeroDivisionError("for the test"))
        self.clock.advance(0)
        self.assertEqual(len(self.bounce.warned), MAX_BUSY + 2)
        self.assertEqual([event.reason for event in self.report.of(QueueFailed)], ["disk full"])
        self.assertEqual(len(self.report.of(InternalError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
