"""From a place to a connection that stands."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectBindError, TimeoutError
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import INetwork
from pysmtpd.mta.timeouts import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from pysmtpd.mta.connection import Connection


_USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Connector(ClientFactory):
    """For one connection, which hears C{refused} or C{unbound} if it does not come about."""

    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._connecting: IConnector | None = None

    def connect(self, network: INetwork) -> None:
        """Try."""
        key = self._connection.target.key
        if key.port == 0:
            self._connecting = network.connectUNIX(key.address, self, CONNECT_TIMEOUT)
        else:
            source = (key.source, 0) if key.source else None
            self._connecting = network.connectTCP(key.address, key.port, self, CONNECT_TIMEOUT, source)

    def stop(self) -> None:
        """Give up, and the descriptor with it."""
        if self._connecting is not None:
            self._connecting.disconnect()

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return self._connection

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        error = reason.value
        if isinstance(error, ConnectBindError) and error.osError in _USED_UP:
            self._connection.withoutDescriptor()
        elif isinstance(error, ConnectBindError) and self._connection.target.key.source:
            why = str(error.args[0]) if error.args else "it cannot be had"
            self._connection.unbound(why)
        else:
            self._connection.refused(_refusal(reason))


def _refusal(reason: Failure) -> str:
    """Why there is no connection, in the system's words."""
    if reason.check(TimeoutError):
        return f"No answer within {CONNECT_TIMEOUT:g} seconds"
    said: tuple[object, ...] = getattr(reason.value, "args", ())
    return str(said[0]) if said and said[0] else reason.getErrorMessage().rstrip(".")
