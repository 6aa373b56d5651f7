"""The pages on events and metrics tell what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model import events
from pysmtpd.model.reply import Reply
from pysmtpd.mta.timings import Timings
from pysmtpd.report.counting import Counting
from pysmtpd.report.line import DETAILS
from tests.report.samples import KINDS, sample
from tests.report.test_counting import Numbers

DOCS = Path(__file__).resolve().parents[2] / "docs"


class EventsPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = (DOCS / "events.md").read_text()
        parts = re.split(r"^### (\w+)$", self.page, flags=re.MULTILINE)[1:]
        self.sections = dict(zip(parts[::2], parts[1::2], strict=True))

    def test_everyEventHasItsSection(self) -> None:
        self.assertEqual(sorted(self.sections), sorted(kind.__name__ for kind in KINDS))

    def test_everySectionListsTheFields(self) -> None:
        for kind in KINDS:
            listed = re.findall(r"^\| (\w+) \| \S", self.sections[kind.__name__], flags=re.MULTILINE)
            self.assertEqual([name for name in listed if name != "field"], [field.name for field in fields(kind)], kind)

    def test_everySectionNamesRoomAndWord(self) -> None:
        for kind in KINDS:
            for room in [kind.room] if kind.room else ["mta", "mda"]:
                self.assertIn(f"`{room} {kind.word}`", self.sections[kind.__name__])

    def test_theBriefLogIsTold(self) -> None:
        told = self.page[self.page.index("A brief log leaves out") :].split("\n\n")[0]
        self.assertEqual(sorted(re.findall(r"`(\w+)`", told)), sorted(kind.__name__ for kind in DETAILS))


class MetricsPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        page = (DOCS / "metrics.md").read_text()
        self.families = dict(re.findall(r"^\| `([^`]+)` \| (counter|gauge) \| \S", page, flags=re.MULTILINE))
        self.stat = Numbers()
        count = Counting(self.stat)
        for kind in KINDS:
            count(1.0, sample(kind))
        for address in ("192.0.2.1", "2001:db8::1", "local"):
            count(1.0, sample(events.SessionConnected, address=address))
            count(1.0, sample(events.MessageAccepted))
        for agent in ("mta", "mda"):
            for result in ("Ok", "TempFail", "PermFail", "Loop", "?"):
                count(1.0, sample(events.DeliveryAttempted, agent=agent, result=result, rcpt="a@example.org"))
        for result in ("ok", "permfail", "tempfail", "?"):
            count(1.0, sample(events.SessionAuthenticated, result=result))
            count(1.0, sample(events.ConnectionAuthenticated, result=result))
        count(1.0, sample(events.ConnectionTls, verified=False))
        count(1.0, sample(events.EnvelopeBounced, bounce=0))
        for action in ("delayed", "relayed", "delivered"):
            count(1.0, sample(events.EnvelopeReported, action=action))
        # No event tells of these: the mta counts them itself.
        timings = Timings(self.stat)
        timings.ended("192.0.2.1", "2001:db8::1", [Reply(code, "x") for code in (250, 450, 550)], 0.5)
        timings.ended("", "/run/lmtp", (), 1000.0)

    def matching(self, key: str) -> list[str]:
        return [family for family in self.families if _pattern(family).fullmatch(key)]

    def test_everyKeyIsOfOneFamily(self) -> None:
        for key in self.stat.values:
            self.assertEqual(len(self.matching(key)), 1, key)

    def test_everyFamilyIsUsed(self) -> None:
        used = {family for key in self.stat.values for family in self.matching(key)}
        self.assertEqual(sorted(used), sorted(self.families))


def _pattern(family: str) -> re.Pattern[str]:
    places = {
        "LISTENER": r".+",
        "DOMAIN": r".+",
        "ROUTE": r".+",
        "CLASS": r"([0-9.]+s|more)",
        "RESULT": r"(ok|tempfail|permfail|loop|other)",
    }
    return re.compile(r"\.".join(places.get(part, re.escape(part)) for part in family.split(".")))
