from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.tls import IClientHandshake, IClientTls
from pysmtpd.model.clienttls import ClientKind
from pysmtpd.model.config import CaSpec, PkiSpec
from pysmtpd.model.tlsa import Presented
from pysmtpd.tls.certificates import Certificates
from pysmtpd.tls.client import TICKET_SECONDS, ClientContexts, ClientHandshake
from tests.tls.authority import DAY, NOW, Authority, keyPem, newKey
from tests.tls.handshake import move, shake

AUTHORITY, STRANGER = Authority(), Authority("Stranger")
KEY = newKey()


def server(names: Sequence[str], authority: Authority = AUTHORITY, **options: Any) -> SSL.Context:
    files = {"crt": authority.issue(names, KEY, **options), "key": keyPem(KEY)}
    return Certificates({"x": PkiSpec("x", "crt", "key")}, files.__getitem__, NOW.timestamp).serverContext(["x"])


class ClientHandshakeTests(SynchronousTestCase):
    contexts = ClientContexts(AUTHORITY.pem)

    def shake(self, creator: ClientHandshake, context: SSL.Context) -> tuple[SSL.Connection, SSL.Connection]:
        here = creator.clientConnectionForTLS(None)
        there = SSL.Connection(context, None)
        shake(here, there)
        return here, there

    def refused(self, context: SSL.Context, host: str = "mx.example.org", names: Sequence[str] = ()) -> str:
        """The handshake of one who verifies fails; one who does not finds out the same. Why?"""
        strict = self.contexts.handshake(host, True, names)
        self.assertRaises(SSL.Error, self.shake, strict, context)
        self.assertFalse(strict.verified)
        lenient = self.contexts.handshake(host, False, names)
        connection, _ = self.shake(lenient, context)
        self.assertFalse(lenient.facts(connection).verified)
        self.assertEqual(lenient.error, strict.error)
        return strict.error

    def test_provides(self) -> None:
        self.assertTrue(verifyObject(IClientTls, self.contexts))
        self.assertTrue(verifyObject(IClientHandshake, self.contexts.handshake("mx.example.org", True)))

    def test_verified(self) -> None:
        for verify in (True, False):
            creator = self.contexts.handshake("mx.example.org", verify)
            here, there = self.shake(creator, server(["mx.example.org"]))
            facts = creator.facts(here)
            self.assertEqual((facts.verified, facts.peerName, facts.sni), (True, "mx.example.org", "mx.example.org"))
            self.assertEqual(facts.protocol, "TLSv1.3")
            self.assertEqual(there.get_servername(), b"mx.example.org")
            self.assertEqual(creator.error, "")

    def resumed(self, creator: ClientHandshake, context: SSL.Context) -> SSL.Connection:
        """A session that goes well and ends in order."""
        here, there = self.shake(creator, context)
        there.send(b"250 hello")
        move(there, here)
        here.recv(100)
        creator.facts(here)
        creator.keep(here)
        here.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        return here

    def test_resumption(self) -> None:
        """It has the verdict of the first handshake, good or bad, and its chain; each ticket serves once."""
        for host, verified in (("mx.example.org", True), ("other.example.org", False)):
            contexts = ClientContexts(AUTHORITY.pem)
            context = server(["mx.example.org"])
            first = contexts.handshake(host, False, place="here")
            connection, there = self.shake(first, context)
            shown = first.presented(connection)
            del there
            self.resumed(contexts.handshake(host, False, place="here"), context)
            again = contexts.handshake(host, False, place="here")
            here, _ = self.shake(again, context)
            self.assertEqual((False, False, True), (first.isResumed, first.offersTicket, again.isResumed))
            facts = again.facts(here)
            self.assertEqual(first.facts(connection), facts)
            self.assertEqual((verified, first.error), (facts.verified, again.error))
            self.assertEqual(1, len(shown[0]))
            self.assertFalse(contexts.handshake(host, False, place="here").offersTicket)

    def test_resumedChain(self) -> None:
        """What DANE looks at again is what was shown in the first handshake."""
        contexts = ClientContexts(AUTHORITY.pem)
        context = server(["mx.example.org"])
        first = contexts.handshake("mx.example.org", False, place="here")
        here, there = self.shake(first, context)
        there.send(b"250 hello")
        move(there, here)
        here.recv(100)
        first.facts(here)
        shown = first.presented(here)
        first.keep(here)
        here.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        again = contexts.handshake("mx.example.org", False, place="here")
        connection, _ = self.shake(again, context)
        again.facts(connection)
        self.assertTrue(again.isResumed)
        self.assertEqual(shown, again.presented(connection))
        self.assertEqual(("mx.example.org",), shown[1])

    def test_sessionsOfAnotherKind(self) -> None:
        """Another place, host, name or wish gets a whole handshake; so does who has waited for too long."""
        now = [0.0]
        contexts = ClientContexts(AUTHORITY.pem, seconds=lambda: now[0])
        context = server(["mx.example.org"])
        self.resumed(contexts.handshake("mx.example.org", False, place="here"), context)
        for other in (
            contexts.handshake("mx.example.org", False, place="there"),
            contexts.handshake("mx.example.org", True, place="here"),
            contexts.handshake("mx.example.org", False, ("example.org",), place="here"),
            contexts.handshake("mx2.example.org", False, place="here"),
            contexts.handshake("mx.example.org", False),
        ):
            self.assertFalse(other.offersTicket)
        now[0] = TICKET_SECONDS / 2
        self.resumed(contexts.handshake("mx.example.org", False, place="here"), context)
        now[0] = TICKET_SECONDS
        # A verdict does not become younger by being used.
        self.assertFalse(contexts.handshake("mx.example.org", False, place="here").offersTicket)

    def test_anotherHostAtTheSameAddress(self) -> None:
        """Who does not have the key of the ticket shows a certificate, and that is judged."""
        contexts = ClientContexts(AUTHORITY.pem)
        self.resumed(contexts.handshake("mx.example.org", True, place="here"), server(["mx.example.org"]))
        again = contexts.handshake("mx.example.org", True, place="here")
        self.assertTrue(again.offersTicket)
        self.assertRaises(SSL.Error, self.shake, again, server(["mx.example.org"], STRANGER))
        self.assertFalse(again.verified)
        lenient = contexts.handshake("mx.example.org", False, place="here")
        here, _ = self.shake(lenient, server(["mx.example.org"], STRANGER))
        self.assertFalse(lenient.facts(here).verified)

    def test_wildcard(self) -> None:
        creator = self.contexts.handshake("mx.example.org", True)
        self.shake(creator, server(["*.example.org"]))
        self.assertTrue(creator.verified)
        self.refused(server(["*.example.org"]), "a.b.example.org")

    def test_anyOfSeveralNames(self) -> None:
        creator = self.contexts.handshake("mx.example.org", True, ("example.net", "mx.example.com"))
        self.shake(creator, server(["mx.example.com"]))
        self.assertTrue(creator.verified)
        self.refused(server(["mx.example.org"]), "mx.example.org", ("example.net",))

    def test_anotherName(self) -> None:
        self.assertEqual(self.refused(server(["mx.example.net"])), "the certificate is not for mx.example.org")

    def test_theCommonNameIsNotEnough(self) -> None:
        self.refused(server([], common="mx.example.org"))

    def test_expired(self) -> None:
        self.assertIn("expired", self.refused(server(["mx.example.org"], end=-1 * DAY)))

    def test_notYetValid(self) -> None:
        self.assertIn("not yet valid", self.refused(server(["mx.example.org"], begin=1 * DAY)))

    def test_unknownIssuer(self) -> None:
        self.assertIn("issuer", self.refused(server(["mx.example.org"], STRANGER)))

    def test_anAddress(self) -> None:
        creator = self.contexts.handshake("192.0.2.1", True)
        _, there = self.shake(creator, server(["192.0.2.1"]))
        self.assertTrue(creator.verified)
        self.assertIsNone(there.get_servername())
        self.refused(server(["192.0.2.1"]), "192.0.2.2")

    def test_oldProtocolsAreRefused(self) -> None:
        old = SSL.Context(SSL.TLS_SERVER_METHOD)
        old.set_cipher_list(b"ALL:@SECLEVEL=0")
        old.set_max_proto_version(SSL.TLS1_1_VERSION)
        creator = self.contexts.handshake("mx.example.org", False)
        self.assertRaises(SSL.Error, self.shake, creator, old)
        self.assertFalse(creator.verified)

    def test_beforeTheHandshakeNothingIsVerified(self) -> None:
        creator = self.contexts.handshake("mx.example.org", False)
        self.assertFalse(creator.verified)
        creator.clientConnectionForTLS(None)
        self.assertFalse(creator.verified)

    def test_theSystemsAuthorities(self) -> None:
        creator = ClientContexts().handshake("mx.example.org", True)
        self.assertRaises(SSL.Error, self.shake, creator, server(["mx.example.org"]))

    def test_authoritiesThatAreNone(self) -> None:
        self.assertRaises(ValueError, ClientContexts, b"garbage")


@implementer(IHandshakeListener)
class End(Protocol):
    """Tells when its handshake is done, and why it ended."""

    done = False
    reason: Failure | None = None

    def handshakeCompleted(self) -> None:
        self.done = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class TwistedTests(SynchronousTestCase):
    """The same through Twisted's own TLS transport."""

    def connect(self, creator: ClientHandshake, context: SSL.Context) -> tuple[End, Any]:
        @implementer(IOpenSSLServerConnectionCreator)
        class Server:
            def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
                return SSL.Connection(context, None)

        client, clientTransport, clientTls = self.end(creator, True)
        _, serverTransport, serverTls = self.end(Server(), False)
        for _ in range(6):
            for transport, other in ((clientTransport, serverTls), (serverTransport, clientTls)):
                data = transport.value()
                transport.clear()
                if data:
                    other(data)
        return client, cast(Any, client.transport)

    def end(self, creator: Any, isClient: bool) -> tuple[End, StringTransport, Callable[[bytes], None]]:
        protocol = End()
        factory = TLSMemoryBIOFactory(creator, isClient, Factory.forProtocol(lambda: protocol))
        transport = StringTransport()
        tls: Any = factory.buildProtocol(None)
        tls.makeConnection(transport)
        return protocol, transport, tls.dataReceived

    def test_facts(self) -> None:
        creator = ClientContexts(AUTHORITY.pem).handshake("mx.example.org", False)
        client, transport = self.connect(creator, server(["mx.example.org"]))
        self.assertTrue(client.done)
        self.assertTrue(creator.facts(transport.getHandle()).verified)

    def test_refused(self) -> None:
        creator = ClientContexts(AUTHORITY.pem).handshake("mx.example.org", True)
        client, _ = self.connect(creator, server(["mx.example.net"]))
        self.assertFalse(client.done)
        self.assertIn("not for mx.example.org", creator.error)


class PresentedTests(SynchronousTestCase):
    """What DANE looks at."""

    def shown(self, authority: Authority, **options: Any) -> tuple[tuple[Presented, ...], tuple[str, ...]]:
        files = {"crt": authority.issue(["MX.example.org", "*.example.org"], KEY, **options) + AUTHORITY.pem}
        files["key"] = keyPem(KEY)
        context = Certificates({"x": PkiSpec("x", "crt", "key")}, files.__getitem__, NOW.timestamp).serverContext(["x"])
        creator = ClientContexts(STRANGER.pem).handshake("mx.example.org", False)
        here = creator.clientConnectionForTLS(None)
        shake(here, SSL.Connection(context, None))
        return creator.presented(here)

    def test_chain(self) -> None:
        """It does not matter whether anybody else trusts it."""
        chain, names = self.shown(AUTHORITY)
        self.assertEqual(("mx.example.org", "*.example.org"), names)
        der = AUTHORITY.certificate.public_bytes(Encoding.DER)
        self.assertEqual([(True, False), (True, True)], [(one.isAnchor, one.der == der) for one in chain])
        self.assertIn(chain[0].key, chain[0].der)

    def test_expired(self) -> None:
        chain, _ = self.shown(AUTHORITY, end=-DAY)
        self.assertEqual([True, False], [one.isAnchor for one in chain])

    def test_anchorThatSignedSomethingElse(self) -> None:
        chain, _ = self.shown(STRANGER)
        self.assertEqual([True, False], [one.isAnchor for one in chain])


class KindTests(SynchronousTestCase):
    """What an action says of TLS beside its policy: a certificate of ours, whom we trust, ciphers and protocols."""

    def setUp(self) -> None:
        self.key = newKey()
        self.files = {
            "ours.crt": AUTHORITY.issue(["us.example.org"], self.key),
            "ours.key": keyPem(self.key),
            "mx.crt": AUTHORITY.issue(["mx.example.org"], KEY),
            "mx.key": keyPem(KEY),
            "ca.crt": AUTHORITY.pem,
        }
        pki = {"ours": PkiSpec("ours", "ours.crt", "ours.key"), "mx": PkiSpec("mx", "mx.crt", "mx.key")}
        ca = {"ca": CaSpec("ca", "ca.crt")}
        self.certificates = Certificates(pki, self.files.__getitem__, NOW.timestamp, AUTHORITY.pem, ca)
        self.contexts = ClientContexts(STRANGER.pem, self.certificates)

    def shake(self, kind: ClientKind, verifyClient: bool = False, verify: bool = True) -> tuple[SSL.Connection, str]:
        creator = self.contexts.handshake("mx.example.org", verify, kind=kind)
        here = creator.clientConnectionForTLS(None)
        there = SSL.Connection(self.certificates.serverContext(["mx"], verifyClient), None)
        shake(here, there)
        return there, creator.facts(here).cipher

    def test_ourCertificate(self) -> None:
        kind = ClientKind("ours", "ours.crt", "ca", "ca.crt")
        there, _ = self.shake(kind, verifyClient=True)
        self.assertEqual(self.certificates.facts(there).peerName, "us.example.org")
        self.assertRaises(SSL.Error, self.shake, ClientKind(ca="ca", anchors="ca.crt"), True)

    def test_whomWeTrust(self) -> None:
        self.shake(ClientKind(ca="ca", anchors="ca.crt"))
        self.assertRaises(SSL.Error, self.shake, ClientKind())
        self.assertRaises(SSL.Error, self.shake, ClientKind("ours", "ours.crt"))

    def test_ciphersAndProtocols(self) -> None:
        kind = ClientKind("", "", "ca", "ca.crt", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2")
        _, cipher = self.shake(kind)
        self.assertEqual(cipher, "ECDHE-ECDSA-AES128-GCM-SHA256")

    def test_whatCannotBeUsed(self) -> None:
        for kind, why in (
            (ClientKind("none", "x"), "no such pki: none"),
            (ClientKind("ours", "another.crt"), "another certificate now"),
            (ClientKind(ca="none"), "no such ca: none"),
            (ClientKind(ca="ca", anchors="another.crt"), "another one now"),
            (ClientKind(protocols="SSLv3"), "no protocol"),
            (ClientKind(ciphers="nonsense"), "no ciphers"),
        ):
            with self.assertRaisesRegex(LookupError, why):
                self.contexts.check(kind)
        self.contexts.check(ClientKind())
        with self.assertRaises(LookupError):
            ClientContexts().check(ClientKind("ours", "ours.crt"))
