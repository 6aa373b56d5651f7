"""Name servers, remote servers and senders of a World, against each other."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.names import dns
from twisted.names.client import Resolver
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.testing.client import Sent, dotStuffed, send
from pysmtpd.testing.dns import ADDRESS, ScriptedDns
from pysmtpd.testing.internet import Condition, Internet
from pysmtpd.testing.remote import RemoteServer


class DnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.internet = Internet(seed=1)
        self.dns = ScriptedDns(self.internet)
        network: Any = self.internet.host("192.0.2.1")
        network.callLater = network.clock.callLater
        network.installNameResolver = lambda resolver: None
        self.resolver = Resolver(servers=[(ADDRESS, 53)], timeout=(1, 3), reactor=network)

    def ask(self, method: str, name: str, seconds: float = 60) -> Deferred[Any]:
        asked: Deferred[Any] = getattr(self.resolver, method)(name)
        self.internet.clock.advance(seconds)
        return asked

    def answers(self, method: str, name: str) -> list[Any]:
        found: list[Any] = self.successResultOf(self.ask(method, name))[0]
        return [header.payload for header in found]

    def test_mx(self) -> None:
        self.dns.mx("Example.org", "mx1.example.org", (5, "mx0.example.org"))
        self.assertEqual(
            [(record.preference, str(record.name)) for record in self.answers("lookupMailExchange", "example.ORG")],
            [(10, "mx1.example.org"), (5, "mx0.example.org")],
        )
        self.assertEqual([(asked.name, asked.type) for asked in self.dns.queries], [("example.org", "MX")])

    def test_nullMx(self) -> None:
        self.dns.mx("example.org", (0, ""))
        (record,) = self.answers("lookupMailExchange", "example.org")
        self.assertEqual((record.preference, record.name.name.strip(b".")), (0, b""))

    def test_addressesAliasesAndPointers(self) -> None:
        self.dns.addresses("host.example.org", "203.0.113.1", "2001:db8::1")
        self.dns.alias("www.example.org", "host.example.org")
        self.dns.ptr("203.0.113.1", "host.example.org")
        self.dns.ptr("2001:db8::1", "host.example.org")
        alias, address = self.answers("lookupAddress", "www.example.org")
        self.assertEqual((str(alias.name), address.dottedQuad()), ("host.example.org", "203.0.113.1"))
        self.assertEqual(self.answers("lookupIPV6Address", "host.example.org")[0]._address, "2001:db8::1")
        self.assertEqual(str(self.answers("lookupPointer", "1.113.0.203.in-addr.arpa")[0].name), "host.example.org")

    def test_errors(self) -> None:
        self.dns.addresses("here.example.org", "203.0.113.1")
        self.assertEqual(self.answers("lookupMailExchange", "here.example.org"), [])
        self.failureResultOf(self.ask("lookupAddress", "nowhere.example.org"), dns.DomainError, Exception)
        self.dns.fail("here.example.org")
        self.failureResultOf(self.ask("lookupAddress", "here.example.org"))
        self.dns.fail("here.example.org", "NOERROR")
        self.assertEqual(len(self.answers("lookupAddress", "here.example.org")), 1)

    def test_silenceAndDelay(self) -> None:
        self.dns.addresses("slow.example.org", "203.0.113.1")
        self.dns.delay("slow.example.org", 0.5)
        asked = self.ask("lookupAddress", "slow.example.org", 0.4)
        self.assertNoResult(asked)
        self.internet.clock.advance(1)
        self.successResultOf(asked)
        self.dns.silence("mute.example.org")
        self.failureResultOf(self.ask("lookupAddress", "mute.example.org"), TimeoutError)

    def test_longAnswersGoByTcp(self) -> None:
        self.dns.mx("big.example.org", *(f"mx{number}.a-long-name-of-a-host.example.org" for number in range(60)))
        self.assertEqual(len(self.answers("lookupMailExchange", "big.example.org")), 60)
        self.assertEqual(len(self.dns.queries), 2)

    def test_validatedAnswers(self) -> None:
        self.dns.addresses("secure.example.org", "203.0.113.1")
        self.dns.secure("secure.example.org")
        self.dns.alias("alias.example.org", "secure.example.org")
        for name, isSecure in (("secure.example.org", 1), ("alias.example.org", 0)):
            answers: list[bytes] = []
            query = dns.Message(id=7)
            query.addQuery(name, dns.A)
            self.dns.ask(query.toStr(), 512, answers.append)
            self.internet.clock.advance(1)
            message = dns.Message()
            message.fromStr(answers[0])
            self.assertEqual(message.authenticData, isSecure)


class MailTests(SynchronousTestCase):
    """The scripted client talks to the scripted server."""

    CONTENT = b"Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n"

    def setUp(self) -> None:
        self.internet = Internet(seed=2)
        self.client = self.internet.host("198.51.100.7")

    def server(self, **script: Any) -> RemoteServer:
        return RemoteServer(self.internet, "mx.test", ("203.0.113.1",), **script)

    def send(self, *recipients: str, seconds: float = 600, **options: Any) -> Sent:
        sent = send(self.client, "203.0.113.1", 25, "a@a.test", recipients or ("b@b.test",), self.CONTENT, **options)
        self.internet.clock.advance(seconds)
        return sent

    def test_delivered(self) -> None:
        server = self.server()
        sent = self.send("b@b.test", "c@b.test", mailParameters="SIZE=30")
        self.assertTrue(sent.isAccepted)
        self.assertEqual((sent.isOver, sent.error), (True, ""))
        (message,) = server.messages
        self.assertEqual(message.recipients, ("b@b.test", "c@b.test"))
        self.assertEqual((message.sender, message.parameters, message.helo), ("a@a.test", "SIZE=30", "client.test"))
        self.assertEqual(message.content, self.CONTENT)
        self.assertEqual((server.connections, server.open, server.mostOpen), (1, 0, 1))
        self.assertEqual(server.transcript[-1], (1, ">", "221 2.0.0 bye"))

    def test_rejectedAtEachVerb(self) -> None:
        for verb in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BODY"):
            server = self.server().reject(verb, "550 5.7.1 first\nsecond")
            sent = self.send()
            self.assertEqual(sent.reply(verb), "550-5.7.1 first\n550 second")
            self.assertFalse(sent.isAccepted)
            self.assertEqual(server.messages, [])
            server.crash()

    def test_rejectOne(self) -> None:
        server = self.server().reject("RCPT", "550 5.1.1 unknown", when="<x@")
        self.assertTrue(self.send("x@b.test", "y@b.test").isAccepted)
        self.assertEqual(server.recipients, ["y@b.test"])
        self.assertFalse(self.send("x@b.test").isAccepted)

    def test_tempfailForAWhile(self) -> None:
        server = self.server().tempfail("MAIL", times=2)
        self.assertEqual([self.send().isAccepted for _ in range(3)], [False, False, True])
        self.assertEqual(len(server.messages), 1)

    def test_dropped(self) -> None:
        server = self.server().drop("BODY", times=1)
        sent = self.send()
        self.assertFalse(sent.isAccepted)
        self.assertNotEqual(sent.error, "")
        # It has the message, and nobody knows.
        self.assertEqual(len(server.messages), 1)
        self.assertTrue(self.send().isAccepted)

    def test_slow(self) -> None:
        server = self.server().slow(10)
        before = self.internet.clock.seconds()
        sent = self.send()
        assert sent.acceptedAt is not None
        self.assertTrue(60 < sent.acceptedAt - before < 65)
        server.forget()
        server.slow(200, "BODY")
        sent = self.send(seconds=100)
        self.assertFalse(sent.isOver)
        self.internet.clock.advance(200)
        self.assertTrue(sent.isAccepted)

    def test_goodbyeInTheMiddle(self) -> None:
        self.server().reject("RCPT", "421 4.7.0 too much")
        sent = self.send()
        self.assertEqual(sent.reply("RCPT"), "421 4.7.0 too much")
        self.assertTrue(sent.isOver)

    def test_pipelinedAndUnknown(self) -> None:
        server = self.server().without("PIPELINING", "SIZE")
        self.assertNotIn("PIPELINING", server.extensions)
        self.assertIn("DSN", server.extensions)

    def test_startTls(self) -> None:
        server = self.server(starttls=True)
        sent = self.send(starttls=True)
        self.assertTrue(sent.isAccepted, sent.replies)
        self.assertTrue(server.messages[0].isTls)
        self.assertIn("STARTTLS", sent.replies[1][1])
        self.assertNotIn("STARTTLS", sent.replies[3][1])

    def test_lmtp(self) -> None:
        server = self.server(lmtp=True).reject("BODY", "552 5.2.2 full", when="b@")
        sent = self.send("b@b.test", "c@b.test", isLmtp=True)
        self.assertEqual([reply[:3] for verb, reply in sent.replies if verb == "BODY"], ["552", "250"])
        self.assertEqual(server.recipients, ["c@b.test"])

    def test_notReachable(self) -> None:
        self.server().set(Condition.REFUSING)
        sent = self.send()
        self.assertTrue(sent.isOver)
        self.assertIn("refused", sent.error)

    def test_aBodyByBdat(self) -> None:
        server = self.server(extensions=("PIPELINING", "CHUNKING"))
        script = (
            b"EHLO c\r\nMAIL FROM:<a@a.test> BODY=BINARYMIME\r\nRCPT TO:<b@b.test>\r\n"
            b"BDAT 5\r\nab\r\n.BDAT 4 LAST\r\n\r\n.\nQUIT\r\n"
        )
        raw(self.client, script)
        self.internet.clock.advance(60)
        self.assertEqual([message.content for message in server.messages], [b"ab\r\n.\r\n.\n"])
        self.assertEqual(server.messages[0].parameters, "BODY=BINARYMIME")

    def test_dotStuffing(self) -> None:
        self.assertEqual(dotStuffed(b""), b".\r\n")
        self.assertEqual(dotStuffed(b".a\n.b"), b"..a\r\n..b\r\n.\r\n")


def raw(network: Any, data: bytes) -> None:
    """Write without waiting for anything."""
    from twisted.internet.protocol import ClientFactory, Protocol

    class Writing(Protocol):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.write(data)

    network.connectTCP("203.0.113.1", 25, ClientFactory.forProtocol(Writing))
