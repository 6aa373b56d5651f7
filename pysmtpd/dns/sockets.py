"""UDP sockets with ports that cannot be guessed, and never serve for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from pysmtpd.interfaces.platform import IPlatform

POOL = 8
MOST_USES = 256
MOST_OCTETS = 4096

Q = TypeVar("Q")


class Socket(DatagramProtocol, Generic[Q]):
    """One port.

    @ivar pending: questions by id.
    """

    noisy = False
    port: IListeningPort

    def __init__(self, received: Callable[[Socket[Q], bytes, Any], None]) -> None:
        self.pending: dict[int, Q] = {}
        self.uses = 0
        self.spent = False
        self._received = received

    def send(self, data: bytes, address: tuple[str, int]) -> None:
        """
        @raise OSError: it cannot go out.
        """
        assert self.transport is not None
        self.transport.write(data, address)

    def datagramReceived(self, data: bytes, address: Any) -> None:
        """Anything that reached the port, from anyone."""
        self._received(self, data, address)


class Sockets(Generic[Q]):
    """A pool for each address family. Which socket serves a question, and under which id, is drawn from the system's secrets."""

    _log = Logger()

    def __init__(self, platform: IPlatform, received: Callable[[Socket[Q], bytes, Any], None]) -> None:
        self._platform = platform
        self._received = received
        self._pools: dict[str, list[Socket[Q] | None]] = {"": [None] * POOL, "::": [None] * POOL}
        self._secrets = b""
        self._offset = 0

    def place(self, question: Q, interface: str) -> tuple[Socket[Q], int]:
        """Put C{question} under an id of a socket.

        @param interface: what to bind to: empty for IPv4, C{::} for IPv6.
        @raise OSError: no socket can be had.
        """
        draw = self._draw()
        pool = self._pools[interface]
        slot = draw % POOL
        socket = pool[slot]
        if socket is None or socket.uses >= MOST_USES:
            try:
                fresh = self._open(interface)
            except (OSError, CannotListenError) as error:
                # No descriptor left: an old port is better than no answer.
                socket = next((other for other in pool if other is not None), None)
                if socket is None:
                    raise OSError(f"no UDP socket: {error}") from error
            else:
                if socket is not None:
                    self._retire(socket)
                socket = pool[slot] = fresh
        id = draw >> 8
        while id in socket.pending:
            id = self._draw() >> 8
        socket.uses += 1
        socket.pending[id] = question
        return socket, id

    def release(self, socket: Socket[Q], id: int) -> None:
        """The question under C{id} waits no more."""
        socket.pending.pop(id, None)
        if socket.spent and not socket.pending:
            self._close(socket)

    def close(self) -> Deferred[None]:
        """Close all sockets that are in no use."""
        sockets = [socket for pool in self._pools.values() for socket in pool if socket is not None]
        for pool in self._pools.values():
            pool[:] = [None] * POOL
        return gatherResults([self._close(socket) for socket in sockets]).addCallback(lambda _: None)

    def _open(self, interface: str) -> Socket[Q]:
        socket: Socket[Q] = Socket(self._received)
        socket.port = self._platform.network.listenUDP(0, socket, interface, MOST_OCTETS)
        return socket

    def _retire(self, socket: Socket[Q]) -> None:
        socket.spent = True
        if not socket.pending:
            self._close(socket)

    def _close(self, socket: Socket[Q]) -> Deferred[None]:
        closed = socket.port.stopListening() or succeed(None)
        return closed.addErrback(lambda failure: self._log.failure("while closing a DNS socket", failure))

    def _draw(self) -> int:
        """24 bits; the system is asked for many at once."""
        if self._offset >= len(self._secrets):
            self._secrets, self._offset = self._platform.secret(768), 0
        self._offset += 3
        return int.from_bytes(self._secrets[self._offset - 3 : self._offset], "big")
