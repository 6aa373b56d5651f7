"""The page on limits says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load
from pysmtpd.control import routetext
from pysmtpd.model.providers import PROVIDERS
from pysmtpd.model.shaping import KINDS
from pysmtpd.mta.shaping.backoff import GROWTH_SECONDS, HALF_LIFE, MAX_PACE

PAGE = (Path(__file__).resolve().parent.parent.parent.parent / "docs" / "limits.md").read_text()


class PageTests(SynchronousTestCase):
    def test_examples(self) -> None:
        examples = re.findall(r"^```smtpd\.conf\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
        self.assertEqual(len(examples), 2)
        for example in examples:
            config = load("f", {"f": example}.__getitem__, Environment("mx.example.org", ("192.0.2.25",)))
            self.assertEqual(config.warnings, ())
            self.assertTrue(config.mtaRates)

    def test_kinds(self) -> None:
        for kind in KINDS:
            self.assertIn(f"\n| `{kind}` | ", PAGE)

    def test_whatIsShipped(self) -> None:
        rows = [
            f"| `{one.name}` | {', '.join(f'`{pattern}`' for pattern in one.patterns)} | {', '.join(map(str, one.rates))} | {one.reason} |"
            for one in PROVIDERS
        ]
        table = PAGE[PAGE.index("| provider | mail hosts") :].splitlines()[2 : 2 + len(rows) + 1]
        self.assertEqual(table, [*rows, ""])

    def test_figures(self) -> None:
        self.assertEqual((GROWTH_SECONDS, HALF_LIFE, MAX_PACE), (15, 300, 120))

    def test_shownLimits(self) -> None:
        shown = PAGE.partition("$ pysmtpctl show limits\n")[2].partition("\n\n")[0]
        backoff = {
            "kind": "back-off",
            "limit": "back-off of provider google",
            "waiting": 0,
            "wait": 0.8,
            "since": 1767225500.0,
            "pace": 2.0,
            "complaints": 3,
            "last": 1767225600.0,
            "reply": "421 4.7.28 Try again later",
        }
        suspended = {
            "kind": "suspended",
            "limit": "example.net is suspended",
            "waiting": 12,
            "wait": 0.0,
            "since": 1767225000.0,
        }
        rate = {
            "kind": "rate",
            "limit": "domain slow.example.com: messages 10 per 1m",
            "waiting": 94,
            "wait": 4.2,
            "since": 0.0,
        }
        lines = "\n".join(routetext.limit(row, 1767225610.0) for row in (backoff, suspended, rate))
        self.assertEqual([line[4:] for line in shown.splitlines()], lines.splitlines())
