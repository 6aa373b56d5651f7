"""Certificates whose files change while the daemon runs."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from pysmtpd.model.config import CaSpec
from pysmtpd.model.events import CertificateKept, CertificateTaken
from pysmtpd.tls.certificates import Certificates
from pysmtpd.tls.renewal import INTERVAL, Renewal
from tests.listen.fakes import FakeReport, FakeWorkers
from tests.tls.authority import NOW, Authority, keyPem
from tests.tls.test_certificates import AUTHORITY, KEY, OTHER_KEY, Case


class Platform:
    def __init__(self) -> None:
        self.clock = Clock()
        self.workers = FakeWorkers()


class RenewalTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.add("mail", "mail.example.org")
        self.files["/ca.pem"] = AUTHORITY.pem
        self.here = Certificates(self.pki, self.read, NOW.timestamp, ca={"staff": CaSpec("staff", "/ca.pem")})
        self.report = FakeReport()
        self.platform = Platform()
        platform: Any = self.platform
        self.renewal = Renewal(platform, lambda: self.here, self.read, self.report)
        self.renewal.start()
        self.first = self.here.serverContext(["mail"])

    def wait(self) -> None:
        self.platform.clock.advance(INTERVAL)

    def renew(self) -> None:
        self.files["/mail.crt"] = AUTHORITY.issue(("new.example.org",), OTHER_KEY)
        self.files["/mail.key"] = keyPem(OTHER_KEY)

    def test_nothingHasChanged(self) -> None:
        self.wait()
        self.wait()
        self.assertEqual(self.report.events, [])
        self.assertIs(self.here.serverContext(["mail"]), self.first)

    def test_taken(self) -> None:
        self.wait()
        self.renew()
        self.wait()
        self.assertEqual(self.report.events, [CertificateTaken("pki mail")])
        self.assertIsNot(self.here.serverContext(["mail"]), self.first)
        self.wait()
        self.assertEqual(len(self.report.events), 1)

    def test_changedBeforeTheFirstLook(self) -> None:
        self.renew()
        self.wait()
        self.assertEqual(self.report.events, [CertificateTaken("pki mail")])

    def test_halfOfIt(self) -> None:
        """The certificate is there, its key is not yet: the old pair stays, and that is told once."""
        self.files["/mail.crt"] = AUTHORITY.issue(("new.example.org",), OTHER_KEY)
        self.wait()
        self.wait()
        (event,) = self.report.of(CertificateKept)
        self.assertIn("does not belong", event.reason)
        self.assertIs(self.here.serverContext(["mail"]), self.first)
        self.files["/mail.key"] = keyPem(OTHER_KEY)
        self.wait()
        self.assertEqual(self.report.events[1:], [CertificateTaken("pki mail")])

    def test_gone(self) -> None:
        del self.files["/mail.key"]
        self.wait()
        self.wait()
        (event,) = self.report.of(CertificateKept)
        self.assertEqual(event.name, "pki mail")
        self.files["/mail.key"] = keyPem(KEY)
        self.wait()
        self.assertEqual(len(self.report.events), 1)
        self.assertIs(self.here.serverContext(["mail"]), self.first)

    def test_authorities(self) -> None:
        self.files["/ca.pem"] = b"rubbish"
        self.wait()
        self.assertEqual(self.report.of(CertificateKept)[0].name, "ca staff")
        self.files["/ca.pem"] = Authority("Another").pem
        self.wait()
        self.assertEqual(self.report.of(CertificateTaken), [CertificateTaken("ca staff")])

    def test_aFault(self) -> None:
        """One of ours does not end the looking."""

        def explode(path: str) -> bytes:
            raise RuntimeError("oops")

        platform: Any = self.platform
        other = Renewal(platform, lambda: self.here, explode, self.report)
        other.start()
        self.wait()
        self.wait()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_stopped(self) -> None:
        self.successResultOf(self.renewal.stop())
        self.renew()
        self.wait()
        self.assertEqual(self.report.events, [])
        self.assertEqual(self.platform.clock.getDelayedCalls(), [])
