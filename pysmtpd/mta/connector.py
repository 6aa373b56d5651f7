"""From a place to a connection that stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectBindError, TimeoutError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import INetwork
from pysmtpd.mta.timeouts import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from pysmtpd.mta.connection import Connection


class Connector(ClientFactory):
    """For one connection, which hears C{refused} or C{unbound} if it does not come about."""

    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connect(self, network: INetwork) -> None:
        """Try."""
        key = self._connection.target.key
        if key.port == 0:
            network.connectUNIX(key.address, self, CONNECT_TIMEOUT)
        else:
            network.connectTCP(key.address, key.port, self, CONNECT_TIMEOUT, (key.source, 0) if key.source else None)

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return self._connection

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        if reason.check(ConnectBindError) and self._connection.target.key.source:
            error = reason.value
            why = str(error.args[0]) if error is not None and error.args else "it cannot be had"
            self._connection.unbound(why)
        else:
            self._connection.refused(_refusal(reason))


def _refusal(reason: Failure) -> str:
    """Why there is no connection, in the system's words."""
    if reason.check(TimeoutError):
        return f"No answer within {CONNECT_TIMEOUT:g} seconds"
    said: tuple[object, ...] = getattr(reason.value, "args", ())
    return str(said[0]) if said and said[0] else reason.getErrorMessage().rstrip(".")
