"""The page on control tells what the command line and the schema do; its examples run."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from pysmtpd.control import cli, render
from pysmtpd.control.schema import COMMANDS, ERRORS, PAGE
from tests.control.test_cli import DaemonTestCase

PAGE_TEXT = (Path(__file__).resolve().parent.parent.parent / "docs" / "control.md").read_text()


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> list[str]:
    """Every command of the parser, as words."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        return [" ".join(words)]
    found: list[str] = []
    for group in groups:
        for name, below in group.choices.items():
            found += leaves(below, (*words, name))
    return found


class PageTests(DaemonTestCase):
    def test_everyCommandIsListed(self) -> None:
        table = PAGE_TEXT[: PAGE_TEXT.index("With `--json`")]
        listed = [re.sub(r" (\[.*\]|[A-Z]+)$", "", words) for words in re.findall(r"`([a-z][^`]*)`", table)]
        commands = leaves(cli._parser())
        self.assertEqual([command for command in commands if command not in listed], [])
        rows = re.findall(r"^\| (`[^|]*) \|", table, flags=re.MULTILINE)
        told = [re.sub(r" (\[.*\]|[A-Z]+)$", "", words) for row in rows for words in re.findall(r"`([^`]*)`", row)]
        self.assertEqual([words for words in told if words not in commands], [])

    def test_schema(self) -> None:
        rows = re.findall(r"^\| `([A-Z]\w+)` \| (.*) \| (.*) \| (.*) \|$", PAGE_TEXT, flags=re.MULTILINE)
        expected = [
            (command.name, *(", ".join(f"`{key}` {kind}" for key, kind in pairs) for pairs in command[2:]), command.doc)
            for command in COMMANDS.values()
        ]
        self.assertEqual(rows, expected)
        self.assertIn(f"at most {PAGE:,} octets", PAGE_TEXT)

    def test_errors(self) -> None:
        rows = re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", PAGE_TEXT, flags=re.MULTILINE)
        told = {code: text.lower() + "." for code, text in rows}
        self.assertEqual(told, {code: text.lower() for code, text in ERRORS.items()})

    def test_exitCodes(self) -> None:
        codes = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE_TEXT, flags=re.MULTILINE)]
        self.assertEqual(
            codes, [cli.EX_OK, cli.EX_REFUSED, cli.EX_USAGE, cli.EX_UNAVAILABLE, cli.EX_NOPERM, cli.EX_INTERRUPTED]
        )

    async def test_program(self) -> None:
        """The example in Python."""
        await self.submit("ann@example.net", "bob@example.net")
        (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE_TEXT, flags=re.MULTILINE | re.DOTALL)
        self.assertIn('"/var/spool/pysmtpd/control.sock"', program)
        printed: list[tuple[Any, ...]] = []
        names = {"print": lambda *values: printed.append(values)}
        code = compile(program.replace("/var/spool/pysmtpd/control.sock", self.socket), "control.md", "exec")
        await deferToThread(exec, code, names)
        self.assertEqual(
            [row[1:] for row in printed],
            [(f"{name}@example.net", "ready, but the mta is paused", "") for name in ("ann", "bob")],
        )
        rows = (await self.ctl("--json", "show", "queue")).json
        self.assertEqual([row["condition"] for row in rows], ["suspended"] * 2)

    def test_shownQueue(self) -> None:
        """The example of C{show queue} is what it prints."""
        lines = [line[4:] for line in PAGE_TEXT.splitlines() if line.startswith("    ")]
        start = lines.index("$ pysmtpctl show queue") + 1
        now = 1_767_225_611.7
        row = {
            "evpid": "0019b76daae7200000000000",
            "agent": "mta",
            "sender": "jane@example.org",
            "recipient": "ann@example.net",
            "size": 206,
            "created": now - 10,
            "expires": now - 10 + 4 * 86_400,
            "tries": 1,
            "condition": "waiting",
            "why": "waits for its next try",
            "next_try": now + 390,
            "last_reply": "451 4.2.0 Greylisted, come back later",
        }
        self.assertEqual(render.envelope(row, now).splitlines(), lines[start : start + 3])

    def test_shownCommandsParse(self) -> None:
        """Every command line of the examples is one that there is."""
        for line in re.findall(r"pysmtpctl ([^|\n`\[]+)", PAGE_TEXT[PAGE_TEXT.index("    $ ") :]):
            words = line.split("|")[0].split()
            if words[0] == "remove":
                words.append("all")
            cli._parser().parse_args(words)
