"""MTA-STS: what domains publish."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.mta.policy.sts import (
    MAX_AGE,
    MAX_PATTERNS,
    MAX_POLICY,
    BadPolicy,
    Mode,
    StsPolicy,
    parsePolicy,
    parseRecord,
)

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.example.org\r\nmx: *.Backup.example.org\r\nmax_age: 604800\r\n"


class RecordTests(SynchronousTestCase):
    def test_id(self) -> None:
        for text in (
            "v=STSv1; id=20260101T000000",
            "v=STSv1;id=20260101T000000;",
            "v=STSv1 ; id = 20260101T000000 ; x=1",
        ):
            self.assertEqual("20260101T000000", parseRecord([text]), text)

    def test_otherRecordsDoNotMatter(self) -> None:
        self.assertEqual("1", parseRecord(["v=spf1 -all", "v=STSv1; id=1", "v=STSv10; id=3"]))

    def test_noPolicy(self) -> None:
        for texts in (
            [],
            ["v=STSv2; id=1"],
            ["v=STSv1"],
            ["v=STSv1; id="],
            ["v=STSv1; id=not-alphanumeric"],
            ["v=STSv1; id=" + "a" * 33],
            ["v=STSv1; =; id=1"],
            ["v=STSv1; id=1", "v=STSv1; id=1"],
        ):
            self.assertIsNone(parseRecord(texts), texts)


class PolicyTests(SynchronousTestCase):
    def test_policy(self) -> None:
        expected = StsPolicy(Mode.ENFORCE, ("mx1.example.org", "*.backup.example.org"), 604_800.0)
        self.assertEqual(expected, parsePolicy(POLICY))
        self.assertEqual(expected, parsePolicy(POLICY.replace(b"\r\n", b"\n").rstrip() + b"\nlater_field: x"))

    def test_patterns(self) -> None:
        policy = parsePolicy(POLICY)
        for host in ("mx1.example.org", "MX1.example.org.", "a.backup.example.org"):
            self.assertTrue(policy.covers(host), host)
        for host in ("example.org", "backup.example.org", "a.b.backup.example.org", "mx2.example.org", ""):
            self.assertFalse(policy.covers(host), host)

    def test_noneNeedsNoHost(self) -> None:
        self.assertEqual(StsPolicy(Mode.NONE, (), 60.0), parsePolicy(b"version: STSv1\nmode: none\nmax_age: 60\n"))

    def test_agesAreBounded(self) -> None:
        self.assertEqual(MAX_AGE, parsePolicy(POLICY.replace(b"604800", b"9999999999")).maxAge)

    def test_theFirstCounts(self) -> None:
        self.assertIs(Mode.ENFORCE, parsePolicy(POLICY + b"mode: none\n").mode)

    def test_refused(self) -> None:
        for content, why in (
            (b"", "version"),
            (b"\xff", "UTF-8"),
            (b"x" * (MAX_POLICY + 1), str(MAX_POLICY)),
            (b"<html>", "line 1"),
            (POLICY.replace(b"STSv1", b"STSv2"), "version"),
            (POLICY.replace(b"enforce", b"report"), '"report"'),
            (POLICY.replace(b"604800", b"a week"), "max_age"),
            (POLICY.replace(b"604800", b"-1"), "max_age"),
            (POLICY.replace(b"mx1.", b"*.*."), "line 3"),
            (POLICY.replace(b"mx1.", b".."), "line 3"),
            (b"version: STSv1\nmode: testing\nmax_age: 60\n", "no host"),
            (POLICY + b"".join(b"mx: m%d.test\n" % n for n in range(MAX_PATTERNS)), str(MAX_PATTERNS)),
        ):
            self.assertIn(why, str(self.assertRaises(BadPolicy, parsePolicy, content)))

    @given(st.binary(max_size=200) | st.text(alphabet="versionmdxSTv1:* .\n\r", max_size=200).map(str.encode))
    def test_whateverComes(self, content: bytes) -> None:
        try:
            policy = parsePolicy(content)
        except BadPolicy:
            return
        self.assertLessEqual(policy.maxAge, MAX_AGE)
