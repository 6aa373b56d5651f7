from __future__ import annotations

import re
from dataclasses import fields
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model import events
from pysmtpd.model.events import Event
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId
from pysmtpd.report.line import DETAILS
from pysmtpd.report.maillog import MailLog, bracketed, duration, plain, quoted
from tests.report.samples import KINDS, sample

S = SessionId(0x71307ECF35F13D58)
EVP = EnvelopeId(0x0123456789ABCDEF00000001)

# A reader that knows the grammar: key=value, where a value is in quotes, in angle brackets, or plain.
FIELD = re.compile(r' ([a-z]+)=("(?:[^"\\]|\\.)*"|<[^<> ]*>|[^ "<>=\\]+)')


def read(line: str) -> tuple[str, str, str, list[tuple[str, str]]]:
    """Session, room, word and fields of a line without a time; fails where it does not keep to the grammar."""
    head = re.match(r"([0-9a-f]{16}) ([a-z]+) ([a-z-]+)(?= |$)", line)
    assert head is not None, line
    place, found = head.end(), []
    while place < len(line):
        match = FIELD.match(line, place)
        assert match is not None, (line, place)
        found.append((match[1], match[2]))
        place = match.end()
    return head[1], head[2], head[3], found


class MailLogTests(SynchronousTestCase):
    def line(self, event: Event, **options: Any) -> str:
        lines: list[str] = []
        MailLog(lines.append, stamped=False, **options)(0.0, event)
        self.assertEqual(len(lines), 1)
        return lines[0]

    def test_connected(self) -> None:
        event = events.SessionConnected(S, "192.0.2.1", "mail.example.org", "192.0.2.9:25")
        self.assertEqual(
            self.line(event),
            "71307ecf35f13d58 smtp connected address=192.0.2.1 host=mail.example.org listener=192.0.2.9:25\n",
        )

    def test_noHostName(self) -> None:
        event = events.SessionConnected(S, "2001:db8::1", "", "[::1]:25")
        self.assertIn(' host="" ', self.line(event))

    def test_delivery(self) -> None:
        event = events.DeliveryAttempted(
            "mta", EVP, "a@example.org", "b@example.test", "b@example.test", "192.0.2.9", "mx.example.test [192.0.2.2]",
            0.4, "Ok", '250 2.0.0 "queued"', S,
        )  # fmt: skip
        self.assertEqual(
            self.line(event),
            "71307ecf35f13d58 mta delivery evpid=0123456789abcdef00000001 from=<a@example.org> to=<b@example.test> "
            'rcpt=<b@example.test> source="192.0.2.9" relay="mx.example.test [192.0.2.2]" delay=0s result="Ok" '
            'stat="250 2.0.0 \\"queued\\""\n',
        )

    def test_localDeliveryIsTheMdas(self) -> None:
        event = sample(events.DeliveryAttempted, agent="mda", session=SessionId(0), sender="")
        self.assertTrue(self.line(event).startswith("0000000000000000 mda delivery evpid="))
        self.assertIn(" from=<> ", self.line(event))

    def test_withoutSession(self) -> None:
        self.assertEqual(
            self.line(events.DaemonStopped("asked to")), '0000000000000000 daemon stopped reason="asked to"\n'
        )

    def test_message(self) -> None:
        event = events.MessageAccepted(S, MessageId(0xAB), "", 4096, 2, "ESMTPS")
        self.assertEqual(
            self.line(event),
            "71307ecf35f13d58 smtp message msgid=00000000000000ab from=<> size=4096 nrcpt=2 proto=ESMTPS\n",
        )

    def test_stamp(self) -> None:
        lines: list[str] = []
        log = MailLog(lines.append)
        for when in (0.0, 0.9999, 1_795_190_761.25, 1_795_190_761.5):
            log(when, events.ListenerOpened("x"))
        self.assertEqual(
            [line.split()[0] for line in lines],
            ["1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.999Z", "2026-11-20T16:06:01.250Z", "2026-11-20T16:06:01.500Z"],
        )  # fmt: skip

    def test_everyEventHasALineOfTheGrammar(self) -> None:
        for kind in KINDS:
            event = sample(kind)
            session, room, word, found = read(self.line(event).rstrip("\n"))
            self.assertEqual(word, kind.word)
            self.assertEqual(room, kind.room or "mta")
            self.assertEqual(session, "00000000000004d2" if hasattr(event, "session") else "0" * 16)
            names = [key for key, _ in found]
            self.assertEqual(len(names), len(set(names)), kind)

    def test_briefLeavesOutHowConnectionsCameAndWent(self) -> None:
        lines: list[str] = []
        log = MailLog(lines.append, verbose=False)
        for kind in KINDS:
            log(0.0, sample(kind))
        self.assertEqual(len(lines), len(KINDS) - len(DETAILS))
        self.assertFalse([line for line in lines if " smtp connected " in line])
        log.verbose = True
        log(0.0, sample(events.SessionConnected))
        self.assertIn(" smtp connected ", lines[-1])

    def test_aBadValueCostsItsLineOnly(self) -> None:
        lines: list[str] = []
        log = MailLog(lines.append, stamped=False)
        log(0.0, events.ListenerOpened(cast(str, None)))
        log(0.0, events.ListenerOpened("x"))
        self.assertIn('internal-error doing="log ListenerOpened"', lines[0])
        self.assertEqual(lines[1], "0000000000000000 daemon listening listener=x\n")

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(KINDS), st.lists(st.text(max_size=20), min_size=12, max_size=12))
    def test_noValueForgesAFieldOrALine(self, kind: type[Event], texts: list[str]) -> None:
        honest = sample(kind)
        names = [name for name in _texts(honest) if name != "agent"]
        hostile = sample(kind, **dict(zip(names, texts, strict=False)))
        line = self.line(hostile)
        self.assertEqual(len(line.splitlines()), 1)
        expected = [key for key, _ in read(self.line(honest).rstrip("\n"))[3]]
        self.assertEqual([key for key, _ in read(line[:-1])[3]], expected)
        line.encode("utf-8")


def _texts(event: Event) -> dict[str, str]:
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    return {name: value for name, value in values.items() if isinstance(value, str)}


class ValueTests(SynchronousTestCase):
    def test_quoted(self) -> None:
        self.assertEqual(quoted(""), '""')
        self.assertEqual(quoted("250 2.0.0 Ok"), '"250 2.0.0 Ok"')
        self.assertEqual(quoted('say "hi" \\'), '"say \\"hi\\" \\\\"')
        self.assertEqual(quoted("a\r\nb"), '"a\\x0d\\x0ab"')
        self.assertEqual(quoted("bücher"), '"bücher"')
        self.assertEqual(quoted("a\u2028b\ud800\U000e0001"), '"a\\u2028b\\ud800\\U000e0001"')

    def test_plain(self) -> None:
        self.assertEqual(plain("TLSv1.3:TLS_AES_256_GCM_SHA384:256"), "TLSv1.3:TLS_AES_256_GCM_SHA384:256")
        self.assertEqual(plain("x result=Ok"), '"x result=Ok"')
        self.assertEqual(plain("a=b"), '"a=b"')

    def test_bracketed(self) -> None:
        self.assertEqual(bracketed(""), "<>")
        self.assertEqual(bracketed("a@example.org"), "<a@example.org>")
        self.assertEqual(bracketed('"a b"@example.org'), '<\\"a\\x20b\\"@example.org>')
        self.assertEqual(bracketed("a> to=<b"), "<a\\x3e\\x20to=\\x3cb>")

    def test_duration(self) -> None:
        for seconds, text in [
            (0.9, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61.5, "1m1s"),
            (3600, "1h"),
            (90_061, "1d1h1m1s"),
            (-3, "0s"),
        ]:
            self.assertEqual(duration(seconds), text)
