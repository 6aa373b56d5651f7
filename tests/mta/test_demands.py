"""What a host has to show: the table of verdicts, none weaker than the RFCs', none that blocks more."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256, sha512

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.tlsa import Presented, Tlsa
from pysmtpd.mta.policy.sts import Mode, StsPolicy
from pysmtpd.mta.security import (
    Barred,
    Dane,
    Facts,
    HostFacts,
    Level,
    Missing,
    Policy,
    Wishes,
    demands,
    isMatched,
    missing,
    satisfies,
)
from tests.tls.authority import Authority, newKey

RECORD = Tlsa(3, 1, 1, bytes(32))
ANCHOR = Tlsa(2, 0, 1, bytes(32))
UNUSABLE = (
    Tlsa(0, 0, 1, bytes(32)),
    Tlsa(1, 0, 1, bytes(32)),
    Tlsa(3, 1, 1, bytes(31)),
    Tlsa(3, 1, 9, b"x"),
    Tlsa(3, 2, 0, b"x"),
)
ENFORCE = StsPolicy(Mode.ENFORCE, ("mx.example.org",), 86400.0)
ELSEWHERE = StsPolicy(Mode.ENFORCE, ("other.example.org",), 86400.0)
TESTING = StsPolicy(Mode.TESTING, ("other.example.org",), 86400.0)
HOST = HostFacts("mx.example.org")
SECURE = HostFacts("mx.example.org", "mx.example.org", isSecure=True)
DANE = HostFacts("mx.example.org", "mx.example.org", True, Dane.RECORDS, (RECORD,))
USELESS = HostFacts("mx.example.org", "mx.example.org", True, Dane.RECORDS, UNUSABLE)
FAILED = HostFacts("mx.example.org", "mx.example.org", True, Dane.FAILED, (), "SERVFAIL")


def wishes(level: Level = Level.OPPORTUNISTIC, **more: object) -> Wishes:
    return Wishes("example.org", level, **more)  # type: ignore[arg-type]


class DemandTests(SynchronousTestCase):
    def asks(self, expected: str, host: HostFacts, wanted: Wishes) -> Policy:
        policy = demands(wanted, host)
        assert isinstance(policy, Policy), policy
        self.assertEqual(expected, str(policy))
        return policy

    def barred(self, status: str, host: HostFacts, wanted: Wishes) -> None:
        policy = demands(wanted, host)
        assert isinstance(policy, Barred), policy
        self.assertEqual(status, policy.status)

    def test_nothingIsPublished(self) -> None:
        self.asks("opportunistic", HOST, wishes())
        self.asks("required", HOST, wishes(Level.REQUIRED))
        self.asks("verified", HOST, wishes(Level.VERIFIED))
        self.asks("never", HOST, wishes(Level.NEVER))

    def test_dane(self) -> None:
        policy = self.asks("required DANE", DANE, wishes())
        self.assertEqual((RECORD,), policy.tlsa)
        self.assertEqual(("mx.example.org", "example.org"), policy.tlsaNames)

    def test_daneAddsToTheAction(self) -> None:
        self.asks("verified DANE", DANE, wishes(Level.VERIFIED))

    def test_recordsOfWhichNoneCanBeUsed(self) -> None:
        """TLS is mandatory, and nobody has to prove anything (RFC 7672 2.2)."""
        self.asks("required", USELESS, wishes())

    def test_oneUsableRecordIsEnough(self) -> None:
        host = HostFacts("mx.example.org", "mx.example.org", True, Dane.RECORDS, (*UNUSABLE, RECORD))
        self.assertEqual((RECORD,), self.asks("required DANE", host, wishes()).tlsa)

    def test_namesUnderAnAnchor(self) -> None:
        """Where the records are, and the destination's name, with and without its CNAMEs; not the host's own alias (RFC 7672 3.2.2)."""
        alias = HostFacts("mx.example.org", "host.example.net", True, Dane.RECORDS, (ANCHOR,))
        policy = self.asks("required DANE", alias, wishes(canonical="example.com"))
        self.assertEqual(("host.example.net", "example.org", "example.com"), policy.tlsaNames)

    def test_onlyTheBestDigestOfAThing(self) -> None:
        """RFC 7671 9: each usage and selector by itself; what is no digest, or cannot be used, does not matter."""
        weak, strong, whole = Tlsa(3, 1, 1, bytes(32)), Tlsa(3, 1, 2, bytes(64)), Tlsa(3, 1, 0, b"key")
        other, broken = Tlsa(2, 1, 1, bytes(32)), Tlsa(3, 1, 2, bytes(32))
        for published, counts in (
            ((weak, strong, whole, other), (strong, whole, other)),
            ((strong, weak), (strong,)),
            ((weak, whole), (weak, whole)),
            ((weak, broken), (weak,)),
        ):
            host = HostFacts("mx.example.org", "mx.example.org", True, Dane.RECORDS, published)
            self.assertEqual(counts, self.asks("required DANE", host, wishes()).tlsa)

    def test_recordsThatCannotBeHad(self) -> None:
        self.barred("4.7.5", FAILED, wishes())

    def test_mtaSts(self) -> None:
        self.asks("verified", HOST, wishes(sts=ENFORCE))
        self.barred("4.7.5", HOST, wishes(sts=ELSEWHERE))
        self.asks("opportunistic", HOST, wishes(sts=TESTING))

    def test_daneDecidesBeforeMtaSts(self) -> None:
        self.asks("required DANE", DANE, wishes(sts=ENFORCE))
        self.asks("required DANE", DANE, wishes(sts=ELSEWHERE))
        self.barred("4.7.5", FAILED, wishes(sts=ENFORCE))

    def test_mtaStsDecidesWhereDaneCannot(self) -> None:
        self.asks("verified", USELESS, wishes(sts=ENFORCE))

    def test_tlsRequiredNo(self) -> None:
        for host in (DANE, USELESS, FAILED):
            self.asks("opportunistic", host, wishes(isTlsOptional=True, sts=ELSEWHERE))
        self.asks("required", HOST, wishes(isTlsOptional=True, remembers=True))
        self.asks("verified", DANE, wishes(Level.VERIFIED, isTlsOptional=True))

    def test_requireTls(self) -> None:
        self.asks("required DANE REQUIRETLS", DANE, wishes(requireTls=True, isTlsOptional=True))
        self.asks("verified REQUIRETLS", SECURE, wishes(requireTls=True))
        self.asks("verified REQUIRETLS", HOST, wishes(requireTls=True, sts=ENFORCE))
        self.barred("5.7.30", HOST, wishes(requireTls=True))
        self.barred("5.7.30", HOST, wishes(requireTls=True, sts=TESTING))
        self.barred("5.7.30", SECURE, wishes(Level.NEVER, requireTls=True))

    def test_memory(self) -> None:
        self.asks("required", HOST, wishes(remembers=True))
        self.asks("verified", HOST, wishes(Level.VERIFIED, remembers=True))
        self.asks("never", HOST, wishes(Level.NEVER, remembers=True))

    def test_grounds(self) -> None:
        policy = demands(wishes(Level.REQUIRED, sts=ENFORCE), HOST)
        self.assertEqual(
            ["action: required", "MTA-STS: a valid certificate"], [str(ground) for ground in policy.grounds]
        )

    @given(
        st.sampled_from(Level),
        st.sampled_from([HOST, SECURE, DANE, USELESS, FAILED]),
        st.sampled_from([None, ENFORCE, ELSEWHERE, TESTING]),
        *[st.booleans()] * 3,
    )
    def test_neverWeakerThanTheAction(
        self, level: Level, host: HostFacts, sts: StsPolicy | None, requireTls: bool, optional: bool, remembers: bool
    ) -> None:
        policy = demands(Wishes("example.org", level, requireTls, optional, sts, remembers), host)
        if isinstance(policy, Policy):
            self.assertGreaterEqual(policy.level, level)
            self.assertEqual(requireTls, policy.requireTls)
            if requireTls:
                self.assertTrue(policy.isAuthenticated)


def presented(certificate: x509.Certificate, isAnchor: bool = True) -> Presented:
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Presented(certificate.public_bytes(Encoding.DER), key, isAnchor)


class MatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        authority = Authority()
        own = x509.load_pem_x509_certificate(authority.issue(["mx.example.org"], newKey(), end=timedelta(days=-1)))
        self.own = presented(own)
        self.anchor = presented(authority.certificate)
        self.expired = presented(authority.certificate, isAnchor=False)

    def matched(
        self, record: Tlsa, anchor: Presented | None = None, names: tuple[str, ...] = ("mx.example.org",)
    ) -> bool:
        return isMatched((record,), ("mx.example.org", "example.org"), (self.own, anchor or self.anchor), names)

    def test_hostCertificate(self) -> None:
        """Neither its dates nor its names count."""
        for record in (
            Tlsa(3, 0, 0, self.own.der),
            Tlsa(3, 0, 1, sha256(self.own.der).digest()),
            Tlsa(3, 1, 0, self.own.key),
            Tlsa(3, 1, 1, sha256(self.own.key).digest()),
            Tlsa(3, 1, 2, sha512(self.own.key).digest()),
        ):
            self.assertTrue(record.isUsable)
            self.assertTrue(self.matched(record, self.expired, ("somebody.else.test",)))
        self.assertFalse(self.matched(Tlsa(3, 1, 1, sha256(self.anchor.key).digest())))

    def test_trustAnchor(self) -> None:
        record = Tlsa(2, 0, 1, sha256(self.anchor.der).digest())
        self.assertTrue(self.matched(record))
        self.assertTrue(self.matched(record, names=("*.example.org",)))
        self.assertTrue(self.matched(record, names=("example.org",)))
        self.assertFalse(self.matched(record, self.expired))
        self.assertFalse(self.matched(record, names=("mx.example.test", "*.mx.example.org")))

    def test_hostIsNotItsOwnAnchor(self) -> None:
        self.assertFalse(self.matched(Tlsa(2, 0, 1, sha256(self.own.der).digest())))

    def test_anyRecordWillDo(self) -> None:
        good = Tlsa(3, 1, 1, sha256(self.own.key).digest())
        self.assertTrue(isMatched((RECORD, ANCHOR, good), (), (self.own,), ()))
        self.assertFalse(isMatched((good,), (), (), ()))


class MissingTests(SynchronousTestCase):
    def test_dane(self) -> None:
        own = Presented(b"certificate", b"key", True)
        tls = TlsFacts("TLSv1.3", "x", 256)
        policy = Policy(Level.REQUIRED, "mx.example.org", (Tlsa(3, 1, 1, sha256(b"key").digest()),))
        self.assertIs(Missing.TLS, missing(Facts(tried=True), policy))
        self.assertIs(Missing.DANE, missing(Facts(tls), policy))
        self.assertTrue(satisfies(Facts(tls, chain=(own,)), policy))
        self.assertIs(Missing.DANE, missing(Facts(tls, chain=(Presented(b"key", b"other", True),)), policy))

    def test_requireTls(self) -> None:
        tls = TlsFacts("TLSv1.3", "x", 256, True, "mx.example.org")
        policy = Policy(Level.VERIFIED, "mx.example.org", requireTls=True)
        self.assertIs(Missing.REQUIRETLS, missing(Facts(tls), policy))
        self.assertTrue(satisfies(Facts(tls, offersRequireTls=True), policy))
