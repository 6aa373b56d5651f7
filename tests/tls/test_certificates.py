from __future__ import annotations

import contextlib
import ssl
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.x509 import load_pem_x509_certificate
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.tls import ICertificates
from pysmtpd.model.config import CaSpec, Config, ListenerSpec, PkiSpec, TlsMode
from pysmtpd.model.decision import Where
from pysmtpd.model.facts import TlsFacts
from pysmtpd.tls.certificates import Certificates
from pysmtpd.tls.facts import establishedFacts
from pysmtpd.tls.names import isCovered
from tests.tls.authority import DAY, NOW, Authority, keyPem, newKey
from tests.tls.handshake import shake

AUTHORITY = Authority()
KEY, OTHER_KEY = newKey(), newKey()


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.files: dict[str, bytes] = {}
        self.pki: dict[str, PkiSpec] = {}
        self.reads: list[str] = []

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    def add(self, name: str, *names: str, **options: Any) -> None:
        self.pki[name] = PkiSpec(name, f"/{name}.crt", f"/{name}.key", Where("smtpd.conf", len(self.pki) + 1))
        self.files[f"/{name}.crt"] = AUTHORITY.issue(names, KEY, **options)
        self.files[f"/{name}.key"] = keyPem(KEY)

    def certificates(self) -> Certificates:
        return Certificates(self.pki, self.read, NOW.timestamp, AUTHORITY.pem)


class ServerContextTests(Case):
    def served(self, context: SSL.Context, sni: str = "") -> tuple[str, SSL.Connection]:
        """The first name of the certificate that a client who asks for C{sni} gets, and the server's end."""
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        if sni:
            client.set_tlsext_host_name(sni.encode())
        server = SSL.Connection(context, None)
        shake(client, server)
        return establishedFacts(client, sni).peerName, server

    def test_provides(self) -> None:
        self.assertTrue(verifyObject(ICertificates, self.certificates()))

    def test_choiceByName(self) -> None:
        self.add("first", "mail.example.org", "mx.example.org")
        self.add("second", "*.example.net", "exact.example.com")
        self.add("third", "www.example.net", "*.example.com")
        context = self.certificates().serverContext(["first", "second", "third"])
        for sni, name in [
            ("", "mail.example.org"),
            ("mail.example.org", "mail.example.org"),
            ("MX.Example.Org", "mail.example.org"),
            ("a.example.net", "*.example.net"),
            ("www.example.net", "www.example.net"),
            ("exact.example.com", "*.example.net"),
            ("b.example.com", "www.example.net"),
            ("a.b.example.net", "mail.example.org"),
            ("example.net", "mail.example.org"),
            ("unknown.test", "mail.example.org"),
        ]:
            self.assertEqual(self.served(context, sni)[0], name, sni)

    def test_facts(self) -> None:
        self.add("first", "mail.example.org")
        certificates = self.certificates()
        _, server = self.served(certificates.serverContext(["first"]), "mail.example.org")
        facts = certificates.facts(server)
        self.assertEqual(
            (facts.protocol, facts.sni, facts.verified, facts.peerName), ("TLSv1.3", "mail.example.org", False, "")
        )
        self.assertGreaterEqual(facts.bits, 128)
        self.assertTrue(facts.cipher.startswith("TLS_"))

    def test_theCommonNameCountsWhereThereIsNoOther(self) -> None:
        self.add("first", "mail.example.org")
        self.add("old", common="Old.example.org")
        context = self.certificates().serverContext(["first", "old"])
        self.assertEqual(self.served(context, "old.example.org")[0], "old.example.org")

    def test_theSameContextForTheSameQuestion(self) -> None:
        self.add("a", "a.example.org")
        self.add("b", "b.example.org")
        certificates = self.certificates()
        context = certificates.serverContext(["a", "b"])
        self.assertIs(certificates.serverContext(("a", "b")), context)
        self.assertIsNot(certificates.serverContext(["b", "a"]), context)
        self.assertIsNot(certificates.serverContext(["a", "b"], True), context)

    def test_filesAreReadOnce(self) -> None:
        self.add("a", "a.example.org")
        certificates = self.certificates()
        self.files.clear()
        certificates.serverContext(["a"])
        certificates.serverContext(["a"], True)
        certificates.check()
        self.assertEqual(self.reads, ["/a.crt", "/a.key"])

    def test_noSuchPki(self) -> None:
        self.assertIn("nope", str(self.assertRaises(LookupError, self.certificates().serverContext, ["nope"])))
        self.assertRaises(LookupError, self.certificates().serverContext, [])

    def test_aPkiThatCannotBeUsed(self) -> None:
        self.add("a", "a.example.org")
        del self.files["/a.key"]
        error = self.assertRaises(LookupError, self.certificates().serverContext, ["a"])
        self.assertIn("smtpd.conf:1: pki a: key /a.key: No such file or directory", str(error))

    def test_oldProtocolsAreRefused(self) -> None:
        self.add("a", "a.example.org")
        old = SSL.Context(SSL.TLS_CLIENT_METHOD)
        old.set_cipher_list(b"ALL:@SECLEVEL=0")
        old.set_max_proto_version(SSL.TLS1_1_VERSION)
        server = SSL.Connection(self.certificates().serverContext(["a"]), None)
        self.assertRaises(SSL.Error, shake, SSL.Connection(old, None), server)

    def test_theChainIsSent(self) -> None:
        self.add("a", "a.example.org")
        self.files["/a.crt"] += AUTHORITY.pem
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        shake(client, SSL.Connection(self.certificates().serverContext(["a"]), None))
        self.assertEqual(len(client.get_peer_cert_chain() or []), 2)

    def test_sessionsAreResumedByTickets(self) -> None:
        self.add("a", "a.example.org")
        self.add("b", "b.example.org")
        context = self.certificates().serverContext(["a", "b"])
        clients = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        clients.check_hostname = False
        clients.verify_mode = ssl.CERT_NONE
        for sni in ("a.example.org", "b.example.org"):
            first = visit(clients, context, sni, None)
            self.assertFalse(first.session_reused)
            second = visit(clients, context, sni, first.session)
            self.assertTrue(second.session_reused)


def visit(clients: ssl.SSLContext, context: SSL.Context, sni: str, session: ssl.SSLSession | None) -> ssl.SSLObject:
    """One handshake, and one greeting from the server: the tickets come with it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = clients.wrap_bio(incoming, outgoing, server_hostname=sni, session=session)
    server = SSL.Connection(context, None)
    server.set_accept_state()
    for step in (client.do_handshake, server.do_handshake, client.do_handshake, server.do_handshake):
        with contextlib.suppress(ssl.SSLWantReadError, SSL.WantReadError):
            step()
        if outgoing.pending:
            server.bio_write(outgoing.read())
        with contextlib.suppress(SSL.WantReadError):
            incoming.write(server.bio_read(65_536))
    server.send(b"220 ready\r\n")
    incoming.write(server.bio_read(65_536))
    assert client.read(100) == b"220 ready\r\n"
    return client


class VerifyClientTests(Case):
    def shakeWith(self, certificate: bytes | None) -> TlsFacts:
        self.add("a", "a.example.org")
        context: Any = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if certificate is not None:
            context.use_certificate(load_pem_x509_certificate(certificate))
            context.use_privatekey(OTHER_KEY)
        certificates = self.certificates()
        server = SSL.Connection(certificates.serverContext(["a"], True), None)
        shake(SSL.Connection(context, None), server)
        return certificates.facts(server)

    def test_aGoodCertificate(self) -> None:
        facts = self.shakeWith(AUTHORITY.issue(["client.example.org"], OTHER_KEY))
        self.assertEqual((facts.verified, facts.peerName), (True, "client.example.org"))

    def test_none(self) -> None:
        self.assertRaises(SSL.Error, self.shakeWith, None)

    def test_ofAStranger(self) -> None:
        self.assertRaises(SSL.Error, self.shakeWith, Authority("Other").issue(["client.example.org"], OTHER_KEY))


class CheckTests(Case):
    def check(self) -> list[str]:
        certificates = self.certificates()
        return [*certificates.faults, *certificates.check()]

    def assertProblem(self, *words: str) -> None:
        problems = self.check()
        self.assertEqual(len(problems), 1, problems)
        for word in ("smtpd.conf:1: pki mail.example.org: ", *words):
            self.assertIn(word, problems[0])

    def test_allIsWell(self) -> None:
        self.add("mail.example.org", "*.example.org")
        self.add("nickname", "whatever.example.org")
        self.assertEqual(self.check(), [])

    def test_missing(self) -> None:
        self.add("mail.example.org", "mail.example.org")
        del self.files["/mail.example.org.crt"]
        self.assertProblem("/mail.example.org.crt: No such file")

    def test_unreadable(self) -> None:
        self.add("mail.example.org", "mail.example.org")
        original = self.read

        def forbid(path: str) -> bytes:
            if path.endswith(".key"):
                raise PermissionError(13, "Permission denied", path)
            return original(path)

        self.patch(self, "read", forbid)
        self.assertProblem("key /mail.example.org.key: Permission denied")

    def test_garbage(self) -> None:
        for content in (b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            self.setUp()
            self.add("mail.example.org", "mail.example.org")
            self.files["/mail.example.org.crt"] = content
            self.assertProblem("is not in PEM form")
            self.files["/mail.example.org.key"] = content
            self.assertEqual(len(self.check()), 2)

    def test_anotherKey(self) -> None:
        self.add("mail.example.org", "mail.example.org")
        self.files["/mail.example.org.key"] = keyPem(OTHER_KEY)
        self.assertProblem("does not belong to certificate")

    def test_anEncryptedKey(self) -> None:
        self.add("mail.example.org", "mail.example.org")
        self.files["/mail.example.org.key"] = keyPem(KEY, b"secret")
        self.assertProblem("is encrypted")

    def test_chainInTheWrongOrder(self) -> None:
        self.add("mail.example.org", "mail.example.org")
        self.files["/mail.example.org.crt"] = AUTHORITY.pem + self.files["/mail.example.org.crt"]
        self.assertProblem("must come first")

    def test_expired(self) -> None:
        self.add("mail.example.org", "mail.example.org", end=-1 * DAY)
        self.assertProblem("expired on ")

    def test_expiresSoon(self) -> None:
        self.add("mail.example.org", "mail.example.org", end=29 * DAY)
        self.assertProblem("expires on ", "in 29 days")
        self.files.clear()
        self.add("mail.example.org", "mail.example.org", end=30 * DAY)
        self.assertEqual(self.check(), [])

    def test_notYetValid(self) -> None:
        self.add("mail.example.org", "mail.example.org", begin=2 * DAY)
        self.assertProblem("is not valid before ")

    def test_forAnotherName(self) -> None:
        self.add("mail.example.org", "mail.example.net", "mx.example.net")
        self.assertProblem("is not for mail.example.org, but for mail.example.net, mx.example.net")

    def test_withoutAName(self) -> None:
        self.add("mail.example.org", "192.0.2.1")
        self.assertProblem("names no host")

    def test_oneThatExpiredCanStillBeUsed(self) -> None:
        self.add("mail.example.org", "mail.example.org", end=-1 * DAY)
        self.certificates().serverContext(["mail.example.org"])


class CoveredTests(SynchronousTestCase):
    def test_isCovered(self) -> None:
        self.assertTrue(isCovered("a.example.org", "*.example.org"))
        self.assertFalse(isCovered("example.org", "*.example.org"))
        self.assertFalse(isCovered(".example.org", "*.example.org"))
        self.assertFalse(isCovered("a.b.example.org", "*.example.org"))
        self.assertFalse(isCovered("a.example.org", "a*.example.org"))


class ClientTests(Case):
    """Certificates of clients, ciphers and protocols."""

    def setUp(self) -> None:
        super().setUp()
        self.add("mail", "mail.example.org")
        self.other = Authority("Other")
        self.files["/ca.pem"] = AUTHORITY.pem
        self.files["/other.pem"] = self.other.pem
        ca = {"staff": CaSpec("staff", "/ca.pem"), "other": CaSpec("other", "/other.pem"), "bad": CaSpec("bad", "/no")}
        self.here = Certificates(self.pki, self.read, NOW.timestamp, ca=ca)

    def shaken(self, context: SSL.Context, certificate: bytes = b"", maximum: int = 0) -> TlsFacts:
        mine = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if certificate:
            untyped: Any = mine
            untyped.use_certificate(load_pem_x509_certificate(certificate))
            untyped.use_privatekey(KEY)
        if maximum:
            mine.set_max_proto_version(maximum)
        client, server = SSL.Connection(mine, None), SSL.Connection(context, None)
        shake(client, server)
        return self.here.facts(server)

    def test_verified(self) -> None:
        context = self.here.serverContext(["mail"], True, "staff")
        facts = self.shaken(context, AUTHORITY.issue(("anna.example.org",), KEY))
        self.assertEqual((facts.verified, facts.peerName), (True, "anna.example.org"))

    def test_notVerified(self) -> None:
        context = self.here.serverContext(["mail"], True, "staff")
        self.assertRaises(SSL.Error, self.shaken, context)
        self.assertRaises(SSL.Error, self.shaken, context, self.other.issue(("anna.example.org",), KEY))
        expired = AUTHORITY.issue(("anna.example.org",), KEY, end=-DAY)
        self.assertRaises(SSL.Error, self.shaken, context, expired)
        # Of another ca's listener the same certificate is none.
        strict = self.here.serverContext(["mail"], True, "other")
        self.assertRaises(SSL.Error, self.shaken, strict, AUTHORITY.issue(("anna.example.org",), KEY))

    def test_notAsked(self) -> None:
        facts = self.shaken(self.here.serverContext(["mail"]), AUTHORITY.issue(("anna.example.org",), KEY))
        self.assertEqual((facts.verified, facts.peerName), (False, ""))

    def test_whatIsMissing(self) -> None:
        self.assertIn("ca bad", " ".join(self.here.faults))
        self.assertRaises(LookupError, self.here.serverContext, ["mail"], True, "bad")
        self.assertRaises(LookupError, self.here.serverContext, ["mail"], True, "unknown")

    def test_protocols(self) -> None:
        for protocols, spoken in [
            ("TLSv1.2", "TLSv1.2"),
            ("TLSv1.3", "TLSv1.3"),
            ("TLSv1.2,TLSv1.3", "TLSv1.3"),
            ("all:!TLSv1.3", "TLSv1.2"),
            ("!tlsv1.3", "TLSv1.2"),
            ("secure", "TLSv1.3"),
            ("tlsv1.0,tlsv1.2", "TLSv1.2"),
        ]:
            context = self.here.serverContext(["mail"], protocols=protocols)
            self.assertEqual(self.shaken(context).protocol, spoken, protocols)
        strict = self.here.serverContext(["mail"], protocols="TLSv1.3")
        self.assertRaises(SSL.Error, self.shaken, strict, b"", SSL.TLS1_2_VERSION)
        for protocols in ("TLSv1.0", "SSLv3", "all,!TLSv1.2,!TLSv1.3", "TLSv1.2;TLSv1.3"):
            self.assertRaises(LookupError, self.here.serverContext, ["mail"], protocols=protocols)

    def test_ciphers(self) -> None:
        one = "ECDHE-ECDSA-AES256-GCM-SHA384"
        context = self.here.serverContext(["mail"], ciphers=one)
        self.assertEqual(self.shaken(context, b"", SSL.TLS1_2_VERSION).cipher, one)
        modern = self.here.serverContext(["mail"], ciphers="TLS_CHACHA20_POLY1305_SHA256")
        self.assertEqual(self.shaken(modern).cipher, "TLS_CHACHA20_POLY1305_SHA256")
        for word in ("default", "secure", "compat", "legacy", "HIGH:!aNULL"):
            self.shaken(self.here.serverContext(["mail"], ciphers=word))
        self.assertRaises(LookupError, self.here.serverContext, ["mail"], ciphers="NO-SUCH-CIPHER")

    def test_dhe(self) -> None:
        """The key exchange that a client without elliptic curves needs is there where the pki says so (RFC 7919)."""
        key: Any = generate_private_key(65537, 2048)
        self.add("old", "old.example.org")
        self.files["/old.crt"], self.files["/old.key"] = AUTHORITY.issue(("old.example.org",), key), keyPem(key)
        for dhe, isThere in (("none", False), ("auto", True), ("legacy", True)):
            self.pki["old"] = replace(self.pki["old"], dhe=dhe)
            client = SSL.Context(SSL.TLS_CLIENT_METHOD)
            client.set_max_proto_version(SSL.TLS1_2_VERSION)
            client.set_cipher_list(b"DHE-RSA-AES256-GCM-SHA384")
            server = SSL.Connection(self.certificates().serverContext(["old"]), None)
            if not isThere:
                self.assertRaises(SSL.Error, shake, SSL.Connection(client, None), server)
                continue
            shake(SSL.Connection(client, None), server)
            self.assertEqual(establishedFacts(server, "").cipher, "DHE-RSA-AES256-GCM-SHA384")
        self.pki["old"] = replace(self.pki["old"], dhe="none")
        make = self.certificates().serverContext
        error = self.assertRaises(LookupError, make, ["old"], ciphers="DHE-RSA-AES256-GCM-SHA384")
        self.assertIn('"dhe auto"', str(error))

    def test_listeners(self) -> None:
        """What cannot be done is told before it is needed."""
        plain = ListenerSpec("lo", ("127.0.0.1",), 25, where=Where("smtpd.conf", 7))
        good = replace(plain, tls=TlsMode.STARTTLS, pki=("mail",))
        for spec, found in [
            (plain, []),
            (good, []),
            (replace(good, ciphers="NO-SUCH"), ["smtpd.conf:7: there are no ciphers 'NO-SUCH'"]),
            (replace(good, verifyClient=True, ca="unknown"), ["smtpd.conf:7: no such ca: unknown"]),
        ]:
            self.assertEqual(self.here.faultsOf(Config("smtpd.conf", "mx", listeners=(spec,))), found)
        wrong = Config("smtpd.conf", "mx", listeners=(plain, good), ciphers="NO-SUCH")
        self.assertEqual(len(self.here.faultsOf(wrong)), 1)
