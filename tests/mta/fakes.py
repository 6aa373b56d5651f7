"""A little world for the mta: a network of scripted servers on a virtual clock, DNS by heart, a queue in memory."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    ConnectBindError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    UserError,
)
from twisted.internet.error import (
    TimeoutError as ConnectTimeout,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.delivery import IOutcomes, IRelease
from pysmtpd.interfaces.queue import IBody, QueueError
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.reporting import IReport, IStat
from pysmtpd.interfaces.routing import (
    AddressAnswer,
    IResolver,
    ITable,
    Lookup,
    MxAnswer,
    MxHost,
    Service,
    TableUpdate,
    TextAnswer,
    TlsaAnswer,
    Updated,
)
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.clienttls import ClientKind
from pysmtpd.model.config import Action, Config, Method, MtaLimits, RelayHost
from pysmtpd.model.envelope import Agent, BodyRef, Destination, Envelope, Message
from pysmtpd.model.events import Event
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId, envelopeId
from pysmtpd.model.outcome import Outcome
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery, Kind, Lease
from pysmtpd.mta.agent import MtaAgent
from pysmtpd.mta.board import Steps
from pysmtpd.mta.policy import IPolicies
from pysmtpd.tls.client import ClientContexts

CONTENT = b"Subject: hello\r\n\r\n.dots\r\n"


class Server:
    """One scripted host. C{replies} answers by verb; what is not there is answered as a friendly server would.

    @ivar conversations: for each connection, the commands.
    @ivar mails: (recipients, content) of each accepted message.
    """

    def __init__(
        self, *extensions: str, greeting: str = "220 sink", most: str = "", tooMany: str = "452 4.5.3", **replies: str
    ) -> None:
        self.most = int(most or 1000)
        self.tooMany = tooMany
        self.delay = 0.0
        self.extensions = extensions or ("PIPELINING", "8BITMIME", "SIZE 100000")
        self.greeting = greeting
        self.replies = replies
        self.conversations: list[list[str]] = []
        self.mails: list[tuple[list[str], bytes]] = []
        self.open = 0
        self.mostOpen = 0
        self.tls = ""
        self.isSilent = False
        self.isSlow = False
        self.connections: list[Link] = []

    @property
    def segments(self) -> list[list[bytes]]:
        return [link.segments for link in self.connections]


class Link:
    """One connection: the client's transport, and the server behind it."""

    TLS = True  # never written to directly

    def __init__(self, clock: Clock, server: Server, protocol: Any, address: tuple[str, int]) -> None:
        self._clock = clock
        self._server = server
        self._protocol = protocol
        self._address = address
        self._buffer = b""
        self._inData = False
        self._recipients: list[str] = []
        self._isLost = False
        self.segments: list[bytes] = []
        self.commands: list[str] = []
        self.producer: Any = None
        self.isSecure = False
        self.mails: list[list[str]] = []
        server.conversations.append(self.commands)
        server.connections.append(self)
        server.open += 1
        server.mostOpen = max(server.mostOpen, server.open)
        self._say(server.greeting)

    def isBusyWith(self, domain: str) -> bool:
        """Is a transaction for this domain under way?"""
        return any(recipient.endswith("@" + domain) for recipient in self._recipients)

    # --- as the client's transport

    def write(self, data: bytes) -> None:
        self.segments.append(data)
        if self._server.isSlow and self.producer is not None:
            self.producer.pauseProducing()
        self._clock.callLater(self._server.delay, self._receive, data)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "198.51.100.9", 40000)

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.lose(ConnectionDone())

    abortConnection = loseConnection

    def startTLS(self, creator: Any) -> None:
        refuses = getattr(creator, "refuses", lambda server: False)
        if self._server.tls == "fails" or refuses(self._server):
            self.lose(SSL.Error([("SSL routines", "", "handshake failure")]))
        else:
            self.isSecure = True
            self._clock.callLater(0, self._protocol.handshakeCompleted)

    def getHandle(self) -> Any:
        return self

    def get_peer_certificate(self, as_cryptography: bool) -> None:
        return None

    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"

    def get_session(self) -> None:
        return None

    def get_cipher_bits(self) -> int:
        return 256

    def lose(self, reason: BaseException) -> None:
        if not self._isLost:
            self._isLost = True
            self._server.open -= 1
            self._clock.callLater(0, self._protocol.connectionLost, Failure(reason))

    # --- as the server

    def _say(self, text: str) -> None:
        self.sayRaw(text.replace("\n", "\r\n").encode("latin-1") + b"\r\n")

    def sayRaw(self, data: bytes) -> None:
        def arrive() -> None:
            if not self._isLost:
                self._protocol.dataReceived(data)

        if not self._server.isSilent:
            self._clock.callLater(0, arrive)

    def _receive(self, data: bytes) -> None:
        if self._isLost:
            return
        self._buffer += data
        answers = []
        while True:
            if self._inData:
                end = 0 if self._buffer.startswith(b".\r\n") else self._buffer.find(b"\r\n.\r\n") + 2
                if end == 1:
                    break
                content, self._buffer = self._buffer[:end], self._buffer[end + 3 :]
                self._inData = False
                answers.append(self._accept(content))
                continue
            line, mark, rest = self._buffer.partition(b"\r\n")
            if not mark:
                break
            self._buffer = rest
            command = line.decode("utf-8", "replace")
            self.commands.append(command)
            if command.startswith("BDAT"):
                size = int(command.split()[1])
                content, self._buffer = rest[:size], rest[size:]
                answers.append(self._accept(content))
                continue
            answers.append(self._answer(command))
        hangup = "HANGUP" in answers
        if hangup:
            del answers[answers.index("HANGUP") :]
        answers = [answer for answer in answers if answer]
        if answers:
            self._say("\n".join(answers))
        if hangup:
            self._clock.callLater(0, self.lose, ConnectionLost())

    def _accept(self, content: bytes) -> str:
        reply = self._server.replies.get("DOT", "250 2.0.0 queued")
        if reply.startswith("2"):
            self._server.mails.append((self._recipients, content))
            self.mails.append(self._recipients)
        count = len(self._recipients)
        self._recipients = []
        return "\n".join([reply] * count) if self.commands[0].startswith("LHLO") else reply

    def _answer(self, command: str) -> str:
        verb = command.partition(" ")[0].upper()
        rcpt = command.partition("<")[2].partition(">")[0]
        scripted = self._server.replies.get(rcpt if verb == "RCPT" and rcpt in self._server.replies else verb, "")
        if scripted:
            if verb == "RCPT" and scripted.startswith("2"):
                self._recipients.append(rcpt)
            return scripted
        if verb in ("EHLO", "LHLO"):
            words = [one for one in self._server.extensions if not (self.isSecure and one == "STARTTLS")]
            return "\n".join(["250-sink", *(f"250-{word}" for word in words), "250 HELP"])
        if verb == "RCPT":
            if len(self._recipients) >= self._server.most:
                return self._server.tooMany
            self._recipients.append(rcpt)
        if verb == "DATA":
            if not self._recipients:
                return "503 5.5.1 no recipients"
            self._inData = True
            return "354 go"
        return {"QUIT": "221 2.0.0 bye", "STARTTLS": "220 go"}.get(verb, "250 2.0.0 ok")


class Connector:
    """A connection that is being made."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self.call: Any = None

    def disconnect(self) -> None:
        if self.call.active():
            self.call.cancel()
            self._factory.clientConnectionFailed(self, Failure(UserError()))


class Network:
    """Servers by address and port; nothing else answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.servers: dict[tuple[str, int], Server] = {}
        self.tried: list[tuple[str, int]] = []
        self.bound: list[str] = []
        self.lacking: tuple[str, ...] = ()
        self.isUsedUp = False
        self.silent: dict[str, bool] = {}
        self.delays: dict[str, float] = {}

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float, bindAddress: Any = None) -> Connector:
        connector = Connector(factory)
        self.tried.append((host, port))
        if bindAddress is not None:
            self.bound.append(bindAddress[0])
            if bindAddress[0] in self.lacking:
                error = ConnectBindError(99, "Cannot assign requested address")
                connector.call = self._clock.callLater(0, factory.clientConnectionFailed, None, Failure(error))
                return connector
        if self.isUsedUp:
            error = ConnectBindError(errno.EMFILE, "Too many open files")
            connector.call = self._clock.callLater(0, factory.clientConnectionFailed, None, Failure(error))
            return connector
        if host in self.silent:
            failure = Failure(ConnectTimeout())
            connector.call = self._clock.callLater(timeout, factory.clientConnectionFailed, None, failure)
            return connector
        connector.call = self._clock.callLater(self.delays.get(host, 0.001), self._connect, (host, port), factory)
        return connector

    def connectUNIX(self, path: str, factory: Any, timeout: float) -> Connector:
        connector = Connector(factory)
        connector.call = self._clock.callLater(0.001, self._connect, (path, 0), factory)
        return connector

    def _connect(self, place: tuple[str, int], factory: Any) -> None:
        server = self.servers.get(place)
        if server is None:
            factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
            return
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(Link(self._clock, server, protocol, place))


@implementer(IResolver)
class Dns:
    """Answers at once what it knows, NXDOMAIN for the rest, and never what is in C{silent}."""

    def __init__(self) -> None:
        self.mxs: dict[str, MxAnswer] = {}
        self.hosts: dict[str, tuple[str, ...]] = {}
        self.silent: dict[str, Deferred[Any]] = {}
        self.failing: dict[str, AddressAnswer] = {}
        self.tlsas: dict[str, TlsaAnswer] = {}
        self.texts: dict[str, TextAnswer] = {}
        self.asked: list[str] = []

    def domain(self, name: str, *hosts: tuple[int, str]) -> None:
        self.mxs[name] = MxAnswer(Lookup.FOUND, tuple(MxHost(preference, host) for preference, host in hosts))

    def mx(self, domain: str) -> Deferred[MxAnswer]:
        self.asked.append(domain)
        if domain in self.silent:
            return self.silent[domain].addCallback(lambda _: self.mxs[domain])
        known = Lookup.NODATA if domain in self.hosts else Lookup.NXDOMAIN
        return succeed(self.mxs.get(domain, MxAnswer(known)))

    def addresses(self, host: str, family: str = "") -> Deferred[AddressAnswer]:
        self.asked.append(host)
        found = tuple(
            address for address in self.hosts.get(host, ()) if not family or (":" in address) == (family == "inet6")
        )
        if host in self.failing:
            return succeed(self.failing[host])
        return succeed(AddressAnswer(Lookup.FOUND, found) if found else AddressAnswer(Lookup.NXDOMAIN))

    def tlsa(self, host: str, port: int) -> Deferred[TlsaAnswer]:
        self.asked.append(f"_{port}._tcp.{host}")
        return succeed(self.tlsas.get(host, TlsaAnswer(Lookup.NXDOMAIN, secure=True)))

    def text(self, name: str) -> Deferred[TextAnswer]:
        self.asked.append(name)
        return succeed(self.texts.get(name, TextAnswer(Lookup.NXDOMAIN)))

    def ptr(self, address: str) -> Deferred[Sequence[str]]:
        return succeed(())

    def confirmedName(self, address: str) -> Deferred[str]:
        return succeed("")


@implementer(IBody)
class Body:
    def __init__(self, content: bytes, chunk: int) -> None:
        self.size = len(content)
        self._content = content
        self._chunk = chunk
        self._at = 0
        self.isClosed = False

    def read(self) -> Ready[bytes]:
        data = self._content[self._at : self._at + self._chunk]
        self._at += len(data)
        return data

    def rewind(self) -> None:
        self._at = 0

    def close(self) -> None:
        self.isClosed = True


class Bodies:
    """The part of L{pysmtpd.interfaces.IQueue} that the mta uses."""

    def __init__(self) -> None:
        self.contents: dict[MessageId, bytes] = {}
        self.opened: list[Body] = []
        self.chunk = 65536
        self.isBroken = False

    def open(self, ref: BodyRef) -> Deferred[IBody]:
        if self.isBroken:
            return _failed()
        body = Body(self.contents[ref.message], self.chunk)
        self.opened.append(body)
        return succeed(cast(IBody, body))


def _failed() -> Deferred[IBody]:
    failing: Deferred[IBody] = Deferred()
    failing.errback(Failure(QueueError(Reply(451, "disk", "4.3.0"), "disk")))
    return failing


@implementer(ITable)
class Table:
    allowsCommands = False

    def __init__(self, name: str, values: Mapping[str, str]) -> None:
        self.name = name
        self._values = values

    def match(self, service: Service, key: str) -> Ready[bool]:
        return key in self._values

    def lookup(self, service: Service, key: str) -> Ready[str | None]:
        return self._values.get(key)

    def fetch(self, service: Service) -> Ready[str | None]:
        return next(iter(self._values), None)

    def update(self) -> Deferred[Updated]:
        return succeed(Updated(self, TableUpdate()))

    def close(self) -> Deferred[None]:
        return succeed(None)


@implementer(IOutcomes, IRelease, IReport, IStat)
class Ears:
    """Hears everything that the mta tells anyone."""

    def __init__(self) -> None:
        self.outcomes: dict[EnvelopeId, Outcome] = {}
        self.held: list[tuple[Sequence[EnvelopeId], str]] = []
        self.released: list[tuple[str, int]] = []
        self.retried: list[EnvelopeId] = []
        self.events: list[Event] = []
        self.counts: dict[str, float] = {}
        self.onFinished: Callable[[], None] = lambda: None

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            assert outcome.envelope not in self.outcomes, "one outcome each"
            self.outcomes[outcome.envelope] = outcome
        self.onFinished()

    def hold(self, envelopes: Sequence[EnvelopeId], key: str) -> None:
        self.held.append((envelopes, key))

    def release(self, key: str, count: int) -> None:
        self.released.append((key, count))

    def retry(self, envelopes: Sequence[EnvelopeId]) -> None:
        self.retried += envelopes

    def happened(self, event: Event) -> None:
        self.events.append(event)

    def allHappened(self, events: Sequence[Event]) -> None:
        for event in events:
            self.happened(event)

    def increment(self, key: str, by: int = 1) -> None:
        self.counts[key] = self.counts.get(key, 0) + by

    def decrement(self, key: str, by: int = 1) -> None:
        self.increment(key, -by)

    def set(self, key: str, value: float) -> None:
        self.counts[key] = value

    def snapshot(self) -> Mapping[str, float]:
        return self.counts


class Platform:
    """The part of L{pysmtpd.interfaces.IPlatform} that the mta uses."""

    def __init__(self, clock: Any, network: Any) -> None:
        self.clock = clock
        self.network = network
        self.random = Random(1)

    def secret(self, size: int) -> bytes:
        return self.random.randbytes(size)

    def localAddresses(self) -> tuple[str, ...]:
        return ("198.51.100.9",)

    def wallTime(self) -> float:
        return 1e9 + self.clock.seconds()


class Tls(ClientContexts):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[ClientKind] = []
        self.problem = ""

    def check(self, kind: ClientKind) -> None:
        self.kinds.append(kind)
        if self.problem:
            raise LookupError(self.problem)


ACTIONS = {"out": Action("out", Method.RELAY)}


def explicit(url: str, port: int, **options: Any) -> dict[str, Action]:
    """One action that relays to one host: C{protocol://host}."""
    protocol, _, host = url.partition("://")
    label, mark, rest = host.partition("@")
    relay = RelayHost(protocol, rest if mark else host, port, label if mark else "")
    return {"out": Action("out", Method.RELAY, hosts=(relay,), **options)}


class World:
    """An agent with everything that it needs."""

    def __init__(
        self,
        actions: Mapping[str, Action] = ACTIONS,
        limits: MtaLimits | None = None,
        tables: Mapping[str, ITable] | None = None,
        steps: Callable[[], Steps | None] = lambda: None,
        clock: Clock | None = None,
        policies: IPolicies | None = None,
        tls: Any = None,
        **config: Any,
    ) -> None:
        """
        @param tls: an L{IClientTls}.
        """
        self.clock = clock or Clock()
        self.network = Network(self.clock)
        self.dns = Dns()
        self.bodies = Bodies()
        self.ears = Ears()
        self.config = Config("test", "me.test", actions=actions, mta=limits or MtaLimits(), **config)
        self.tls = tls or Tls()
        self.agent = MtaAgent(
            cast(Any, Platform(self.clock, self.network)),
            self.dns,
            cast(Any, self.bodies),
            lambda: self.config,
            lambda: tables or {},
            self.ears,
            self.ears,
            self.ears,
            self.tls,
            policies=policies,
            steps=steps,
        )
        self._next = iter(range(1, 1 << 30))

    def host(self, address: str, server: Server | None = None, port: int = 25) -> Server:
        server = server or Server()
        self.network.servers[address, port] = server
        return server

    def delivery(
        self, *recipients: str, content: bytes = CONTENT, isTlsOptional: bool = False, **transaction: Any
    ) -> Delivery:
        id = MessageId(next(self._next))
        self.bodies.contents[id] = content
        facts = SessionFacts(SessionId(0), "socket", "me.test", "local")
        transaction.setdefault("sender", Path("a", "x.test"))
        message = Message(
            id,
            Transaction(facts, **transaction),
            BodyRef(id, len(content)),
            1.0,
            eightBit=not content.isascii(),
            isTlsOptional=isTlsOptional,
        )
        envelopes = tuple(
            Envelope(
                envelopeId(id, index),
                Destination(_path(recipient), _path(recipient), Agent.MTA, "out"),
                1.0,
                1e9,
            )
            for index, recipient in enumerate(recipients)
        )
        return Delivery(Lease(1, Kind.MTA, id, tuple(one.id for one in envelopes)), message, envelopes)

    def send(self, *recipients: str, seconds: float = 0.0, **more: Any) -> list[EnvelopeId]:
        """Hand a message over and let the world turn a little."""
        delivery = self.delivery(*recipients, **more)
        self.agent.deliver(delivery, self.ears)
        self.run(seconds)
        return list(delivery.lease.envelopes)

    def run(self, seconds: float = 0.0) -> None:
        for step in _steps(seconds):
            self.clock.advance(step)

    def told(self, envelope: EnvelopeId) -> str:
        """What became of it: C{"Ok 250 2.0.0 queued"}; empty: nothing yet."""
        outcome = self.ears.outcomes.get(envelope)
        return f"{outcome.result.value} {outcome.reply}" if outcome else ""


def _steps(seconds: float) -> Iterator[float]:
    """The clock sets its time before it calls: small steps keep the order of things. The first is for what takes no time."""
    yield from (0.0, 0.001, 0.0, 0.001, 0.0)
    step = 0.05 if seconds < 20 else 1.0
    for _ in range(round(seconds / step)):
        yield step


def _path(text: str) -> Path:
    local, _, domain = text.rpartition("@")
    return Path(local, domain) if text else NULL_PATH
