"""The book does not lie: its examples are read, its tables are held against the code."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import ClassVar

from lark import Lark
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load
from pysmtpd.config.dated.convert import convert
from pysmtpd.config.limits import limitNames
from pysmtpd.config.machine import FeedLexer, grammarText
from pysmtpd.config.parser import keywords
from pysmtpd.config.printer import printed
from pysmtpd.config.words import RESERVED
from pysmtpd.control.cli import _parser as pysmtpctl
from pysmtpd.model.config import MdaLimits, MtaLimits, QueueLimits, SchedulerLimits, SmtpLimits
from tests.config import differences

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
EXAMPLE = re.compile(r"^```smtpd\.conf\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def expansions(rule: str) -> list[list[str]]:
    """The alternatives of a rule of the grammar: their words, and nothing for all else."""
    names = {name: word for word, name in keywords().items()}
    return [
        [names.get(symbol.name, "") for symbol in each.expansion]
        for each in Lark(grammarText(), parser="lalr", lexer=FeedLexer).rules
        if each.origin.name == rule
    ]


def alternatives(rule: str) -> set[str]:
    """The first word of each alternative."""
    return {expansion[0] for expansion in expansions(rule) if expansion and expansion[0]}


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


class GrammarOnThePageTests(SynchronousTestCase):
    """Each alternative of the grammar has its row in a table of the page, with what it means and what is without it."""

    # The first cell of a table's head, and the rules whose alternatives are its rows.
    OPTIONS: ClassVar = {
        "option": ("listen_option",),
        "option of `relay`": ("relay_option",),
        "option of the others": ("local_option",),
    }
    METHODS: ClassVar = {"method": ("local_method",)}

    def setUp(self) -> None:
        self.page = (DOCS / "configure.md").read_text()

    def rows(self, *head: str) -> list[list[str]]:
        """The rows of the table whose head begins with these cells."""
        cells = " \\| ".join(map(re.escape, head))
        (table,) = re.findall(rf"^\| {cells} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", self.page, re.MULTILINE)
        return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]

    def words(self, head: str) -> set[str]:
        """What the rows of a table are about."""
        return {code.split()[0] for row in self.rows(head) for code in re.findall(r"`([^`]+)`", row[0])}

    def test_options(self) -> None:
        for head, rules in self.OPTIONS.items():
            for rule in rules:
                self.assertEqual(alternatives(rule) - self.words(head), set(), head)
            for row in self.rows(head):
                self.assertEqual((len(row), all(cell.strip("| ") for cell in row)), (3, True), row)

    def test_methods(self) -> None:
        self.assertEqual((alternatives("local_method") | {"relay"}) - self.words("method"), set())

    def test_conditions(self) -> None:
        said = " ".join(row[0] for row in self.rows("condition"))
        for rule in ("from", "for"):
            for expansion in expansions(rule):
                self.assertIn(f"`{' '.join(expansion[:2])}`", said)
        for rule in ("helo", "auth", "tls", "mail_from", "rcpt_to", "tag"):
            for word in alternatives(rule):
                self.assertIn(f"`{word}`", said)

    def test_filters(self) -> None:
        (table,) = re.findall(r"^\| phases \|.*\n\| conditions \|.*\n\| decisions \|.*\n", self.page, re.MULTILINE)
        for rule in ("phase", "tested", "decision"):
            for word in alternatives(rule):
                self.assertIn(f"`{word}`", table)
        self.assertEqual({expansion[2] for expansion in expansions("filter")}, {"proc", "proc-exec", "phase", "chain"})

    def test_settings(self) -> None:
        """The first words of each directive, and what is in force without it."""
        settings = self.rows("directive", "default")
        said = " ".join(row[0] for row in settings)
        for rule in ("srs", "mta", "queue", "scheduler", "stat", "smtp", "bounce", "admd", "resolver"):
            for symbols in expansions(rule):
                words = " ".join(takewhile(bool, symbols))
                if "limit" not in words and words != "mta rate":
                    self.assertRegex(said, rf"`{re.escape(words)}`", words)
        for row in settings:
            self.assertEqual((len(row), all(cell.strip("| ") for cell in row)), (3, True), row)

    def test_defaults(self) -> None:
        """What the page calls the default is what a file without the directive comes to."""
        read = load("t", lambda path: 'srs key "x"\nmatch reject\n', Environment("mx.example.org", ("192.0.2.25",)))
        lines = printed(read).splitlines()
        checked = 0
        for directive, default, _ in self.rows("directive", "default"):
            value = re.fullmatch(r"`([^`]+)`|([0-9]+)", default)
            for words in re.findall(r"`([^`]+)`", directive.split(", ...")[0]) if value else ():
                expected = (value[1] or value[2]) if value else ""
                expected = {"35M": str(35 << 20)}.get(expected, expected)
                if words not in (":",):
                    self.assertTrue(
                        {f"{words} {expected}", f'{words} "{expected}"'} & set(lines), f"{words} {expected}: {lines}"
                    )
                    checked += 1
        self.assertGreater(checked, 7)


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

    # Those of smtpctl(8), by their first words.
    WORDS = (
        *(
            "discover",
            "encrypt",
            "log brief",
            "log verbose",
            "monitor",
            "pause envelope",
            "pause mda",
            "pause mta",
            "pause smtp",
        ),
        *(
            "profile",
            "trace",
            "remove",
            "schedule",
            "resume route",
            "show envelope",
            "show message",
            "show queue",
            "show hosts",
        ),
        *("show hoststats", "show relays", "show routes", "show stats", "show status", "spf walk", "update table"),
    )

    def test_wordsOfSmtpctl(self) -> None:
        """Each has its row, and what it is here is a command of pysmtpctl."""
        page = (DOCS / "migrating.md").read_text()
        (table,) = re.findall(r"^\| smtpctl \| pysmtpctl \|\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
        theirs = ""
        for line in table.splitlines():
            before, here = (cell.strip() for cell in line.strip("|").split(" | "))
            theirs += f"{before} "
            for command in re.findall(r"`([^`]+)`", here if not here.startswith("none") else ""):
                self.assertIsNotNone(pysmtpctl().parse_args(command.split()), command)
        for words in self.WORDS:
            self.assertIn(f"`{words}", theirs)


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
