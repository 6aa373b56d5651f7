"""The book does not lie: its examples are read, its tables are held against the code."""

from __future__ import annotations

import re
from pathlib import Path

from lark import Lark
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load
from pysmtpd.config.limits import limitNames
from pysmtpd.config.parser import FeedLexer, grammarText, keywords
from pysmtpd.config.words import RESERVED
from pysmtpd.model.config import MdaLimits, MtaLimits, QueueLimits, SchedulerLimits, SmtpLimits

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
EXAMPLE = re.compile(r"^```smtpd\.conf\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class ConfigurePageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = (DOCS / "configure.md").read_text()

    def test_examples(self) -> None:
        """Each is accepted, and no warning goes with it."""
        examples = EXAMPLE.findall(self.page)
        self.assertGreater(len(examples), 6)
        for example in examples:
            config = load(
                "smtpd.conf", {"smtpd.conf": example}.__getitem__, Environment("mx.example.org", ("192.0.2.25",))
            )
            self.assertEqual(config.warnings, (), example)

    def test_ownWords(self) -> None:
        for word in set(keywords()) - RESERVED:
            if word[0].isalpha():
                self.assertIn(f"`{word}", self.page)

    def test_limits(self) -> None:
        for limits in (SmtpLimits(), MtaLimits(), MdaLimits(), SchedulerLimits(), QueueLimits()):
            for name, attribute in limitNames(limits).items():
                value = getattr(limits, attribute)
                if isinstance(value, int) and value:
                    self.assertIn(f"`{name}` {value}", self.page)
                else:
                    self.assertIn(f"`{name}` ", self.page)


class DifferencesPageTests(SynchronousTestCase):
    def test_table(self) -> None:
        rows = [
            line.split("|")[1:-1] for line in (DOCS / "differences.md").read_text().split("\n") if line.startswith("| ")
        ][1:]
        ids = [row[0].strip() for row in rows]
        self.assertEqual(len(ids), len(set(ids)))
        for row in rows:
            self.assertEqual(len(row), 4, row)
            self.assertTrue(all(cell.strip() for cell in row), row)
        here = {row[0].strip(): row[2].strip() for row in rows}
        self.assertEqual(here["smtp-max-mails"], str(SmtpLimits().maxMails))
        self.assertEqual(here["mta-max-conn-per-host"], str(MtaLimits().maxConnPerHost))
        self.assertEqual(here["mta-max-conn-per-route"], str(MtaLimits().maxConnPerRoute))
        self.assertEqual(here["mta-session-mail-max"], str(MtaLimits().sessionMailMax))


class GrammarFileTests(SynchronousTestCase):
    def test_nothingIsAmbiguous(self) -> None:
        """LALR(1), without a conflict that the parser generator would settle in silence."""
        Lark(grammarText(), parser="lalr", lexer=FeedLexer, strict=True)
