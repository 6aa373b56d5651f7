"""The book holds together: every page is reached from the README, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def links(page: Path) -> list[str]:
    return [link for link in _LINK.findall(page.read_text()) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Of the headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class BookTests(SynchronousTestCase):
    def test_linksLeadSomewhere(self) -> None:
        for page in PAGES:
            for link in links(page):
                path, _, anchor = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                self.assertTrue(target.exists(), f"{page.name}: {link}")
                if anchor:
                    self.assertIn(anchor, anchors(target), f"{page.name}: {link}")

    def test_everyPageIsReached(self) -> None:
        found = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
        self.assertEqual([page.name for page in PAGES[1:] if page not in found], [])

    def test_noExampleRelaysForStrangers(self) -> None:
        """Nor is there anything else to warn about."""
        examples = sorted((ROOT / "docs" / "examples").glob("*.conf"))
        self.assertTrue(examples)
        for example in examples:
            config = load(
                str(example), lambda path: Path(path).read_text(), Environment("mx.example.org", ("192.0.2.25",))
            )
            self.assertEqual(config.warnings, (), example)

    def test_filesThatAreNamed(self) -> None:
        """What pages name as a file of the tree is one."""
        for page in PAGES:
            for name in re.findall(r"`((?:pysmtpd|tests|docs|twisted)/[\w./]+)`", page.read_text()):
                self.assertTrue((ROOT / name).exists(), f"{page.name}: {name}")

    def test_modulesThatAreNamed(self) -> None:
        """C{pysmtpd.room.module.Name}: the module is there."""
        for page in PAGES:
            for name in re.findall(r"`(pysmtpd(?:\.[a-z]\w*)+)[.(`]", page.read_text()):
                parts = name.split(".")
                there = any(
                    (ROOT / "/".join(parts[:length])).is_dir() or (ROOT / ("/".join(parts[:length]) + ".py")).exists()
                    for length in (len(parts), len(parts) - 1)
                    if length > 1
                )
                self.assertTrue(there, f"{page.name}: {name}")
