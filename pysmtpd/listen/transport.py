"""One connection's octets: between a Twisted transport and the protocol core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IPushProducer,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import direct
from pysmtpd.listen.session import QUIT, Session
from pysmtpd.listen.verbs import HANDLERS
from pysmtpd.model.events import SessionTls
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import CLOSED, NEED_DATA, PAUSED, Idle, Waiting
from pysmtpd.smtp.server import ServerCore

if TYPE_CHECKING:
    from pysmtpd.listen.listener import Listener

# Octets that may wait, unparsed, before the connection is not read any more.
HIGH_WATER = 65_536
# Seconds that a peer has for taking our last words.
LINGER = 30.0

# Looked up once: reading a member of an enumeration is a call.
COMMAND, DATA, US = Waiting.COMMAND, Waiting.DATA, Waiting.US

TIMED_OUT = Reply(421, "Timeout, closing the connection", "4.4.2")


@implementer(IOpenSSLServerConnectionCreator)
class _Creator:
    """Makes TLS connections of one context."""

    __slots__ = ("_context",)

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


@implementer(IProtocol, IHandshakeListener, IHalfCloseableProtocol, IPushProducer)
class ServerTransport:
    """Feeds the core, hands its events to the session's policy, and writes what it says: once per batch of commands.

    While a question is unanswered, or the queue is full, no event is taken; when much is buffered then, the connection is not read.
    When the peer does not read our replies, we do not read its commands.
    """

    __slots__ = (
        "_closing",
        "_core",
        "_direct",
        "_draining",
        "_eof",
        "_handshaking",
        "_held",
        "_listener",
        "_outputFull",
        "_producing",
        "_readPaused",
        "_running",
        "_since",
        "_waiting",
        "deadline",
        "session",
        "slot",
        "transport",
    )

    # For Twisted's protocol interface.
    factory = None

    def __init__(self, listener: Listener, core: ServerCore) -> None:
        self._listener = listener
        self._core = core
        self.session: Session
        self.transport: Any = None
        self.deadline = 0.0
        self.slot = 0
        self._waiting: Waiting | None = None
        self._since = 0.0
        self._direct = False
        self._running = False
        self._held = False
        self._outputFull = False
        self._readPaused = False
        self._producing = False
        self._handshaking = False
        self._closing = False
        self._draining: Reply | None = None
        self._eof = False

    # --- IProtocol

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._direct = direct.canWriteDirectly(transport)
        if self._direct or hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        self._listener.opened(self)

    def connectionMade(self) -> None:
        """Everything was done in C{makeConnection}."""

    def begin(self) -> None:
        """Take the core's first event: the greeting."""
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        self._core.receive(data)
        if not (self._running or self._closing):
            self._pump()

    def connectionLost(self, reason: Failure) -> None:
        session = self.session
        if self._handshaking and not session.reason:
            session.reason = f"TLS handshake failed: {reason.getErrorMessage()}"
        clean = isinstance(reason.value, ConnectionDone) or self._eof
        session.lost("closed by peer" if clean else f"connection lost: {reason.getErrorMessage()}")
        self._closing = True
        self._listener.closed(self)

    def readConnectionLost(self) -> None:
        """The peer has said all it wants to say; it may still read our replies."""
        self._eof = True
        if self._closing:
            self.transport.loseConnection()
        elif not self._running:
            self._pump()

    def writeConnectionLost(self) -> None:
        """Does not happen with TCP."""

    # --- the loop

    def _pump(self) -> None:
        """Take events as long as there are any that may be taken, then write what was answered."""
        self._running = True
        nextEvent = self._core.nextEvent
        handlers = HANDLERS
        session = self.session
        idle: Idle = PAUSED
        progress = False
        try:
            while not (self._held or self._outputFull or self._handshaking or self._closing):
                event = nextEvent()
                handler = handlers.get(event.__class__)
                if handler is None:
                    assert isinstance(event, Idle)
                    idle = event
                    break
                progress = True
                handler(session, event)
        except Exception:
            session.failed(Failure())
        finally:
            self._running = False
        self._settle(idle, progress)

    def _settle(self, idle: Idle, progress: bool) -> None:
        core = self._core
        output = core.output()
        hasQuit = idle is CLOSED and self.session.reason == QUIT
        if hasQuit and self._direct and not self._closing:
            if direct.close(self.transport, output):
                return
            output = b""
        if output:
            progress = True
            self._write(output)
        if self._closing or self._handshaking:
            return
        if idle is CLOSED or (self._eof and idle is NEED_DATA):
            self._finish(not hasQuit)
            return
        if self._draining is not None and self._isIdle():
            self.hangup(self._draining)
            return
        self._arm(progress)
        full = self._outputFull or (idle is PAUSED and core.buffered >= HIGH_WATER)
        if full is not self._readPaused:
            self._readPaused = full
            if full:
                self.transport.pauseProducing()
            elif not self._eof:
                self.transport.resumeProducing()

    def _arm(self, progress: bool) -> None:
        """Set the time-out that counts now. A command counts when it is complete, an octet of content at once."""
        # While the queue has not taken what came, the peer may wait, too.
        waiting = US if self._held else self._core.waiting
        if not progress and waiting is self._waiting and waiting is not DATA:
            return
        if waiting is not DATA or self._waiting is not DATA:
            self._since = self._listener.clock.seconds()
        self._waiting = waiting
        session = self.session
        limits = session.profile.limits
        if waiting is COMMAND:
            seconds = limits.commandTimeout
        elif waiting is DATA:
            # A refused chunk belongs to no transaction, whose end would count.
            left = self._since + limits.sessionTimeout - self._listener.clock.seconds()
            seconds = max(0.0, min(limits.dataTimeout, left))
        elif waiting is US:
            seconds = limits.sessionTimeout
        else:
            seconds = limits.authTimeout
        transaction = session.transaction
        if transaction is not None and transaction.until and waiting is not US:
            seconds = max(0.0, min(seconds, transaction.until - self._listener.clock.seconds()))
        self._listener.timeouts.arm(self, seconds)

    def _write(self, data: bytes) -> None:
        if self._direct:
            if direct.write(self.transport, data):
                return
        else:
            self.transport.write(data)
        if not (self._producing or self._closing):
            # From now on the transport tells when the peer does not read what we write.
            self._producing = True
            self.transport.registerProducer(self, True)

    # --- Wire: what the session asks for

    def answer(self, reply: Reply) -> None:
        if not self._closing:
            self._core.answer(reply)
            if not self._running:
                self._pump()

    def offerXclient(self, attributes: tuple[str, ...]) -> None:
        self._core.offerXclient(attributes)

    def moved(self, address: str) -> Reply | None:
        return self._listener.moved(self, address)

    def hold(self, until: Deferred[object]) -> None:
        self._held = True
        until.addCallbacks(self._released, self.session.failed)

    def _released(self, result: object) -> None:
        self._held = False
        if not (self._running or self._closing):
            self._pump()

    def hangup(self, reply: Reply) -> None:
        if self._closing:
            return
        inContent = self._core.waiting is DATA
        if not self._handshaking:
            self._core.hangup(reply)
            output = self._core.output()
            if output:
                self._write(output)
        self._finish(inContent or self._hasUnread())

    def _hasUnread(self) -> bool:
        """Has the peer said more than we have read? When an idle session ends it has not, and need not be waited for."""
        if self._readPaused or self._core.buffered:
            return True
        return self._direct and direct.hasUnread(self.transport)

    def finish(self) -> None:
        self._finish(False)

    def _finish(self, mayComeMore: bool) -> None:
        """Close once everything is written.

        @param mayComeMore: the peer has not said that it is done. Closing with unread octets would reset the connection, and a peer
            that is still writing would never read our last words: so only our side is closed, and what still comes is thrown away, until
            the peer closes or L{LINGER} is over.
        """
        if self._closing:
            return
        if self._running:
            output = self._core.output()
            if output:
                self._write(output)
        self._closing = True
        if self._producing:
            self._producing = False
            self.transport.unregisterProducer()
        if self._handshaking:
            self.transport.abortConnection()
            return
        self._listener.timeouts.arm(self, LINGER)
        if (
            mayComeMore
            and not self._eof
            and self.session.tls is None
            and hasattr(self.transport, "loseWriteConnection")
        ):
            if self._readPaused:
                self._readPaused = False
                self.transport.resumeProducing()
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    # --- TLS

    def startTls(self, context: SSL.Context) -> None:
        """Begin the handshake. What the peer sent behind STARTTLS in clear is forgotten when it has ended (RFC 3207 4.2)."""
        output = self._core.output()
        if output:
            self._write(output)
        self._handshaking = True
        self._waiting = Waiting.TLS
        self._listener.timeouts.arm(self, self.session.profile.limits.authTimeout)
        if self._readPaused:
            self._readPaused = False
            self.transport.resumeProducing()
        self.transport.startTLS(_Creator(context))

    def handshakeCompleted(self) -> None:
        if not self._handshaking:
            return
        self._handshaking = False
        session = self.session
        facts = session.near.certificates.facts(self.transport.getHandle())
        session.secured(facts)
        cipher = f"{facts.protocol}:{facts.cipher}:{facts.bits}"
        session.near.report.happened(SessionTls(session.id, cipher, facts.sni))
        self._core.tlsStarted()
        if not self._running:
            self._pump()

    # --- IPushProducer: of our replies, towards the transport

    def pauseProducing(self) -> None:
        """The peer does not read: stop reading from it, too."""
        self._outputFull = True
        if not self._readPaused:
            self._readPaused = True
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._outputFull = False
        if not (self._running or self._closing):
            self._pump()

    def stopProducing(self) -> None:
        """The connection is lost; C{connectionLost} says so, too."""

    # --- from outside

    def timedOut(self) -> None:
        """L{Timeouts}: the deadline has passed."""
        if self._closing:
            self.transport.abortConnection()
            return
        self.session.reason = "timeout"
        self.session.endTransaction()
        self.hangup(TIMED_OUT)

    def drain(self, reply: Reply) -> None:
        """End when the transaction under way, if there is one, has ended."""
        self._draining = reply
        if self._handshaking or self._isIdle():
            self.session.reason = self.session.reason or "draining"
            self.hangup(reply)

    def expel(self, reply: Reply) -> None:
        """End now."""
        if self._closing:
            self.transport.abortConnection()
        else:
            self.session.reason = self.session.reason or "draining"
            self.hangup(reply)

    def _isIdle(self) -> bool:
        core = self._core
        return not core.inTransaction and core.waiting is not US
