"""Domains hear once a day how TLS with their hosts went (RFC 8460)."""

from __future__ import annotations

import gzip
import json
from typing import Any

from pysmtpd.model.events import DeliveryAttempted, TlsReportSent
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
        report: dict[str, Any] = json.loads(gzip.decompress(self.web.bodies[0]))
        return report

    def test_onTheDayAfter(self) -> None:
        world = self.begun()
        for _ in range(3):
            self.send(world)
        self.assertEqual([], self.web.requests)
        report = self.reported(world)
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
