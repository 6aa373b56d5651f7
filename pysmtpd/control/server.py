"""The control socket: who may connect, how many, and how they end."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.control.commands import Control
from pysmtpd.control.connection import Connection
from pysmtpd.interfaces import IPlatform

# Seconds that a client has to read its last answer when the daemon ends.
LAST_WORDS = 2.0

_MODE = 0o600

MOST_CONNECTIONS = 64
"""Operators at one time."""


class ControlSocket(Factory):
    """Its name is what Twisted logs."""

    noisy = False

    def __init__(self, connect: Callable[[], Connection | None]) -> None:
        self._connect = connect

    def buildProtocol(self, address: object) -> Connection | None:
        return self._connect()


class ControlServer:
    """Listens on the control socket, mode 0600."""

    _log = Logger()

    def __init__(self, platform: IPlatform, path: str, control: Control) -> None:
        self._platform = platform
        self._path = path
        self._control = control
        self._port: IListeningPort | None = None
        self._connections: dict[Connection, None] = {}
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """
        @raise twisted.internet.error.CannotListenError: the path cannot be bound.
        """
        factory = ControlSocket(self._connected)
        # wantPID: a lock file beside it tells a socket that a dead daemon left behind from a live one.
        self._port = self._platform.network.listenUNIX(self._path, factory, mode=_MODE, wantPID=True)

    @property
    def isOpen(self) -> bool:
        """May an operator connect?"""
        return self._port is not None

    def _connected(self) -> Connection | None:
        """None: the connection is closed at once."""
        if len(self._connections) >= MOST_CONNECTIONS:
            return None
        connection = Connection(self._control, self._platform.clock, self._disconnected)
        self._connections[connection] = None
        return connection

    def _disconnected(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        self._check()

    def stop(self) -> Deferred[None]:
        """Take no more connections, and end those that there are; what was answered is still sent, for C{LAST_WORDS} at most.

        @return: fires when the last connection is gone.
        """
        if self._stopped is None:
            self._stopped = Deferred()
            Deferred.fromCoroutine(self._stop()).addErrback(self._complain)
        return self._stopped

    async def _stop(self) -> None:
        closing = None if self._port is None else self._port.stopListening()
        if isinstance(closing, Deferred):
            await closing
        self._port = None
        expel = self._platform.clock.callLater(LAST_WORDS, self._expel)
        assert self._stopped is not None
        self._stopped.addCallback(lambda _: expel.cancel() if expel.active() else None)
        for connection in list(self._connections):
            connection.end()
        self._check()

    def _check(self) -> None:
        isOver = self._port is None and not self._connections
        if isOver and self._stopped is not None and not self._stopped.called:
            self._stopped.callback(None)

    def _expel(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    def _complain(self, failure: Failure) -> None:
        self._log.failure("While closing the control socket", failure=failure)
        self._port = None
        self._check()
