"""Requests to the root helper and its answers: a length, then JSON, with at most one descriptor beside it. Both sides know this file."""

from __future__ import annotations

import array
import json
import socket
from struct import Struct
from typing import Any

_LENGTH = Struct("!I")

# Octets of one request or answer.
MAX_FRAME = 16_384

# Octets of the first frame, which tells the helper what is allowed.
MAX_TERMS = 1_048_576

_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class WireError(Exception):
    """What came is not what this protocol has, or the other side is gone."""


def send(connection: socket.socket, values: dict[str, Any], descriptor: int | None = None) -> None:
    """
    @raise OSError: the other side is gone, or takes nothing.
    """
    text = json.dumps(values).encode("ascii")
    octets = _LENGTH.pack(len(text)) + text
    if descriptor is not None:
        # It travels with the first octet.
        socket.send_fds(connection, [octets[:1]], [descriptor])
        octets = octets[1:]
    connection.sendall(octets)


def receive(connection: socket.socket, limit: int = MAX_FRAME) -> tuple[dict[str, Any], int | None] | None:
    """The next frame and the descriptor that came with it, which is the caller's to close; None: the other side has hung up.

    @raise WireError: it is no frame.
    @raise OSError: the connection broke, or time is over.
    """
    descriptor: int | None = None
    try:
        first, descriptor = _receiveFirst(connection)
        if not first:
            return None
        (length,) = _LENGTH.unpack(first + _exactly(connection, _LENGTH.size - 1))
        if length > limit:
            raise WireError(f"a frame of {length} octets")
        try:
            values = json.loads(_exactly(connection, length))
        except (ValueError, RecursionError):
            raise WireError("not JSON") from None
        if not isinstance(values, dict):
            raise WireError("not an object")
    except BaseException:
        if descriptor is not None:
            socket.close(descriptor)
        raise
    return values, descriptor


def _receiveFirst(connection: socket.socket) -> tuple[bytes, int | None]:
    found = array.array("i")
    room = socket.CMSG_LEN(4 * found.itemsize)
    octets, ancillary, flags, _ = connection.recvmsg(1, room, _FLAGS)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    if len(found) > 1 or flags & socket.MSG_CTRUNC:
        for each in found:
            socket.close(each)
        raise WireError("too many descriptors")
    return octets, found[0] if found else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    octets = bytearray()
    while len(octets) < size:
        more = connection.recv(size - len(octets))
        if not more:
            raise WireError("cut off in the middle of a frame")
        octets += more
    return bytes(octets)
