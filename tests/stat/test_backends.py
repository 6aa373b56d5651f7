from __future__ import annotations

from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.reporting import IStat
from pysmtpd.stat import null, ram
from pysmtpd.testing.contracts.stat import StatContract

NO_PLATFORM = cast(IPlatform, None)


class RamTests(StatContract, SynchronousTestCase):
    def makeStat(self) -> IStat:
        return ram.make("", NO_PLATFORM, {})

    def test_refusesAnArgument(self) -> None:
        error = self.assertRaises(ValueError, ram.make, "/tmp/x", NO_PLATFORM, {})
        self.assertIn("takes no argument", str(error))


class NullTests(StatContract, SynchronousTestCase):
    discards = True

    def makeStat(self) -> IStat:
        return null.make("", NO_PLATFORM, {})

    def test_refusesAnArgument(self) -> None:
        error = self.assertRaises(ValueError, null.make, "x", NO_PLATFORM, {})
        self.assertIn("takes no argument", str(error))
