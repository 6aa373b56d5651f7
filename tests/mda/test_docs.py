"""The page on local delivery does not lie."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load
from pysmtpd.mda.exits import verdict
from pysmtpd.mda.mbox import PATIENCE
from pysmtpd.mda.plan import Letter, plan
from pysmtpd.model.config import Action, Command, Config, MdaLimits, Method
from pysmtpd.model.specifiers import NAMES
from pysmtpd.model.task import Account, CommandTask, Exit
from tests.mda.fakes import CONTENT, delivery

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "local.md").read_text()


def column(heading: str, number: int = 0) -> list[str]:
    """What stands in a column of the first table behind a heading."""
    table = PAGE.partition(heading)[2].partition("|---")[2].partition("\n\n")[0]
    return [
        line.replace("`|command`", "").split("|")[number + 1].strip()
        for line in table.splitlines()
        if line.startswith("| ")
    ]


class PageTests(SynchronousTestCase):
    def test_example(self) -> None:
        (example,) = re.findall(r"^```smtpd\.conf\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        config = load("smtpd.conf", {"smtpd.conf": example}.__getitem__, Environment("mx.example.org", ("192.0.2.25",)))
        self.assertEqual(config.warnings, ())
        self.assertEqual(config.mda.commandTimeout, 120.0)
        for action in config.actions.values():
            given = delivery(1, "ann", action=action.name)
            account = Account("ann", home="/home/ann")
            self.assertIsNotNone(
                plan(config, action, Letter(given.message, given.envelopes[0], account, CONTENT, 0.0, "mx"))
            )

    def test_environment(self) -> None:
        given = delivery(1, "bob+x")
        action = Action("a", Method.MDA, command=Command(("x",)))
        letter = Letter(given.message, given.envelopes[0], Account("bob", home="/home/bob"), CONTENT, 0.0, "mx")
        task = plan(Config("f", "mx"), action, letter)
        assert isinstance(task, CommandTask)
        names = re.findall(r"[A-Z_]+", " ".join(column("### Environment")))
        self.assertEqual(sorted(names), sorted(task.environment))
        self.assertIn(f"`{task.environment['PATH']}`", column("### Environment", 1))

    def test_exitCodes(self) -> None:
        documented: dict[int, str] = {}
        for codes, result in zip(column("### Exit codes"), column("### Exit codes", 1), strict=True):
            for code in re.findall(r"\b\d+\b", codes):
                documented[int(code)] = result
        for code in range(1, 256):
            reply = verdict(Exit(code))
            assert reply is not None
            said = documented.get(code, "permanent, 5.3")
            self.assertTrue(said.startswith("temporary" if reply.isTemporary else "permanent"), code)
            status = re.search(r"[45]\.\d\.?\d?", said)
            if status is not None:
                self.assertTrue(reply.enhanced.startswith(status[0]), (code, reply))
        self.assertTrue(documented.pop(0).startswith("delivered"))

    def test_specifiers(self) -> None:
        for name in NAMES:
            if "." not in name or not name.startswith(("rcpt", "dest", "sender")):
                self.assertIn(f"`%{{{name}}}`", PAGE)

    def test_figures(self) -> None:
        limits = MdaLimits()
        self.assertIn(f"`max-session` {limits.maxSession} ", PAGE)
        self.assertIn(f"`max-session-per-user` {limits.maxSessionPerUser} ", PAGE)
        self.assertIn(f"`batch` {limits.batch} ", PAGE)
        self.assertIn(f"`mda limit command-timeout`, {limits.commandTimeout / 60:g} minutes", PAGE)
        self.assertIn(f"After {PATIENCE:g} s without a lock", PAGE)
