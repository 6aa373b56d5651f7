"""The daemon's end of the control socket."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IPushProducer, IReactorTime, ITCPTransport
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
    TableError,
    asDeferred,
)
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.events import Commanded
from pysmtpd.model.ids import EnvelopeId, MessageId, formatMessageId, messageOf, parseEnvelopeId, parseMessageId
from pysmtpd.model.schedule import Status

# Messages, and envelopes of one message, that are looked at in one go. A page begins with few: one of them may have 1,000 envelopes.
_MESSAGES = 64
_FEW = 4
_ENVELOPES = 100
# Entries of a table that are wrong, as many as are told.
_PROBLEMS = 20
# Octets of an answer for what stands beside its rows.
_HEAD = 2000

# Seconds that a client has to read its last answer when the daemon ends.
LAST_WORDS = 2.0

_MODE = 0o600

MOST_CONNECTIONS = 64
"""Operators at one time."""


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")


class _Page:
    """Rows that fit into one answer, of which there is at least one."""

    def __init__(self, size: int = PAGE) -> None:
        self.rows: list[Any] = []
        self._left = size - 2

    def add(self, row: Any) -> bool:
        """False: it does not fit."""
        self._left -= len(_json(row)) + 1
        if self._left < 0 and self.rows:
            return False
        self.rows.append(row)
        return True


def _slice(rows: Sequence[Any], cursor: str) -> dict[str, Any]:
    """A page of a list that is at hand; the cursor is the index of its first row."""
    start = _index(cursor) if cursor else 0
    page = _Page()
    for index in range(start, len(rows)):
        if not page.add(rows[index]):
            return {"rows": page.rows, "cursor": str(index)}
    return {"rows": page.rows, "cursor": ""}


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadArgument(f"{text[:40]!r} is no cursor of ours; begin with an empty one")
    return int(text)


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
        envelopes = dict(await self._scheduler.counts())
        stale = envelopes.pop("stale", 0)
        return {"status": dict(self._operator.status()) | {"envelopes": envelopes, "stale": stale}}

    async def stats(self, cursor: str) -> dict[str, Any]:
        return _slice([[key, value] for key, value in self._stat.snapshot().items()], cursor)

    async def routes(self, cursor: str) -> dict[str, Any]:
        return _slice(self._routes.showRoutes(), cursor)

    async def hosts(self, cursor: str) -> dict[str, Any]:
        return _slice(self._routes.showHosts(), cursor)

    async def relays(self, cursor: str) -> dict[str, Any]:
        return _slice(self._routes.showRelays(), cursor)

    async def tables(self, cursor: str) -> dict[str, Any]:
        return _slice(self._operator.tableRows(), cursor)

    async def setAside(self, cursor: str) -> dict[str, Any]:
        return _slice([{"item": each.item, "reason": each.reason} for each in await self._queue.setAside()], cursor)

    async def queue(self, cursor: str) -> dict[str, Any]:
        """A message larger than a page goes on in the next one; the cursor is C{MSGID}: after it, or C{MSGID/INDEX}: within it."""
        text, _, place = cursor.partition("/")
        message = _messageId(text) if text else MessageId(0)
        page = _Page()
        first = _index(place) if place else 0
        if place:
            # This message once more, from the place where the last page ended. It may be gone meanwhile.
            found = await self._queue.page(MessageId(max(0, message - 1)), 1)
            if found and found[0][0].id == message and (rest := await self._fill(page, *found[0], first)):
                return {"rows": page.rows, "cursor": rest}
        after = message
        count = _FEW
        while True:
            messages = await self._queue.page(after, count)
            for each, envelopes in messages:
                if rest := await self._fill(page, each, envelopes, 0):
                    return {"rows": page.rows, "cursor": rest}
                after = each.id
            if not messages:
                return {"rows": page.rows, "cursor": ""}
            count = min(2 * count, _MESSAGES)

    async def _fill(self, page: _Page, message: Message, envelopes: Sequence[Envelope], first: int) -> str:
        """Add a message's rows; give the cursor of what did not fit."""
        for start in range(first, len(envelopes), _ENVELOPES):
            for index, row in enumerate(await self._rows(message, envelopes[start : start + _ENVELOPES]), start):
                if not page.add(row):
                    return f"{formatMessageId(message.id)}/{index}"
        return ""

    async def _rows(self, message: Message, envelopes: Sequence[Envelope]) -> list[dict[str, Any]]:
        statuses = await self._statuses(envelopes)
        return [envelopeRow(message, envelope, statuses.get(envelope.id)) for envelope in envelopes]

    async def _statuses(self, envelopes: Sequence[Envelope]) -> dict[EnvelopeId, Status]:
        return {status.entry.id: status for status in await self._scheduler.query([each.id for each in envelopes])}

    async def message(self, id: str) -> dict[str, Any]:
        message, envelopes = await self._load(id)
        # The rest of a large message is in the pages of Queue.
        page = _Page(PAGE - _HEAD)
        await self._fill(page, message, envelopes, 0)
        return {"message": messageRow(message, page.rows, len(envelopes))}

    async def envelope(self, id: str) -> dict[str, Any]:
        if len(id) != 24:
            raise BadArgument(f"{id[:40]!r} is not an envelope id (24 hex digits)")
        message, envelopes = await self._load(id)
        (envelope,) = envelopes
        status = (await self._statuses(envelopes)).get(envelope.id)
        return {"envelope": envelopeDetail(message, envelope, status)}

    async def _load(self, id: str) -> tuple[Message, Sequence[Envelope]]:
        """A message with its envelopes; of an envelope id with that envelope only."""
        wanted = _messageId(id)
        try:
            message, envelopes = await asDeferred(self._queue.load(wanted))
        except NoSuchItem as error:
            raise NoSuchItemError(f"nothing with the id {id} is in the queue") from error
        if len(id) == 24:
            envelopes = tuple(each for each in envelopes if each.id == parseEnvelopeId(id))
            if not envelopes:
                raise NoSuchItemError(f"no envelope {id} is in the queue")
        return message, envelopes

    async def body(self, id: str) -> IBody:
        """The content of a message, for C{Content}."""
        message, _ = await self._load(id)
        return await self._queue.open(message.body)

    # --- doing

    async def schedule(self, selection: str) -> dict[str, Any]:
        # Whoever says so may know that a host which was down is back.
        self._routes.forgive()
        return await self._each("schedule", selection, self._scheduler.schedule)

    async def remove(self, selection: str) -> dict[str, Any]:
        return await self._each("remove", selection, self._scheduler.remove)

    async def pauseEnvelope(self, selection: str) -> dict[str, Any]:
        return await self._each("pause envelope", selection, self._operator.suspendEnvelopes)

    async def resumeEnvelope(self, selection: str) -> dict[str, Any]:
        return await self._each("resume envelope", selection, self._operator.resumeEnvelopes)

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
            count = await act([each.id for each in envelopes])
        if not count and self._operator.status()["loading"]:
            raise Unavailable("the queue is still being loaded; try again when `show status` says that it is")
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

    async def updateTable(self, table: str) -> dict[str, Any]:
        try:
            update = await self._operator.updateTable(table)
        except KeyError as error:
            known = ", ".join(str(row["table"]) for row in self._operator.tableRows()[:20]) or "none that has a name"
            raise BadArgument(f"there is no table {table[:80]!r}; there are: {known}") from error
        except TableError as error:
            raise Unavailable(f"{error}; what the table held before still counts") from error
        self._report.happened(Commanded(command="update table", detail=f"{table} ({update.entries})"))
        row = asdict(update)
        row["problems"] = row["problems"][:_PROBLEMS]
        return {"update": row}

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

    def __init__(self, control: Control, clock: IReactorTime, lost: Callable[[_Connection], None]) -> None:
        super().__init__()
        self._control = control
        self._clock = clock
        self._lost = lost
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

    def end(self) -> None:
        """Close, once what was written is gone."""
        if self.transport is not None:
            # With a producer, the transport would wait for its end.
            cast(Any, self.transport).unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        cast("ITCPTransport", self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._boxes.clear()
        self._close()
        super().connectionLost(reason)
        self._lost(self)


class _Factory(Factory):
    noisy = False

    def __init__(self, connect: Callable[[], _Connection | None]) -> None:
        self._connect = connect

    def buildProtocol(self, address: object) -> _Connection | None:
        return self._connect()


class ControlServer:
    """Listens on the control socket, mode 0600."""

    _log = Logger()

    def __init__(self, platform: IPlatform, path: str, control: Control) -> None:
        self._platform = platform
        self._path = path
        self._control = control
        self._port: IListeningPort | None = None
        self._connections: dict[_Connection, None] = {}
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """
        @raise twisted.internet.error.CannotListenError: the path cannot be bound.
        """
        factory = _Factory(self._connected)
        # wantPID: a lock file beside it tells a socket that a dead daemon left behind from a live one.
        self._port = self._platform.network.listenUNIX(self._path, factory, mode=_MODE, wantPID=True)

    def _connected(self) -> _Connection | None:
        """None: the connection is closed at once."""
        if len(self._connections) >= MOST_CONNECTIONS:
            return None
        connection = _Connection(self._control, self._platform.clock, self._disconnected)
        self._connections[connection] = None
        return connection

    def _disconnected(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)
        self._check()

    def stop(self) -> Deferred[None]:
        """Take no more connections, and end those that there are; what was answered is still sent, for C{LAST_WORDS} at most.

        @return: fires when the last connection is gone.
        """
        if self._stopped is None:
            self._stopped = Deferred()
            Deferred.fromCoroutine(self._stop()).addErrback(self._complain)
        return self._stopped

    async def _stop(self) -> None:
        closing = None if self._port is None else self._port.stopListening()
        if isinstance(closing, Deferred):
            await closing
        self._port = None
        expel = self._platform.clock.callLater(LAST_WORDS, self._expel)
        assert self._stopped is not None
        self._stopped.addCallback(lambda _: expel.cancel() if expel.active() else None)
        for connection in list(self._connections):
            connection.end()
        self._check()

    def _check(self) -> None:
        isOver = self._port is None and not self._connections
        if isOver and self._stopped is not None and not self._stopped.called:
            self._stopped.callback(None)

    def _expel(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    def _complain(self, failure: Failure) -> None:
        self._log.failure("While closing the control socket", failure=failure)
        self._port = None
        self._check()
