"""Neighbours of the mda, and values for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import (
    DeliveryRefused,
    HelperFailed,
    IBody,
    IDeliveryHosts,
    IHelper,
    IOutcomes,
    IQueue,
    IRelease,
    NoSuchItem,
    QueueError,
)
from pysmtpd.mda.wire import Answer, Frame, Kind, Status, exited, packAnswer, takeFrames
from pysmtpd.mda.writers import deliverWhole
from pysmtpd.model.address import Path
from pysmtpd.model.config import Action, Config, MdaLimits, Method
from pysmtpd.model.envelope import Agent, BodyRef, Destination, Envelope, Message
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId, envelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.question import UserInfo
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery, Lease
from pysmtpd.model.schedule import Kind as Work
from pysmtpd.model.task import Account, Exit, Task
from pysmtpd.testing.platform import SimulatedPlatform

CONTENT = b"From: a@client.test\r\nSubject: test\r\n\r\nHello.\r\n"
CREATED = 1_700_000_000.0


def config(**limits: int) -> Config:
    actions = {
        "local": Action("local", Method.MAILDIR),
        "elsewhere": Action("elsewhere", Method.MAILDIR, path="/srv/mail"),
        "named": Action("named", Method.MAILDIR, path="/srv/%{dest.domain}/%{dest.user:strip}"),
        "relay": Action("relay", Method.RELAY),
    }
    return Config("smtpd.conf", "mail.example.org", actions=actions, mda=MdaLimits(**limits))


def delivery(number: int, *users: str, action: str = "local", size: int = len(CONTENT)) -> Delivery:
    """A message with an envelope for each of these users."""
    id = MessageId(number)
    transaction = Transaction(
        SessionFacts(SessionId(1), "192.0.2.1:25", "mail.example.org", "198.51.100.7"), Path("sender", "example.net")
    )
    message = Message(id, transaction, BodyRef(id, size), CREATED)
    envelopes = tuple(
        Envelope(
            envelopeId(id, index),
            Destination(Path(user, "example.org"), Path(user, "example.org"), Agent.MDA, action, user),
            CREATED,
            CREATED + 3600,
        )
        for index, user in enumerate(users)
    )
    lease = Lease(number, Work.MDA, id, tuple(envelope.id for envelope in envelopes))
    return Delivery(lease, message, envelopes)


@implementer(IBody)
class FakeBody:
    """Content in memory, in chunks.

    @ivar failure: raised after the first chunk.
    """

    def __init__(self, content: bytes = CONTENT, chunk: int = 65_536, failure: QueueError | None = None) -> None:
        self.size = len(content)
        self._content = content
        self._chunk = chunk
        self._at = 0
        self.failure = failure
        self.isClosed = False

    def read(self) -> Deferred[bytes]:
        if self._at and self.failure is not None:
            return fail(self.failure)
        data = self._content[self._at : self._at + self._chunk]
        self._at += len(data)
        return succeed(data)

    def rewind(self) -> None:
        self._at = 0

    def close(self) -> None:
        self.isClosed = True


@implementer(IQueue)
class FakeQueue:
    """Opens bodies, and does nothing else."""

    durability: Any = None

    def __init__(self) -> None:
        self.bodies: list[FakeBody] = []
        self.content = CONTENT
        self.failure: Exception | None = None
        self.readFailure: QueueError | None = None
        self.chunk = 65_536

    def open(self, ref: BodyRef) -> Deferred[IBody]:
        if self.failure is not None:
            return fail(self.failure)
        body = FakeBody(self.content, failure=self.readFailure, chunk=self.chunk)
        self.bodies.append(body)
        return succeed(body)

    def missing(self) -> None:
        self.failure = NoSuchItem("gone")

    def load(self, message: MessageId) -> Any:
        raise NotImplementedError

    def update(self, states: Any) -> Any:
        raise NotImplementedError

    def delete(self, envelopes: Any) -> Any:
        raise NotImplementedError

    def walk(self, cursor: str | None) -> Any:
        raise NotImplementedError

    def setAside(self) -> Any:
        raise NotImplementedError

    def page(self, after: MessageId, limit: int) -> Any:
        raise NotImplementedError


@implementer(IDeliveryHosts)
class HeldHosts:
    """Deliveries end when a test says so."""

    def __init__(self) -> None:
        self.pending: list[tuple[str, Any, Deferred[str]]] = []
        self.accounts: list[Account] = []
        self.isInstant = False

    def deliver(self, account: Account, task: Task, body: Any) -> Deferred[str]:
        user = account.name
        self.accounts.append(account)
        done: Deferred[str] = Deferred()
        if self.isInstant:
            return succeed(f"/new/{user}")
        self.pending.append((user, task, done))
        return done

    def finish(self, count: int = 1) -> None:
        for _ in range(count):
            user, _task, done = self.pending.pop(0)
            done.callback(f"/new/{user}")

    def refuse(self, reply: Reply) -> None:
        self.pending.pop(0)[2].errback(Failure(DeliveryRefused(reply)))

    def users(self) -> list[str]:
        return [user for user, _, _ in self.pending]

    def close(self) -> Deferred[None]:
        return succeed(None)


@implementer(IOutcomes, IRelease)
class Fates:
    """What became of each envelope."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.held: list[tuple[EnvelopeId, str]] = []
        self.released: list[tuple[str, int]] = []

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes.extend(outcomes)

    def hold(self, envelopes: Sequence[EnvelopeId], key: str) -> None:
        self.held.extend((envelope, key) for envelope in envelopes)

    def release(self, key: str, count: int) -> None:
        self.released.append((key, count))

    def retry(self, envelopes: Sequence[EnvelopeId]) -> None:
        """The mda never asks."""
        raise AssertionError(envelopes)

    def results(self) -> list[Result]:
        return [outcome.result for outcome in self.outcomes]


class InMemoryHost:
    """The other end of a delivery host's connection, on a simulated disk: a transport for the daemon's end.

    @ivar isSilent: it does not answer.
    """

    def __init__(self, platform: SimulatedPlatform, user: str, protocol: Any) -> None:
        self.user = user
        self.protocol = protocol
        self.isOver = False
        self.isSilent = False
        self.frames: list[Frame] = []
        self._platform = platform
        self._buffer = bytearray()
        self._pieces: dict[int, list[Frame]] = {}

    def write(self, data: bytes) -> None:
        self._buffer += data
        for frame in takeFrames(self._buffer):
            self.frames.append(frame)
            self._platform.clock.callLater(0.01, self._serve, frame)

    def _serve(self, frame: Frame) -> None:
        if self.isSilent:
            return
        if frame.kind is Kind.WHOLE:
            self._store(frame, frame.content)
        elif frame.kind is Kind.END:
            pieces = self._pieces.pop(frame.letter)
            self._store(pieces[0]._replace(letter=frame.letter), b"".join(piece.content for piece in pieces))
        elif frame.kind is Kind.ABORT:
            del self._pieces[frame.letter]
        elif frame.kind is Kind.STOP:
            self._platform.processes.endCommands()
        else:
            self._pieces.setdefault(frame.letter, []).append(frame)
            self.say(Answer(frame.letter, Status.NEXT))

    def _store(self, frame: Frame, content: bytes) -> None:
        assert frame.task is not None
        platform = self._platform
        try:
            result = deliverWhole(platform.disk, platform.processes, f"/home/{self.user}", frame.task, (content,))
        except OSError as error:
            self.say(Answer(frame.letter, Status.FAILED, error.errno or 5, error.strerror or ""))
            return
        self.say(
            exited(frame.letter, result) if isinstance(result, Exit) else Answer(frame.letter, Status.STORED, 0, result)
        )

    def say(self, answer: Answer) -> None:
        self.sayOctets(packAnswer(answer))

    def sayOctets(self, octets: bytes) -> None:
        if not self.isOver:
            self.protocol.dataReceived(octets)

    def abortConnection(self) -> None:
        self.die()

    def die(self) -> None:
        if not self.isOver:
            self.isOver = True
            self._platform.clock.callLater(0, self.protocol.connectionLost, Failure(ConnectionError("gone")))


@implementer(IHelper)
class FakeHelper:
    """Starts hosts in memory.

    @ivar hosts: all that were ever started.
    @ivar refused: users for whom there is none.
    @ivar mailboxes: users whose mailbox was asked for; it is made.
    """

    def password(self, user: str, password: bytes, peer: str) -> Deferred[bool]:
        return fail(HelperFailed("passwords are not checked here"))

    def __init__(self, platform: SimulatedPlatform) -> None:
        self.isAlive = True
        self.hosts: list[InMemoryHost] = []
        self.refused: set[str] = set()
        self.mailboxes: list[str] = []
        self._platform = platform

    def forward(self, user: UserInfo, protocol: IProtocol) -> Deferred[None]:
        return fail(HelperFailed("no .forward here"))

    def host(self, account: Account, protocol: IProtocol) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._platform.clock.callLater(0.05, self._start, account.key, protocol, done)
        return done

    def mailbox(self, user: str) -> Deferred[None]:
        self.mailboxes.append(user)
        if user in self.refused:
            return fail(HelperFailed("there is no such user"))
        self._platform.disk.write(f"/var/mail/{user}", b"")
        return succeed(None)

    def _start(self, user: str, protocol: Any, done: Deferred[None]) -> None:
        if user in self.refused:
            done.errback(Failure(HelperFailed("there is no such user")))
            return
        made = InMemoryHost(self._platform, user, protocol)
        self.hosts.append(made)
        protocol.makeConnection(made)
        done.callback(None)

    def running(self) -> list[str]:
        return [host.user for host in self.hosts if not host.isOver]
