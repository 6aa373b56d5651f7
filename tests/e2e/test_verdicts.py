"""DANE and MTA-STS over real sockets: the verdicts are the RFCs', and stand in docs/tls.md. C{python -m tests.e2e.verdicts} prints them."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.support import ROOT, checkReach, needsRoot, say
from tests.e2e.verdicts import tables, verdicts


class VerdictTests(SynchronousTestCase):
    timeout = 400

    def test_verdicts(self) -> None:
        needsRoot("make a room for DNS, a web server and mail hosts")
        if not sys.platform.startswith("linux"):
            self.skipTest("such rooms are Linux's")
        checkReach()
        rows = verdicts()
        for row in rows:
            say(f"{'; '.join(row.what)[:90]:90} {row.verdict}")
        self.assertEqual([], [row for row in rows if not row.isRight])
        self.assertIn(f"\n\n{tables(rows)}\n\n", (ROOT / "docs" / "tls.md").read_text(), "as the page says")
