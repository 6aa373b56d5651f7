"""The book does not lie: its examples are read, its tables are held against the code."""

from __future__ import annotations

import re
from pathlib import Path

from lark import Lark
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load
from pysmtpd.config.dated.convert import convert
from pysmtpd.config.limits import limitNames
from pysmtpd.config.parser import FeedLexer, grammarText, keywords
from pysmtpd.config.words import RESERVED
from pysmtpd.model.config import MdaLimits, MtaLimits, QueueLimits, SchedulerLimits, SmtpLimits
from tests.config import differences

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
EXAMPLE = re.compile(r"^```smtpd\.conf\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class ConfigurePageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = (DOCS / "configure.md").read_text()

    def test_examples(self) -> None:
        """Each is accepted, and no warning goes with it."""
        examples = EXAMPLE.findall(self.page) + EXAMPLE.findall((DOCS / "recipes.md").read_text())
        self.assertGreater(len(examples), 12)
        for example in examples:
            config = load(
                "smtpd.conf", {"smtpd.conf": example}.__getitem__, Environment("mx.example.org", ("192.0.2.25",))
            )
            self.assertEqual(config.warnings, (), example)

    def test_everyWord(self) -> None:
        """Each keyword of the grammar is on the page."""
        for word in keywords():
            if word[0].isalpha():
                self.assertRegex(self.page, rf"`[^`\n]*(?<![\w-]){re.escape(word)}(?![\w-])[^`\n]*`")

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


class MigratingPageTests(SynchronousTestCase):
    def test_example(self) -> None:
        """What the page says is what the program does, and it is read without a problem."""
        page = (DOCS / "migrating.md").read_text()
        old, new = (
            re.findall(rf"^```{name}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0]
            for name in ("old.conf", "new.conf")
        )
        converted = convert("smtpd.conf", old)
        self.assertEqual((converted.text, converted.reasons), (new, ()))
        load("smtpd.conf", lambda path: new, Environment("mx.example.org", ("192.0.2.25",)))


class DifferencesPageTests(SynchronousTestCase):
    def test_table(self) -> None:
        rows = differences.rows()
        ids = [row["id"] for row in rows]
        self.assertEqual(len(ids), len(set(ids)))
        for row in rows:
            self.assertTrue(all(row.values()), row)
        here = {row["id"]: row["here"] for row in rows}
        self.assertEqual(here["smtp-max-mails"], str(SmtpLimits().maxMails))
        self.assertEqual(here["mta-max-conn-per-host"], str(MtaLimits().maxConnPerHost))
        self.assertEqual(here["mta-max-conn-per-route"], str(MtaLimits().maxConnPerRoute))
        self.assertEqual(here["mta-session-mail-max"], str(MtaLimits().sessionMailMax))

    def test_forPrograms(self) -> None:
        """docs/differences.json says the same, and each row has a test; C{python -m tests.config.differences} takes over new rows."""
        recorded = differences.recorded()
        self.assertEqual([{name: row[name] for name in differences.COLUMNS} for row in recorded], differences.rows())
        self.assertEqual([row["id"] for row in recorded if not differences.hasTest(row["test"])], [])


class GrammarFileTests(SynchronousTestCase):
    def test_nothingIsAmbiguous(self) -> None:
        """LALR(1), without a conflict that the parser generator would settle in silence."""
        Lark(grammarText(), parser="lalr", lexer=FeedLexer, strict=True)
