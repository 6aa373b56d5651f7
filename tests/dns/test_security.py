"""What is asked for the sake of TLS: TLSA and TXT records."""

from __future__ import annotations

from twisted.names import dns

from pysmtpd.interfaces.routing import Lookup, TextAnswer, TlsaAnswer
from pysmtpd.model.tlsa import Tlsa
from tests.dns.fakes import Zone, reply
from tests.dns.test_resolver import FIRST, Case

RECORD = Tlsa(3, 1, 1, bytes(range(32)))


def tlsa(name: str, data: bytes) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), 52, dns.IN, 300, dns.UnknownRecord(data, 300))


def txt(name: str, *strings: bytes) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), dns.TXT, dns.IN, 300, dns.Record_TXT(*strings, ttl=300))


class TlsaTests(Case):
    name = "_25._tcp.mx.example.org"

    def ask(self) -> TlsaAnswer:
        answer = self.wait(self.resolver.tlsa("MX.example.org", 25), 1.0)
        assert isinstance(answer, TlsaAnswer)
        return answer

    def test_secure(self) -> None:
        self.use(FIRST, trustAD=True)
        self.serve(Zone(tlsa(self.name, b"\3\1\1" + RECORD.data), authenticData=1))
        self.assertEqual(TlsaAnswer(Lookup.FOUND, (RECORD,), secure=True), self.ask())

    def test_notSecureUnlessTheServerIsTrusted(self) -> None:
        self.serve(Zone(tlsa(self.name, b"\3\1\1" + RECORD.data), authenticData=1))
        self.assertEqual(TlsaAnswer(Lookup.FOUND, (RECORD,)), self.ask())

    def test_recordsThatCannotBeReadAreCounted(self) -> None:
        self.serve(Zone(tlsa(self.name, b"\3\1"), tlsa(self.name, b"\3\1\1"), tlsa(self.name, b"\3\1\1" + RECORD.data)))
        self.assertEqual(TlsaAnswer(Lookup.FOUND, (RECORD,), malformed=2), self.ask())

    def test_none(self) -> None:
        self.serve(Zone())
        self.assertEqual(Lookup.NXDOMAIN, self.ask().status)

    def test_failure(self) -> None:
        self.serve(lambda query: reply(query, rcode=dns.ESERVER))
        answer = self.ask()
        self.assertEqual(Lookup.FAILED, answer.status)
        self.assertIn("mx.example.org", answer.error)


class TextTests(Case):
    def test_stringsOfARecordAreOne(self) -> None:
        self.serve(Zone(txt("_mta-sts.example.org", b"v=STSv1; ", b"id=1"), txt("_mta-sts.example.org", b"\xff")))
        answer = self.wait(self.resolver.text("_mta-sts.example.org"))
        self.assertEqual(TextAnswer(Lookup.FOUND, ("v=STSv1; id=1", "\ufffd")), answer)

    def test_noName(self) -> None:
        self.assertEqual(Lookup.NXDOMAIN, self.wait(self.resolver.text("a b.example.org")).status)
