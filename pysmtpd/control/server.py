"""The daemon's end of the control socket."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.amp import AMP, AmpBox
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.control.amp import AMP_COMMANDS, BadArgument, NoSuchItemError, Unavailable
from pysmtpd.control.rows import envelopeDetail, envelopeRow, messageRow
from pysmtpd.control.schema import PAGE
from pysmtpd.interfaces import (
    IBody,
    IOperator,
    IPlatform,
    IQueue,
    IReport,
    IRoutes,
    IScheduler,
    IStat,
    NoSuchItem,
    QueueError,
    asDeferred,
)
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.events import Commanded
from pysmtpd.model.ids import EnvelopeId, MessageId, formatMessageId, messageOf, parseEnvelopeId, parseMessageId
from pysmtpd.model.schedule import Status

# Messages that are asked for at once: to work on all, and for a page (the first, and the most of its steps; one may have 1,000 envelopes).
_MESSAGES = 64
_FIRST_STEP = 4
_MODE = 0o600

MOST_CONNECTIONS = 64
"""Operators at one time."""

# A message's own members in the answer to Message.
_MESSAGE_OCTETS = 4096

_INDEX = re.compile(r"[0-9]{0,9}")
_PLACE = re.compile(r"(?:([0-7][0-9a-f]{15})(?:/([0-9]{1,9}))?)?")


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")


def _slice(rows: Sequence[Any], cursor: str) -> dict[str, Any]:
    """A page of a list that is at hand; the cursor is the index of its first row."""
    if not _INDEX.fullmatch(cursor):
        raise _badCursor(cursor)
    start = int(cursor or 0)
    end = start + _fitting(rows[start:])
    return {"rows": list(rows[start:end]), "cursor": str(end) if end < len(rows) else ""}


def _fitting(rows: Sequence[Any], room: int = PAGE) -> int:
    """How many of the rows go into a page; one goes always."""
    size = 2
    for count, row in enumerate(rows):
        size += len(_json(row)) + 1
        if size > room and count:
            return count
    return len(rows)


def _badCursor(cursor: str) -> BadArgument:
    return BadArgument(f"{cursor[:40]!r} is no cursor that came with a page")


def _messageId(text: str) -> MessageId:
    """Of a message id, or of an envelope id."""
    try:
        return parseMessageId(text) if len(text) == 16 else messageOf(parseEnvelopeId(text))
    except ValueError as error:
        raise BadArgument(f"{text[:40]!r} is neither a message id (16 hex digits) nor an envelope id (24)") from error


class Control:
    """Everything that an operator may ask or do; each method is a command of L{pysmtpd.control.schema}."""

    def __init__(
        self,
        operator: IOperator,
        queue: IQueue,
        scheduler: IScheduler,
        routes: IRoutes,
        stat: IStat,
        report: IReport,
    ) -> None:
        self._operator = operator
        self._queue = queue
        self._scheduler = scheduler
        self._routes = routes
        self._stat = stat
        self._report = report

    # --- looking

    async def status(self) -> dict[str, Any]:
        return {"status": dict(self._operator.status()) | {"envelopes": dict(await self._scheduler.counts())}}

    async def stats(self, cursor: str) -> dict[str, Any]:
        return _slice([[key, value] for key, value in self._stat.snapshot().items()], cursor)

    async def routes(self, cursor: str) -> dict[str, Any]:
        return _slice(self._routes.showRoutes(), cursor)

    async def hosts(self, cursor: str) -> dict[str, Any]:
        return _slice(self._routes.showHosts(), cursor)

    async def relays(self, cursor: str) -> dict[str, Any]:
        return _slice(self._routes.showRelays(), cursor)

    async def setAside(self, cursor: str) -> dict[str, Any]:
        return _slice([{"item": each.item, "reason": each.reason} for each in await self._queue.setAside()], cursor)

    async def queue(self, cursor: str) -> dict[str, Any]:
        """Pages never split a message in two unless it alone is larger than a page; the cursor is C{MSGID[/INDEX]}."""
        place = _PLACE.fullmatch(cursor)
        if place is None:
            raise _badCursor(cursor)
        skip = int(place[2] or 0)
        # With an index the message itself is read once more.
        after = MessageId(max(0, int(place[1], 16) - (place[2] is not None))) if place[1] else MessageId(0)
        rows: list[dict[str, Any]] = []
        room = PAGE - 2
        step = _FIRST_STEP
        while page := await self._queue.page(after, step):
            for message, envelopes in page:
                wanted = envelopes[skip:]
                statuses = await self._statuses(wanted)
                for index, envelope in enumerate(wanted, skip):
                    row = envelopeRow(message, envelope, statuses.get(envelope.id))
                    room -= len(_json(row)) + 1
                    if room < 0 and rows:
                        return {"rows": rows, "cursor": f"{formatMessageId(message.id)}/{index}"}
                    rows.append(row)
                skip = 0
            after = page[-1][0].id
            if len(page) < step:
                break
            step = min(2 * step, _MESSAGES)
        return {"rows": rows, "cursor": ""}

    async def _rows(self, message: Message, envelopes: Sequence[Envelope]) -> list[dict[str, Any]]:
        statuses = await self._statuses(envelopes)
        return [envelopeRow(message, envelope, statuses.get(envelope.id)) for envelope in envelopes]

    async def _statuses(self, envelopes: Sequence[Envelope]) -> dict[EnvelopeId, Status]:
        return {status.entry.id: status for status in await self._scheduler.query([each.id for each in envelopes])}

    async def message(self, id: str) -> dict[str, Any]:
        message, envelopes = await self._load(id)
        rows = await self._rows(message, envelopes[:100])
        return {"message": messageRow(message, rows[: _fitting(rows, PAGE - _MESSAGE_OCTETS)])}

    async def envelope(self, id: str) -> dict[str, Any]:
        if len(id) != 24:
            raise BadArgument(f"{id[:40]!r} is not an envelope id (24 hex digits)")
        message, envelopes = await self._load(id)
        for envelope in envelopes:
            if envelope.id == int(id, 16):
                status = (await self._statuses([envelope])).get(envelope.id)
                return {"envelope": envelopeDetail(message, envelope, status)}
        raise NoSuchItemError(f"no envelope {id} is in the queue")

    async def _load(self, id: str) -> tuple[Message, tuple[Envelope, ...]]:
        try:
            return await self._queue.load(_messageId(id))
        except NoSuchItem as error:
            raise NoSuchItemError(f"nothing with the id {id} is in the queue") from error

    async def body(self, id: str) -> IBody:
        """The content of a message, for C{Content}."""
        message, _ = await self._load(id)
        return await self._queue.open(message.body)

    # --- doing

    async def schedule(self, selection: str) -> dict[str, Any]:
        return await self._each("schedule", selection, self._scheduler.schedule)

    async def remove(self, selection: str) -> dict[str, Any]:
        return await self._each("remove", selection, self._scheduler.remove)

    async def pauseEnvelope(self, selection: str) -> dict[str, Any]:
        return await self._each("pause envelope", selection, self._scheduler.suspend)

    async def resumeEnvelope(self, selection: str) -> dict[str, Any]:
        return await self._each("resume envelope", selection, self._scheduler.resume)

    async def _each(
        self, word: str, selection: str, act: Callable[[Sequence[EnvelopeId]], Deferred[int]]
    ) -> dict[str, Any]:
        count = 0
        if selection == "all":
            after = MessageId(0)
            while page := await self._queue.page(after, _MESSAGES):
                count += await act([envelope.id for _, envelopes in page for envelope in envelopes])
                after = page[-1][0].id
        else:
            _, envelopes = await self._load(selection)
            wanted = [each.id for each in envelopes if len(selection) == 16 or each.id == int(selection, 16)]
            if not wanted:
                raise NoSuchItemError(f"no envelope {selection} is in the queue")
            count = await act(wanted)
        self._report.happened(Commanded(command=word, detail=f"{selection} ({count})"))
        return {"count": count}

    async def pause(self, part: str) -> dict[str, Any]:
        return self._part("pause", part, self._operator.pause)

    async def resume(self, part: str) -> dict[str, Any]:
        return self._part("resume", part, self._operator.resume)

    def _part(self, word: str, part: str, act: Callable[[str], None]) -> dict[str, Any]:
        try:
            act(part)
        except ValueError as error:
            raise BadArgument(str(error)) from error
        self._report.happened(Commanded(command=word, detail=part))
        return {}

    async def log(self, verbose: bool) -> dict[str, Any]:
        self._operator.setVerbose(verbose)
        self._report.happened(Commanded(command="log", detail="verbose" if verbose else "brief"))
        return {}

    async def stop(self) -> dict[str, Any]:
        self._report.happened(Commanded(command="stop", detail=""))
        self._operator.stop()
        return {}


@implementer(IPushProducer)
class _Connection(AMP):
    """One operator's connection: one call at a time, and none while answers wait to be read. It keeps the content that is being read."""

    _log = Logger()

    def __init__(self, control: Control, clock: IReactorTime, closed: Callable[[_Connection], object]) -> None:
        """
        @param closed: called when the connection is gone.
        """
        super().__init__()
        self._control = control
        self._clock = clock
        self._closed = closed
        self._boxes: deque[AmpBox] = deque()
        self._isBusy = False
        self._isFull = False
        self._isReading = True
        self._body: IBody | None = None
        self._id = ""
        self._rest = b""

    def connectionMade(self) -> None:
        super().connectionMade()
        cast(Any, self.transport).registerProducer(self, True)

    def ampBoxReceived(self, box: AmpBox) -> None:
        """Calls that come at once wait for each other: so one operator costs the memory of one answer."""
        self._boxes.append(box)
        self._next()

    def _next(self) -> None:
        while self._boxes and not (self._isBusy or self._isFull):
            super().ampBoxReceived(self._boxes.popleft())
        if self._isReading is bool(self._boxes):
            self._isReading = not self._isReading
            transport = cast(Any, self.transport)
            (transport.resumeProducing if self._isReading else transport.pauseProducing)()

    def pauseProducing(self) -> None:
        """The operator does not read our answers."""
        self._isFull = True

    def resumeProducing(self) -> None:
        self._isFull = False
        self._next()

    def stopProducing(self) -> None:
        """C{connectionLost} says so, too."""

    def locateResponder(self, name: bytes) -> Any:
        """Every command of the schema is the method of its name."""
        command = AMP_COMMANDS.get(name.decode("ascii", "replace"))
        if command is None:
            return super().locateResponder(name)
        word = command.__name__[0].lower() + command.__name__[1:]
        method = self._content if word == "content" else getattr(self._control, word)
        return self._wrapWithSerialization(lambda **arguments: self._run(method, arguments), command)

    def _run(self, method: Callable[..., Any], arguments: dict[str, Any]) -> Deferred[dict[str, Any]]:
        self._isBusy = True
        done: Deferred[dict[str, Any]] = Deferred.fromCoroutine(method(**arguments))
        return done.addErrback(self._explain).addBoth(self._answered)

    def _answered(self, result: Any) -> Any:
        self._isBusy = False
        # The answer itself goes out first.
        self._clock.callLater(0, self._goOn)
        return result

    def _goOn(self) -> None:
        if self.transport is not None:
            self._next()

    def _explain(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, QueueError):
            return Failure(Unavailable(error.reason))
        if not isinstance(error, NoSuchItemError | BadArgument | Unavailable):
            self._log.failure("While answering a control command", failure=failure)
            return Failure(Unavailable(f"internal error: {error}"))
        return failure

    async def _content(self, id: str, start: bool) -> dict[str, Any]:
        if start or self._body is None or id != self._id:
            self._close()
            self._body = await self._control.body(id)
            self._id = id
        # A chunk of content may be an octet longer than a box's value.
        data = self._rest or await asDeferred(self._body.read())
        self._rest = data[PAGE:]
        if not data:
            self._close()
        return {"data": data[:PAGE]}

    def _close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
            self._rest = b""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._boxes.clear()
        self._close()
        super().connectionLost(reason)
        self._closed(self)


class _Factory(Factory):
    noisy = False

    def __init__(self, connect: Callable[[], _Connection | None]) -> None:
        self._connect = connect

    def buildProtocol(self, address: object) -> _Connection | None:
        return self._connect()


class ControlServer:
    """Listens on the control socket, mode 0600."""

    def __init__(self, platform: IPlatform, path: str, control: Control) -> None:
        self._platform = platform
        self._path = path
        self._control = control
        self._port: IListeningPort | None = None
        self._connections: dict[_Connection, None] = {}

    def start(self) -> None:
        """
        @raise twisted.internet.error.CannotListenError: the path cannot be bound.
        """
        factory = _Factory(self._connect)
        # wantPID: a lock file beside it tells a socket that a dead daemon left behind from a live one.
        self._port = self._platform.network.listenUNIX(self._path, factory, mode=_MODE, wantPID=True)

    def _connect(self) -> _Connection | None:
        """None: the connection is closed at once."""
        if len(self._connections) >= MOST_CONNECTIONS:
            return None
        connection = _Connection(self._control, self._platform.clock, self._disconnected)
        self._connections[connection] = None
        return connection

    def _disconnected(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)

    def stop(self) -> Deferred[None]:
        """Take no more connections; answers under way are still given."""
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        stopped = port.stopListening()
        return stopped if isinstance(stopped, Deferred) else succeed(None)
