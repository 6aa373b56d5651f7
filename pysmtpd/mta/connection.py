"""One connection to a host: a Twisted protocol around the client core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import direct
from pysmtpd.model.config import Config
from pysmtpd.model.events import CommandAnswered
from pysmtpd.model.ids import MessageId, SessionId
from pysmtpd.model.limits import MtaLimits
from pysmtpd.model.reply import Reply
from pysmtpd.mta.bounds import Charge, strictest
from pysmtpd.mta.connector import Connector
from pysmtpd.mta.encounters import Encounters
from pysmtpd.mta.keys import Target
from pysmtpd.mta.lanes import Lane
from pysmtpd.mta.secured import Secured
from pysmtpd.mta.security import Facts, Level, Missing, missing
from pysmtpd.mta.task import Task
from pysmtpd.mta.timeouts import TIMEOUTS
from pysmtpd.mta.told import LOST, Told
from pysmtpd.mta.transaction import Transaction
from pysmtpd.smtp.client import ClientCore
from pysmtpd.smtp.client_events import (
    ClientEvent,
    ClientSettings,
    ContentWanted,
    Credentials,
    Ended,
    Established,
    Finished,
    Stage,
    StartTls,
    TlsWanted,
)
from pysmtpd.smtp.client_extensions import NO_EXTENSIONS, Extensions

if TYPE_CHECKING:
    from pysmtpd.mta.pool import Pool

_STARTTLS = {
    Level.NEVER: StartTls.NEVER,
    Level.OPPORTUNISTIC: StartTls.OPPORTUNISTIC,
    Level.REQUIRED: StartTls.REQUIRED,
    Level.VERIFIED: StartTls.REQUIRED,
}
_USUAL_LIMITS = MtaLimits()
_NEVER = float("inf")
_GAVE_WAY = Reply(451, "Gave way: the host is slow, and slow hosts have their share of connections", "4.4.5")


@implementer(IHandshakeListener)
class Connection(Protocol):
    """
    @ivar target: the host, and the policy that it was opened under.
    @ivar tls: for people; empty: plain text.
    @ivar facts: what was established; None until transactions may start.
    @ivar transaction: what is under way, or None.
    @ivar moved: what another host may take, once this connection has ended.
    @ivar lane: in which its place counts. The last one, where it has no place: then it has nothing to give way with.
    @ivar opened: monotonic seconds when it was begun; C{since} when the peer last did something, infinite: it does not have to;
        C{slowAt} when what is under way has taken too long.
    @ivar deadline: monotonic seconds after which it has L{expired}.
    @ivar isConnected: the peer has answered.
    @ivar encounters: who was told of this session.
    @ivar counted: the bounds on connections that it counts against.
    @ivar transactions: finished ones.
    @ivar failures: recipients refused in a row.
    @ivar limits: the strictest of all for whom it was used.
    @ivar charges: what it counts against now.
    @ivar error: the last refusal of what it has, or had last, or why it ended; empty: nothing was refused.
    """

    def __init__(self, pool: Pool, target: Target, plain: bool, session: SessionId) -> None:
        self.pool = pool
        self.target = target
        self.session = session
        self.label = target.label
        self.source = ""
        self.tls = ""
        self.facts: Facts | None = None
        self.transaction: Transaction | None = None
        self.moved: Task | None = None
        self.counted: Sequence[str] = ()
        self.transactions = 0
        self.failures = 0
        self.maxMails = 0
        self.limits: MtaLimits = _USUAL_LIMITS
        self.charges: Sequence[Charge] = ()
        self.error = ""
        self.deadline = _NEVER
        self.lane = Lane.MUTE
        self.opened = 0.0
        self.since = _NEVER
        self.slowAt = _NEVER
        self._connector: Connector | None = None
        self._began = 0.0
        self._plain = plain
        self._clock = pool.board.clock
        self._told = Told(pool.board.report, self._clock, session, target)
        self._secured: Secured | None = None
        self._core: ClientCore | None = None
        self.isConnected = False
        self._direct = False
        self._lost = False
        self._gone = False
        self._domains: dict[str, None] = {}
        self.encounters = Encounters(self, plain)

    # --- coming up

    def begin(self, credentials: Credentials | None) -> None:
        """Connect."""
        if self._gone:
            return
        key = self.target.key
        secured = key.protocol == "smtps"
        starttls = StartTls.NEVER if secured or self._plain else _STARTTLS[self.target.policy.level]
        board = self.pool.board
        nonce = board.secret(18).hex() if credentials is not None else ""
        self._core = ClientCore(ClientSettings(key.helo, key.protocol == "lmtp", starttls, secured, credentials, nonce))
        self.tellSteps()
        self._connector = Connector(self)
        try:
            self._connector.connect(board.network)
        except Exception as error:
            # It costs this connection. Without an end it would be waited for.
            board.fault("connecting", Failure())
            self.refused(f"It cannot be connected to: {error}")

    def refused(self, why: str) -> None:
        """There is no connection."""
        self.pool.board.forget(self)
        if self._gone:
            return
        self._gone = True
        self._told.failed(why)
        self.pool.lost(self, Stage.GREETING, Reply(451, why, "4.4.1"))

    def withoutCredentials(self, why: str) -> None:
        """There are none for this host."""
        self._told.withoutCredentials(why)
        self.refused(f"Credentials: {why}")

    def unbound(self, why: str) -> None:
        """Our own address could not be had."""
        self.pool.board.forget(self)
        if self._gone:
            return
        self._gone = True
        self._told.failed(f"from {self.target.key.source}: {why}")
        self.pool.unbound(self, why)

    def withoutDescriptor(self) -> None:
        """This process has no more to spare."""
        self.pool.board.forget(self)
        if not self._gone:
            self._gone = True
            self.pool.withoutDescriptor(self)

    def connectionMade(self) -> None:
        transport = cast(Any, self.transport)
        if self._gone:
            transport.abortConnection()
            return
        self.isConnected = True
        self._direct = direct.canWriteDirectly(transport)
        key = self.target.key
        if key.port:
            transport.setTcpNoDelay(True)
            self.source = transport.getHost().host
        self._told.opened(self.source)
        self._rest()
        if key.protocol == "smtps":
            self._startTls()

    def _startTls(self) -> None:
        self._secured = Secured(self.pool.board.tls, self.target)
        self._secured.start(self.transport)

    def handshakeCompleted(self) -> None:
        """Twisted says: TLS is on."""
        core, secured = self._core, self._secured
        assert core is not None and secured is not None
        facts = secured.completed(self.transport)
        self.tls = f"{self._told.encrypted(facts)}{' verified' if facts.verified else ''}"
        if core.stage is Stage.TLS:
            core.tlsStarted()
            self._flush()
            self._rest()

    def _established(self) -> None:
        core = self._core
        assert core is not None
        policy = self.target.policy
        level = policy.level is not Level.NEVER
        secured = self._secured
        if secured is None or secured.facts is None:
            facts = Facts(None, level)
        else:
            facts = Facts(secured.facts, level, *secured.shown, core.extensions.requireTls)
        lack = missing(facts, policy)
        if lack is not None:
            self.abort(Reply(451, f"TLS: {lack.value}", "4.7.30" if lack is Missing.REQUIRETLS else "4.7.5"))
            return
        self.facts = facts
        self._told.established(core.extensions, core.mechanism)
        self.pool.board.connected()
        limit = self.limits.sessionMailMax
        self.maxMails = min(limit, core.extensions.mailMax) if core.extensions.mailMax else limit
        self.pool.established(self)

    def tellSteps(self) -> None:
        """To those who want to hear of them now; mostly nobody does."""
        cast(ClientCore, self._core).trace = self._stepped if self.pool.board.steps() is not None else None

    def _stepped(self, step: str, command: str, reply: Reply) -> None:
        steps = self.pool.board.steps()
        if steps is not None:
            message = self.task.message.id if self.task is not None else MessageId(0)
            steps(CommandAnswered(self.session, message, step, command, str(reply)))

    # --- what it is like

    @property
    def task(self) -> Task | None:
        """What is under way."""
        return self.transaction.task if self.transaction is not None else None

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
    def hasSpoken(self) -> bool:
        """Has the peer said anything?"""
        return self._told.isGreeted

    @property
    def isRevocable(self) -> bool:
        """Has the peer nothing that could become a message?"""
        return self.transaction is None or (self._core is not None and self._core.isRevocable)

    @property
    def certificateError(self) -> str:
        """Why the peer's certificate is not valid; empty: it is, or there is none."""
        return self._secured.certificateError if self._secured is not None else ""

    @property
    def offersTicket(self) -> bool:
        """Has it tried to resume a session of TLS?"""
        return self._secured is not None and self._secured.offersTicket

    # --- transactions

    def run(self, task: Task) -> None:
        """Take a task; only when idle. It is decided, or given back, before the pool hears C{freed} or C{lost}."""
        self.transaction = transaction = Transaction(self, cast(ClientCore, self._core), task)
        self._began = self._clock.seconds()
        self.pool.board.wakes(self)
        self.deadline = _NEVER
        self.encounters.met(task)
        transaction.begin(self._began)

    def servesAlso(self, domains: Sequence[str], config: Config) -> None:
        """The limits of these hold for it from now on."""
        self.limits = strictest(config, [*domains, *self._domains])
        self._domains.update(dict.fromkeys(domains))

    # --- the end

    def abort(self, reply: Reply) -> None:
        """End it now, as if the peer had; what is undecided gets C{reply}."""
        self._act(cast(ClientCore, self._core).abort(reply))

    def giveUp(self, reply: Reply) -> None:
        """End it now, also if nothing was said of what is under way."""
        core, transaction = self._core, self.transaction
        if core is not None and core.stage is not Stage.CLOSED:
            if transaction is not None and core.stage is Stage.IDLE:
                transaction.giveUp(reply)
            self.abort(reply)

    def leave(self) -> None:
        """Idle and no longer wanted."""
        core = self._core
        if core is not None and core.stage is Stage.IDLE:
            if self._secured is not None:
                self._secured.keep(self.transport)
            core.quit()
            self._flush()
            self._rest()

    def giveWay(self) -> None:
        """The host has nothing that could become a message, and its place is wanted: end it. The task has been taken away."""
        core = self._core
        if core is not None and core.stage is Stage.IDLE:
            self.leave()
            return
        self._gone = True
        if core is not None:
            core.abort(_GAVE_WAY)
        if self.isConnected:
            self._told.closed(_GAVE_WAY, self.transactions)
            cast(Any, self.transport).abortConnection()
        else:
            self._told.failed(str(_GAVE_WAY))
            self.pool.board.forget(self)
            if self._connector is not None:
                self._connector.stop()

    def expired(self) -> None:
        """The deadline has passed."""
        self.deadline = _NEVER
        core, transaction = self._core, self.transaction
        if core is None:
            return
        if core.stage is Stage.IDLE and transaction is None:
            self.pool.quit(self)
        elif core.stage is Stage.CLOSED:
            cast(Any, self.transport).abortConnection()
        else:
            text = f"Time-out waiting for {core.stage.value}"
            if transaction is not None and self._clock.seconds() >= transaction.until:
                text += ", for the transaction takes too long"
            if core.stage is Stage.END_OF_DATA:
                text = "Time-out after the end of data; the message may have been delivered"
            self.abort(Reply(451, text, LOST))

    # --- the wire

    def dataReceived(self, data: bytes) -> None:
        core = self._core
        assert core is not None
        heard = core.heard
        events = core.receive(data)
        if core.heard and not self._told.isGreeted:
            self._told.greeted(core.greeting)
        if events:
            self._act(events)
        self._flush()
        if core.heard != heard:
            # Only a whole reply gives the peer new time: octets that drip do not.
            self._rest()

    def proceed(self, events: Sequence[ClientEvent]) -> None:
        """The core was told something: it may have something to say, and these things have happened."""
        self._flush()
        self._rest()
        if events:
            self._act(events)

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
        if stage is Stage.IDLE:
            self.since = self.slowAt = _NEVER
            return
        self.since = now = self._clock.seconds()
        deadline = now + TIMEOUTS[stage]
        transaction = self.transaction
        if transaction is not None and transaction.until < deadline:
            deadline = transaction.until
        self.deadline = deadline

    def _act(self, events: Sequence[ClientEvent]) -> None:
        for event in events:
            kind = type(event)
            if kind is Finished:
                if self.transaction is not None:
                    self.transaction.finished(cast(Finished, event), events[-1])
            elif kind is ContentWanted:
                if self.transaction is not None:
                    self.transaction.contentWanted()
            elif kind is Established:
                self._established()
            elif kind is TlsWanted:
                self._startTls()
            elif kind is Ended:
                self._ended(cast(Ended, event))

    def _ended(self, event: Ended) -> None:
        if self._gone:
            return
        self._gone = True
        self._told.unauthenticated(event.stage, event.reply, cast(ClientCore, self._core).mechanism)
        if event.stage is not Stage.QUIT:
            self.error = str(event.reply)
        if self.facts is None:
            self._told.failed(str(event.reply))
        if self.isConnected:
            self._told.closed(event.reply, self.transactions)
        if self.isConnected and not self._lost:
            transport = cast(Any, self.transport)
            if event.stage is Stage.QUIT:
                transport.loseConnection()
            else:
                transport.abortConnection()
            self._rest()
        if self.transaction is not None:
            self.transaction.giveBack()
        self.pool.board.discharge(self)
        moved, self.moved = self.moved, None
        self.pool.lost(self, event.stage, event.reply, moved)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        core, secured = self._core, self._secured
        assert core is not None
        self._lost = True
        self.deadline = _NEVER
        self.pool.board.forget(self)
        if core.stage is Stage.CLOSED:
            return
        status = LOST
        text, isCertificate = secured.explain(reason) if secured is not None else ("", False)
        if core.stage is Stage.END_OF_DATA:
            text = "Connection lost after the end of data; the message may have been delivered"
        elif isCertificate:
            status = "4.7.5"
        elif not text:
            text = f"Connection lost while waiting for {core.stage.value}"
        self.abort(Reply(451, text, status))
