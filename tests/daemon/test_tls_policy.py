"""DANE, MTA-STS and the action's own wishes, from DNS to the delivery: none weaker than the RFCs', none that blocks more."""

from __future__ import annotations

from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pysmtpd.model.events import ConnectionTls, DeliveryAttempted, PolicyFailed
from pysmtpd.model.tlsa import Tlsa
from pysmtpd.testing.certificates import selfSigned
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.remote import RemoteServer
from pysmtpd.testing.web import ScriptedWeb
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase, rules

MX = "mx.remote.test"
WEB = "mta-sts.remote.test"


def keyOf(name: str) -> bytes:
    """SHA-256 of the key that a server of this name shows."""
    certificate = x509.load_pem_x509_certificate(selfSigned(name)[0])
    return sha256(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


RIGHT = Tlsa(3, 1, 1, keyOf(MX))
WRONG = Tlsa(3, 1, 1, bytes(32))


class Case(StoryTestCase):
    def at(self, *, trusts: str = "", relay: str = "", isSecure: bool = True, starttls: bool = True) -> World:
        """A world with one domain, one MX host, and DNS that is signed, or not.

        @param trusts: the certificate of this name is one that an authority vouches for.
        """
        world = self.world(rules(relay=relay), settings={"authorities": selfSigned(trusts)[0] if trusts else b""})
        self.mx = self.host(world, MX, starttls=starttls)
        world.dns.mx("remote.test", MX)
        if isSecure:
            self.secure(world, "remote.test", MX)
        world.start()
        return world

    def host(self, world: World, name: str, **script: object) -> RemoteServer:
        server = world.remote(name, **script)  # type: ignore[arg-type]
        if script.get("starttls"):
            server.extensions = (*server.extensions, "STARTTLS")
        return server

    def secure(self, world: World, *names: str) -> None:
        for name in names:
            world.dns.secure(name)
            world.dns.secure(f"_25._tcp.{name}")

    def tlsa(self, world: World, *records: Tlsa, host: str = MX) -> None:
        world.dns.tlsa(host, *records)
        world.dns.secure(f"_25._tcp.{host}")

    def tried(self, world: World, seconds: float = 90.0) -> str:
        """Send a message; how its first attempt ended."""
        before = len(world.eventsOf(DeliveryAttempted))
        self.accepted(world, "joe@remote.test")
        world.until(lambda: len(world.eventsOf(DeliveryAttempted)) > before, seconds, "an attempt")
        attempt = world.eventsOf(DeliveryAttempted)[before]
        return f"{attempt.result} {attempt.stat}"

    def delivered(self, world: World, server: RemoteServer | None = None, isSecured: bool = True) -> None:
        self.assertIn("Ok", self.tried(world))
        said = [line.upper() for _, _, line in (server or self.mx).transcript]
        self.assertEqual(isSecured, "STARTTLS" in said)

    def deferred(self, world: World, why: str, before: int = 0) -> None:
        """
        @param before: messages that came through earlier.
        """
        told = self.tried(world)
        self.assertIn("TempFail", told)
        self.assertIn(why, told)
        self.assertEqual(before, len(self.mx.messages))


class DaneTests(Case):
    def test_rightKey(self) -> None:
        """No authority knows the certificate, and it does not matter."""
        world = self.at()
        self.tlsa(world, WRONG, RIGHT)
        self.delivered(world)

    def test_wrongKey(self) -> None:
        world = self.at()
        self.tlsa(world, WRONG)
        self.deferred(world, "matches none of the TLSA records")

    def test_hostWithoutTls(self) -> None:
        world = self.at(starttls=False)
        self.tlsa(world, RIGHT)
        self.deferred(world, "TLS")

    def test_recordsOfWhichNoneCanBeUsed(self) -> None:
        world = self.at()
        self.tlsa(world, Tlsa(1, 0, 1, bytes(32)), Tlsa(3, 1, 1, b"short"))
        self.delivered(world)

    def test_uselessRecordsStillWantTls(self) -> None:
        world = self.at(starttls=False)
        self.tlsa(world, Tlsa(1, 0, 1, bytes(32)))
        self.deferred(world, "TLS")

    def test_bogus(self) -> None:
        """Somebody may be hiding the records."""
        world = self.at()
        world.dns.fail(f"_25._tcp.{MX}")
        self.deferred(world, "TLSA records")

    def test_bogusAtOneOfTwo(self) -> None:
        """The other one takes the mail, though it is the worse one."""
        world = self.at()
        other = self.host(world, "mx2.remote.test", starttls=True)
        world.dns.mx("remote.test", MX, "mx2.remote.test")
        self.secure(world, "remote.test", "mx2.remote.test")
        world.dns.fail(f"_25._tcp.{MX}")
        self.delivered(world, other)
        self.assertEqual([], self.mx.messages)

    def test_bogusAtTheFirstThatAnswers(self) -> None:
        """A host that must not be used does not end the search for others."""
        world = self.at()
        other = self.host(world, "mx2.remote.test", starttls=True)
        world.dns.mx("remote.test", (10, MX), (20, "mx2.remote.test"))
        self.secure(world, "remote.test", "mx2.remote.test")
        world.dns.fail(f"_25._tcp.{MX}")
        world.dns.delay("mx2.remote.test", 1.0)
        self.delivered(world, other)

    def test_insecureZoneIsNotAsked(self) -> None:
        """Where nothing is signed, name servers that fail for unknown types stop nobody."""
        world = self.at(isSecure=False)
        world.dns.fail(f"_25._tcp.{MX}")
        self.delivered(world)
        self.assertNotIn(f"_25._tcp.{MX}", [asked.name for asked in world.dns.queries])

    def test_insecureAddressIsNotAsked(self) -> None:
        world = self.at()
        world.dns.secure(MX, False)
        world.dns.fail(f"_25._tcp.{MX}")
        self.delivered(world)

    def test_noRecords(self) -> None:
        world = self.at(starttls=False)
        self.delivered(world, isSecured=False)

    def test_cname(self) -> None:
        """The records are looked for at the end of the chain first."""
        world = self.at()
        world.dns.alias("mail.remote.test", MX)
        world.dns.mx("remote.test", "mail.remote.test")
        self.secure(world, "mail.remote.test")
        self.tlsa(world, RIGHT)
        self.tlsa(world, WRONG, host="mail.remote.test")
        self.delivered(world)

    def test_cnameWithoutRecordsAtItsEnd(self) -> None:
        world = self.at()
        world.dns.alias("mail.remote.test", MX)
        world.dns.mx("remote.test", "mail.remote.test")
        self.secure(world, "mail.remote.test")
        self.tlsa(world, WRONG, host="mail.remote.test")
        self.deferred(world, "matches none")

    def test_actionAddsItsOwnWish(self) -> None:
        world = self.at(relay="tls")
        self.tlsa(world, RIGHT)
        self.deferred(world, "self-signed")

    def test_actionAndDaneBothSatisfied(self) -> None:
        world = self.at(relay="tls", trusts=MX)
        self.tlsa(world, RIGHT)
        self.delivered(world)


class StsTests(Case):
    def policy(self, world: World, text: str) -> None:
        if not hasattr(self, "web"):
            self.web = ScriptedWeb(world.internet, "203.0.113.200", [WEB])
        self.web.policy(f"version: STSv1\n{text}max_age: 86400\n")
        world.dns.addresses(WEB, "203.0.113.200")
        world.dns.text("_mta-sts.remote.test", "v=STSv1; id=1")

    def begun(self, text: str, trusts: tuple[str, ...] = (WEB, MX), **options: bool) -> World:
        authorities = b"".join(selfSigned(name)[0] for name in trusts)
        world = self.world(rules(), settings={"authorities": authorities})
        self.mx = self.host(world, MX, starttls=options.get("starttls", True))
        world.dns.mx("remote.test", MX)
        self.policy(world, text)
        world.start()
        return world

    def test_enforce(self) -> None:
        world = self.begun(f"mode: enforce\nmx: {MX}\n")
        self.delivered(world)
        self.assertEqual(1, len(self.web.requests))

    def test_enforceWithoutTls(self) -> None:
        world = self.begun(f"mode: enforce\nmx: {MX}\n", starttls=False)
        self.deferred(world, "TLS")

    def test_enforceUnknownAuthority(self) -> None:
        world = self.begun(f"mode: enforce\nmx: {MX}\n", trusts=(WEB,))
        self.deferred(world, "self-signed")

    def test_enforceWrongName(self) -> None:
        world = self.begun(f"mode: enforce\nmx: {MX}\n", trusts=(WEB, "other.test"))
        self.mx.certificateFor = "other.test"
        self.deferred(world, "certificate is not for")

    def test_enforceOtherHosts(self) -> None:
        world = self.begun("mode: enforce\nmx: *.elsewhere.test\n")
        self.deferred(world, "does not name")

    def test_testingStopsNobody(self) -> None:
        world = self.begun("mode: testing\nmx: *.elsewhere.test\n", starttls=False)
        self.delivered(world, isSecured=False)

    def test_noneStopsNobody(self) -> None:
        world = self.begun("mode: none\n", starttls=False)
        self.delivered(world, isSecured=False)

    def test_unreachable(self) -> None:
        """A policy that was never seen cannot be kept; that is told."""
        world = self.begun(f"mode: enforce\nmx: {MX}\n", starttls=False)
        world.internet.set("203.0.113.200", Condition.REFUSING)
        self.delivered(world, isSecured=False)
        self.assertEqual(["remote.test"], [event.domain for event in world.eventsOf(PolicyFailed)])

    def test_resumedSessionsHaveTheFirstVerdict(self) -> None:
        """Certificates are not shown again; what was found out about them then still counts, and for nobody else."""
        world = self.begun(f"mode: enforce\nmx: {MX}\n")
        self.delivered(world)
        world.run(600)
        self.accepted(world, "ann@remote.test")
        world.until(lambda: len(self.mx.messages) == 2, 90, "it arrives")
        self.assertEqual(2, self.mx.connections)
        self.assertEqual([True, True], [event.verified for event in world.eventsOf(ConnectionTls)])

    def test_ofAnotherDomainIsNotResumed(self) -> None:
        world = self.begun(f"mode: enforce\nmx: {MX}\n", trusts=(WEB,))
        world.dns.mx("free.test", MX)
        self.accepted(world, "joe@free.test")
        world.until(lambda: self.mx.messages, 60, "it arrives")
        world.run(600)
        self.deferred(world, "self-signed", 1)

    def test_aPolicyThatIsInTheWayIsLookedAtAgain(self) -> None:
        """RFC 8461 5.1: before mail is given up for it; here it was wrong, and is mended without a new id."""
        world = self.begun("mode: enforce\nmx: *.elsewhere.test\n")
        self.deferred(world, "does not name")
        self.policy(world, f"mode: enforce\nmx: {MX}\n")
        world.until(lambda: self.mx.messages, 3 * 3600, "it arrives")
        self.assertLessEqual(len(self.web.requests), 3)

    def test_daneDecidesWhereBothAre(self) -> None:
        world = self.begun("mode: enforce\nmx: *.elsewhere.test\n", trusts=(WEB,))
        self.secure(world, "remote.test", MX)
        self.tlsa(world, RIGHT)
        self.delivered(world)

    def test_onePolicyIsNotAnothersOnTheSameHost(self) -> None:
        """Mail of a domain without a policy goes to a host whose certificate is worth nothing; its neighbour's does not."""
        world = self.begun(f"mode: enforce\nmx: {MX}\n", trusts=(WEB,))
        world.dns.mx("free.test", MX)
        self.accepted(world, "joe@remote.test", "joe@free.test")
        world.until(lambda: len(world.eventsOf(DeliveryAttempted)) > 1, 90, "both were tried")
        self.assertEqual(["joe@free.test"], self.mx.recipients)

    def test_secondMessageOverAConnectionThatProvesNothing(self) -> None:
        """The connection that a free domain has opened is not for one that asks who the host is."""
        world = self.begun(f"mode: enforce\nmx: {MX}\n", trusts=(WEB,))
        world.dns.mx("free.test", MX)
        self.accepted(world, "joe@free.test")
        world.until(lambda: self.mx.messages, 60, "it arrives")
        self.accepted(world, "joe@remote.test")
        world.until(lambda: len(world.eventsOf(DeliveryAttempted)) > 1, 90, "the second was tried")
        self.assertEqual(["joe@free.test"], self.mx.recipients)
