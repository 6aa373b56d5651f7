"""One connection to a host: a Twisted protocol around the client core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectBindError
from twisted.internet.interfaces import IAddress, IHandshakeListener
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import direct
from pysmtpd.interfaces.queue import IBody, NoSuchItem, QueueError
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.tls import IClientHandshake
from pysmtpd.model.envelope import Envelope
from pysmtpd.model.events import (
    CommandAnswered,
    ConnectionAuthenticated,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionGreeted,
    ConnectionIdentified,
    ConnectionOpened,
    ConnectionTls,
    CredentialsRefused,
    Event,
)
from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.ids import MessageId, SessionId
from pysmtpd.model.limits import MtaLimits
from pysmtpd.model.reply import Reply
from pysmtpd.model.tlsa import Presented
from pysmtpd.mta.bounds import Charge, strictest
from pysmtpd.mta.downgrade import SevenBitBody, Verdict
from pysmtpd.mta.encounter import Encounter
from pysmtpd.mta.keys import Target
from pysmtpd.mta.relay import Relay
from pysmtpd.mta.security import Facts, Level, Missing, missing
from pysmtpd.mta.task import Part, Task, outgoing
from pysmtpd.mta.upload import Upload
from pysmtpd.smtp.client import ClientCore
from pysmtpd.smtp.client_commands import NEEDS_8BITMIME, NEEDS_BINARYMIME
from pysmtpd.smtp.client_events import (
    ClientEvent,
    ClientSettings,
    ContentWanted,
    Credentials,
    Ended,
    Established,
    Finished,
    OutgoingMail,
    Stage,
    StartTls,
    TlsWanted,
)
from pysmtpd.smtp.client_extensions import NO_EXTENSIONS, Extensions

if TYPE_CHECKING:
    from pysmtpd.mta.pool import Pool

TIMEOUTS = {
    Stage.GREETING: 300.0,
    Stage.HELLO: 300.0,
    Stage.STARTTLS: 120.0,
    Stage.TLS: 60.0,
    Stage.AUTH: 120.0,
    Stage.MAIL: 300.0,
    Stage.RCPT: 300.0,
    Stage.DATA: 120.0,
    Stage.CONTENT: 180.0,
    Stage.END_OF_DATA: 600.0,
    Stage.QUIT: 5.0,
    Stage.CLOSED: 5.0,
}
"""Seconds (RFC 5321 4.5.3.2). QUIT is not worth waiting for."""

CONNECT_TIMEOUT = 30.0
"""Seconds for the TCP handshake; what the usual systems take for one or two lost packets."""

TRANSACTION_TIME = 1800.0
"""Seconds for a transaction as a whole: more than its stages may take together. A peer that uses up every time-out again and again would
keep one of our places for ever."""

RECIPIENT_TIME = 5.0
"""Seconds that each recipient adds to it."""

TRANSACTION_RATE = 2048
"""Octets of content that add one second to it."""

MOST_TOLD = 20
"""Transactions that wait, of which the domains are told of when TLS fails."""

RCPT_DEFAULT = 100
"""Recipients of a transaction when the peer does not say: what every server has to take (RFC 5321 4.5.3.1.8)."""

_STARTTLS = {
    Level.NEVER: StartTls.NEVER,
    Level.OPPORTUNISTIC: StartTls.OPPORTUNISTIC,
    Level.REQUIRED: StartTls.REQUIRED,
    Level.VERIFIED: StartTls.REQUIRED,
}
_TOO_MANY = ("4.5.3", "4.0.0", "5.5.3", "5.0.0")
_USUAL_LIMITS = MtaLimits()
_MOVABLE = (Stage.MAIL, Stage.RCPT, Stage.DATA)
_LOST = "4.4.2"
_NEVER = float("inf")


@implementer(IHandshakeListener)
class Connection(Protocol):
    """
    @ivar target: the host, and the policy that it was opened under.
    @ivar tls: for people; empty: plain text.
    @ivar facts: what was established; None until transactions may start.
    @ivar task: the transaction under way, or None.
    @ivar deadline: monotonic seconds after which it has L{expired}.
    @ivar counted: the bounds on connections that it counts against.
    @ivar transactions: finished ones.
    @ivar limits: the strictest of all for whom it was used.
    @ivar charges: what it counts against now.
    """

    def __init__(self, pool: Pool, target: Target, plain: bool, session: SessionId) -> None:
        self.pool = pool
        self.target = target
        self.session = session
        self.label = target.label
        self.source = ""
        self.tls = ""
        self.facts: Facts | None = None
        self.task: Task | None = None
        self.counted: Sequence[str] = ()
        self.transactions = 0
        self.failures = 0
        self.maxMails = 0
        self.limits: MtaLimits = _USUAL_LIMITS
        self.charges: Sequence[Charge] = ()
        self.deadline = _NEVER
        self._until = _NEVER
        self._began = 0.0
        self._isGreeted = False
        self._plain = plain
        self._clock = pool.board.clock
        self._verify = target.policy.level is Level.VERIFIED
        self._handshake: IClientHandshake | None = None
        self._tls: TlsFacts | None = None
        self._shown: tuple[tuple[Presented, ...], tuple[str, ...]] = ((), ())
        self._core: ClientCore | None = None
        self._connected = False
        self._direct = False
        self._lost = False
        self._gone = False
        self._envelopes: Sequence[tuple[Part, Envelope]] = ()
        self._domains: dict[str, None] = {}
        self._moved: Task | None = None
        self._met: dict[Relay, None] = {}
        self._body: IBody | None = None
        self._pending = b""
        self._remaining = 0
        self._upload: Upload | None = None

    # --- coming up

    def begin(self, credentials: Credentials | None) -> None:
        """Connect."""
        key = self.target.key
        secured = key.protocol == "smtps"
        starttls = StartTls.NEVER if secured or self._plain else _STARTTLS[self.target.policy.level]
        board = self.pool.board
        nonce = board.secret(18).hex() if credentials is not None else ""
        self._core = ClientCore(ClientSettings(key.helo, key.protocol == "lmtp", starttls, secured, credentials, nonce))
        network = board.network
        factory = Factory(self)
        if key.port == 0:
            network.connectUNIX(key.address, factory, CONNECT_TIMEOUT)
        else:
            bind = (key.source, 0) if key.source else None
            network.connectTCP(key.address, key.port, factory, CONNECT_TIMEOUT, bind)

    def refused(self, why: str) -> None:
        """There is no connection."""
        self.pool.board.forget(self)
        if self._gone:
            return
        self._gone = True
        self.pool.board.report.happened(ConnectionFailed(self.target.key.address, self.target.host, why))
        self.pool.lost(self, Stage.GREETING, Reply(451, why, "4.4.1"))

    def unbound(self, why: str) -> None:
        """Our own address could not be had."""
        board = self.pool.board
        board.forget(self)
        if self._gone:
            return
        self._gone = True
        board.report.happened(
            ConnectionFailed(self.target.key.address, self.target.host, f"from {self.target.key.source}: {why}")
        )
        self.pool.unbound(self, why)

    def connectionMade(self) -> None:
        transport = cast(Any, self.transport)
        if self._gone:
            transport.abortConnection()
            return
        self._connected = True
        self._direct = direct.canWriteDirectly(transport)
        key = self.target.key
        if key.port:
            transport.setTcpNoDelay(True)
            self.source = transport.getHost().host
        self.pool.board.report.happened(
            ConnectionOpened(self.session, key.address, self.target.host, self.source or key.source)
        )
        self._rest()
        if key.protocol == "smtps":
            self._startTls()

    def _startTls(self) -> None:
        policy = self.target.policy
        # RFC 7672 8.1: a host that has TLSA records is asked for the certificate of the name under which they are.
        name = policy.tlsaNames[0] if policy.tlsa and not self._verify else policy.name
        self._handshake = self.pool.board.tls.handshake(
            name, self._verify, kind=self.target.key.tls, place=(self.target.key, bool(policy.tlsa))
        )
        cast(Any, self.transport).startTLS(self._handshake)

    def handshakeCompleted(self) -> None:
        """Twisted says: TLS is on."""
        core, handshake = self._core, self._handshake
        assert core is not None and handshake is not None
        connection = cast(Any, self.transport).getHandle()
        self._tls = facts = handshake.facts(connection)
        self.tls = f"{facts.protocol}:{facts.cipher}:{facts.bits}{' verified' if facts.verified else ''}"
        if self.target.policy.tlsa:
            self._shown = handshake.presented(connection)
        self.pool.board.report.happened(
            ConnectionTls(self.session, f"{facts.protocol}:{facts.cipher}:{facts.bits}", facts.verified)
        )
        if core.stage is Stage.TLS:
            core.tlsStarted()
            self._flush()
            self._rest()

    @property
    def elapsed(self) -> float:
        """Seconds since it took the task that it has, or had last."""
        return self._clock.seconds() - self._began

    @property
    def success(self) -> str:
        """What senders who ask for it have to be told of what is delivered here (RFC 3461 5.2.2); empty: the host tells them."""
        core = self._core
        if core is None or core.extensions.dsn:
            return ""
        return "delivered" if self.target.key.protocol == "lmtp" else "relayed"

    def _established(self) -> None:
        core = self._core
        assert core is not None
        policy = self.target.policy
        offersRequireTls = core.extensions.requireTls and self._tls is not None
        facts = Facts(self._tls, policy.level is not Level.NEVER, *self._shown, offersRequireTls)
        lack = missing(facts, policy)
        if lack is not None:
            text = f"TLS: {lack.value}"
            self._act(core.abort(Reply(451, text, "4.7.30" if lack is Missing.REQUIRETLS else "4.7.5")))
            return
        self.facts = facts
        report, key = self.pool.board.report, self.target.key
        report.happened(ConnectionIdentified(self.session, key.helo, str(core.extensions)))
        if key.credential:
            report.happened(ConnectionAuthenticated(self.session, key.credential, "ok"))
        self.pool.board.connected()
        limit = self.limits.sessionMailMax
        self.maxMails = min(limit, core.extensions.mailMax) if core.extensions.mailMax else limit
        self.pool.established(self)

    @property
    def stage(self) -> Stage:
        """What is waited for."""
        return self._core.stage if self._core is not None else Stage.GREETING

    @property
    def greeting(self) -> str:
        """What the peer said first."""
        return self._core.greeting if self._core is not None else ""

    @property
    def extensions(self) -> Extensions:
        """What the peer offers."""
        return self._core.extensions if self._core is not None else NO_EXTENSIONS

    @property
    def certificateError(self) -> str:
        """Why the peer's certificate is not valid; empty: it is, or there is none."""
        return self._handshake.error if self._handshake is not None else ""

    @property
    def isConnected(self) -> bool:
        """Has the peer answered?"""
        return self._connected

    # --- transactions

    def run(self, task: Task) -> None:
        """Take a task; only when idle. It is decided, or given back, before the pool hears C{freed} or C{lost}."""
        self.task = task
        board = self.pool.board
        self._began = self._clock.seconds()
        board.wakes(self)
        self.deadline = _NEVER
        for part in task.parts:
            if part.relay not in self._met:
                self._meet(task, part)
        offered = cast(ClientCore, self._core).extensions
        limit = self.pool.route.host.most(self._clock.seconds(), offered.rcptMax or RCPT_DEFAULT)
        envelopes: Sequence[tuple[Part, Envelope]] = task.envelopes
        if len(envelopes) > limit or offered.rcptDomainMax:
            rest = task.take(limit, offered.rcptDomainMax)
            if rest is not None:
                self.pool.returned(rest)
                envelopes = task.envelopes
        self._envelopes = envelopes
        board.charge(self, task)
        config = board.config()
        if config.mtaDomains:
            self.limits = strictest(config, [*task.domains, *self._domains])
            self._domains.update(dict.fromkeys(task.domains))
        opening = board.queue.open(task.message.body)
        opening.addCallbacks(self._opened, self._unreadable)
        opening.addErrback(self._broken)

    def _meet(self, task: Task, part: Part, problem: str = "") -> None:
        """Tell of this session, once for each domain."""
        self._met[part.relay] = None
        if self._plain:
            # TLS has failed just now, and that was told.
            return
        certificate = self._handshake.error if self._handshake is not None else ""
        target = part.seen(self.target.key) if part.isUsual or not problem else None
        self.pool.board.met(
            Encounter(target or task.target, self.source, self.facts, certificate, problem, part.isUsual)
        )

    @property
    def offersTicket(self) -> bool:
        """Has it tried to resume a session of TLS?"""
        return self._handshake is not None and self._handshake.offersTicket

    def missed(self, tasks: Iterable[Task], reply: Reply) -> None:
        """It has not come up, for want of TLS as it was asked for by these."""
        for task in islice(tasks, MOST_TOLD):
            for part in task.parts:
                if task.policy == self.target.policy and part.relay not in self._met:
                    self._meet(task, part, str(reply))

    def _opened(self, body: IBody) -> None:
        if self.task is None:
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
        task, core, body = self.task, self._core, self._body
        if task is None or core is None or body is None:
            return
        transaction = task.message.transaction
        headerNeedsUtf8 = False
        if transaction.smtputf8 and task.message.eightBit:
            end = chunk.find(b"\r\n\r\n")
            headerNeedsUtf8 = not (chunk if end < 0 else chunk[:end]).isascii()
        mail = outgoing(task, self._envelopes, headerNeedsUtf8)
        if self._mustConvert(mail, task.message.eightBit):
            converting = Deferred.fromCoroutine(self._convert(SevenBitBody(body, self._clock), mail))
            converting.addErrback(self._unreadable).addErrback(self._broken)
        else:
            self._begin(mail, chunk)

    def _mustConvert(self, mail: OutgoingMail, isEightBit: bool) -> bool:
        """Is the content of a kind that the peer does not take (RFC 6152 3, RFC 3030 3)?"""
        offered = cast(ClientCore, self._core).extensions
        if mail.smtputf8:
            # Nothing can be done about addresses and header fields.
            return False
        if mail.body == "BINARYMIME" and not (offered.chunking and offered.binaryMime):
            return True
        # RFC 6531 3.1 (8): whoever offers SMTPUTF8 takes 8-bit content.
        return isEightBit and not (offered.eightBit or offered.smtputf8)

    async def _convert(self, body: SevenBitBody, mail: OutgoingMail) -> None:
        """Send 7-bit content in place of the message's own."""
        self._body = body
        mayBounce = self.pool.board.config().bounceSigned8bit
        verdict = await body.prepare(breaksDkim=mayBounce or mail.body == "BINARYMIME")
        if verdict is None or self._body is not body:
            return
        if verdict is Verdict.CLEAN:
            mail = replace(mail, size=body.size, body="")
        elif mayBounce or mail.body == "BINARYMIME":
            reply = NEEDS_BINARYMIME if mail.body == "BINARYMIME" else NEEDS_8BITMIME
            self._lacking(Finished((reply,) * len(self._envelopes), False, isLacking=True))
            return
        else:
            self._body = body.original
            self._body.rewind()
        chunk = await asDeferred(self._body.read())
        if self._body is not None:
            self._begin(mail, chunk)

    def _begin(self, mail: OutgoingMail, chunk: bytes) -> None:
        core = cast(ClientCore, self._core)
        steps = self.pool.board.steps()
        core.trace = None if steps is None or self.task is None else self._tracer(steps, self.task.message.id)
        length = TRANSACTION_TIME + RECIPIENT_TIME * len(self._envelopes) + mail.size / TRANSACTION_RATE
        self._until = self._clock.seconds() + length
        self._remaining = mail.size - len(chunk)
        if self._remaining <= 0:
            self._closeBody()
            events = core.start(mail, chunk)
        else:
            self._pending = chunk
            events = core.start(mail)
        self._flush()
        self._rest()
        if events:
            self._act(events)

    def _tracer(self, steps: Callable[[Event], None], message: MessageId) -> Callable[[str, str, Reply], None]:
        return lambda step, command, reply: steps(CommandAnswered(self.session, message, step, command, str(reply)))

    def _unreadable(self, failure: Failure) -> None:
        """The message cannot be read. What the peer has of it must not become a message."""
        self._closeBody()
        task, core = self.task, self._core
        if task is None or core is None:
            return
        if isinstance(failure.value, QueueError):
            reply = failure.value.reply
        elif isinstance(failure.value, NoSuchItem):
            reply = Reply(451, "The message is no longer in the queue", "4.3.0")
        else:
            self._broken(failure)
            return
        if core.stage is Stage.IDLE:
            self._finished(Finished((reply,) * len(self._envelopes), False))
        else:
            self._act(core.abort(reply))

    def _broken(self, failure: Failure) -> None:
        """A fault of ours: it costs this connection and one try."""
        self.pool.board.fault("relaying a message", failure)
        self._closeBody()
        self.giveUp(Reply(451, "Internal error", "4.3.0"))

    def giveUp(self, reply: Reply) -> None:
        """End it now; what is undecided gets C{reply}."""
        if self._core is not None and self._core.stage is not Stage.CLOSED:
            if self.task is not None and self._core.stage is Stage.IDLE:
                self._decide((reply,) * len(self._envelopes))
            self._act(self._core.abort(reply))

    def leave(self) -> None:
        """Idle and no longer wanted."""
        core = self._core
        if core is not None and core.stage is Stage.IDLE:
            if self._tls is not None and self._handshake is not None:
                # By now the host has sent its tickets.
                self._handshake.keep(cast(Any, self.transport).getHandle())
            core.quit()
            self._flush()
            self._rest()

    def expired(self) -> None:
        """The deadline has passed."""
        self.deadline = _NEVER
        core = self._core
        if core is None:
            return
        if core.stage is Stage.IDLE and self.task is None:
            self.pool.quit(self)
        elif core.stage is Stage.CLOSED:
            cast(Any, self.transport).abortConnection()
        else:
            text = f"Time-out waiting for {core.stage.value}"
            if self._clock.seconds() >= self._until:
                text += ", for the transaction takes too long"
            if core.stage is Stage.END_OF_DATA:
                text = "Time-out after the end of data; the message may have been delivered"
            self._act(core.abort(Reply(451, text, "4.4.2")))

    # --- the wire

    def dataReceived(self, data: bytes) -> None:
        core = self._core
        assert core is not None
        heard = core.heard
        events = core.receive(data)
        if core.heard and not self._isGreeted:
            self._isGreeted = True
            self.pool.board.report.happened(ConnectionGreeted(self.session, core.greeting))
        if events:
            self._act(events)
        self._flush()
        if core.heard != heard:
            # Only a whole reply gives the peer new time: octets that drip do not.
            self._rest()

    def _flush(self) -> None:
        data = cast(ClientCore, self._core).output()
        if data:
            if self._direct:
                direct.write(self.transport, data)
            else:
                cast(Any, self.transport).write(data)

    def _rest(self) -> None:
        """Something happened: wait anew."""
        stage = cast(ClientCore, self._core).stage
        if stage is not Stage.IDLE:
            self.deadline = min(self._clock.seconds() + TIMEOUTS[stage], self._until)

    def _act(self, events: Sequence[ClientEvent]) -> None:
        for event in events:
            kind = type(event)
            if kind is Finished:
                finished = cast(Finished, event)
                if self.transactions and self._isStale(events):
                    self._giveBack()
                elif finished.isLacking:
                    self._lacking(finished)
                elif finished.left and self._mayMove(events):
                    self._move(finished)
                else:
                    self._finished(finished)
            elif kind is ContentWanted:
                self._stream()
            elif kind is Established:
                self._established()
            elif kind is TlsWanted:
                self._startTls()
            elif kind is Ended:
                self._ended(cast(Ended, event))

    def _isStale(self, events: Sequence[ClientEvent]) -> bool:
        """Had the peer hung up, or was about to, while we were idle? That says nothing about the message, and costs nobody a try."""
        last = events[-1]
        return isinstance(last, Ended) and last.stage is Stage.MAIL and self.task is not None and not self.task.retried

    def _mayMove(self, events: Sequence[ClientEvent]) -> bool:
        """Did the host end the session before it had the message? Another host may take it."""
        last = events[-1]
        return (
            isinstance(last, Ended)
            and last.stage in _MOVABLE
            and (last.reply.code == 421 or last.reply.enhanced == _LOST)
            and not self.pool.board.stopping
        )

    def _move(self, finished: Finished) -> None:
        """What is left goes to another host; what was refused, was refused."""
        task = self.task
        assert task is not None
        self._closeBody()
        left = finished.left
        if len(left) == len(self._envelopes):
            self._moved, self.task = task, None
            self._envelopes = ()
            self._until = _NEVER
            self.pool.board.discharge(self)
            return
        self._moved = task.split(left)
        self._envelopes = task.envelopes
        self._decide([reply for index, reply in enumerate(finished.replies) if index not in left])

    def _lacking(self, finished: Finished) -> None:
        """This host lacks what the message needs; nothing was said to it."""
        task, self.task = self.task, None
        self._closeBody()
        self._envelopes = ()
        self._until = _NEVER
        board = self.pool.board
        board.discharge(self)
        self.pool.freed(self)
        if task is not None:
            board.moved(task, self, finished.replies[0], True)

    def _giveBack(self) -> None:
        self.pool.board.discharge(self)
        task, self.task = self.task, None
        self._until = _NEVER
        self._envelopes = ()
        if task is not None:
            task.retried = True
            self.pool.returned(task)

    def _decide(self, replies: Sequence[Reply]) -> None:
        task, envelopes = self.task, self._envelopes
        assert task is not None
        self.task = None
        self._until = _NEVER
        self._envelopes = ()
        self.transactions += 1
        self.pool.board.discharge(self)
        first = next((index for index, reply in enumerate(replies) if reply.code < 400), -1)
        if first >= 0:
            self.failures = 0
            over = {
                index: None
                for index, reply in enumerate(replies)
                if index > first and reply.code in (452, 552) and reply.enhanced in _TOO_MANY
            }
            if over:
                # Too many recipients (RFC 5321 4.5.3.1.10): the rest goes in the next transaction. Some were taken, so this ends.
                self.pool.route.host.tookOnly(min(over), self._clock.seconds())
                self.pool.returned(task.split(over))
                envelopes = task.envelopes
                replies = [reply for index, reply in enumerate(replies) if index not in over]
        else:
            self.failures += len(replies)
        self.pool.decided(self, task, envelopes, replies)

    def _finished(self, event: Finished) -> None:
        self._closeBody()
        if self.task is None:
            return
        self._decide(event.replies)
        if cast(ClientCore, self._core).stage is Stage.IDLE:
            self.pool.freed(self)

    def _ended(self, event: Ended) -> None:
        if self._gone:
            return
        self._gone = True
        self._closeBody()
        board = self.pool.board
        if self.facts is None:
            board.report.happened(ConnectionFailed(self.target.key.address, self.target.host, str(event.reply)))
        if self._connected:
            board.report.happened(ConnectionClosed(self.session, str(event.reply), self.transactions))
        if self._connected and not self._lost:
            transport = cast(Any, self.transport)
            if event.stage is Stage.QUIT:
                transport.loseConnection()
            else:
                transport.abortConnection()
            self._rest()
        if event.stage is Stage.AUTH:
            credential = self.target.key.credential
            board.report.happened(CredentialsRefused(self.session, self.label, credential, str(event.reply)))
        self._giveBack()
        moved, self._moved = self._moved, None
        self.pool.lost(self, event.stage, event.reply, moved)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        core = self._core
        assert core is not None
        self._lost = True
        self.deadline = _NEVER
        self.pool.board.forget(self)
        if core.stage is Stage.CLOSED:
            return
        if core.stage is Stage.END_OF_DATA:
            text = "Connection lost after the end of data; the message may have been delivered"
        elif self._verify and self._handshake is not None and self._handshake.error:
            self._act(core.abort(Reply(451, f"TLS: {self._handshake.error}", "4.7.5")))
            return
        elif reason.check(SSL.Error):
            text = f"TLS {'failed' if self._tls else 'handshake failed'}: {_sslReason(reason.value)}"
        else:
            text = f"Connection lost while waiting for {core.stage.value}"
        self._act(core.abort(Reply(451, text, "4.4.2")))

    # --- content of more than one chunk

    def _stream(self) -> None:
        body, self._body = self._body, None
        assert body is not None
        pending, self._pending = self._pending, b""
        self._write(pending, False)
        self._upload = Upload(body, self._remaining, self.transport, self._write, self._unreadable)
        self._upload.start()

    def _write(self, chunk: bytes, last: bool) -> None:
        cast(ClientCore, self._core).content(chunk, last)
        self._flush()
        self._rest()

    def _closeBody(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.close()


def _sslReason(error: BaseException | None) -> str:
    """OpenSSL's own words: C{certificate verify failed}."""
    queue = error.args[0] if error is not None and error.args else ()
    if isinstance(queue, list | tuple) and queue and isinstance(queue[-1], tuple):
        return str(queue[-1][-1])
    return "closed by the peer"


def _osReason(error: BaseException | None) -> str:
    return str(error.args[0]) if error is not None and error.args else "it cannot be had"


class Factory(ClientFactory):
    """For one connection."""

    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return self._connection

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        if reason.check(ConnectBindError) and self._connection.target.key.source:
            self._connection.unbound(_osReason(reason.value))
        else:
            self._connection.refused(reason.getErrorMessage().rstrip("."))
