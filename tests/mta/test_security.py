"""TLS policy: the predicate, and real handshakes over loopback."""

from __future__ import annotations

import datetime
from collections.abc import Generator
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import crypto
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pysmtpd.model.config import Config
from pysmtpd.model.facts import TlsFacts
from pysmtpd.mta.agent import MtaAgent
from pysmtpd.mta.security import Facts, Level, Policy, satisfies
from pysmtpd.tls.client import ClientContexts
from tests.mta.fakes import CONTENT, Bodies, Dns, Ears, Platform, World, explicit

PLAIN = Facts()
TRIED = Facts(tried=True)
UNVERIFIED = Facts(TlsFacts("TLSv1.3", "x", 256, sni="mx.test"))
VERIFIED = Facts(TlsFacts("TLSv1.3", "x", 256, verified=True, peerName="mx.test"))


class SatisfiesTests(SynchronousTestCase):
    def test_table(self) -> None:
        expected = {
            Level.NEVER: (True, True, True, True),
            Level.OPPORTUNISTIC: (False, True, True, True),
            Level.REQUIRED: (False, False, True, True),
            Level.VERIFIED: (False, False, False, True),
        }
        for level, answers in expected.items():
            facts = (PLAIN, TRIED, UNVERIFIED, VERIFIED)
            self.assertEqual(tuple(satisfies(one, Policy(level, "MX.test")) for one in facts), answers)

    def test_verifiedForAnotherName(self) -> None:
        self.assertFalse(satisfies(VERIFIED, Policy(Level.VERIFIED, "other.test")))

    @given(st.sampled_from([PLAIN, TRIED, UNVERIFIED, VERIFIED]), st.sampled_from(Level), st.sampled_from(Level))
    def test_whatServesTheStrongServesTheWeak(self, facts: Facts, one: Level, other: Level) -> None:
        strong, weak = max(one, other), min(one, other)
        if satisfies(facts, Policy(strong, "mx.test")):
            self.assertTrue(satisfies(facts, Policy(weak, "mx.test")))


def certificate(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, made


class TlsServer(Protocol):
    """A friendly server with STARTTLS."""

    factory: Any

    def connectionMade(self) -> None:
        self._buffer = b""
        self._inData = False
        self._secure = self.factory.implicit
        self._say(b"220 mx.test")

    def _say(self, line: bytes) -> None:
        cast(Any, self.transport).write(line + b"\r\n")

    def dataReceived(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        for line in lines:
            if self._inData:
                if line == b".":
                    self._inData = False
                    self._say(b"250 2.0.0 queued")
                else:
                    self.factory.lines.append(line)
            elif line.startswith(b"EHLO"):
                self._say(b"250 mx.test" if self._secure else b"250-mx.test\r\n250 " + self.factory.offer)
            elif line == b"STARTTLS":
                self._say(b"220 go")
                cast(Any, self.transport).startTLS(self.factory.options)
                self._secure = True
            else:
                self._inData = line == b"DATA"
                self._say(b"354 go" if self._inData else b"250 ok")


class HandshakeTests(TestCase):
    def setUp(self) -> None:
        key, made = certificate("mx.test")
        self.authorities = made.public_bytes(serialization.Encoding.PEM)
        self.options = CertificateOptions(
            crypto.PKey.from_cryptography_key(cast(Any, key)), crypto.X509.from_cryptography(made)
        )

    @inlineCallbacks
    def deliver(
        self,
        protocol: str,
        host: str = "mx.test",
        isTrusted: bool = True,
        content: bytes = CONTENT,
        offer: bytes = b"STARTTLS",
    ) -> Generator[Deferred[Any], Any, str]:
        factory = cast(Any, Factory.forProtocol(TlsServer))
        factory.noisy = False
        factory.options = self.options
        factory.offer = offer
        self.lines: list[bytes] = []
        factory.lines = self.lines
        factory.implicit = protocol == "smtps"
        real = cast(Any, reactor)
        if factory.implicit:
            port = real.listenSSL(0, factory, self.options, interface="127.0.0.1")
        else:
            port = real.listenTCP(0, factory, interface="127.0.0.1")
        dns, bodies, ears = Dns(), Bodies(), Ears()
        dns.hosts[host] = ("127.0.0.1",)
        config = Config("test", "me.test", actions=explicit(f"{protocol}://{host}", port.getHost().port))
        contexts = ClientContexts(self.authorities if isTrusted else b"")
        agent = MtaAgent(
            cast(Any, Platform(real, real)), dns, cast(Any, bodies), lambda: config, dict, ears, ears, ears, contexts
        )
        world = World()
        delivery = world.delivery("b@y.test", content=content)
        bodies.contents = world.bodies.contents
        done: Deferred[None] = Deferred()
        ears.onFinished = lambda: done.callback(None)
        agent.deliver(delivery, ears)
        yield done
        yield agent.stop()
        yield port.stopListening()
        outcome = ears.outcomes[delivery.lease.envelopes[0]]
        facts = [event for event in ears.events if type(event).__name__ == "ConnectionTls"]
        return f"{outcome.result.value} {outcome.reply} {'verified' if facts and cast(Any, facts[0]).verified else ''}"

    @inlineCallbacks
    def test_opportunistic(self) -> Generator[Deferred[Any], Any, None]:
        told = yield self.deliver("smtp", isTrusted=False)
        self.assertEqual(told, "Ok 250 2.0.0 queued ")

    @inlineCallbacks
    def test_opportunisticFindsOut(self) -> Generator[Deferred[Any], Any, None]:
        told = yield self.deliver("smtp")
        self.assertEqual(told, "Ok 250 2.0.0 queued verified")

    @inlineCallbacks
    def test_verified(self) -> Generator[Deferred[Any], Any, None]:
        for protocol in ("smtp+tls", "smtps"):
            told = yield self.deliver(protocol)
            self.assertEqual(told, "Ok 250 2.0.0 queued verified")

    @inlineCallbacks
    def test_wrongName(self) -> Generator[Deferred[Any], Any, None]:
        for protocol in ("smtp+tls", "smtps"):
            told = yield self.deliver(protocol, "other.test")
            self.assertIn("TempFail", told)
            self.assertIn("TLS: the certificate is not for other.test", told)

    @inlineCallbacks
    def test_unknownAuthority(self) -> Generator[Deferred[Any], Any, None]:
        told = yield self.deliver("smtp+tls", isTrusted=False)
        self.assertIn("TempFail", told)
        self.assertIn("4.7.5 TLS: a self-signed certificate", told)

    @inlineCallbacks
    def test_largeContentOverRealSockets(self) -> Generator[Deferred[Any], Any, None]:
        """Written straight through, buffered, paused and resumed: every octet arrives once, in order."""
        lines = [b".%d " % number + b"x" * 70 for number in range(40_000)]
        for offer in (b"STARTTLS", b"HELP"):
            told = yield self.deliver("smtp", content=b"\r\n".join(lines) + b"\r\n", offer=offer)
            self.assertIn("Ok 250 2.0.0 queued", told)
            self.assertTrue(self.lines == [b"." + line for line in lines])
