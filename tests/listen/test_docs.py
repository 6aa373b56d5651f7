"""The page on sessions does not lie."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load
from pysmtpd.config.unbuilt import unbuilt
from pysmtpd.listen import damping, fixing, lobby, proxy, transport
from pysmtpd.model.limits import SmtpLimits
from pysmtpd.privilege import password
from pysmtpd.smtp.xclient import ATTRIBUTES

TEXT = (Path(__file__).resolve().parent.parent.parent / "docs" / "sessions.md").read_text()
EXAMPLE = re.compile(r"^```smtpd\.conf\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class PageTests(SynchronousTestCase):
    def test_examples(self) -> None:
        """Each is accepted without a warning, and can be run."""
        examples = EXAMPLE.findall(TEXT)
        self.assertGreater(len(examples), 2)
        for example in examples:
            config = load(
                "smtpd.conf", {"smtpd.conf": example}.__getitem__, Environment("mx.example.org", ("192.0.2.25",))
            )
            self.assertEqual(config.warnings, (), example)
            self.assertEqual(unbuilt(config), ())

    def test_numbers(self) -> None:
        for words in (
            f"together bear {damping.MOST_OF_USER} failures",
            f"bears {damping.MOST_OF_ADDRESS}, and one more every {damping.FORGIVE_OF_ADDRESS:g} s",
            f"{damping.MOST_KEPT:,} counts",
            f"more\nthan {fixing.MAX_HEADER // 1024} KiB",
            f"The header has {lobby.PATIENCE:g} s",
            f"{proxy.MAX_TEXT} octets of text, or {proxy.MAX_REST} behind",
            f"one, {password.MAX_CHECKS} at a time",
            ", ".join(ATTRIBUTES),
        ):
            self.assertIn(words, TEXT)

    def test_bounds(self) -> None:
        """Each that a postmaster may set has its word, its default and a precedent; the page on the protocol has the others."""
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line[:2] == "| "]
        said = {row[1].strip("`"): row for row in rows if len(row) == 5}
        limits = SmtpLimits()
        for word, value in (
            ("max-sessions-per-peer", limits.maxSessionsPerPeer),
            ("max-received", limits.maxReceived),
            ("command-timeout", limits.commandTimeout),
            ("data-timeout", limits.dataTimeout),
            ("auth-timeout", limits.authTimeout),
            ("session-timeout", limits.sessionTimeout),
        ):
            self.assertEqual(said[word][2].split()[0], f"{value:g}")
            self.assertGreater(len(said[word][4]), 3)
        (linger,) = (row for row in rows if row[0] == "the peer takes our last words")
        self.assertEqual(linger[2], f"{transport.LINGER:g}")
