"""Small fakes of the rooms next door, and a client in memory. C{test_fakes} checks them against the interfaces."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from random import Random
from struct import pack
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import (
    AddressAnswer,
    IAuthenticator,
    ICertificates,
    IFilter,
    IReport,
    IResolver,
    IRouter,
    ISubmission,
    ISubmit,
    ITable,
    MxAnswer,
    QueueError,
    Ready,
    Service,
    TableError,
    TableUpdate,
    TextAnswer,
    TlsaAnswer,
    Updated,
)
from pysmtpd.listen.listeners import Listeners
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config, ListenerSpec
from pysmtpd.model.decision import Decision, Step
from pysmtpd.model.envelope import Agent, BodyRef, Destination, Message
from pysmtpd.model.events import Event
from pysmtpd.model.facts import TlsFacts, Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId
from pysmtpd.model.reply import Reply
from pysmtpd.testing.users import SimulatedUsers

LOCALHOST = "127.0.0.1"
STRANGER = "192.0.2.7"


@implementer(ISubmission)
class FakeSubmission:
    """Keeps what it is given.

    @ivar ended: C{""}, C{"commit"} or C{"rollback"}.
    """

    def __init__(self, submit: FakeSubmit, number: int, transaction: Transaction) -> None:
        self.id = MessageId(number)
        self.transaction = transaction
        self.destinations: list[Destination] = []
        self.chunks: list[bytes] = []
        self.prefix = b""
        self.ended = ""
        self._submit = submit

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)

    def recipient(self, destination: Destination) -> EnvelopeId:
        self.destinations.append(destination)
        return envelopeId(self.id, len(self.destinations) - 1)

    def write(self, chunk: bytes) -> Ready[None]:
        assert not self.ended
        if self._submit.writeError is not None:
            raise self._submit.writeError
        self.chunks.append(chunk)
        if self._submit.slowWrites:
            waiting: Deferred[None] = Deferred()
            self._submit.writes.append(waiting)
            return waiting
        return None

    def commit(
        self, prefix: bytes, supersedes: Sequence[EnvelopeId] = (), isTlsOptional: bool = False
    ) -> Deferred[Message]:
        assert not self.ended
        self.ended = "commit"
        self.prefix = prefix
        if self._submit.commitError is not None:
            return fail(self._submit.commitError)
        message = Message(self.id, self.transaction, BodyRef(self.id, len(prefix) + len(self.content)), 0.0)
        if self._submit.slowCommits:
            waiting: Deferred[Message] = Deferred()
            self._submit.commits.append(lambda: waiting.callback(message))
            return waiting
        return succeed(message)

    def rollback(self) -> Deferred[None]:
        assert not self.ended
        self.ended = "rollback"
        return succeed(None)


@implementer(ISubmit)
class FakeSubmit:
    """The queue's door. Set its attributes to make it slow, full or failing."""

    def __init__(self) -> None:
        self.submissions: list[FakeSubmission] = []
        self.full: Reply | None = None
        self.writeError: QueueError | None = None
        self.commitError: Exception | None = None
        self.slowWrites = False
        self.writes: list[Deferred[None]] = []
        self.slowCommits = False
        self.commits: list[Callable[[], None]] = []

    def admit(self, size: int) -> Reply | None:
        return self.full

    def begin(self, transaction: Transaction, isBounce: bool = False) -> ISubmission:
        submission = FakeSubmission(self, len(self.submissions) + 1, transaction)
        self.submissions.append(submission)
        return submission

    @property
    def accepted(self) -> list[FakeSubmission]:
        return [each for each in self.submissions if each.ended == "commit"]


@implementer(IRouter)
class FakeRouter:
    """Takes every address but those in C{refused}; C{delay} seconds late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.delay = 0.0
        self.refused: dict[str, Reply] = {}
        self.aliases: dict[str, tuple[str, ...]] = {}
        self.configs: list[Config] = []

    def expand(self, config: Config, path: Path, transaction: Transaction) -> Ready[Decision]:
        self.configs.append(config)
        if path.key in self.refused:
            decision = Decision((), self.refused[path.key], "smtpd.conf:7 rejects it", Step(path))
        else:
            names = self.aliases.get(path.key, (str(path),))
            paths = [Path(*name.rsplit("@", 1)) for name in names]
            decision = Decision(
                tuple(Destination(each, path, Agent.MDA, "local", rule="smtpd.conf:3") for each in paths),
                None,
                "",
                Step(path),
            )
        if not self.delay:
            return decision
        later: Deferred[Decision] = Deferred()
        self._clock.callLater(self.delay, later.callback, decision)
        return later


@implementer(IAuthenticator)
class FakeAuthenticator:
    def __init__(self) -> None:
        self.users = {"anna": b"secret"}
        self.error: Exception | None = None
        self.tables: list[str] = []

    def authenticate(self, config: Config, table: str, user: str, password: bytes, peer: str = "") -> Deferred[bool]:
        self.tables.append(table)
        return fail(self.error) if self.error is not None else succeed(self.users.get(user) == password)


@implementer(IResolver)
class FakeResolver:
    """Knows PTR names; an address that it does not know is never answered."""

    def __init__(self) -> None:
        self.names = {STRANGER: "peer.example.org"}
        self.asked: list[str] = []

    def mx(self, domain: str) -> Deferred[MxAnswer]:
        raise NotImplementedError

    def addresses(self, host: str, family: str = "") -> Deferred[AddressAnswer]:
        raise NotImplementedError

    def tlsa(self, host: str, port: int) -> Deferred[TlsaAnswer]:
        raise NotImplementedError

    def text(self, name: str) -> Deferred[TextAnswer]:
        raise NotImplementedError

    def ptr(self, address: str) -> Deferred[Sequence[str]]:
        raise NotImplementedError

    def confirmedName(self, address: str) -> Deferred[str]:
        self.asked.append(address)
        name = self.names.get(address)
        return succeed(name) if name is not None else Deferred()


@implementer(IReport)
class FakeReport:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def happened(self, event: Event) -> None:
        self.events.append(event)

    def allHappened(self, events: Sequence[Event]) -> None:
        for event in events:
            self.happened(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@implementer(ICertificates)
class FakeCertificates:
    """One certificate for everything."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.org")])
        now = datetime.datetime(2026, 1, 1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=36500))
            .sign(key, hashes.SHA256())
        )
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_privatekey(crypto.PKey.from_cryptography_key(key))  # type: ignore[arg-type]
        self._context.use_certificate(crypto.X509.from_cryptography(certificate))
        self.missing = False

    def serverContext(
        self, names: Sequence[str], verifyClient: bool = False, ca: str = "", ciphers: str = "", protocols: str = ""
    ) -> SSL.Context:
        if self.missing:
            raise LookupError("no such pki")
        return self._context

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        return TlsFacts(
            connection.get_protocol_version_name(),
            connection.get_cipher_name() or "",
            connection.get_cipher_bits() or 0,
            sni=(connection.get_servername() or b"").decode(),
        )


class FakePort:
    """A listening port without a network."""

    def __init__(self, network: FakeNetwork, factory: Any, port: int, interface: str, backlog: int) -> None:
        self._network = network
        self.factory = factory
        self.port = port
        self.interface = interface
        self.backlog = backlog
        self.reading = True

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", self.interface, self.port)

    def stopListening(self) -> Deferred[None]:
        self._network.ports.remove(self)
        return succeed(None)

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


class FakeUnixPort(FakePort):
    """The local socket."""

    def getHost(self) -> Any:
        return UNIXAddress(self.interface.encode())


class FakeNetwork:
    def __init__(self) -> None:
        self.ports: list[FakePort] = []
        self.refuse: Exception | None = None

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> FakePort:
        if self.refuse is not None and self.ports:
            raise self.refuse
        made = FakePort(self, factory, port, interface, backlog)
        self.ports.append(made)
        return made

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> FakePort:
        made = FakeUnixPort(self, factory, 0, address, backlog)
        self.ports.append(made)
        return made


class FakeWorkers:
    """Lanes without delay."""

    def run(self, lane: str, work: Callable[..., Any], *values: Any) -> Deferred[Any]:
        return maybeDeferred(work, *values)


@implementer(ITable)
class FakeTable:
    """
    @ivar error: what every question fails with.
    @ivar isSlow: answers come when C{answer} is called.
    """

    allowsCommands = False

    def __init__(self, name: str, entries: Mapping[str, str]) -> None:
        self.name = name
        self.entries = dict(entries)
        self.error: TableError | None = None
        self.isSlow = False
        self.asked: list[tuple[Service, str]] = []
        self._waiting: list[tuple[Deferred[Any], Any]] = []

    def match(self, service: Service, key: str) -> Ready[bool]:
        return self._told(service, key, key in self.entries)

    def lookup(self, service: Service, key: str) -> Ready[str | None]:
        return self._told(service, key, self.entries.get(key))

    def fetch(self, service: Service) -> Ready[str | None]:
        return None

    def update(self) -> Deferred[Updated]:
        return succeed(Updated(self, TableUpdate(len(self.entries))))

    def close(self) -> Deferred[None]:
        return succeed(None)

    def answer(self) -> None:
        for waiting, answer in self._waiting:
            waiting.callback(answer)

    def _told(self, service: Service, key: str, answer: Any) -> Any:
        self.asked.append((service, key))
        if self.error is not None:
            raise self.error
        if not self.isSlow:
            return answer
        waiting: Deferred[Any] = Deferred()
        self._waiting.append((waiting, answer))
        return waiting


class FakePlatform:
    """The parts of a platform that the room uses."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.network = FakeNetwork()
        self.random = Random(7)
        self.hostname = "mx.example.org"
        self.workers = FakeWorkers()
        self.users = SimulatedUsers()

    def wallTime(self) -> float:
        return 1_700_000_000.0 + self.clock.seconds()


class _Raw:
    """What TLS writes to."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        self._transport.output += data

    def loseConnection(self) -> None:
        self._transport.disconnecting = True

    def abortConnection(self) -> None:
        self._transport.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...


class MemoryTransport:
    """Octets written gather in C{output}. TLS is real."""

    def __init__(self, protocol: Any, clock: Clock, host: str) -> None:
        self.protocol = protocol
        self.output = b""
        self.disconnecting = False
        self.aborted = False
        self.paused = False
        self.producer: Any = None
        self.descriptor = 0
        self.uid = 1000
        self._clock = clock
        self._host = host
        self._tls: Any = None

    def write(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
        elif not self.disconnecting:
            self.output += data

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self._tls is not None:
            self._tls.loseConnection()
        else:
            self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborted = self.disconnecting = True

    def startTLS(self, contextFactory: Any) -> None:
        factory = TLSMemoryBIOFactory(contextFactory, False, None, self._clock)  # type: ignore[arg-type]
        self._tls = factory.protocol(factory, self.protocol, False)
        self.protocol = self._tls
        self._tls.makeConnection(_Raw(self))

    def fileno(self) -> int:
        return self.descriptor

    def getHandle(self) -> Any:
        return self._tls.getHandle()

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", STRANGER, 40000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", self._host, 25)

    @property
    def socket(self) -> MemoryTransport:
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """SO_PEERCRED."""
        return pack("iII", 1, self.uid, 1)

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None


class Peer:
    """A client: says octets, hears what was answered."""

    def __init__(
        self, port: FakePort, clock: Clock, address: str = LOCALHOST, descriptor: int = 10, uid: int = 1000
    ) -> None:
        kind = IPv6Address if ":" in address else IPv4Address
        self._clock = clock
        protocol = port.factory.buildProtocol(kind("TCP", address, 40000))
        self.transport = MemoryTransport(protocol, clock, port.interface)
        self.transport.descriptor = descriptor
        self.transport.uid = uid
        self._tls: SSL.Connection | None = None
        self._lost = False
        protocol.makeConnection(self.transport)

    def say(self, text: str | bytes) -> str:
        """Send, and hear the answer."""
        data = text.encode() if isinstance(text, str) else text
        if self._tls is not None:
            self._tls.sendall(data)
            data = self._tls.bio_read(65536)
        if not (self._lost or self.transport.disconnecting):
            self.transport.protocol.dataReceived(data)
        return self.hear()

    def lines(self, *lines: str) -> str:
        """Send lines, each ended by CRLF, in one segment."""
        return self.say("".join(line + "\r\n" for line in lines))

    def hear(self) -> str:
        """What was said since the last time."""
        self._clock.advance(0)
        data, self.transport.output = self.transport.output, b""
        if self._tls is not None:
            data = self._decrypt(data)
        if self.transport.disconnecting:
            reason = ConnectionAborted() if self.transport.aborted else ConnectionDone()
            self.lose(reason)
        return data.decode()

    def codes(self, text: str) -> list[str]:
        """The codes of the replies in C{text}, one for each reply."""
        return [line[:3] for line in text.splitlines() if line[3:4] == " "]

    def startTls(self) -> None:
        """Do the client's part of a handshake."""
        tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        tls.set_connect_state()
        tls.set_tlsext_host_name(b"mx.example.org")
        self._tls = tls
        for _ in range(6):
            try:
                tls.do_handshake()
                done = True
            except SSL.WantReadError:
                done = False
            try:
                self.transport.protocol.dataReceived(tls.bio_read(65536))
            except SSL.WantReadError:
                if done:
                    return
            if self.transport.output:
                tls.bio_write(self.transport.output)
                self.transport.output = b""

    def lose(self, reason: Exception | None = None) -> None:
        """The connection is gone."""
        if not self._lost:
            self._lost = True
            self.transport.protocol.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def isClosed(self) -> bool:
        return self.transport.disconnecting

    def _decrypt(self, data: bytes) -> bytes:
        assert self._tls is not None
        if data:
            self._tls.bio_write(data)
        clear = b""
        while True:
            try:
                clear += self._tls.recv(65536)
            except SSL.WantReadError:
                return clear
            except SSL.ZeroReturnError:
                self._tls.shutdown()
                self.transport.protocol.dataReceived(self._tls.bio_read(65536))
                return clear


class House:
    """Listeners with everything around them."""

    def __init__(
        self,
        *specs: ListenerSpec,
        filter: IFilter | None = None,
        maxSessions: int = 100,
        descriptors: int = 0,
        socketPath: str = "",
        **config: Any,
    ) -> None:
        self.platform = FakePlatform()
        self.clock = self.platform.clock
        self.config = Config(
            "smtpd.conf",
            "mx.example.org",
            listeners=specs or (ListenerSpec(LOCALHOST, (LOCALHOST,), 25),),
            **config,
        )
        self.submit = FakeSubmit()
        self.router = FakeRouter(self.clock)
        self.certificates = FakeCertificates()
        self.authenticator = FakeAuthenticator()
        self.resolver = FakeResolver()
        self.report = FakeReport()
        self.tables: dict[str, FakeTable] = {}
        platform: Any = self.platform
        self.listeners = Listeners(
            platform,
            lambda: self.config,
            self.router,
            self.submit,
            self.certificates,
            self.authenticator,
            self.resolver,
            filter,
            self.report,
            maxSessions,
            descriptors,
            lambda config: self.tables,
            socketPath,
        )
        self.listeners.start()

    def table(self, name: str, *keys: str, **entries: str) -> FakeTable:
        """A list of keys, a map, or both."""
        made = self.tables[name] = FakeTable(name, dict.fromkeys(keys, "") | entries)
        return made

    @property
    def port(self) -> FakePort:
        return self.platform.network.ports[0]

    def connect(self, address: str = LOCALHOST, descriptor: int = 10) -> Peer:
        return Peer(self.port, self.clock, address, descriptor)

    def greeted(self, address: str = LOCALHOST, hello: str = "EHLO client.example.org") -> Peer:
        """A client that has said hello."""
        peer = self.connect(address)
        peer.hear()
        assert peer.lines(hello).rstrip().rpartition("\n")[2].startswith("250 ")
        return peer
