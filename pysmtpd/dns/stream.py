"""One question over TCP (RFC 7766), for answers that do not fit into a datagram."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IConnector, IReactorTCP
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure


class StreamQuestion(ClientFactory):
    """Connects, asks, gives back the first message that comes, and hangs up. Tells exactly once, unless it was stopped."""

    noisy = False

    def __init__(self, wire: bytes, answered: Callable[[bytes], None], failed: Callable[[str], None]) -> None:
        self.wire = wire
        self._answered = answered
        self._failed = failed
        self._connector: IConnector | None = None
        self._over = False

    def start(self, network: IReactorTCP, address: tuple[str, int], timeout: float) -> None:
        """
        @param timeout: seconds for the connection to stand.
        """
        connector = network.connectTCP(*address, self, timeout)
        if self._over:
            connector.disconnect()
        else:
            self._connector = connector

    def stop(self) -> None:
        """Hang up and tell nothing."""
        self._over = True
        connector, self._connector = self._connector, None
        if connector is not None:
            connector.disconnect()

    def buildProtocol(self, address: IAddress | None) -> Protocol:
        """One question, one protocol."""
        return _Stream(self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """No connection."""
        self.end(failed=reason.getErrorMessage())

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        """It ended; usually by ourselves."""
        self.end(failed="connection closed without an answer")

    def end(self, data: bytes = b"", failed: str = "") -> None:
        """Tell what came, once."""
        if self._over:
            return
        self.stop()
        if failed:
            self._failed(failed)
        else:
            self._answered(data)


class _Stream(Int16StringReceiver):
    def __init__(self, question: StreamQuestion) -> None:
        self._question = question

    def connectionMade(self) -> None:
        self.sendString(self._question.wire)

    def stringReceived(self, string: bytes) -> None:
        self._question.end(string)
