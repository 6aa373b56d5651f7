"""The shipped schedulers, and one with leases that end, keep the contract."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.scheduler import null, ram
from pysmtpd.testing.contracts.scheduler import ForgetfulSchedulerContract, LeaseContract, SchedulerContract
from tests.scheduler.fakes import FakePlatform
from tests.scheduler.leased import LEASE_SECONDS, LeasedScheduler


class Virtual(ForgetfulSchedulerContract):
    def setUp(self) -> None:
        self.platform = FakePlatform()

    def now(self) -> float:
        return self.platform.wallTime()

    def wait(self, seconds: float) -> None:
        self.platform.clock.advance(seconds)


class RamTests(Virtual, SchedulerContract, TestCase):
    def makeScheduler(self, limits: SchedulerLimits) -> Any:
        return ram.make("", self.platform, {"limits": limits})


class NullTests(Virtual, TestCase):
    def makeScheduler(self, limits: SchedulerLimits) -> Any:
        return null.make("", self.platform, {"limits": limits})

    async def test_handsOutNothing(self) -> None:
        scheduler = await self.begin()
        await self.add(scheduler, EnvelopeId(1 << 32))
        self.assertEqual(await self.leases(scheduler), ())


class LeasedTests(Virtual, SchedulerContract, LeaseContract, TestCase):
    leaseSeconds = LEASE_SECONDS

    def makeScheduler(self, limits: SchedulerLimits) -> Any:
        return LeasedScheduler(self.platform.wallTime, limits)


class MakeTests(SynchronousTestCase):
    def test_noArgument(self) -> None:
        for backend in (ram, null):
            with self.assertRaisesRegex(ValueError, "takes no argument"):
                backend.make("x", FakePlatform(), {})
