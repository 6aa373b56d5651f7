"""Recipients get OpenSMTPD's verdict from us, but for listed differences. C{python -m tests.e2e.differential} tells more."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.config.differences import rows
from tests.e2e import oracle
from tests.e2e.differential import compare
from tests.e2e.scenarios import SCENARIOS
from tests.e2e.support import checkReach, needsRoot, say


class RecipientTests(SynchronousTestCase):
    timeout = 900

    def setUp(self) -> None:
        needsRoot("make a room with users and mounts of its own")
        if not sys.platform.startswith("linux"):
            self.skipTest("such rooms are Linux's")
        checkReach()

    def test_sameVerdicts(self) -> None:
        found = oracle.find()
        self.assertTrue(found, "tests/e2e/setup unpacks Debian's opensmtpd")
        for smtpd in found:
            self.check(smtpd)

    def check(self, smtpd: str) -> None:
        verdicts = compare(smtpd)
        same = [each for each in verdicts if each.isSame]
        say(
            f"OpenSMTPD {oracle.version(smtpd)}: {len(same)} of {len(verdicts)} recipients get the same, "
            f"{len(verdicts) - len(same)} a listed other"
        )
        self.assertEqual([each for each in verdicts if not each.isExpected], [])
        self.assertEqual([each for each in verdicts if not each.isExplained], [], "explain says something else")
        self.assertGreaterEqual(len(verdicts), 400)
        for digit in "245":
            self.assertTrue([each for each in same if each.ours.split()[1].startswith(digit)], digit)
        self.assertGreater(len([each for each in same if " 250" in each.ours]), 0.3 * len(verdicts))
        self.assertGreater(len(same), 0.9 * len(verdicts))

    def test_differencesAreListed(self) -> None:
        names = {row["id"] for row in rows()}
        for scenario in SCENARIOS.values():
            for case in scenario.cases:
                for difference in filter(None, (case.difference, case.newer)):
                    self.assertIn(difference, names)
