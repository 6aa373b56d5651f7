"""Commands about the queue: what is in it, and what shall become of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from pysmtpd.control.amp import BadArgument, NoSuchItemError, Unavailable
from pysmtpd.control.look import Look
from pysmtpd.control.page import Page, indexOf, sliceOf
from pysmtpd.control.pieces import Pieces
from pysmtpd.control.rows import envelopeDetail, envelopeRow, messageRow, rematchedRow
from pysmtpd.control.schema import PAGE
from pysmtpd.interfaces import IBody, IOperator, IQueue, IReport, IRoutes, IScheduler, NoSuchItem, asDeferred
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.events import Commanded
from pysmtpd.model.ids import EnvelopeId, MessageId, formatMessageId, messageOf, parseEnvelopeId, parseMessageId
from pysmtpd.model.schedule import Status

# Messages, and envelopes of one message, that are looked at in one go. A page begins with few: one of them may have 1,000 envelopes.
_MESSAGES = 64
# Changes of a rematch that are shown.
_SHOWN = 10_000
_FEW = 4
_ENVELOPES = 100
# Octets of an answer for what stands beside its rows.
_HEAD = 2000


def _messageId(text: str) -> MessageId:
    """Of a message id, or of an envelope id."""
    try:
        return parseMessageId(text) if len(text) == 16 else messageOf(parseEnvelopeId(text))
    except ValueError as error:
        raise BadArgument(f"{text[:40]!r} is neither a message id (16 hex digits) nor an envelope id (24)") from error


class QueueCommands:
    """Each public method but C{body} is a command of L{pysmtpd.control.schema}."""

    def __init__(
        self, operator: IOperator, queue: IQueue, scheduler: IScheduler, routes: IRoutes, report: IReport
    ) -> None:
        self._operator = operator
        self._pieces = Pieces()
        self._queue = queue
        self._scheduler = scheduler
        self._routes = routes
        self._report = report

    # --- looking

    async def setAside(self, cursor: str) -> dict[str, Any]:
        return sliceOf([{"item": each.item, "reason": each.reason} for each in await self._queue.setAside()], cursor)

    async def queue(self, cursor: str) -> dict[str, Any]:
        """A message larger than a page goes on in the next one; the cursor is C{MSGID}: after it, or C{MSGID/INDEX}: within it."""
        text, _, place = cursor.partition("/")
        message = _messageId(text) if text else MessageId(0)
        page, look = Page(), Look(self._operator, self._routes)
        first = indexOf(place) if place else 0
        if place:
            # This message once more, from the place where the last page ended. It may be gone meanwhile.
            found = await self._queue.page(MessageId(max(0, message - 1)), 1)
            if found and found[0][0].id == message and (rest := await self._fill(page, *found[0], first, look)):
                return {"rows": page.rows, "cursor": rest}
        after = message
        count = _FEW
        while True:
            messages = await self._queue.page(after, count)
            for each, envelopes in messages:
                if rest := await self._fill(page, each, envelopes, 0, look):
                    return {"rows": page.rows, "cursor": rest}
                after = each.id
            if not messages:
                return {"rows": page.rows, "cursor": ""}
            count = min(2 * count, _MESSAGES)

    async def _fill(self, page: Page, message: Message, envelopes: Sequence[Envelope], first: int, look: Look) -> str:
        """Add a message's rows; give the cursor of what did not fit."""
        for start in range(first, len(envelopes), _ENVELOPES):
            rows = await self._rows(message, envelopes[start : start + _ENVELOPES], look)
            for index, row in enumerate(rows, start):
                if not page.add(row):
                    return f"{formatMessageId(message.id)}/{index}"
        return ""

    async def _rows(self, message: Message, envelopes: Sequence[Envelope], look: Look) -> list[dict[str, Any]]:
        statuses = await self._statuses(envelopes)
        return [envelopeRow(message, envelope, statuses.get(envelope.id), look) for envelope in envelopes]

    async def _statuses(self, envelopes: Sequence[Envelope]) -> dict[EnvelopeId, Status]:
        return {status.entry.id: status for status in await self._scheduler.query([each.id for each in envelopes])}

    async def message(self, id: str) -> dict[str, Any]:
        message, envelopes = await self._load(id)
        # The rest of a large message is in the pages of Queue.
        page = Page(PAGE - _HEAD)
        await self._fill(page, message, envelopes, 0, Look(self._operator, self._routes))
        return {"message": messageRow(message, page.rows, len(envelopes))}

    async def envelope(self, id: str) -> dict[str, Any]:
        if len(id) != 24:
            raise BadArgument(f"{id[:40]!r} is not an envelope id (24 hex digits)")
        message, envelopes = await self._load(id)
        (envelope,) = envelopes
        status = (await self._statuses(envelopes)).get(envelope.id)
        return {"envelope": envelopeDetail(message, envelope, status, Look(self._operator, self._routes))}

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

    async def rematch(self, selection: str, dry: bool, cursor: str) -> dict[str, Any]:
        """Each message by itself is durable before the next one is asked about."""
        if cursor:
            return self._pieces.more(cursor)
        rows: list[dict[str, Any]] = []
        count = 0
        async for message, envelopes in self._selected(selection):
            for one in await self._operator.rematch(message, envelopes, dry):
                count += not one.isBusy
                if len(rows) < _SHOWN:
                    rows.append(rematchedRow(one))
        if not dry:
            self._report.happened(Commanded(command="rematch", detail=f"{selection} ({count})"))
        return self._pieces.first({"count": count, "envelopes": rows})

    async def _selected(self, selection: str) -> AsyncIterator[tuple[Message, Sequence[Envelope]]]:
        if selection != "all":
            yield await self._load(selection)
            return
        after = MessageId(0)
        while page := await self._queue.page(after, _MESSAGES):
            for message, envelopes in page:
                yield message, envelopes
            after = page[-1][0].id

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
