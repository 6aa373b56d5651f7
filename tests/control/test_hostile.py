"""What an operator, or a broken client of his, may send to the control socket."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.control.amp import BadArgument
from pysmtpd.control.commands import Control
from pysmtpd.control.schema import PAGE
from pysmtpd.control.server import MOST_CONNECTIONS, ControlServer
from pysmtpd.model.address import Path
from pysmtpd.model.envelope import Agent, BodyRef, Destination, Envelope, EnvelopeState, Message
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId, envelopeId


class Transport(StringTransport):
    def pauseProducing(self) -> None:
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        self.producerState = "producing"


class Shelf:
    """A queue, a scheduler and a table of routes: what L{Control} looks at."""

    def __init__(self) -> None:
        self.messages: list[tuple[Message, tuple[Envelope, ...]]] = []
        self.asked: list[int] = []
        self.pages: list[Deferred[None]] = []
        self.isSlow = False

    def add(self, recipients: int, reply: str = "") -> MessageId:
        id = MessageId(len(self.messages) + 1)
        facts = SessionFacts(SessionId(0), "socket", "me.test", "local")
        message = Message(id, Transaction(facts, Path("a", "x.test")), BodyRef(id, 10), 1.0)
        to = Path("b", "y.test")
        state = EnvelopeState(lastReply=reply)
        envelopes = tuple(
            Envelope(envelopeId(id, index), Destination(to, to, Agent.MTA, "out"), 1.0, 2.0, state)
            for index in range(recipients)
        )
        self.messages.append((message, envelopes))
        return id

    def page(self, after: MessageId, limit: int) -> Deferred[Any]:
        self.asked.append(limit)
        found = [one for one in self.messages if one[0].id > after][:limit]
        if not (self.isSlow and found):
            return succeed(found)
        done: Deferred[None] = Deferred()
        self.pages.append(done)
        return done.addCallback(lambda _: found)

    def load(self, message: MessageId) -> Deferred[Any]:
        return succeed(self.messages[message - 1])

    def query(self, ids: Sequence[int]) -> Deferred[Any]:
        return succeed(())

    def underWay(self) -> dict[EnvelopeId, str]:
        return {}

    def status(self) -> dict[str, Any]:
        return {"paused": [], "loading": False}

    def showRelays(self) -> Sequence[Any]:
        return [{"relay": f"relay {number}", "text": "x" * 200} for number in range(1000)]


class House:
    def __init__(self) -> None:
        self.shelf = shelf = Shelf()
        self.control = Control(*(cast(Any, shelf),) * 6)
        self.clock = Clock()
        self.listened: list[Any] = []
        self.server = ControlServer(cast(Any, self), "/control.sock", self.control)
        self.server.start()

    # IPlatform

    @property
    def network(self) -> House:
        return self

    def listenUNIX(self, path: str, factory: Any, mode: int, wantPID: bool) -> None:
        self.listened.append(factory)

    def connect(self) -> tuple[Any, Transport] | None:
        protocol = self.listened[0].buildProtocol(None)
        if protocol is None:
            return None
        transport = Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def connected(self) -> tuple[Any, Transport]:
        connection = self.connect()
        assert connection is not None
        return connection


def box(command: str, **arguments: str) -> bytes:
    pairs = [("_ask", "1"), ("_command", command), *arguments.items()]
    return b"".join(struct.pack("!H", len(part)) + part.encode() for pair in pairs for part in pair) + b"\0\0"


class CursorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def pages(self, word: str) -> list[list[Any]]:
        method = self.house.control.command(word)
        pages, cursor = [], ""
        while True:
            answer = self.successResultOf(Deferred.fromCoroutine(method(cursor=cursor)))
            pages.append(answer["rows"])
            cursor = answer["cursor"]
            if not cursor:
                return pages

    def test_whatIsNoCursor(self) -> None:
        for word in ("Queue", "Relays"):
            for cursor in ("x", "-1", "1/2/3", "0x10", "1_0", " 1", "f" * 17, "9" * 400, "1/-3", "\u0661"):
                asked = Deferred.fromCoroutine(self.house.control.command(word)(cursor=cursor))
                self.failureResultOf(asked, BadArgument)

    def test_everyRowOnceWhateverTheSizes(self) -> None:
        for recipients in (1, 1000, 3, 1, 700, 1, 1, 1):
            self.house.shelf.add(recipients, "250 " + "x" * 300)
        pages = self.pages("Queue")
        rows = [row["evpid"] for page in pages for row in page]
        self.assertEqual(len(rows), 1708)
        self.assertEqual(rows, sorted(dict.fromkeys(rows)))
        self.assertGreater(len(pages), 10)
        self.assertLess(max(self.house.shelf.asked), 65)

    def test_aPageOfManyRecipientsReadsFewMessages(self) -> None:
        for _ in range(20):
            self.house.shelf.add(1000)
        answer = self.successResultOf(Deferred.fromCoroutine(self.house.control.command("Queue")(cursor="")))
        self.assertTrue(answer["cursor"])
        self.assertEqual(self.house.shelf.asked, [4])

    def test_listsAtHand(self) -> None:
        self.assertEqual(sum(map(len, self.pages("Relays"))), 1000)

    def test_anAnswerFitsIntoItsBox(self) -> None:
        id = self.house.shelf.add(1000, "450 " + "x" * 1000)
        house = self.house
        protocol, transport = house.connected()
        protocol.dataReceived(box("Message", id=f"{id:016x}"))
        self.assertIn(b"_answer", transport.value())
        self.assertLess(len(transport.value()), PAGE + 5000)


class FloodTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.house.shelf.add(1)

    def test_callsWaitForEachOther(self) -> None:
        shelf = self.house.shelf
        shelf.isSlow = True
        protocol, transport = self.house.connected()
        protocol.dataReceived(box("Queue", cursor="") * 50)
        self.assertEqual(len(shelf.pages), 1)
        self.assertEqual(transport.producerState, "paused", "no more is read meanwhile")
        for number in range(50):
            self.assertEqual(len(shelf.pages), number + 1)
            shelf.pages[number].callback(None)
            self.house.clock.advance(0)
        self.assertEqual(transport.value().count(b"_answer"), 50)
        self.assertEqual(transport.producerState, "producing")

    def test_whoDoesNotReadGetsNoMore(self) -> None:
        protocol, transport = self.house.connected()
        producer: Any = transport.producer
        producer.pauseProducing()
        protocol.dataReceived(box("Queue", cursor="") * 2)
        self.assertEqual(transport.value(), b"")
        producer.resumeProducing()
        self.house.clock.advance(0)
        self.assertEqual(transport.value().count(b"_answer"), 2)

    def test_theConnectionEndsMeanwhile(self) -> None:
        shelf = self.house.shelf
        shelf.isSlow = True
        protocol, _ = self.house.connected()
        protocol.dataReceived(box("Queue", cursor="") * 3)
        protocol.connectionLost()
        shelf.pages[0].callback(None)
        self.house.clock.advance(0)
        self.assertEqual(len(shelf.pages), 1)

    def test_operatorsAreBounded(self) -> None:
        connections = [self.house.connected() for _ in range(MOST_CONNECTIONS)]
        self.assertIsNone(self.house.connect())
        connections[0][0].connectionLost()
        self.assertIsNotNone(self.house.connect())

    def test_wrongIds(self) -> None:
        protocol, transport = self.house.connected()
        for id in ("-00000000000001f", "f" * 16, "0x1_2_3_4_5_6_7_", "7" * 60000, ""):
            transport.clear()
            protocol.dataReceived(box("Message", id=id))
            self.house.clock.advance(0)
            self.assertIn(b"BAD_ARGUMENT", transport.value())
            self.assertLess(len(transport.value()), 300)
