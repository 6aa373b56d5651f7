"""One end of a connection in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, ISSLTransport, ITCPTransport
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

if TYPE_CHECKING:
    from pysmtpd.testing.internet import Internet
    from pysmtpd.testing.network import SimulatedNetwork

BUFFER = 65_536
WINDOW = 262_144

# What travels, besides data.
_END = "end"
_RESET = "reset"


class _Raw:
    """The transport below TLS, for the TLS protocol."""

    def __init__(self, transport: SimulatedTransport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        self._transport.rawWrite(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self._transport.rawWrite(b"".join(iovec))

    def loseConnection(self) -> None:
        self._transport.rawLoseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._transport.rawRegisterProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._transport.rawUnregisterProducer()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@implementer(ITCPTransport)
class SimulatedTransport:
    """See L{ITCPTransport}; it buffers, pauses and closes as Twisted's does.

    Data that reaches a closed end is answered by a reset, as a kernel does; closing with unread data resets too.

    @ivar protocol: whom the data is for.
    @ivar disconnecting: C{loseConnection} was called and data is still leaving.
    """

    _log = Logger()
    TLS = False

    def __init__(
        self,
        internet: Internet,
        owner: SimulatedNetwork,
        isClient: bool,
        host: IAddress,
        peer: IAddress,
        delay: float,
    ) -> None:
        """
        @param owner: the host of this end.
        @param delay: seconds from one end to the other.
        """
        self._internet = internet
        self.owner = owner
        self._isClient = isClient
        self._host = host
        self._peer = peer
        self._delay = delay
        self.other: SimulatedTransport | None = None
        self.protocol: Any = None
        self.connector: Any = None
        self.connected = 0
        self.disconnecting = False
        self.disconnected = False
        self.producer: Any = None
        self.streamingProducer = False
        self._producerPaused = False
        self._paused = False
        self._outgoing: list[bytes] = []
        self._outgoingSize = 0
        self._isFlushing = False
        self._writeEnding = False
        self._inFlight = 0
        self._inbox: deque[bytes | str] = deque()
        self.lastArrival = 0.0
        self.isDead = False

    # --- ITCPTransport

    def getHost(self) -> Any:
        return self._host

    def getPeer(self) -> Any:
        return self._peer

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing waits here anyway."""

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nobody is away here without a test that says so."""

    def getHandle(self) -> Any:
        return None

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"only bytes travel, not {type(data).__name__}")
        if self.TLS:
            if self.connected:
                self.protocol.write(data)
        else:
            self.rawWrite(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        if not self.TLS:
            self.rawLoseConnection()
        elif self.connected and not self.disconnecting:
            self.protocol.loseConnection()

    def loseWriteConnection(self) -> None:
        self._writeEnding = True
        self._flushSoon()

    def abortConnection(self) -> None:
        if self.connected:
            self._detach()
            self._send(_RESET)
            self._internet.clock.callLater(0, self._tellLost, ConnectionAborted())

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        if self._paused and self.connected and not self.disconnecting:
            self._paused = False
            if self._inbox:
                self._internet.clock.callLater(0, self._drainInbox)

    def stopProducing(self) -> None:
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.TLS:
            self.protocol.registerProducer(producer, streaming)
        else:
            self.rawRegisterProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self.TLS:
            self.protocol.unregisterProducer()
        else:
            self.rawUnregisterProducer()

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """As Twisted's: the client's end is the TLS client unless C{normal} is false."""
        producer, streaming = self.producer, self.streamingProducer
        if producer is not None:
            self.rawUnregisterProducer()
        factory = TLSMemoryBIOFactory(
            contextFactory,
            self._isClient == normal,
            None,  # type: ignore[arg-type]
            clock=self._internet.clock,
        )
        secured = TLSMemoryBIOProtocol(factory, self.protocol, False)
        self.protocol = secured
        self.getHandle = secured.getHandle  # type: ignore[method-assign]
        self.getPeerCertificate = secured.getPeerCertificate
        directlyProvides(self, ISSLTransport)
        self.TLS = True
        secured.makeConnection(_Raw(self))
        if producer is not None:
            self.registerProducer(producer, streaming)

    # --- below TLS

    def rawWrite(self, data: bytes) -> None:
        if not self.connected or self._writeEnding or not data:
            return
        self._outgoing.append(data)
        self._outgoingSize += len(data)
        if (
            self.producer is not None
            and self.streamingProducer
            and self._outgoingSize > BUFFER
            and not self._producerPaused
        ):
            self._producerPaused = True
            self.producer.pauseProducing()
        self._flushSoon()

    def rawLoseConnection(self) -> None:
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._flushSoon()

    def rawRegisterProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError(f"{self.producer!r} is registered already")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = streaming
        self._producerPaused = False
        if not streaming:
            producer.resumeProducing()

    def rawUnregisterProducer(self) -> None:
        self.producer = None
        if self.connected and self.disconnecting:
            self._flushSoon()

    # --- the way out

    def _flushSoon(self) -> None:
        if not self._isFlushing:
            self._isFlushing = True
            self._internet.clock.callLater(0, self._flush)

    def _flush(self) -> None:
        self._isFlushing = False
        if not self.connected:
            return
        if self._outgoing:
            room = WINDOW - self._inFlight
            if room <= 0:
                return
            data = self._outgoing[0] if len(self._outgoing) == 1 else b"".join(self._outgoing)
            self._outgoing = [data[room:]] if len(data) > room else []
            if len(data) > room:
                data = data[:room]
            self._outgoingSize -= len(data)
            self._inFlight += len(data)
            for piece in self._internet.segments(data):
                self._send(piece)
        if not self._outgoing:
            if self.producer is not None and (not self.streamingProducer or self._producerPaused):
                self._producerPaused = False
                self.producer.resumeProducing()
            elif self.disconnecting:
                hasUnread = any(isinstance(item, bytes) for item in self._inbox)
                self._detach()
                self._send(_RESET if hasUnread else _END)
                self._tellLost(ConnectionDone())
            elif self._writeEnding:
                self._send(_END)

    def _send(self, item: bytes | str) -> None:
        """Put something on the wire. It arrives after everything before it."""
        internet = self._internet
        other = self.other
        if other is None or not internet.carries(self, item):
            return
        now = internet.clock.seconds()
        self.lastArrival = arrival = max(self.lastArrival, now + self._delay * internet.jitter())
        internet.clock.callLater(arrival - now, other.arrived, item)

    def reset(self) -> None:
        """The connection is cut between the two: both ends see it."""
        other = self.other
        if other is not None:
            other.arrived(_RESET)
        self.arrived(_RESET)

    # --- the way in

    def established(self, protocol: Any) -> None:
        """The connection stands; C{protocol} is told so."""
        self.connected = 1
        self.protocol = protocol
        try:
            protocol.makeConnection(self)
        except Exception:
            self._failed()

    def arrived(self, item: bytes | str) -> None:
        """The other end's data is here."""
        if not self.connected:
            if isinstance(item, bytes) and not self.isForgotten:
                self._send(_RESET)
            return
        if item is _RESET:
            self._detach()
            self._tellLost(ConnectionLost())
        elif self._paused or self.disconnecting or self._inbox:
            self._inbox.append(item)
        else:
            self._take(item)

    # A dead machine resets nothing: it is silent.
    isForgotten = False

    def _drainInbox(self) -> None:
        while self._inbox and self.connected and not self._paused and not self.disconnecting:
            self._take(self._inbox.popleft())

    def _take(self, item: bytes | str) -> None:
        if isinstance(item, bytes):
            if self.other is not None:
                self.other.acknowledged(len(item))
            try:
                self.protocol.dataReceived(item)
            except Exception:
                self._failed()
        elif IHalfCloseableProtocol.providedBy(self.protocol) and not self._writeEnding:
            IHalfCloseableProtocol(self.protocol).readConnectionLost()
        else:
            self._detach()
            self._tellLost(ConnectionDone())

    def acknowledged(self, size: int) -> None:
        """The other end has taken so much."""
        self._inFlight -= size
        if self._outgoing and not self._isFlushing and self.connected:
            self._isFlushing = True
            self._internet.clock.callLater(self._delay, self._flush)

    def _failed(self) -> None:
        """The protocol raised: Twisted logs that and drops the connection."""
        failure = Failure()
        self._log.failure("a protocol", failure=failure)
        if self.connected:
            self._detach()
            self._send(_RESET)
            self._tellLost(failure.value or ConnectionLost())

    # --- the end

    def _detach(self) -> None:
        self.connected = 0
        self.disconnected = True
        self._outgoing = []
        self._inbox.clear()

    def _tellLost(self, reason: BaseException) -> None:
        if self.isDead:
            return
        self._internet.forget(self)
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        failure = Failure(reason)
        # As Twisted does: who still holds this end holds nobody else by that.
        protocol, self.protocol = self.protocol, None
        connector, self.connector = self.connector, None
        if protocol is not None:
            try:
                protocol.connectionLost(failure)
            except Exception:
                self._log.failure("a protocol's connectionLost")
        if connector is not None:
            connector.connectionLost(failure)

    def died(self, isSilent: bool) -> None:
        """The process of this end was killed: its protocol is told nothing.

        @param isSilent: the machine is gone with it, so that the other end learns nothing either.
        """
        if self.connected:
            self._detach()
            if not isSilent:
                self._send(_RESET)
        self.isForgotten = isSilent
        self.isDead = True

    def failIfNotConnected(self, error: BaseException) -> None:
        """For the connector: give up."""
        if not self.connected and not self.disconnected:
            self.disconnected = True
            self._internet.forget(self)
            if not self.isDead:
                self.connector.connectionFailed(Failure(error))
