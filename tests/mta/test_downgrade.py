"""8-bit content towards hosts that take 7-bit content only."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.queue import IBody
from pysmtpd.interfaces.ready import Ready
from pysmtpd.model.address import Path
from pysmtpd.model.envelope import BodyRef
from pysmtpd.model.events import InternalError
from tests.mta.fakes import Server, World

HEADER = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
TEXT = "Grüße\r\n".encode()
SIGNED = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n" + HEADER + TEXT + b"--b--\r\n"


class SevenBitTests(SynchronousTestCase):
    def world(self, *extensions: str, **config: Any) -> tuple[World, Server]:
        world = World(**config)
        world.dns.hosts["x.test"] = ("192.0.2.1",)
        return world, world.host("192.0.2.1", Server(*extensions))

    def test_converted(self) -> None:
        """Whatever the size of its chunks; SIZE is the new size."""
        for chunk in (7, 100, 65536):
            for text in (TEXT, TEXT * 5000):
                world, server = self.world("PIPELINING", "SIZE 10000000")
                world.bodies.chunk = chunk if len(text) < 1000 else 65536
                (envelope,) = world.send("a@x.test", content=HEADER + text)
                world.run(1)
                self.assertEqual(world.told(envelope), "Ok 250 2.0.0 queued")
                ((_, content),) = server.mails
                self.assertTrue(content.isascii())
                self.assertEqual(message_from_bytes(content).get_payload(decode=True), text)
                mail = next(command for command in server.conversations[0] if command.startswith("MAIL"))
                self.assertEqual(mail, f"MAIL FROM:<a@x.test> SIZE={len(content.replace(b'..', b'.'))}")
                self.assertTrue(all(body.isClosed for body in world.bodies.opened))

    def test_byChunking(self) -> None:
        world, server = self.world("PIPELINING", "CHUNKING")
        world.send("a@x.test", content=HEADER + TEXT, seconds=1)
        ((_, content),) = server.mails
        self.assertEqual(message_from_bytes(content).get_payload(decode=True), TEXT)

    def test_notWhereItIsTaken(self) -> None:
        """Or where nothing is 8-bit, whatever the label says."""
        for extensions, content in (
            (("8BITMIME",), HEADER + TEXT),
            (("SMTPUTF8",), HEADER + TEXT),
            (("SIZE",), HEADER + b"x\r\n"),
        ):
            world, server = self.world(*extensions)
            world.send("a@x.test", content=content, seconds=1)
            self.assertEqual(server.mails[0][1], content)

    def test_signedGoesAsItIs(self) -> None:
        """So does what a host has signed: it would be taken for a forgery."""
        for content in (
            SIGNED,
            b"DKIM-Signature: v=1\r\n" + HEADER + TEXT,
            b"Content-Type: multipart/x\r\n\r\n" + TEXT,
        ):
            world, server = self.world("PIPELINING")
            world.send("a@x.test", content=content, seconds=1)
            self.assertEqual(server.mails[0][1], content)

    def test_signedBounces(self) -> None:
        world, server = self.world("PIPELINING", bounceSigned8bit=True)
        for content in (SIGNED, b"Content-Type: multipart/x\r\n\r\n" + TEXT):
            (envelope,) = world.send("a@x.test", content=content)
            world.run(1)
            self.assertIn("PermFail 554 5.6.3 ", world.told(envelope))
        self.assertEqual(server.mails, [])
        (envelope,) = world.send("a@x.test", content=b"DKIM-Signature: v=1\r\n" + HEADER + TEXT)
        world.run(1)
        self.assertEqual(world.told(envelope), "Ok 250 2.0.0 queued")
        self.assertTrue(server.mails[0][1].isascii())

    def test_anotherHostIsTried(self) -> None:
        world = World(bounceSigned8bit=True)
        world.dns.domain("x.test", (10, "mx1.test"), (20, "mx2.test"))
        world.dns.hosts["mx1.test"] = ("192.0.2.1",)
        world.dns.hosts["mx2.test"] = ("192.0.2.2",)
        world.host("192.0.2.1", Server("PIPELINING"))
        server = world.host("192.0.2.2", Server("8BITMIME"))
        (envelope,) = world.send("a@x.test", content=SIGNED)
        world.run(2)
        self.assertEqual(world.told(envelope), "Ok 250 2.0.0 queued")
        self.assertEqual(server.mails[0][1], SIGNED)

    def test_binary(self) -> None:
        """BINARYMIME is converted where it is not taken, if there is a way."""
        label = b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        for extensions in (("8BITMIME",), ("PIPELINING",), ("CHUNKING", "8BITMIME")):
            world, server = self.world(*extensions)
            world.send("a@x.test", content=label + b"\0\n\r\xff", body="BINARYMIME", seconds=1)
            self.assertEqual(message_from_bytes(server.mails[0][1]).get_payload(decode=True), b"\0\n\r\xff")
        world, server = self.world("8BITMIME")
        (envelope,) = world.send("a@x.test", content=b"A: b\r\n\r\na\nb", body="BINARYMIME")
        world.run(1)
        self.assertIn("PermFail 554 5.6.3 ", world.told(envelope))

    def test_peerHangsUpMeanwhile(self) -> None:
        world, server = self.world("PIPELINING")
        world.bodies.chunk = 64
        opening = world.bodies.open
        reads: list[int] = []

        def interrupted(ref: BodyRef) -> Deferred[IBody]:
            def told(body: IBody) -> IBody:
                read = body.read

                def reading() -> Ready[bytes]:
                    reads.append(1)
                    if len(reads) == 5:
                        server.connections[0].loseConnection()
                    return read()

                body.read = reading  # type: ignore[method-assign]
                return body

            return opening(ref).addCallback(told)

        world.bodies.open = interrupted  # type: ignore[method-assign]
        (envelope,) = world.send("a@x.test", content=HEADER + TEXT * 400)
        world.run(60)
        self.assertTrue(world.told(envelope).startswith(("Ok", "TempFail 451 4.4.2")))
        self.assertLessEqual(len(server.mails), 1)
        self.assertTrue(all(body.isClosed for body in world.bodies.opened))
        self.assertFalse(any(isinstance(event, InternalError) for event in world.ears.events))


class Utf8Tests(SynchronousTestCase):
    def commands(self, recipient: str, *extensions: str, **more: Any) -> tuple[str, list[str]]:
        world = World()
        world.dns.hosts["xn--bcher-kva.test"] = ("192.0.2.1",)
        server = world.host("192.0.2.1", Server("8BITMIME", *extensions))
        (envelope,) = world.send(recipient, smtputf8=True, **more)
        world.run(1)
        commands = [command for command in server.conversations[0] if command.startswith(("MAIL", "RCPT"))]
        return world.told(envelope), commands

    def test_domainsNeedNone(self) -> None:
        for extensions in ((), ("SMTPUTF8",)):
            told, commands = self.commands("b@bücher.test", *extensions, sender=Path("a", "bücher.test"))
            self.assertEqual(told, "Ok 250 2.0.0 queued")
            self.assertEqual(commands, ["MAIL FROM:<a@xn--bcher-kva.test>", "RCPT TO:<b@xn--bcher-kva.test>"])

    def test_localPartsDo(self) -> None:
        told, commands = self.commands("jürgen@bücher.test", "SMTPUTF8")
        self.assertEqual(told, "Ok 250 2.0.0 queued")
        self.assertEqual(commands, ["MAIL FROM:<a@x.test> SMTPUTF8", "RCPT TO:<jürgen@xn--bcher-kva.test>"])
        told, commands = self.commands("jürgen@bücher.test")
        self.assertIn("PermFail 550 5.6.7 ", told)
        self.assertEqual(commands, [])

    def test_notForAsciiMail(self) -> None:
        told, commands = self.commands("b@xn--bcher-kva.test")
        self.assertEqual(told, "Ok 250 2.0.0 queued")
        self.assertEqual(commands, ["MAIL FROM:<a@x.test>", "RCPT TO:<b@xn--bcher-kva.test>"])

    def test_othersDoNotSuffer(self) -> None:
        """Recipients who need it go by themselves: with a host that lacks it the others arrive, and none is taken for international."""
        for extensions in (("PIPELINING",), ("PIPELINING", "SMTPUTF8")):
            world = World()
            world.dns.hosts["x.test"] = ("192.0.2.1",)
            server = world.host("192.0.2.1", Server(*extensions))
            envelopes = world.send("jürgen@x.test", "b@x.test", "jörg@x.test", "c@x.test", smtputf8=True, seconds=2)
            told = [world.told(envelope)[:9] for envelope in envelopes]
            has = "SMTPUTF8" in extensions
            self.assertEqual(told, ["Ok 250 2." if has else "PermFail ", "Ok 250 2."] * 2)
            (commands,) = server.conversations
            said = [command for command in commands if command.startswith(("MAIL", "RCPT"))]
            expected = ["MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "RCPT TO:<c@x.test>"]
            if has:
                expected += ["MAIL FROM:<a@x.test> SMTPUTF8", "RCPT TO:<jürgen@x.test>", "RCPT TO:<jörg@x.test>"]
            self.assertEqual(said, expected)
            self.assertEqual(world.agent._board.load._used, {})

    def test_allNeedItWhereTheHeaderDoes(self) -> None:
        world = World()
        world.dns.hosts["x.test"] = ("192.0.2.1",)
        server = world.host("192.0.2.1", Server("8BITMIME", "SMTPUTF8"))
        content = "Subject: \N{LATIN SMALL LETTER E WITH ACUTE}\r\n\r\n".encode()
        world.send("jürgen@x.test", "b@x.test", smtputf8=True, content=content, seconds=2)
        self.assertEqual([recipients for recipients, _ in server.mails], [["jürgen@x.test", "b@x.test"]])
