"""One task on its way over a connection: from the first look at the message to the host's word, or back to the pool."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pysmtpd.interfaces.queue import IBody, NoSuchItem, QueueError
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.envelope import Envelope
from pysmtpd.model.reply import Reply
from pysmtpd.mta import pace
from pysmtpd.mta.bounds import strictest
from pysmtpd.mta.downgrade import SevenBitBody, Verdict, mustConvert
from pysmtpd.mta.task import Part, Task, international, outgoing
from pysmtpd.mta.timeouts import RECIPIENT_TIME, TRANSACTION_RATE, TRANSACTION_TIME
from pysmtpd.mta.upload import Upload
from pysmtpd.smtp.client import ClientCore
from pysmtpd.smtp.client_commands import NEEDS_8BITMIME, NEEDS_BINARYMIME
from pysmtpd.smtp.client_events import ClientEvent, Ended, Finished, OutgoingMail, Stage

if TYPE_CHECKING:
    from pysmtpd.mta.connection import Connection

RCPT_DEFAULT = 100
"""Recipients of a transaction when the peer does not say: what every server has to take (RFC 5321 4.5.3.1.8)."""

_TOO_MANY = ("4.5.3", "4.0.0", "5.5.3", "5.0.0")
_MOVABLE = (Stage.MAIL, Stage.RCPT, Stage.DATA)
_LOST = "4.4.2"
_INTERNAL_ERROR = Reply(451, "Internal error", "4.3.0")


class Transaction:
    """
    @ivar envelopes: those that it is about, with their parts, in the order of their RCPT.
    @ivar until: monotonic seconds at which it has to be over.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_core",
        "_isOver",
        "_pending",
        "_remaining",
        "_upload",
        "envelopes",
        "task",
        "until",
    )

    def __init__(self, connection: Connection, core: ClientCore, task: Task) -> None:
        self.task = task
        self.envelopes: Sequence[tuple[Part, Envelope]] = ()
        self.until = float("inf")
        self._connection = connection
        self._core = core
        self._isOver = False
        self._body: IBody | None = None
        self._pending = b""
        self._remaining = 0
        self._upload: Upload | None = None

    def begin(self, now: float) -> None:
        """Take as many recipients as the host does, and look for the content."""
        connection, task = self._connection, self.task
        pool = connection.pool
        board = pool.board
        offered = self._core.extensions
        config = board.config()
        configured = strictest(config, task.domains).transactionRcptMax
        limit = min(pool.route.host.most(now, offered.rcptMax or RCPT_DEFAULT), configured)
        envelopes = task.envelopes
        if len(envelopes) > limit or offered.rcptDomainMax:
            rest = task.take(limit, offered.rcptDomainMax)
            if rest is not None:
                pool.returned(rest)
                envelopes = task.envelopes
        self.envelopes = envelopes
        board.charge(connection, task)
        if config.mtaDomains:
            connection.servesAlso(task.domains, config)
        opening = board.queue.open(task.message.body)
        opening.addCallbacks(self._opened, self._unreadable)
        opening.addErrback(self._broken)

    # --- the content

    def _opened(self, body: IBody) -> None:
        if self._isOver:
            body.close()
            return
        self._body = body
        try:
            chunk = body.read()
        except QueueError:
            self._unreadable(Failure())
            return
        if isinstance(chunk, Deferred):
            chunk.addCallbacks(self._firstChunk, self._unreadable).addErrback(self._broken)
        else:
            self._firstChunk(chunk)

    def _firstChunk(self, chunk: bytes) -> None:
        body = self._body
        if body is None:
            return
        message = self.task.message
        headerNeedsUtf8 = False
        if message.transaction.smtputf8 and message.eightBit:
            end = chunk.find(b"\r\n\r\n")
            headerNeedsUtf8 = not (chunk if end < 0 else chunk[:end]).isascii()
        if not headerNeedsUtf8:
            self._part(international(self.task, self.envelopes))
        mail = outgoing(self.task, self.envelopes, headerNeedsUtf8)
        if mustConvert(self._core.extensions, mail, message.eightBit):
            converting = Deferred.fromCoroutine(
                self._convert(SevenBitBody(body, self._connection.pool.board.clock), mail)
            )
            converting.addErrback(self._unreadable).addErrback(self._broken)
        else:
            self._start(mail, chunk)

    def _part(self, over: Collection[int]) -> None:
        """These recipients go by themselves: what only they need must be nobody else's trouble, here or further on."""
        if over:
            connection, task = self._connection, self.task
            connection.pool.returned(task.split(over))
            self.envelopes = task.envelopes
            connection.pool.board.charge(connection, task)

    async def _convert(self, body: SevenBitBody, mail: OutgoingMail) -> None:
        """Send 7-bit content in place of the message's own."""
        self._body = body
        mayBounce = self._connection.pool.board.config().bounceSigned8bit
        verdict = await body.prepare(breaksDkim=mayBounce or mail.body == "BINARYMIME")
        if verdict is None or self._body is not body:
            return
        if verdict is Verdict.CLEAN:
            mail = replace(mail, size=body.size, body="")
        elif mayBounce or mail.body == "BINARYMIME":
            self._lacking(NEEDS_BINARYMIME if mail.body == "BINARYMIME" else NEEDS_8BITMIME)
            return
        else:
            self._body = body.original
            self._body.rewind()
        chunk = await asDeferred(self._body.read())
        if self._body is not None:
            self._start(mail, chunk)

    def _start(self, mail: OutgoingMail, chunk: bytes) -> None:
        connection, core = self._connection, self._core
        board = connection.pool.board
        connection.tellSteps()
        length = TRANSACTION_TIME + RECIPIENT_TIME * len(self.envelopes) + mail.size / TRANSACTION_RATE
        now = board.clock.seconds()
        self.until = now + length
        connection.slowAt = now + pace.TRANSACTION + mail.size / pace.RATE
        self._remaining = mail.size - len(chunk)
        if self._remaining <= 0:
            self._closeBody()
            events = core.start(mail, chunk)
        else:
            self._pending = chunk
            events = core.start(mail)
        connection.proceed(events)

    def contentWanted(self) -> None:
        """The peer waits for it. It is more than one chunk."""
        body, self._body = self._body, None
        assert body is not None
        pending, self._pending = self._pending, b""
        self._write(pending, False)
        transport = self._connection.transport
        self._upload = Upload(body, self._remaining, transport, self._write, self._unreadable)
        self._upload.start()

    def _write(self, chunk: bytes, last: bool) -> None:
        self._core.content(chunk, last)
        self._connection.proceed(())

    def _closeBody(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.close()

    def _unreadable(self, failure: Failure) -> None:
        """The message cannot be read. What the peer has of it must not become a message."""
        self._closeBody()
        if self._isOver:
            return
        if isinstance(failure.value, QueueError):
            reply = failure.value.reply
        elif isinstance(failure.value, NoSuchItem):
            reply = Reply(451, "The message is no longer in the queue", "4.3.0")
        else:
            self._broken(failure)
            return
        if self._core.stage is Stage.IDLE:
            self._conclude((reply,) * len(self.envelopes))
        else:
            self._connection.abort(reply)

    def _broken(self, failure: Failure) -> None:
        """A fault of ours: it costs this connection and one try."""
        self._connection.pool.board.fault("relaying a message", failure)
        self._closeBody()
        self._connection.giveUp(_INTERNAL_ERROR)

    # --- the end

    def finished(self, event: Finished, last: ClientEvent) -> None:
        """The host has said all that it will say of it.

        @param last: what has happened after that; C{event} again: nothing.
        """
        ended = last if isinstance(last, Ended) else None
        if self._connection.transactions and ended is not None and ended.stage is Stage.MAIL and not self.task.retried:
            # The peer had hung up, or was about to, while we were idle: that says nothing about the message, and costs nobody a try.
            self.giveBack()
        elif event.isLacking:
            self._lacking(event.replies[0])
        elif event.left and ended is not None and self._mayMove(ended):
            self._move(event)
        else:
            if event.said is not None:
                self._connection.pool.heard(self._connection, event.said, event.reached)
            self._conclude(event.replies)

    def _mayMove(self, ended: Ended) -> bool:
        """Did the host end the session before it had the message? Another host may take it."""
        return (
            ended.stage in _MOVABLE
            and (ended.reply.code == 421 or ended.reply.enhanced == _LOST)
            and not self._connection.pool.board.stopping
        )

    def _leave(self) -> None:
        """The connection has it no more."""
        self._isOver = True
        self._closeBody()
        self._connection.transaction = None
        self._connection.pool.board.discharge(self._connection)

    def _move(self, event: Finished) -> None:
        """What is left goes to another host; what was refused, was refused."""
        left = event.left
        if len(left) == len(self.envelopes):
            self._connection.moved = self.task
            self._leave()
            return
        self._connection.moved = self.task.split(left)
        self.envelopes = self.task.envelopes
        self._decide([reply for index, reply in enumerate(event.replies) if index not in left])

    def _lacking(self, reply: Reply) -> None:
        """This host lacks what the message needs; nothing was said to it."""
        connection = self._connection
        connection.error = str(reply)
        self._leave()
        connection.pool.freed(connection)
        connection.pool.board.moved(self.task, connection, reply, True)

    def takeBack(self) -> Task:
        """The connection has to do without it. Nobody has what could become a message."""
        self._leave()
        return self.task

    def giveBack(self) -> None:
        """It has not begun, as far as anybody can tell."""
        self._leave()
        self.task.retried = True
        self._connection.pool.returned(self.task)

    def giveUp(self, reply: Reply) -> None:
        """Nothing was said of it yet, and nothing will be: it gets C{reply}."""
        self._decide((reply,) * len(self.envelopes))

    def _conclude(self, replies: Sequence[Reply]) -> None:
        self._decide(replies)
        if self._core.stage is Stage.IDLE:
            self._connection.pool.freed(self._connection)

    def _decide(self, replies: Sequence[Reply]) -> None:
        connection, task, envelopes = self._connection, self.task, self.envelopes
        self._leave()
        connection.transactions += 1
        connection.error = next((str(reply) for reply in reversed(replies) if not reply.isPositive), "")
        first = next((index for index, reply in enumerate(replies) if reply.code < 400), -1)
        if first >= 0:
            connection.failures = 0
            over = {
                index: None
                for index, reply in enumerate(replies)
                if index > first and reply.code in (452, 552) and reply.enhanced in _TOO_MANY
            }
            if over:
                # Too many recipients (RFC 5321 4.5.3.1.10): the rest goes in the next transaction. Some were taken, so this ends.
                pool = connection.pool
                pool.route.host.tookOnly(min(over), pool.board.clock.seconds())
                pool.returned(task.split(over))
                envelopes = task.envelopes
                replies = [reply for index, reply in enumerate(replies) if index not in over]
        else:
            connection.failures += len(replies)
        connection.pool.decided(connection, task, envelopes, replies)
