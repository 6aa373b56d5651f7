"""Where our verdict about a configuration differs from OpenSMTPD's on purpose; tests/e2e/oracle.py holds the two against each other."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.oracle import OLDER, WANTED

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


class WantedDifferencesTests(SynchronousTestCase):
    def test_listed(self) -> None:
        """Each has its row in the book, and there are few."""
        rows = {
            line.split("|")[1].strip()
            for line in (DOCS / "differences.md").read_text().split("\n")
            if line.startswith("| ")
        }
        self.assertEqual(set(WANTED) - rows, set())
        self.assertLessEqual(len(WANTED), 25)
        self.assertLessEqual(len(OLDER), 25)
