"""Over real sockets: that what the in-memory tests take for granted of Twisted's transports is so."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable
from random import Random
from threading import Event, Thread
from typing import Any, TypeVar

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pysmtpd.listen.listeners import Listeners
from pysmtpd.model.config import Config, ListenerSpec, TlsMode
from tests.listen.fakes import (
    LOCALHOST,
    FakeAuthenticator,
    FakeCertificates,
    FakeReport,
    FakeResolver,
    FakeRouter,
    FakeSubmit,
)

reactor: Any = _reactor
T = TypeVar("T")
MESSAGE = b"Subject: x\r\n\r\n" + b"".join(b"%06d %s\r\n" % (number, b"x" * 60) for number in range(20_000))


class RealPlatform:
    clock = reactor
    network = reactor
    random = Random(1)

    def wallTime(self) -> float:
        return 1_700_000_000.0


class LoopbackTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        config = Config(
            "smtpd.conf",
            "mx.example.org",
            listeners=(
                ListenerSpec(LOCALHOST, (LOCALHOST,), 0, tls=TlsMode.STARTTLS, pki=("mx",)),
                ListenerSpec(LOCALHOST, (LOCALHOST,), 0, tls=TlsMode.IMPLICIT, pki=("mx",)),
            ),
        )
        self.submit = FakeSubmit()
        self.report = FakeReport()
        platform: Any = RealPlatform()
        self.listeners = Listeners(
            platform,
            lambda: config,
            FakeRouter(reactor),
            self.submit,
            FakeCertificates(),
            FakeAuthenticator(),
            FakeResolver(),
            None,
            self.report,
            100,
        )
        self.listeners.start()
        self.addCleanup(self.listeners.stop, 0.0)
        self.ports = [int(name.rpartition(":")[2]) for name in self.listeners.names]

    def run_(self, client: Callable[[int, int], T]) -> Deferred[T]:
        result: Deferred[T] = deferToThread(client, *self.ports)
        return result

    async def test_clear(self) -> None:
        """A message of more than a megabyte, then another on the same connection."""

        def client(port: int, tlsPort: int) -> None:
            with smtplib.SMTP(LOCALHOST, port, timeout=10) as smtp:
                for _ in range(2):
                    smtp.sendmail("anna@example.org", ["bert@example.org"], MESSAGE)

        await self.run_(client)
        self.assertEqual([each.content for each in self.submit.accepted], [MESSAGE, MESSAGE])

    async def test_startTls(self) -> None:
        def client(port: int, tlsPort: int) -> None:
            with smtplib.SMTP(LOCALHOST, port, timeout=10) as smtp:
                smtp.starttls(context=ssl._create_unverified_context())
                smtp.sendmail("anna@example.org", ["bert@example.org"], MESSAGE)

        await self.run_(client)
        (submission,) = self.submit.accepted
        self.assertEqual(submission.content, MESSAGE)
        self.assertIn(b"with ESMTPS", submission.prefix)

    async def test_implicitTls(self) -> None:
        def client(port: int, tlsPort: int) -> None:
            with smtplib.SMTP_SSL(LOCALHOST, tlsPort, timeout=10, context=ssl._create_unverified_context()) as smtp:
                smtp.sendmail("anna@example.org", ["bert@example.org"], MESSAGE)

        await self.run_(client)
        self.assertEqual(self.submit.accepted[0].content, MESSAGE)

    async def test_halfClosed(self) -> None:
        """Everything in one go, then the client closes its side: all replies come, then the connection ends."""

        def client(port: int, tlsPort: int) -> bytes:
            with socket.create_connection((LOCALHOST, port), timeout=10) as connection:
                heard = connection.recv(4096)
                connection.sendall(
                    b"EHLO c.example.org\r\nMAIL FROM:<anna@example.org>\r\nRCPT TO:<bert@example.org>\r\nDATA\r\n"
                    + MESSAGE
                    + b".\r\nQUIT\r\n"
                )
                connection.shutdown(socket.SHUT_WR)
                while data := connection.recv(4096):
                    heard += data
                return heard

        heard = await self.run_(client)
        codes = [line[:3] for line in heard.splitlines() if line[3:4] == b" "]
        self.assertEqual(codes, [b"220", b"250", b"250", b"250", b"354", b"250", b"221"])

    async def test_lastWordsReachASender(self) -> None:
        """A client that sends its content to the end, though nobody takes it any more, then hears why the session ends."""
        self.submit.slowWrites = True
        sending, ended = Event(), Event()

        def client(port: int, tlsPort: int) -> bytes:
            with socket.create_connection((LOCALHOST, port), timeout=10) as connection:
                heard = connection.recv(4096)
                connection.sendall(b"EHLO c.example.org\r\nMAIL FROM:<>\r\nRCPT TO:<bert@example.org>\r\nDATA\r\n")
                while b"354" not in heard:
                    heard += connection.recv(4096)
                connection.sendall(MESSAGE[:300_000])
                sending.set()
                ended.wait(10)
                connection.sendall(MESSAGE[300_000:])
                connection.sendall(b".\r\n")
                heard = b""
                while data := connection.recv(4096):
                    heard += data
                return heard

        result = self.run_(client)
        await deferToThread(sending.wait, 10)
        stopped = self.listeners.stop(0.0)
        # Some turns of the reactor, for whatever it does about closing.
        await deferLater(reactor, 0.1)
        ended.set()
        heard = await result
        self.assertRegex(heard, rb"^421 4\.3\.2 [^\r\n]*\r\n$")
        await stopped

    async def test_lastWordsAreReadInCommands(self) -> None:
        """Who has sent many commands at once reads why the session ends, although most of them were never read."""

        def client(port: int, tlsPort: int) -> bytes:
            with socket.create_connection((LOCALHOST, port), 10) as connection:
                sent = 0
                try:
                    for _ in range(200):
                        sent += connection.send(b"NONSENSE\r\n" * 1000)
                except OSError:
                    return b"reset while sending %d" % sent
                heard = b""
                while data := connection.recv(4096):
                    heard += data
                return heard

        heard = await self.run_(client)
        self.assertRegex(heard.splitlines()[-1], rb"^421 ")

    async def test_doesNotRead(self) -> None:
        """A client that reads no replies is stopped by its own full pipe; when it reads, all its commands are answered, in order."""
        # Connections inherit it from the port.
        for name in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self.listeners._listeners[0]._port.socket.setsockopt(socket.SOL_SOCKET, name, 4096)
        transaction = b"MAIL FROM:<>\r\n" + b"RCPT TO:<bert@example.org>\r\n" * 900 + b"RSET\r\n"
        script = b"EHLO c.example.org\r\n" + transaction * 16 + b"QUIT\r\n"

        def client(port: int, tlsPort: int) -> tuple[bool, bytes]:
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                connection.connect((LOCALHOST, port))
                connection.settimeout(0.3)
                sent = 0
                blocked = False
                while sent < len(script):
                    try:
                        sent += connection.send(script[sent : sent + 4096])
                    except TimeoutError:
                        blocked = True
                        break
                connection.settimeout(10)
                heard = b""
                rest = Thread(target=connection.sendall, args=(script[sent:],))
                rest.start()
                while data := connection.recv(65536):
                    heard += data
                rest.join()
                return blocked, heard

        blocked, heard = await self.run_(client)
        self.assertTrue(blocked)
        codes = [line[:3] for line in heard.splitlines() if line[3:4] == b" "]
        self.assertEqual(codes, [b"220", b"250"] + [b"250"] * (902 * 16) + [b"221"])
