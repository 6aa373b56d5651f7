"""Fetching policies, from web servers in memory."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.dns.resolver import Resolver
from pysmtpd.mta.policy.https import PATIENCE, NotFetched, PolicyFetcher
from pysmtpd.mta.policy.sts import MAX_POLICY
from pysmtpd.testing.certificates import selfSigned
from pysmtpd.testing.dns import ScriptedDns
from pysmtpd.testing.platform import SimulatedPlatform
from pysmtpd.testing.web import PATH, ScriptedWeb
from pysmtpd.tls.client import ClientContexts

NAME = "mta-sts.example.org"
POLICY = "version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 86400\n"


class FetchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SimulatedPlatform()
        self.internet = self.platform.internet
        self.dns = ScriptedDns(self.internet)
        self.dns.addresses(NAME, "203.0.113.8")
        self.web = ScriptedWeb(self.internet, "203.0.113.8", [NAME])
        self.web.policy(POLICY)
        self.resolver = Resolver(self.platform, self.platform.resolverSettings())

    def fetch(self, seconds: float = 5.0) -> Deferred[bytes]:
        tls = ClientContexts(selfSigned(NAME)[0])
        fetching = PolicyFetcher(self.platform, self.resolver, tls).fetch("example.org")
        self.platform.timeline.run(seconds)
        return fetching

    def refused(self, why: str, seconds: float = 5.0, isUntrusted: bool = False) -> None:
        failure = self.failureResultOf(self.fetch(seconds), NotFetched)
        self.assertIn(why, failure.getErrorMessage())
        self.assertEqual(isUntrusted, failure.value.isUntrusted)

    def test_policy(self) -> None:
        self.assertEqual(POLICY.encode(), self.successResultOf(self.fetch()))
        self.assertEqual([(f"GET {PATH} HTTP/1.1", NAME)], self.web.requests)

    def test_theNextAddress(self) -> None:
        self.dns.addresses(NAME, "203.0.113.7", "203.0.113.8")
        self.assertEqual(POLICY.encode(), self.successResultOf(self.fetch(60.0)))

    def test_redirectsAreNotFollowed(self) -> None:
        self.web.answer = b"HTTP/1.1 302 Found\r\nLocation: https://mta-sts.example.org/x\r\nContent-Length: 0\r\n\r\n"
        self.refused("302")
        self.assertEqual(1, len(self.web.requests))

    def test_onlyPlainText(self) -> None:
        self.web.policy(POLICY, type="text/html")
        self.refused("text/html")

    def test_tooLong(self) -> None:
        self.web.policy(POLICY + "x" * MAX_POLICY)
        self.refused(str(MAX_POLICY))

    def test_neverEnding(self) -> None:
        self.web.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"x" * MAX_POLICY + b"y"
        self.refused(str(MAX_POLICY))

    def test_certificateOfAnother(self) -> None:
        self.dns.addresses(NAME, "203.0.113.9")
        ScriptedWeb(self.internet, "203.0.113.9", [NAME], certificateFor="www.example.org")
        self.refused(f"{NAME}: a self-signed certificate", isUntrusted=True)

    def test_noAddress(self) -> None:
        self.dns.remove(NAME)
        self.refused("no address")

    def test_onlyPublicAddresses(self) -> None:
        self.dns.addresses(NAME, "127.0.0.1", "10.0.0.1", "192.168.3.4", "fe80::1", "::1", "fd00::1", "::ffff:10.0.0.1")
        self.refused("no public address")

    def test_noAnswer(self) -> None:
        self.web.answer = b""
        self.refused(f"no answer within {PATIENCE:g} seconds", PATIENCE + 1.0)

    def test_noServer(self) -> None:
        self.dns.addresses(NAME, "203.0.113.77")
        self.refused("203.0.113.77", PATIENCE + 1.0)
