"""Small stand-ins for the dispatcher's neighbours: a queue in a dictionary, agents and a bouncer that do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from pysmtpd.interfaces.delivery import IAgent, IBounce, IOutcomes
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import Durability, IBody, IQueue, NoSuchItem, QueueError, SetAside, Walked
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.model.address import Path
from pysmtpd.model.envelope import Agent, BodyRef, Destination, Envelope, EnvelopeState, Message
from pysmtpd.model.events import Event
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId, envelopeId, messageOf
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery

START = 1_000_000.0
OK = Reply(250, "Ok", "2.0.0")
LATER = Reply(451, "Try later", "4.3.0")
NEVER = Reply(550, "No such user", "5.1.1")
NO_ROOM = Reply(452, "No room", "4.3.1")


@implementer(IPlatform)
class FakePlatform:
    """Virtual time; nothing else is asked for."""

    network: Any = None
    disk: Any = None
    workers: Any = None
    processes: Any = None
    users: Any = None
    hostname = "mail.example.org"
    isPrivileged = False

    def __init__(self) -> None:
        self.clock = Clock()
        self.random = Random(1)

    def wallTime(self) -> float:
        return START + self.clock.seconds()

    def secret(self, size: int) -> bytes:
        return self.random.randbytes(size)

    def resolverSettings(self) -> Any:
        raise NotImplementedError

    def localAddresses(self) -> tuple[str, ...]:
        return ()

    def processId(self) -> int:
        return 1


def makeMessage(
    number: int, recipients: int = 1, agent: Agent = Agent.MTA, sender: str = "ann", **more: Any
) -> tuple[Message, tuple[Envelope, ...]]:
    """A message from ann@example.org to user0@example.net, user1@example.net, ..."""
    id = MessageId(number)
    session = SessionFacts(SessionId(1), "socket", "mail.example.org", "local")
    path = Path(sender, "example.org") if sender else Path("", "")
    message = Message(id, Transaction(session, path), BodyRef(id, 1000), START)
    envelopes = []
    for index in range(recipients):
        to = Path(f"user{index}", "example.net")
        destination = Destination(to, to, agent, "out")
        envelopes.append(Envelope(envelopeId(id, index), destination, START, START + 345_600, **more))
    return message, tuple(envelopes)


@implementer(IQueue)
class FakeQueue:
    """
    @ivar failing: names of methods that fail with QueueError.
    @ivar calls: names and values of what was called to change something.
    @ivar loads: how often C{load} was called.
    @ivar waiting: None, or Deferreds of calls that have not been answered yet.
    """

    durability = Durability.VOLATILE

    def __init__(self) -> None:
        self.messages: dict[MessageId, Message] = {}
        self.envelopes: dict[MessageId, dict[EnvelopeId, Envelope]] = {}
        self.failing: tuple[str, ...] = ()
        self.calls: list[tuple[str, Any]] = []
        self.waiting: list[Deferred[None]] | None = None
        self.pageSize = 2
        self.content = b""
        self.loads = 0

    def add(self, message: Message, envelopes: Sequence[Envelope]) -> None:
        self.messages[message.id] = message
        self.envelopes[message.id] = {envelope.id: envelope for envelope in envelopes}

    def state(self, id: EnvelopeId) -> EnvelopeState:
        return self.envelopes[messageOf(id)][id].state

    def answer(self, name: str, value: Any = None) -> Deferred[Any]:
        if name in self.failing:
            return fail(QueueError(NO_ROOM, "disk full"))
        if self.waiting is None:
            return succeed(value)
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        return waiting.addCallback(lambda _: value)

    def open(self, ref: BodyRef) -> Deferred[IBody]:
        if ref.message not in self.messages:
            return fail(NoSuchItem())
        return self.answer("open", FakeBody(self.content))

    def load(self, message: MessageId) -> Ready[tuple[Message, tuple[Envelope, ...]]]:
        self.loads += 1
        if message not in self.messages:
            return fail(NoSuchItem())
        if "load" in self.failing:
            return fail(QueueError(NO_ROOM, "cannot read"))
        return self.messages[message], tuple(self.envelopes[message].values())

    def update(self, states: Mapping[EnvelopeId, EnvelopeState]) -> Deferred[None]:
        self.calls.append(("update", dict(states)))
        if "update" not in self.failing:
            for id, state in states.items():
                old = self.envelopes[messageOf(id)][id]
                kept = Envelope(old.id, old.destination, old.created, old.expires, state)
                self.envelopes[messageOf(id)][id] = kept
        return self.answer("update")

    def delete(self, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        self.calls.append(("delete", list(envelopes)))
        if "delete" not in self.failing:
            self.forget(envelopes)
        return self.answer("delete")

    def forget(self, envelopes: Sequence[EnvelopeId]) -> None:
        for id in envelopes:
            left = self.envelopes.get(messageOf(id), {})
            left.pop(id, None)
            if not left:
                self.envelopes.pop(messageOf(id), None)
                self.messages.pop(messageOf(id), None)

    def walk(self, cursor: str | None) -> Deferred[Walked]:
        if "walk" in self.failing:
            return fail(QueueError(NO_ROOM, "cannot read"))
        start = int(cursor or "0")
        ids = sorted(self.messages)
        page = tuple(
            (self.messages[id], tuple(self.envelopes[id].values())) for id in ids[start : start + self.pageSize]
        )
        more = start + self.pageSize < len(ids)
        return succeed(Walked(page, str(start + self.pageSize) if more else None))

    def setAside(self) -> Deferred[tuple[SetAside, ...]]:
        return succeed(())

    def page(self, after: MessageId, limit: int) -> Deferred[tuple[tuple[Message, tuple[Envelope, ...]], ...]]:
        return succeed(())


@implementer(IBody)
class FakeBody:
    """Content in chunks of 100 octets."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.content = content
        self.at = 0
        self.isClosed = False

    def read(self) -> bytes:
        chunk = self.content[self.at : self.at + 100]
        self.at += len(chunk)
        return chunk

    def rewind(self) -> None:
        self.at = 0

    def close(self) -> None:
        self.isClosed = True


@implementer(IAgent)
class FakeAgent:
    """
    @ivar known: answers C{foregone}.
    @ivar reply: what every delivery comes to at once; None: it is kept in C{taken} until the test lands it.
    """

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.reply: Callable[[Delivery, EnvelopeId], Outcome] | None = None
        self.taken: list[tuple[Delivery, IOutcomes]] = []
        self.isPaused = False
        self.broken = False
        self.known: Callable[[Sequence[Delivery]], Sequence[tuple[Outcome, Sequence[Delivery]]]] = lambda deliveries: ()

    def deliver(self, delivery: Delivery, outcomes: IOutcomes) -> None:
        if self.broken:
            raise RuntimeError("agent is broken")
        self.taken.append((delivery, outcomes))
        if self.reply is not None:
            outcomes.finished([self.reply(delivery, id) for id in delivery.lease.envelopes])

    def foregone(self, deliveries: Sequence[Delivery]) -> Sequence[tuple[Outcome, Sequence[Delivery]]]:
        return self.known(deliveries)

    def land(self, at: int = 0, result: Result = Result.DELIVERED, reply: Reply = OK, **more: Any) -> None:
        delivery, outcomes = self.taken.pop(at)
        outcomes.finished([Outcome(one.id, result, reply, **more) for one in delivery.envelopes])

    def capacity(self) -> int:
        return 0 if self.isPaused else self.room

    def pause(self) -> None:
        self.isPaused = True

    def resume(self) -> None:
        self.isPaused = False

    def stop(self) -> Deferred[None]:
        return succeed(None)


@implementer(IBounce)
class FakeBounce:
    def __init__(self, queue: FakeQueue) -> None:
        self.queue = queue
        self.told: list[tuple[Message, tuple[Envelope, ...]]] = []
        self.warned: list[tuple[Message, tuple[Envelope, ...]]] = []
        self.failing: Exception | None = None

    def warn(self, message: Message, late: Sequence[Envelope]) -> Deferred[None]:
        if self.failing is not None:
            return fail(self.failing)
        self.warned.append((message, tuple(late)))
        return succeed(None)

    def bounce(self, message: Message, failed: Sequence[Envelope]) -> Deferred[None]:
        if self.failing is not None:
            return fail(self.failing)
        self.told.append((message, tuple(failed)))
        self.queue.forget([envelope.id for envelope in failed])
        return succeed(None)


@implementer(IReport)
class FakeReport:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def happened(self, event: Event) -> None:
        self.events.append(event)

    def allHappened(self, events: Sequence[Event]) -> None:
        for event in events:
            self.happened(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
