"""What a session counts as in a report about TLS, and the form of the report (RFC 8460)."""

from __future__ import annotations

import gzip
import json
from email import message_from_bytes, policy
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.tlsa import Presented, Tlsa
from pysmtpd.mta.encounter import Encounter
from pysmtpd.mta.keys import ConnectionKey, Target
from pysmtpd.mta.policy import tlsrpt
from pysmtpd.mta.policy.sts import Mode, StsPolicy
from pysmtpd.mta.policy.tlsrpt import (
    DAY,
    NO_POLICY,
    Counts,
    Detail,
    Policy,
    Tally,
    judge,
    parseRecord,
    report,
    reportMessage,
)
from pysmtpd.mta.security import Dane, Facts, HostFacts, Level, Wishes

KEY = ConnectionKey("smtp", "", "192.0.2.1", 25, "me.test", "")
HOST = "mx.example.org"
SHOWN = Presented(b"certificate", b"key", True)
RECORD = Tlsa(3, 1, 0, b"key")
ENFORCE = StsPolicy(Mode.ENFORCE, (HOST,), 86400.0)
TESTING = StsPolicy(Mode.TESTING, (HOST,), 86400.0)
ELSEWHERE = StsPolicy(Mode.TESTING, ("other.example.org",), 86400.0)
NONE = StsPolicy(Mode.NONE, (), 86400.0)
TLS = TlsFacts("TLSv1.3", "x", 256)
TRUSTED = TlsFacts("TLSv1.3", "x", 256, True, HOST)
PLAIN = Facts(tried=True)


def dane(*records: Tlsa) -> HostFacts:
    return HostFacts(HOST, HOST, True, Dane.RECORDS, records or (RECORD,))


class JudgeTests(SynchronousTestCase):
    def counts(
        self,
        *expected: str,
        known: HostFacts | None = None,
        sts: StsPolicy | None = None,
        facts: Facts | None = None,
        certificate: str = "",
        problem: str = "",
    ) -> None:
        """
        @param expected: for each policy its kind and the result.
        """
        target = Target.make(KEY, HOST, known or HostFacts(HOST), Wishes("example.org", Level.OPPORTUNISTIC, sts=sts))
        judged = judge(Encounter(target, "192.0.2.9", facts, certificate, problem))
        self.assertEqual(list(expected), [f"{policy.kind} {detail.result}".strip() for policy, detail in judged])

    def test_noPolicy(self) -> None:
        self.counts("no-policy-found", facts=Facts(TLS))
        self.counts("no-policy-found starttls-not-supported", facts=PLAIN)
        self.counts("no-policy-found validation-failure", problem="451 4.4.2 TLS handshake failed")
        self.counts("no-policy-found", sts=NONE, facts=Facts(TLS))

    def test_sts(self) -> None:
        for sts in (ENFORCE, TESTING):
            self.counts("sts", sts=sts, facts=Facts(TRUSTED))
            self.counts("sts starttls-not-supported", sts=sts, facts=PLAIN)
        self.counts("sts starttls-not-supported", sts=ENFORCE, problem="451 4.7.4 TLS is required and ...")

    def test_testingIsNotEnforcedButTold(self) -> None:
        for certificate, result in (
            ("the certificate has expired", "certificate-expired"),
            ("the certificate is not for mx.example.org", "certificate-host-mismatch"),
            ("a self-signed certificate", "certificate-not-trusted"),
        ):
            self.counts(f"sts {result}", sts=TESTING, facts=Facts(TLS), certificate=certificate)
            self.counts(f"sts {result}", sts=ENFORCE, certificate=certificate, problem=f"451 4.7.5 TLS: {certificate}")
        self.counts("sts validation-failure", sts=ELSEWHERE, facts=Facts(TRUSTED))

    def test_dane(self) -> None:
        self.counts("tlsa", known=dane(), facts=Facts(TLS, chain=(SHOWN,)))
        wrong = Presented(b"", b"other", True)
        self.counts("tlsa validation-failure", known=dane(), facts=Facts(TLS, chain=(wrong,)))
        self.counts("tlsa starttls-not-supported", known=dane(), facts=PLAIN)
        self.counts(
            "tlsa validation-failure", known=dane(), problem="451 4.7.5 TLS: matches none", certificate="expired"
        )
        self.counts("tlsa tlsa-invalid", known=dane(Tlsa(1, 0, 1, bytes(32))), facts=Facts(TLS))
        failed = HostFacts(HOST, HOST, True, Dane.FAILED, (), "SERVFAIL")
        self.counts("tlsa dnssec-invalid", known=failed, problem="DANE: ...")

    def test_both(self) -> None:
        """Each by itself, whichever decided."""
        facts = Facts(TLS, chain=(SHOWN,))
        self.counts(
            "tlsa", "sts certificate-not-trusted", known=dane(), sts=TESTING, facts=facts, certificate="self-signed"
        )


class TallyTests(SynchronousTestCase):
    def test_sums(self) -> None:
        tally = Tally()
        failure = Detail("certificate-expired", "192.0.2.9", HOST, "192.0.2.1", "it is old")
        for detail in (Detail(""), failure, Detail(""), failure):
            tally.count(DAY * 3 + 5.0, "example.org", NO_POLICY, detail)
        tally.count(DAY * 4.0, "example.org", NO_POLICY, Detail(""))
        (counts,) = tally.days[DAY * 3]["example.org"]
        self.assertEqual((2, 2, {failure: 2}), (counts.succeeded, counts.failed, counts.details))
        tally.drop(DAY * 3, "example.org")
        self.assertEqual([DAY * 4], list(tally.days))

    def test_bounded(self) -> None:
        tally = Tally()
        with mock.patch.multiple(tlsrpt, MOST_DOMAINS=3, MOST_POLICIES=2, MOST_DETAILS=2):
            for number in range(9):
                tally.count(0.0, f"d{number}.test", NO_POLICY, Detail(""))
                tally.count(0.0, "d0.test", Policy("sts", (str(number),)), Detail(""))
                tally.count(0.0, "d1.test", NO_POLICY, Detail("validation-failure", reason=str(number)))
        domains = tally.days[0]
        self.assertEqual(["d0.test", "d1.test", "d2.test"], list(domains))
        self.assertEqual(2, len(domains["d0.test"]))
        (counts,) = domains["d1.test"]
        self.assertEqual((9, 2), (counts.failed, len(counts.details)))

    def test_boundedInAll(self) -> None:
        tally = Tally()
        with mock.patch.object(tlsrpt, "MOST_IN_ALL", 3):
            for number in range(9):
                tally.count(0.0, f"d{number}.test", NO_POLICY, Detail("validation-failure"))
            self.assertEqual(3, sum(len(counts.details) for (counts,) in tally.days[0].values()))
            tally.drop(0, "d0.test")
            tally.count(0.0, "new.test", NO_POLICY, Detail("validation-failure"))
            self.assertEqual(1, len(tally.days[0]["new.test"][0].details))

    def test_aFileKeepsIt(self) -> None:
        tally, other = Tally(), Tally()
        with mock.patch.object(tlsrpt, "MOST_DETAILS", 2):
            for number in range(5):
                tally.count(DAY * 1.0, "example.org", Policy("sts", ("a",), ("b",)), Detail("x", reason=str(number)))
            tally.count(DAY * 1.0, "example.org", NO_POLICY, Detail(""))
            other.load(json.loads(json.dumps(tally.dump())))
        self.assertEqual(json.dumps(tally.dump()), json.dumps(other.dump()))

    def test_aFileOfAnOlderRelease(self) -> None:
        tally = Tally()
        tally.load([[DAY, "example.org", ["tlsa", ["3 1 1 00"], []], 2, 0, []]])
        (counts,) = tally.days[DAY]["example.org"]
        self.assertEqual((Policy("tlsa", ("3 1 1 00",)), 2), (counts.policy, counts.succeeded))


class RecordTests(SynchronousTestCase):
    def test_where(self) -> None:
        self.assertEqual(
            ("https://example.org/v1/tls", "mailto:tls@example.org"),
            parseRecord(["other", "v=TLSRPTv1; rua=https://example.org/v1/tls , mailto:tls@example.org"]),
        )

    def test_nowhere(self) -> None:
        for texts in (
            [],
            ["v=TLSRPTv1"],
            ["v=TLSRPTv1; rua="],
            ["v=TLSRPTv2; rua=https://example.org/"],
            ["v=TLSRPTv1; rua=http://example.org/"],
            ["v=TLSRPTv1; rua=https://example.org/ x"],
            ["v=TLSRPTv1; rua=https://a.test/", "v=TLSRPTv1; rua=https://b.test/"],
        ):
            self.assertEqual((), parseRecord(texts), texts)


class ReportTests(SynchronousTestCase):
    def test_form(self) -> None:
        counts = Counts(Policy("sts", tlsrpt.policyLines(ENFORCE), ENFORCE.mx), 7, 2)
        counts.tell(Detail("certificate-expired", "192.0.2.9", HOST, "192.0.2.1"), 2)
        policies = (counts, Counts(NO_POLICY, 1))
        self.assertEqual(
            {
                "organization-name": "me.test",
                "date-range": {"start-datetime": "2026-11-20T00:00:00Z", "end-datetime": "2026-11-20T23:59:59Z"},
                "contact-info": "postmaster@me.test",
                "report-id": "1@me.test",
                "policies": [
                    {
                        "policy": {
                            "policy-type": "sts",
                            "policy-domain": "example.org",
                            "policy-string": ["version: STSv1", "mode: enforce", f"mx: {HOST}", "max_age: 86400"],
                            "mx-host": [HOST],
                        },
                        "summary": {"total-successful-session-count": 7, "total-failure-session-count": 2},
                        "failure-details": [
                            {
                                "result-type": "certificate-expired",
                                "sending-mta-ip": "192.0.2.9",
                                "receiving-mx-hostname": HOST,
                                "receiving-ip": "192.0.2.1",
                                "failed-session-count": 2,
                            }
                        ],
                    },
                    {
                        "policy": {"policy-type": "no-policy-found", "policy-domain": "example.org"},
                        "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
                    },
                ],
            },
            report("me.test", "1@me.test", 20777 * DAY, "example.org", policies),
        )

    def test_asMail(self) -> None:
        compressed = gzip.compress(b'{"a": "b"}' * 50)
        made = reportMessage(
            "me.test", "tls@example.org", "1@me.test", 20777 * DAY, "example.org", 0.0, "xyz", compressed
        )
        self.assertTrue(made.isascii())
        self.assertTrue(all(len(line) <= 78 for line in made.split(b"\r\n")))
        message = message_from_bytes(made, policy=policy.default)
        self.assertEqual([], message.defects)
        self.assertEqual(("multipart/report", "tlsrpt"), (message.get_content_type(), message.get_param("report-type")))
        self.assertEqual("Report Domain: example.org Submitter: me.test Report-ID: <1@me.test>", message["Subject"])
        self.assertEqual(("example.org", "me.test"), (message["TLS-Report-Domain"], message["TLS-Report-Submitter"]))
        self.assertEqual("No", message["TLS-Required"])
        text, attachment = message.iter_parts()
        self.assertEqual("text/plain", text.get_content_type())
        self.assertEqual("application/tlsrpt+gzip", attachment.get_content_type())
        self.assertEqual("me.test!example.org!1795132800!1795219199!1.json.gz", attachment.get_filename())
        self.assertEqual(compressed, attachment.get_payload(decode=True))
