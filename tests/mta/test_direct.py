from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.mta.direct import sendNow


class Socket:
    def __init__(self, room: int) -> None:
        self.room = room
        self.sent = b""

    def send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.room -= len(taken)
        self.sent += taken
        return len(taken)


class Transport:
    """What L{sendNow} looks at of a TCP transport."""

    TLS = False
    connected = True
    disconnecting = False
    dataBuffer = b""
    _tempDataLen = 0

    def __init__(self, room: int) -> None:
        self.socket = Socket(room)
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data
        self._tempDataLen += len(data)


class SendNowTests(SynchronousTestCase):
    def test_roomForAllSomeNone(self) -> None:
        for room in (10, 3, 0):
            transport = Transport(room)
            sendNow(transport, b"12345")
            sendNow(transport, b"6")
            self.assertEqual(transport.socket.sent + transport.written, b"123456")
            self.assertEqual(len(transport.socket.sent), min(room, 6))

    def test_underTls(self) -> None:
        transport = Transport(10)
        transport.TLS = True
        sendNow(transport, b"1")
        self.assertEqual(transport.written, b"1")
