"""Writing straight through to the socket, for every room that speaks over one.

Twisted's TCP transport buffers what is written and waits for the next turn of the reactor to send it: two changes of the poll set
and one turn for each reply. When nothing is buffered the same octets can go at once. This file alone knows the transport's insides
for that; where they are not as expected (another transport, a test's, TLS), C{transport.write} does the work.
"""

from __future__ import annotations

import socket
import sys
from struct import Struct
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

_DONE = Failure(ConnectionDone())
# Linux's MSG_MORE: the system keeps a last short segment for what follows, here the end of the connection.
_MORE = 0x8000 if sys.platform == "linux" else 0
# Linux's struct ucred: process, user, group.
_CREDENTIALS = Struct("iII")
_PEERCRED = getattr(socket, "SO_PEERCRED", 0) if sys.platform == "linux" else 0
_NEEDED = ("socket", "dataBuffer", "_tempDataBuffer", "connected", "disconnecting", "TLS", "_shouldShutdown")


def canWriteDirectly(transport: Any) -> bool:
    """Has this transport the insides that L{write} relies on? Ask once per connection."""
    return all(hasattr(transport, name) for name in _NEEDED)


def write(transport: Any, data: bytes, flags: int = 0) -> bool:
    """Send C{data} now, as far as the socket takes it, and leave the rest to the transport. Order is kept.

    @param transport: one that L{canWriteDirectly}.
    @param flags: of send(2).
    @return: nothing is left in the transport's buffer.
    """
    if (
        transport._tempDataBuffer
        or transport.dataBuffer
        or transport.TLS
        or transport.disconnecting
        or not transport.connected
    ):
        transport.write(data)
        return False
    try:
        sent = transport.socket.send(data, flags)
    except OSError:
        # Not now, or never again: the transport finds out which, and tells its protocol in its own time.
        sent = 0
    if sent == len(data):
        return True
    transport.write(data[sent:] if sent else data)
    return False


def close(transport: Any, data: bytes) -> bool:
    """Send the last words and close. They go in one segment with the end of the connection, so the peer is woken once; and the poll
    set is not changed twice to find out that the buffer is empty.

    @param transport: one that L{canWriteDirectly}.
    @return: it is closed, and its protocol has been told. If not, C{data} is with the transport, whose C{loseConnection} waits
        until it is sent.
    """
    if not write(transport, data, _MORE):
        return False
    # Nobody else has this socket: closing it ends the connection without shutdown(2), too.
    transport._shouldShutdown = False
    transport.connectionLost(_DONE)
    return True


def hasUnread(transport: Any) -> bool:
    """Has the system something of the peer that was not read yet? Closing now would reset the connection.

    @param transport: one that L{canWriteDirectly}.
    """
    try:
        return bool(transport.socket.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def descriptor(transport: Any) -> int:
    """The number of the connection's file descriptor; 0 where there is none. The system always gives the lowest free one."""
    try:
        return int(transport.fileno())
    except (AttributeError, OSError):
        return 0


def peerUser(transport: Any) -> int:
    """The uid of who made this connection, by a UNIX socket; -1: the system does not tell."""
    if not _PEERCRED:
        return -1
    try:
        told = transport.socket.getsockopt(socket.SOL_SOCKET, _PEERCRED, _CREDENTIALS.size)
    except (AttributeError, OSError):
        return -1
    uid: int = _CREDENTIALS.unpack(told)[1]
    return uid
