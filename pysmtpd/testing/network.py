"""One host's network: what a reactor offers, in memory."""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.base import BaseConnector
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectBindError, DNSLookupError, UnsupportedAddressFamily
from twisted.internet.interfaces import IConnector, IListeningPort
from twisted.logger import Logger
from zope.interface import implementer

from pysmtpd.interfaces.platform import INetwork
from pysmtpd.testing.clock import SimulatedClock
from pysmtpd.testing.datagrams import SimulatedDatagramPort
from pysmtpd.testing.internet import NEAR, Internet, isAddress, normal
from pysmtpd.testing.transport import SimulatedTransport

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory

FIRST_EPHEMERAL = 32_768


def tcpAddress(host: str, port: int) -> IPv4Address | IPv6Address:
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


@implementer(IListeningPort)
class SimulatedPort:
    """A listening socket."""

    _log = Logger()

    def __init__(self, network: SimulatedNetwork, factory: Any, key: Any, address: Any) -> None:
        self.network = network
        self._key = key
        self._address = address
        self._waiting: deque[SimulatedTransport] = deque()
        self._paused = False
        self.factory = factory
        self.connected = True

    def getHost(self) -> Any:
        return self._address

    def startListening(self) -> None:
        self.network.ports[self._key] = self
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        if self.connected:
            self.connected = False
            self.network.ports.pop(self._key, None)
            for transport in self._waiting:
                transport.abortConnection()
            self._waiting.clear()
            self.factory.doStop()
        return succeed(None)

    def pauseProducing(self) -> None:
        """Accept nothing for now: those who connect wait."""
        self._paused = True

    stopReading = pauseProducing

    def resumeProducing(self) -> None:
        self._paused = False
        while self._waiting and not self._paused:
            transport = self._waiting.popleft()
            if transport.connected:
                transport.resumeProducing()
                self._accept(transport)

    startReading = resumeProducing

    def knocked(self, transport: SimulatedTransport) -> None:
        """Somebody connects."""
        self.network.internet.remember(transport)
        transport.connected = 1
        if self._paused:
            transport.pauseProducing()
            self._waiting.append(transport)
        else:
            self._accept(transport)

    def _accept(self, transport: SimulatedTransport) -> None:
        try:
            protocol = self.factory.buildProtocol(transport.getPeer())
        except Exception:
            self._log.failure("a factory")
            protocol = None
        if protocol is None:
            transport.abortConnection()
        else:
            transport.established(protocol)


@implementer(IConnector)
class SimulatedConnector(BaseConnector):
    """A connection that is being made. Its time-out is the caller's."""

    def __init__(
        self,
        network: SimulatedNetwork,
        destination: Any,
        factory: Any,
        timeout: float | None,
        bind: tuple[str, int] | None,
    ) -> None:
        self.network = network
        self._destination = destination
        self._bind = bind
        super().__init__(factory, timeout, network.clock)  # type: ignore[arg-type]

    def getDestination(self) -> Any:
        return self._destination

    def _makeTransport(self) -> SimulatedTransport:  # type: ignore[override]
        return self.network.connecting(self, self._destination, self._bind)

    def connected(self, transport: SimulatedTransport) -> None:
        """The other side has answered."""
        protocol = self.buildProtocol(transport.getPeer())
        transport.connected = 1
        if protocol is None:
            transport.loseConnection()
        else:
            transport.established(protocol)


@implementer(INetwork)
class SimulatedNetwork:
    """See L{INetwork}. Made by L{Internet.host}.

    @ivar addresses: of this host; each loopback address belongs to every host.
    @ivar ports: what listens.
    """

    def __init__(
        self,
        internet: Internet,
        addresses: tuple[str, ...],
        clock: SimulatedClock,
        beside: list[SimulatedNetwork] | None = None,
    ) -> None:
        """
        @param beside: other processes of the same machine; they can be reached, and outlive this one.
        """
        self.internet = internet
        self.beside = [] if beside is None else beside
        self.addresses = addresses
        self.clock = clock
        self.ports: dict[Any, SimulatedPort] = {}
        self.datagramPorts: dict[Any, SimulatedDatagramPort] = {}
        self._ephemeral = FIRST_EPHEMERAL

    # --- IReactorTCP

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        interface = normal(interface)
        if interface not in ("", "0.0.0.0", "::") and not self._isOwn(interface):  # noqa: S104 - a simulated one
            raise CannotListenError(interface, port, OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)))
        number = port or self.ephemeral()
        key = ("tcp", interface, number)
        if key in self.ports:
            raise CannotListenError(interface, number, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
        listening = SimulatedPort(self, factory, key, tcpAddress(interface or "0.0.0.0", number))  # noqa: S104
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30.0,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        destination = tcpAddress(normal(host), port) if isAddress(host) else IPv4Address("TCP", host, port)
        connector = SimulatedConnector(self, destination, factory, timeout, bindAddress)
        connector.connect()
        return connector

    # --- IReactorUNIX

    def listenUNIX(
        self, address: Any, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        path = os.fsdecode(address)
        key = ("unix", path)
        if key in self.ports:
            raise CannotListenError(None, path, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
        listening = SimulatedPort(self, factory, key, UNIXAddress(os.fsencode(path)))
        listening.startListening()
        return listening

    def connectUNIX(self, address: Any, factory: Any, timeout: float = 30, checkPID: bool = False) -> IConnector:
        connector = SimulatedConnector(self, UNIXAddress(os.fsencode(address)), factory, timeout, None)
        connector.connect()
        return connector

    # --- IReactorUDP

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> IListeningPort:
        interface = normal(interface)
        if interface not in ("", "0.0.0.0", "::") and not self._isOwn(interface):  # noqa: S104
            raise CannotListenError(interface, port, OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)))
        number = port or self.ephemeral()
        if number in self.datagramPorts:
            raise CannotListenError(interface, number, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
        listening = SimulatedDatagramPort(self, protocol, interface, number)
        listening.startListening()
        return listening

    # --- what tests do

    def neighbour(self) -> SimulatedNetwork:
        """Another process of this machine. What it listens on, this one and its next lives can reach."""
        other = SimulatedNetwork(self.internet, self.addresses, SimulatedClock(self.clock.timeline))
        self.beside.append(other)
        return other

    def crash(self, isSilent: bool = False) -> None:
        """The host's process was killed: nothing of it is told anything any more. Its peers see resets.

        @param isSilent: the machine lost its power: its peers see nothing at all.
        """
        self.clock.kill()
        self.ports.clear()
        self.datagramPorts.clear()
        for transport in self.internet.transportsOf(self):
            self.internet.forget(transport)
            transport.died(isSilent)
        self.internet.remove(self)

    # --- for ports and connectors

    def portFor(self, address: str, port: int) -> SimulatedPort | None:
        for process in (self, *self.beside):
            for interface in (address, "::" if ":" in address else "0.0.0.0", ""):  # noqa: S104
                found = process.ports.get(("tcp", interface, port))
                if found is not None:
                    return found
        return None

    def pathFor(self, path: str) -> SimulatedPort | None:
        """Who listens at the path of a UNIX socket."""
        found = (process.ports.get(("unix", path)) for process in (self, *self.beside))
        return next((port for port in found if port is not None), None)

    def ephemeral(self) -> int:
        """A port number that was not used for long."""
        self._ephemeral = self._ephemeral + 1 if self._ephemeral < 65_535 else FIRST_EPHEMERAL
        return self._ephemeral

    def sourceFor(self, destination: str) -> str | None:
        """Our address for talking to another; None: we have none of its family."""
        if self._isOwn(destination):
            return destination
        wanted = ":" in destination
        return next((address for address in self.addresses if (":" in address) == wanted), None)

    def _isOwn(self, address: str) -> bool:
        return address in self.addresses or address.startswith("127.") or address == "::1"

    def connecting(self, connector: Any, destination: Any, bind: tuple[str, int] | None) -> SimulatedTransport:
        """The client's end of a connection that is being made."""
        internet = self.internet
        if isinstance(destination, UNIXAddress):
            path = os.fsdecode(destination.name or b"")
            client = SimulatedTransport(internet, self, True, UNIXAddress(None), destination, NEAR)
            internet.clock.callLater(0, internet.knock, client, lambda: self.pathFor(path), NEAR)
        else:
            host = destination.host
            source = normal(bind[0]) if bind and bind[0] else self.sourceFor(host) if isAddress(host) else ""
            number = bind[1] if bind and bind[1] else self.ephemeral()
            client = SimulatedTransport(
                internet,
                self,
                True,
                tcpAddress(source or "0.0.0.0", number),  # noqa: S104
                destination,
                internet.delay(source or "", host),
            )
            if not isAddress(host):
                self.clock.callLater(
                    0, client.failIfNotConnected, DNSLookupError("there are only addresses here", host)
                )
            elif source is None:
                self.clock.callLater(
                    0, client.failIfNotConnected, UnsupportedAddressFamily("no address of that family")
                )
            elif not self._isOwn(source):
                self.clock.callLater(
                    0,
                    client.failIfNotConnected,
                    ConnectBindError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)),
                )
            elif self._isOwn(host) and host not in self.addresses:
                internet.clock.callLater(
                    NEAR, internet.knock, client, lambda: self.portFor(host, destination.port), NEAR
                )
            else:
                internet.connect(client, source, host, destination.port)
        client.connector = connector
        internet.remember(client)
        return client
