"""Domains hear once a day how TLS with their hosts went (RFC 8460)."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from email import message_from_bytes
from email.policy import default
from typing import Any

from twisted.internet.defer import Deferred, succeed

from pysmtpd.model.events import DeliveryAttempted, TlsReportSent
from pysmtpd.mta.policy.reports import DELAY
from pysmtpd.testing.certificates import selfSigned
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.web import ScriptedWeb
from pysmtpd.testing.world import World
from tests.daemon.story import rules
from tests.daemon.test_tls_policy import MX, RIGHT, WRONG, Case

DAY = 86400.0
REPORTS = "reports.remote.test"
ADDRESS = "203.0.113.201"
RECORD = f"v=TLSRPTv1; rua=https://{REPORTS}/v1/tls"
TEXTS = ("organization-name", "contact-info", "report-id")
DETAILS = (
    *("result-type", "sending-mta-ip", "receiving-mx-hostname", "receiving-mx-helo", "receiving-ip"),
    *("additional-information", "failure-reason-code"),
)
# RFC 8460 4.3.
RESULTS = (
    *("starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted"),
    *("validation-failure", "tlsa-invalid", "dnssec-invalid", "dane-required"),
    *("sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid"),
)


class ReportTests(Case):
    def begun(self, record: str = RECORD, certificateFor: str = "", starttls: bool = True) -> World:
        trusted = selfSigned(MX)[0] + selfSigned(REPORTS)[0]
        world: World = self.world(rules(), settings={"authorities": trusted})
        self.mx = self.host(world, MX, starttls=starttls)
        world.dns.mx("remote.test", MX)
        self.web = ScriptedWeb(world.internet, ADDRESS, [REPORTS], certificateFor)
        self.web.policy("", "201 Created")
        world.dns.addresses(REPORTS, ADDRESS)
        if record:
            world.dns.text("_smtp._tls.remote.test", record)
        world.start()
        return world

    def send(self, world: World) -> None:
        before = len(world.eventsOf(DeliveryAttempted))
        self.accepted(world, "joe@remote.test")
        world.until(lambda: len(world.eventsOf(DeliveryAttempted)) > before, 90, "an attempt")
        # Long enough for a session of its own.
        world.run(400)

    def reported(self, world: World, seconds: float = 2 * DAY) -> dict[str, Any]:
        world.until(lambda: self.web.bodies, seconds, "a report")
        return self.checked(self.web.bodies[0])

    def checked(self, compressed: bytes) -> dict[str, Any]:
        """A report, which has the fields of RFC 8460 4.4, and no others."""
        report: dict[str, Any] = json.loads(gzip.decompress(compressed))
        self.assertEqual(set(report), {*TEXTS, "date-range", "policies"})
        self.assertTrue(all(report[name] and isinstance(report[name], str) for name in TEXTS))
        self.assertEqual(set(report["date-range"]), {"start-datetime", "end-datetime"})
        for moment in report["date-range"].values():
            datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")
        for section in report["policies"]:
            self.assertLessEqual(set(section), {"policy", "summary", "failure-details"})
            policy, summary = section["policy"], section["summary"]
            self.assertLessEqual({"policy-type", "policy-domain"}, set(policy))
            self.assertLessEqual(set(policy), {"policy-type", "policy-domain", "policy-string", "mx-host"})
            self.assertIn(policy["policy-type"], ("tlsa", "sts", "no-policy-found"))
            for name in ("policy-string", "mx-host"):
                self.assertTrue(all(isinstance(each, str) for each in policy.get(name, [])))
            self.assertEqual(set(summary), {"total-successful-session-count", "total-failure-session-count"})
            told = 0
            for detail in section.get("failure-details", []):
                self.assertLessEqual({"result-type", "failed-session-count"}, set(detail))
                self.assertLessEqual(set(detail), {"failed-session-count", *DETAILS})
                self.assertIn(detail["result-type"], RESULTS)
                self.assertTrue(all(isinstance(detail[name], str) for name in DETAILS if name in detail))
                told += detail["failed-session-count"]
            self.assertEqual(told, summary["total-failure-session-count"])
        return report

    def test_onTheDayAfter(self) -> None:
        world = self.begun()
        for _ in range(3):
            self.send(world)
        self.assertEqual([], self.web.requests)
        world.run(DAY - world.platform.wallTime() % DAY + DELAY - 10)
        self.assertEqual([], self.web.requests, "not all at midnight (RFC 8460 4.1)")
        report = self.reported(world, 3700)
        self.assertEqual([("POST /v1/tls HTTP/1.1", REPORTS)], self.web.requests)
        self.assertEqual("mail.example.org", report["organization-name"])
        (section,) = report["policies"]
        self.assertEqual("no-policy-found", section["policy"]["policy-type"])
        self.assertEqual(3, section["summary"]["total-successful-session-count"])
        world.run(1)
        (event,) = world.eventsOf(TlsReportSent)
        self.assertEqual(("remote.test", 3, "Ok"), (event.domain, event.sessions, event.result))

    def test_onceAndOnlyIfSomethingHappened(self) -> None:
        world = self.begun()
        self.send(world)
        world.run(5 * DAY)
        self.assertEqual(1, len(self.web.requests))

    def test_failures(self) -> None:
        world = self.begun()
        self.secure(world, "remote.test", MX)
        self.tlsa(world, WRONG)
        self.send(world)
        (section,) = self.reported(world)["policies"]
        self.assertEqual("tlsa", section["policy"]["policy-type"])
        self.assertEqual([f"3 1 1 {bytes(32).hex()}"], section["policy"]["policy-string"])
        # RFC 8460 1.1: of DANE it is the name where the records are.
        self.assertEqual(MX, section["policy"]["policy-domain"])
        (failure,) = section["failure-details"]
        self.assertEqual(("validation-failure", MX), (failure["result-type"], failure["receiving-mx-hostname"]))
        self.assertEqual("203.0.113.1", failure["receiving-ip"])
        self.assertEqual(failure["failed-session-count"], section["summary"]["total-failure-session-count"])

    def test_dane(self) -> None:
        world = self.begun()
        self.secure(world, "remote.test", MX)
        self.tlsa(world, RIGHT)
        self.send(world)
        (section,) = self.reported(world)["policies"]
        self.assertEqual("tlsa", section["policy"]["policy-type"])
        self.assertEqual(1, section["summary"]["total-successful-session-count"])

    def test_withoutTls(self) -> None:
        world = self.begun(starttls=False)
        self.send(world)
        (section,) = self.reported(world)["policies"]
        self.assertEqual("starttls-not-supported", section["failure-details"][0]["result-type"])

    def test_aPolicyThatCannotBeFetched(self) -> None:
        world = self.begun()
        world.dns.text("_mta-sts.remote.test", "v=STSv1; id=1")
        self.send(world)
        kinds = {section["policy"]["policy-type"]: section for section in self.reported(world)["policies"]}
        self.assertEqual("sts-policy-fetch-error", kinds["sts"]["failure-details"][0]["result-type"])

    def test_nobodyWantsThem(self) -> None:
        for record in ("", "v=TLSRPTv1; rua=mailto:tls@remote.test"):
            world = self.begun(record)
            self.send(world)
            world.run(3 * DAY)
            self.assertEqual(([], []), (self.web.requests, world.eventsOf(TlsReportSent)))
            self.assertEqual(1, len(self.mx.messages))

    def test_byMailOnceSomebodySigns(self) -> None:
        """It is ready, and nobody can sign yet; see L{test_nobodyWantsThem}. No report is made of what sends it: it wants no TLS."""
        world = self.begun("v=TLSRPTv1; rua=mailto:tls%2Breports@remote.test?x=y")
        self.send(world)
        sent: list[tuple[str, bytes]] = []

        def mail(to: str, made: bytes) -> Deferred[None]:
            sent.append((to, made))
            return succeed(None)

        world.service.policies._reports._mail = mail
        world.until(lambda: sent, 2 * DAY, "a report")
        ((to, made),) = sent
        message: Any = message_from_bytes(made, policy=default)
        self.assertEqual(("tls+reports@remote.test", "tls+reports@remote.test"), (to, str(message["To"])))
        self.assertEqual("No", message["TLS-Required"])
        self.assertEqual([], message.defects)
        _, attachment = message.iter_parts()
        report = self.checked(attachment.get_payload(decode=True))
        self.assertEqual("no-policy-found", report["policies"][0]["policy"]["policy-type"])
        (event,) = world.eventsOf(TlsReportSent)
        self.assertEqual(("mailto:tls%2Breports@remote.test?x=y", "Ok"), (event.uri, event.result))

    def test_whoDoesNotAnswerHoldsUpNobody(self) -> None:
        world = self.begun()
        others = [f"d{number}.test" for number in range(40)]
        for domain in others:
            world.dns.mx(domain, MX)
            world.dns.silence(f"_smtp._tls.{domain}")
        self.accepted(world, *(f"joe@{domain}" for domain in others))
        world.run(60)
        self.send(world)
        world.until(lambda: any(one.name.startswith("_smtp._tls") for one in world.dns.queries), 2 * DAY, "it begins")
        self.reported(world, 60)

    def test_triedAgain(self) -> None:
        world = self.begun()
        self.send(world)
        world.internet.set(ADDRESS, Condition.REFUSING)
        world.until(lambda: world.eventsOf(TlsReportSent), 2 * DAY, "a try")
        world.internet.set(ADDRESS, Condition.NORMAL)
        self.assertEqual(1, self.reported(world)["policies"][0]["summary"]["total-successful-session-count"])

    def test_givenUp(self) -> None:
        world = self.begun()
        self.send(world)
        self.web.policy("", "500 No")
        world.run(5 * DAY)
        tries = len(self.web.requests)
        self.assertGreater(tries, 1)
        world.run(2 * DAY)
        self.assertEqual(tries, len(self.web.requests))

    def test_onlyToWhomItIsFor(self) -> None:
        """The certificate has to be right, and redirects lead nowhere."""
        world = self.begun(certificateFor=MX)
        self.send(world)
        world.until(lambda: world.eventsOf(TlsReportSent), 2 * DAY, "a try")
        self.assertEqual([], self.web.requests)
        self.assertIn("certificate", world.eventsOf(TlsReportSent)[0].result)

    def test_redirected(self) -> None:
        world = self.begun()
        self.web.answer = b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.test/\r\nContent-Length: 0\r\n\r\n"
        self.send(world)
        world.until(lambda: world.eventsOf(TlsReportSent), 2 * DAY, "a try")
        self.assertEqual("the answer is 302", world.eventsOf(TlsReportSent)[0].result)

    def test_survivesARestart(self) -> None:
        world = self.begun()
        self.send(world)
        world.stop()
        world.restart()
        self.assertEqual(1, self.reported(world)["policies"][0]["summary"]["total-successful-session-count"])
