"""Where a connection waits until it is known whom it brings: behind a balancer, or at the local socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from pysmtpd.interfaces import TableError
from pysmtpd.listen.profile import Profile
from pysmtpd.listen.proxy import ProxyError, parseProxy
from pysmtpd.model.reply import Reply

if TYPE_CHECKING:
    from pysmtpd.listen.listener import Listener

# Seconds for the header of the PROXY protocol; a balancer sends it at once.
PATIENCE = 10.0

NOT_YOU = Reply(421, "This port is for our balancers", "4.7.0")
NO_HEADER = Reply(421, "No valid PROXY header", "4.7.0")
NOT_NOW = Reply(421, "Temporary failure, try again later", "4.3.0")


class Door(Protocol):
    """A connection to the local socket: the system knows whose it is as soon as it is there."""

    def __init__(self, listener: Listener, profile: Profile) -> None:
        self._listener = listener
        self._profile = profile

    def connectionMade(self) -> None:
        self._listener.local(self.transport, self._profile)


class Lobby(Protocol):
    """A connection that begins with a header of the PROXY protocol.

    It was admitted as one of its balancer's, and becomes one of its client's. Nothing is said before the header is there.

    @ivar host: the balancer's address.
    """

    transport: Any

    def __init__(self, listener: Listener, profile: Profile, host: str) -> None:
        self.host = host
        self.profile = profile
        self.deadline = 0.0
        self.slot = 0
        self._listener = listener
        self._data = b""
        self._isTrusted = False
        self._isOver = False

    def connectionMade(self) -> None:
        """Ask at once whether this one may bring others."""
        self._listener.lobbies[self] = None
        self._listener.timeouts.arm(self, PATIENCE)
        try:
            answer = self._listener.mayAnnounce(self)
        except TableError:
            self._failed(Failure())
            return
        if isinstance(answer, Deferred):
            self.transport.pauseProducing()
            answer.addCallback(self._judged).addErrback(self._failed)
        else:
            self._judged(answer)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if self._isTrusted:
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end()

    def timedOut(self) -> None:
        """L{pysmtpd.listen.timeouts.Timeouts}: no header came."""
        self._turnAway(NO_HEADER, "no PROXY header in time")

    def abort(self) -> None:
        """The listener closes."""
        self._end()
        self.transport.abortConnection()

    def _judged(self, isTrusted: bool) -> None:
        if self._isOver:
            return
        if not isTrusted:
            self._turnAway(NOT_YOU, "may not announce others")
            return
        self._isTrusted = True
        self.transport.resumeProducing()
        if self._data:
            self._read()

    def _failed(self, failure: Failure) -> None:
        if not self._isOver:
            self._turnAway(NOT_NOW, f"it cannot be told who may announce others: {failure.getErrorMessage()}")

    def _read(self) -> None:
        spec = self.profile.spec.proxy
        assert spec is not None
        try:
            header = parseProxy(self._data, spec.v1)
        except ProxyError as error:
            self._turnAway(NO_HEADER, str(error))
            return
        if header is not None:
            self._end()
            self._listener.announced(self, header, self._data[header.size :])

    def _turnAway(self, reply: Reply, reason: str) -> None:
        self._end()
        self._listener.turnAway(self, reply, reason)

    def _end(self) -> None:
        """It is a lobby no more, however it goes on."""
        if not self._isOver:
            self._isOver = True
            self._listener.timeouts.disarm(self)
            self._listener.lobbies.pop(self, None)
            self._listener.leave(self.host)
