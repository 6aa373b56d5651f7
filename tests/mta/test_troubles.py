"""docs/troubleshooting.md tells the truth: what stands in it is said in a world, and all that can be said stands in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.control import rows
from pysmtpd.model.limits import MtaLimits
from tests.mta.troubles import PAGE, PLIGHTS, page

ROOT = Path(__file__).parent.parent.parent
KINDS = ("concurrency", "rate", "back-off", "DNS", "TLS policy", "suspended", "nothing to send")


def literals(path: str) -> set[str]:
    """All texts in a file's code, without what is filled in."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


class PageTests(SynchronousTestCase):
    def test_isWhatIsSaid(self) -> None:
        """C{python -m tests.mta.troubles} writes it anew."""
        text = PAGE.read_text()
        self.assertEqual(_withoutIds(text), _withoutIds(page(text)))

    def test_everyPlightIsThere(self) -> None:
        headings = re.findall(r"(?m)^## (.*)$", PAGE.read_text())
        self.assertEqual([*PLIGHTS, "The rest"], headings)

    def test_everyConstraint(self) -> None:
        """Each kind is shown, each limit is named, and so is each state of an envelope."""
        text = PAGE.read_text()
        for kind in KINDS:
            self.assertRegex(text, rf"(?m)^        {kind}(:|$)")
        code = literals("pysmtpd/mta/shown.py") | literals("pysmtpd/mta/shaping/shaper.py")
        self.assertLessEqual(set(KINDS), code)
        for name in MtaLimits.__dataclass_fields__:
            word = re.sub(r"([A-Z])", lambda match: f"-{match[1].lower()}", name)
            first, _, last = word.rpartition("-")
            if first in ("max-conn-per", "conn-delay"):
                (row,) = re.findall(rf"(?m)^\| ({first}-host, .*)", text)
                self.assertRegex(row, rf"-{last}\b")
        self.assertIn("reconn-delay-route", text)
        for why in rows._WHY.values():
            self.assertIn(why, text)


def _withoutIds(text: str) -> str:
    return re.sub(r"\b(?:[0-9a-f]{24}|[0-9a-f]{16})\b", "ID", text)
