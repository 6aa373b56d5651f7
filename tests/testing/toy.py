"""A very small mail server, to test the World without our own: SMTP in, one file per message, SMTP out. It gives up nothing, ever."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.names import dns
from twisted.names.dns import DNSDatagramProtocol

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.model.events import Event
from pysmtpd.model.value import value

SPOOL = "/var/spool/pysmtpd"
RETRY = 300.0


@value
class Happened(Event):
    room: ClassVar[str] = "toy"
    word: ClassVar[str] = "happened"
    what: str
    message: str


class ToyServer:
    """
    @ivar isCareful: it syncs what it acknowledges.
    """

    def __init__(self, platform: IPlatform, observer: Any, settings: dict[str, Any]) -> None:
        self.platform = platform
        self.isCareful = settings.get("isCareful", True)
        self._observer = observer
        self._count = 0

    def happened(self, what: str, message: str) -> None:
        self._observer(self.platform.wallTime(), Happened(what, message))

    def startService(self) -> None:
        network: Any = self.platform.network
        self._port = network.listenTCP(25, _Incoming(self))
        self._resolver = DNSDatagramProtocol(self, reactor=self.platform.clock)
        self.platform.network.listenUDP(0, self._resolver, interface="", maxPacketSize=4096)
        self.platform.workers.run("spool", self.platform.disk.listDirectory, SPOOL).addCallback(self._resume)

    def stopService(self) -> Deferred[None]:
        self._port.stopListening()
        return self.platform.workers.run("spool", len, "").addCallback(lambda ignored: None)

    def messageReceived(self, *ignored: Any) -> None:
        """Answers to no question of ours."""

    def _resume(self, names: list[str]) -> None:
        for name in names:
            if not name.endswith(".tmp"):
                self.happened("found", name)
                self.deliver(name)

    def store(self, recipient: str, content: bytes) -> Deferred[str]:
        self._count += 1
        name = f"{self.platform.processId()}-{self._count:06}-{recipient}"
        return self.platform.workers.run("spool", self._store, name, content)

    def _store(self, name: str, content: bytes) -> str:
        disk = self.platform.disk
        file = disk.create(f"{SPOOL}/{name}.tmp")
        file.write(content)
        if self.isCareful:
            file.sync()
        file.close()
        disk.rename(f"{SPOOL}/{name}.tmp", f"{SPOOL}/{name}")
        if self.isCareful:
            disk.syncDirectory(SPOOL)
        return name

    def deliver(self, name: str) -> None:
        Deferred.fromCoroutine(self._deliver(name)).addErrback(self._later, name)

    def _later(self, failure: Any, name: str) -> None:
        self.happened(f"later: {failure.type.__name__}", name)
        self.platform.clock.callLater(RETRY + self.platform.random.random(), self.deliver, name)

    async def _deliver(self, name: str) -> None:
        recipient = name.split("-", 2)[2]
        server = self.platform.resolverSettings().servers[0]
        question = dns.Query(recipient.partition("@")[2], dns.MX)
        answer: Any = await self._resolver.query(server, [question], timeout=5)
        target = answer.answers[0].payload.name.name.decode()
        answer = await self._resolver.query(server, [dns.Query(target, dns.A)], timeout=5)
        address = answer.answers[0].payload.dottedQuad()
        file = self.platform.disk.open(f"{SPOOL}/{name}")
        content = file.read(1 << 20)
        file.close()
        done: Deferred[None] = Deferred()
        self.platform.network.connectTCP(address, 25, _Outgoing(recipient, content, done), timeout=30)
        await done
        await self.platform.workers.run("spool", self.platform.disk.unlink, f"{SPOOL}/{name}")
        self.happened("delivered", name)


class _Session(Protocol):
    transport: Any

    def __init__(self, server: ToyServer) -> None:
        self._server = server
        self._buffer = b""
        self._recipients: list[str] = []
        self._inData = False

    def connectionMade(self) -> None:
        self.transport.write(b"220 toy\r\n")

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = b"\r\n.\r\n" if self._inData else b"\r\n"
            line, found, rest = self._buffer.partition(end)
            if not found:
                return
            self._buffer = rest
            if self._inData:
                self._inData = False
                stored = self._server.store(self._recipients[0], line + b"\r\n")
                stored.addCallbacks(self._stored, self._failed)
            else:
                self._command(line.decode())

    def _command(self, line: str) -> None:
        verb = line[:4].upper()
        if verb == "RCPT":
            self._recipients.append(line.partition("<")[2].partition(">")[0])
        self._inData = verb == "DATA"
        self.transport.write({"DATA": b"354 go\r\n", "QUIT": b"221 bye\r\n"}.get(verb, b"250 ok\r\n"))
        if verb == "QUIT":
            self.transport.loseConnection()

    def _stored(self, name: str) -> None:
        self._server.happened("accepted", name)
        self.transport.write(b"250 " + name.encode() + b"\r\n")
        self._server.deliver(name)

    def _failed(self, failure: Any) -> None:
        self._server.happened(f"refused: {failure.type.__name__}", "")
        self.transport.write(b"451 later\r\n")


class _Incoming(Factory):
    noisy = False

    def __init__(self, server: ToyServer) -> None:
        self._server = server

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Session(self._server)


class _Delivery(Protocol):
    transport: Any

    def __init__(self, recipient: str, content: bytes, done: Deferred[None]) -> None:
        self._steps = [b"EHLO toy", b"MAIL FROM:<>", b"RCPT TO:<" + recipient.encode() + b">", b"DATA"]
        self._steps += [content + b".", b"QUIT"]
        self._done = done
        self._buffer = b""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            if line[3:4] == b"-":
                continue
            if line[:1] not in b"23":
                self.transport.loseConnection()
                return
            if len(self._steps) == 1 and not self._done.called:
                self._done.callback(None)
            if not self._steps:
                self.transport.loseConnection()
                return
            self.transport.write(self._steps.pop(0) + b"\r\n")

    def connectionLost(self, reason: Any = None) -> None:
        if not self._done.called:
            self._done.errback(reason)


class _Outgoing(ClientFactory):
    noisy = False

    def __init__(self, recipient: str, content: bytes, done: Deferred[None]) -> None:
        self._arguments = (recipient, content, done)

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Delivery(*self._arguments)

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self._arguments[2].errback(reason)


def buildToy(platform: Any, observer: Any, settings: dict[str, Any]) -> ToyServer:
    return ToyServer(platform, observer, settings)
