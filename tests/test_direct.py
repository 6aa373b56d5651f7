"""Writing straight through to the socket."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.direct import canWriteDirectly, close, descriptor, write


class Socket:
    def __init__(self, room: int) -> None:
        self.room = room
        self.sent = b""

    def send(self, data: bytes, flags: int) -> int:
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.room -= len(taken)
        self.sent += taken
        return len(taken)


class Transport:
    """What of a TCP transport is looked at."""

    TLS = False
    connected = True
    disconnecting = False
    _shouldShutdown = True

    def __init__(self, room: int) -> None:
        self.socket = Socket(room)
        self.dataBuffer = b""
        self._tempDataBuffer: list[bytes] = []
        self.lost: list[Any] = []

    @property
    def written(self) -> bytes:
        return b"".join(self._tempDataBuffer)

    def write(self, data: bytes) -> None:
        self._tempDataBuffer.append(data)

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason)

    def fileno(self) -> int:
        return 7


class DirectTests(SynchronousTestCase):
    def test_onlyWhereTheInsidesAreKnown(self) -> None:
        self.assertTrue(canWriteDirectly(Transport(1)))
        self.assertFalse(canWriteDirectly(object()))

    def test_roomForAllSomeNone(self) -> None:
        for room in (10, 3, 0):
            transport = Transport(room)
            done = [write(transport, b"12345"), write(transport, b"6")]
            self.assertEqual(transport.socket.sent + transport.written, b"123456")
            self.assertEqual(len(transport.socket.sent), min(room, 6))
            self.assertEqual(done, [room == 10] * 2)

    def test_notUnderTlsNorWhenItEnds(self) -> None:
        for name, value in (("TLS", True), ("connected", False), ("disconnecting", True), ("dataBuffer", b"0")):
            transport = Transport(10)
            setattr(transport, name, value)
            self.assertFalse(write(transport, b"1"))
            self.assertEqual((transport.written, transport.socket.sent), (b"1", b""))

    def test_closeWhenAllIsSent(self) -> None:
        transport = Transport(10)
        self.assertTrue(close(transport, b"bye"))
        self.assertEqual((transport.socket.sent, len(transport.lost)), (b"bye", 1))

    def test_closeWaitsForTheRest(self) -> None:
        transport = Transport(1)
        self.assertFalse(close(transport, b"bye"))
        self.assertEqual((transport.socket.sent, transport.written, transport.lost), (b"b", b"ye", []))

    def test_descriptor(self) -> None:
        self.assertEqual((descriptor(Transport(1)), descriptor(object())), (7, 0))
