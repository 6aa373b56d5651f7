"""UDP in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.logger import Logger
from zope.interface import implementer

from pysmtpd.testing.internet import isAddress, normal

if TYPE_CHECKING:
    from pysmtpd.testing.network import SimulatedNetwork


@implementer(IListeningPort, IUDPTransport)
class SimulatedDatagramPort:
    """A UDP socket. Datagrams may be overtaken and lost; a port where nobody listens tells a connected socket so."""

    _log = Logger()

    def __init__(self, network: SimulatedNetwork, protocol: Any, interface: str, port: int) -> None:
        self._network = network
        self._interface = interface
        self._port = port
        self._peer: tuple[str, int] | None = None
        self.protocol = protocol
        self.connected = True

    def startListening(self) -> None:
        self._network.datagramPorts[self._port] = self
        self.protocol.makeConnection(self)

    def stopListening(self) -> Deferred[None]:
        if self.connected:
            self.connected = False
            self._network.datagramPorts.pop(self._port, None)
            self.protocol.doStop()
        return succeed(None)

    def loseConnection(self) -> None:
        self.stopListening()

    def getHost(self) -> IPv4Address | IPv6Address:
        host = self._interface or "0.0.0.0"  # noqa: S104 - a simulated one
        return IPv6Address("UDP", host, self._port) if ":" in host else IPv4Address("UDP", host, self._port)

    def connect(self, host: str, port: int) -> None:
        if not isAddress(host):
            raise ValueError(f"an address is needed, not {host!r}")
        self._peer = (normal(host), port)

    def getBroadcastAllowed(self) -> bool:
        return False

    def setBroadcastAllowed(self, enabled: bool) -> None:
        raise ValueError("there is no broadcast here")

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        target = addr or self._peer
        if target is None:
            raise TypeError("a datagram needs an address")
        if not self.connected:
            return
        host, port = normal(target[0]), target[1]
        network = self._network
        internet = network.internet
        source = self._interface or network.sourceFor(host)
        if source is None or internet.losesDatagram(source, host):
            return
        isHere = network.sourceFor(host) == host
        receiver = network if isHere else internet.at(host)
        if receiver is not None:
            delay = internet.delay(source, host) * internet.jitter()
            internet.clock.callLater(delay, self._arrive, receiver, port, packet, (source, self._port))

    def _arrive(self, receiver: SimulatedNetwork, port: int, packet: bytes, sender: tuple[str, int]) -> None:
        found = receiver.datagramPorts.get(port)
        if found is None:
            if self._peer is not None and self.connected:
                self.protocol.connectionRefused()
            return
        if found._peer is not None and found._peer != sender:
            return
        try:
            found.protocol.datagramReceived(packet, sender)
        except Exception:
            self._log.failure("a datagram protocol")
