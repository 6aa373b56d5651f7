"""Protocols, factories and producers that keep what happens to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from zope.interface import implementer


class Recorder(Protocol):
    """Keeps what happens."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.made: Deferred[Recorder] = Deferred()
        self.lost: Deferred[Any] = Deferred()
        self._wanted: list[tuple[int, Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        waiting, self._wanted = self._wanted, []
        for size, got in waiting:
            if len(self.data) >= size:
                got.callback(self.data)
            else:
                self._wanted.append((size, got))

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(reason.value)

    def got(self, size: int) -> Deferred[bytes]:
        """Fires when so many octets are here."""
        done: Deferred[bytes] = Deferred()
        self._wanted.append((size, done))
        self.dataReceived(b"")
        return done


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.readEnded: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        self.readEnded.callback(None)

    def writeConnectionLost(self) -> None:
        """Nothing to do."""


class Server(Factory):
    noisy = False

    def __init__(self, make: Callable[[], Recorder | None] = Recorder) -> None:
        self._make = make
        self.protocols: list[Recorder] = []
        self.accepted: Deferred[Recorder] = Deferred()

    def buildProtocol(self, addr: Any) -> Any:
        protocol = self._make()
        if protocol is not None:
            self.protocols.append(protocol)
            if not self.accepted.called:
                protocol.made.addCallback(self._accepted)
        return protocol

    def _accepted(self, protocol: Recorder) -> Recorder:
        self.accepted.callback(protocol)
        return protocol


class Client(ClientFactory):
    noisy = False

    def __init__(self, protocol: Recorder) -> None:
        self.protocol_ = protocol
        self.failed: Deferred[Any] = Deferred()

    def buildProtocol(self, addr: Any) -> Any:
        return self.protocol_

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.failed.callback(reason.value)


class Producer:
    """Writes until it is told to pause."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._running = True
        self.sent = 0
        self.stopped = False
        self.paused: Deferred[None] = Deferred()
        self.resumed: Deferred[None] = Deferred()

    def go(self) -> None:
        while self._running and self.sent < 64 << 20:
            self.sent += 65_536
            self._transport.write(b"x" * 65_536)

    def pauseProducing(self) -> None:
        self._running = False
        if not self.paused.called:
            self.paused.callback(None)

    def resumeProducing(self) -> None:
        if not self.resumed.called:
            self.resumed.callback(None)

    def stopProducing(self) -> None:
        self.stopped = True


class PullProducer:
    def __init__(self, transport: Any, pieces: int) -> None:
        self._transport = transport
        self._left = pieces

    def resumeProducing(self) -> None:
        self._left -= 1
        self._transport.write(b"x" * 100)
        if not self._left:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """Nothing to do."""


class Echo(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        self.transport.write(b"echo " + datagram, addr)


class Asker(DatagramProtocol):
    transport: Any

    def __init__(self) -> None:
        self.answer: Deferred[tuple[bytes, Any]] = Deferred()
        self.refused: list[bool] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.answer.callback((datagram, addr))

    def connectionRefused(self) -> None:
        self.refused.append(True)
