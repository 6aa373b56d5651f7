"""The book: its links lead somewhere, and each page can be found."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """The names of a page's headings in links."""
    headings = [line.lstrip("#").strip().lower() for line in page.read_text().splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


class LinkTests(SynchronousTestCase):
    def test_linksLeadSomewhere(self) -> None:
        for page in PAGES:
            for path, anchor in _LINK.findall(page.read_text()):
                if ":" in path:
                    continue
                target = page.parent / path if path else page
                self.assertTrue(target.exists(), f"{page.name} links {path}")
                if anchor:
                    self.assertIn(anchor, anchors(target), f"{page.name} links {path}#{anchor}")

    def test_theReadmeNamesEveryPage(self) -> None:
        named = {path for path, _ in _LINK.findall((ROOT / "README.md").read_text())}
        for page in PAGES[1:]:
            self.assertIn(f"docs/{page.name}", named)
