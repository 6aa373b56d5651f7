from __future__ import annotations

import json
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model import events
from pysmtpd.model.events import Event
from pysmtpd.model.ids import EnvelopeId, SessionId
from pysmtpd.report.jsonlog import JsonLog
from pysmtpd.report.line import DETAILS
from pysmtpd.report.maillog import MailLog
from tests.report.samples import KINDS, sample


class JsonLogTests(SynchronousTestCase):
    def record(self, event: Event) -> dict[str, Any]:
        lines: list[str] = []
        JsonLog(lines.append)(1000.5, event)
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0].endswith("}\n"))
        self.assertTrue(lines[0].isascii())
        self.assertEqual(len(lines[0].splitlines()), 1)
        return cast(dict[str, Any], json.loads(lines[0]))

    def test_delivery(self) -> None:
        event = events.DeliveryAttempted(
            "mda", EnvelopeId(1), "", "b@example.org", "b@example.org", "", "/var/mail", 1.25, "Ok", "Delivered",
        )  # fmt: skip
        self.assertEqual(
            self.record(event),
            {
                "time": "1970-01-01T00:16:40.500Z",
                "session": "0" * 16,
                "room": "mda",
                "word": "delivery",
                "evpid": "0" * 23 + "1",
                "from": "",
                "to": "b@example.org",
                "rcpt": "b@example.org",
                "source": "",
                "relay": "/var/mail",
                "delay": 1.25,
                "result": "Ok",
                "stat": "Delivered",
            },
        )

    def test_typesOfJson(self) -> None:
        record = self.record(events.ConnectionTls(SessionId(5), "TLSv1.3", True))
        self.assertIs(record["verified"], True)
        self.assertEqual(self.record(sample(events.SessionDisconnected, messages=3))["messages"], 3)

    def test_theKeysAreThoseOfTheTextLog(self) -> None:
        for kind in KINDS:
            record = self.record(sample(kind))
            lines: list[str] = []
            MailLog(lines.append, stamped=False)(0, sample(kind))
            keys = [word.partition("=")[0] for word in lines[0].split()[3:]]
            self.assertEqual([*list(record)[:4], *keys], ["time", "session", "room", "word", *keys])
            self.assertEqual(list(record)[4:], keys)

    def test_brief(self) -> None:
        lines: list[str] = []
        log = JsonLog(lines.append, verbose=False)
        for kind in KINDS:
            log(0.0, sample(kind))
        self.assertEqual(len(lines), len(KINDS) - len(DETAILS))

    def test_aBadValueCostsItsLineOnly(self) -> None:
        self.assertEqual(self.record(events.ListenerOpened(cast(str, 5)))["word"], "internal-error")

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=30), st.text(max_size=30))
    def test_textComesBack(self, command: str, reason: str) -> None:
        record = self.record(events.CommandFailed(SessionId(1), command, "550", reason))
        self.assertEqual(record["command"], command)
        self.assertEqual(record["reason"], reason)
