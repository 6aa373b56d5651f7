"""Verdicts of OpenSMTPD 7.8 that were recorded: C{tests/config/verdicts.json.xz}, made by tests/e2e/oracle.py."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.oracle import OLDER, WANTED, Verdict, judge, ours

RECORDED = Path(__file__).resolve().parent / "verdicts.json.xz"
DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
# Cases for one run here; make e2e takes them all.
EACH = 4


class RecordedVerdictTests(SynchronousTestCase):
    def test_same(self) -> None:
        recorded = json.loads(lzma.decompress(RECORDED.read_bytes()).decode("utf-8", "surrogateescape"))
        self.assertTrue(recorded["version"].startswith("7.8"))
        cases = recorded["cases"][::EACH]
        counted: Counter[str] = Counter()
        for text, isAccepted, said in cases:
            text = text.replace("@DIR@", "/dir")
            name = judge(text, ours(text), Verdict(isAccepted, said), isOlder=False)
            self.assertNotEqual(name, "differs", f"{text}\n{said}\n{ours(text).said}")
            counted[name] += 1
        self.assertGreater(counted[""], 0.99 * len(cases))
        self.assertGreater(sum(isAccepted for _, isAccepted, _ in cases), 0.5 * len(cases))

    def test_wantedDifferencesAreListed(self) -> None:
        """Each has its row in the book, and there are few."""
        rows = {
            line.split("|")[1].strip()
            for line in (DOCS / "differences.md").read_text().split("\n")
            if line.startswith("| ")
        }
        self.assertEqual(set(WANTED) - rows, set())
        self.assertLessEqual(len(WANTED), 25)
        self.assertLessEqual(len(OLDER), 25)
