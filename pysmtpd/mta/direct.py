"""Writing at once."""

from __future__ import annotations

from typing import Any


def sendNow(transport: Any, data: bytes) -> None:
    """Write to the socket itself when nothing waits before C{data} and no TLS is on; else, and for the rest, C{transport.write}.

    A write that has to wait for the next round of the reactor costs two changes of the poll set and a wake-up per reply.
    """
    if (
        getattr(transport, "TLS", True)
        or getattr(transport, "_tempDataLen", 1)
        or transport.dataBuffer
        or not transport.connected
        or transport.disconnecting
    ):
        transport.write(data)
        return
    try:
        sent = transport.socket.send(data)
    except OSError:
        # Full, or broken: the transport finds out which.
        sent = 0
    if sent < len(data):
        transport.write(data[sent:] if sent else data)
