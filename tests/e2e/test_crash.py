"""Nothing acknowledged is lost when the daemon is killed; a dozen rounds for each backend. More: C{python -m tests.e2e.crash 50}."""

from __future__ import annotations

import os
import random

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.crash import Trial
from tests.e2e.support import checkReach, say

ROUNDS = 12


class CrashTests(SynchronousTestCase):
    def check(self, backend: str) -> None:
        checkReach()
        seed = int(os.environ.get("PYSMTPD_SEED", "0")) or random.randrange(1 << 30)
        say(f"{backend}: {ROUNDS} rounds; PYSMTPD_SEED={seed} chooses the same moments")
        account = Trial(backend, seed).run(ROUNDS)
        say(str(account))
        self.assertEqual(account.lost, [])
        self.assertEqual(account.damaged, [])
        self.assertEqual(account.debris, [])
        self.assertGreater(len(account.acknowledged), ROUNDS)

    def test_sqlite(self) -> None:
        self.check("sqlite")

    def test_fs(self) -> None:
        self.check("fs")
