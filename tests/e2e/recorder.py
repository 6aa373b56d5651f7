"""A recording sink: the simplest mail server that takes everything, and keeps what came as it came."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# What it offers after EHLO; PIPELINING needs nothing here, because commands are read one by one from a buffer.
EXTENSIONS = ("8BITMIME", "PIPELINING", "SMTPUTF8", "SIZE 0")


@dataclass(frozen=True)
class Received:
    """One transaction.

    @ivar connection: the number of its connection, from 0.
    @ivar content: dot-unstuffed, otherwise as it was sent.
    @ivar at: when its end was read, by the monotonic clock.
    @ivar isResumed: the TLS session goes on from an earlier one.
    """

    connection: int
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    at: float
    isTls: bool = False
    isResumed: bool = False


class Recorder:
    """Listens on loopback until C{close}. Speaks LMTP to who says LHLO."""

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        refuse: Callable[[str], str] = lambda recipient: "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        @param tls: it offers STARTTLS.
        @param refuse: gives the reply to a recipient that is not welcome.
        @raise OSError: the address cannot be had.
        """
        self.messages: list[Received] = []
        self.connections = 0
        self.resumed = 0
        self.open = 0
        self.mostOpen = 0
        self.refuse = refuse
        self.tls = tls
        self.commands: list[str] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server((address, port), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        # Wakes up who accepts; without that the port would stay taken.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()

    def to(self, recipient: str) -> Received:
        """The one transaction that had this recipient."""
        (found,) = [each for each in list(self.messages) if recipient in each.recipients]
        return found

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()
            self.connections += 1

    def _serve(self, connection: socket.socket, number: int) -> None:
        with self._lock:
            self.open += 1
            self.mostOpen = max(self.open, self.mostOpen)
        try:
            with connection:
                connection.settimeout(60)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Session(self, connection, number).run()
        except OSError:
            # The peer is gone; what it had finished is kept.
            return
        finally:
            with self._lock:
                self.open -= 1


class _Session:
    def __init__(self, recorder: Recorder, connection: socket.socket, number: int) -> None:
        self._recorder = recorder
        self._connection = connection
        self._number = number
        self._buffer = b""
        self._isLmtp = False
        self._isTls = False
        self._sender = ""
        self._recipients: list[str] = []

    def run(self) -> None:
        self._say("220 recorder.test ESMTP")
        while (line := self._until(b"\r\n")) is not None:
            command = line.decode("utf-8", "replace")
            self._recorder.commands.append(command)
            verb = command[:4].upper()
            if verb in ("EHLO", "LHLO"):
                self._isLmtp = verb == "LHLO"
                offers = [*(["STARTTLS"] if self._recorder.tls and not self._isTls else []), *EXTENSIONS]
                self._say("250-recorder.test", *(f"250-{word}" for word in offers[:-1]), f"250 {offers[-1]}")
            elif verb == "STAR" and self._recorder.tls is not None:
                self._say("220 2.0.0 go ahead")
                secured = self._recorder.tls.wrap_socket(self._connection, server_side=True)
                self._recorder.resumed += bool(secured.session_reused)
                self._connection = secured
                self._isTls = True
            elif verb == "MAIL":
                self._sender, self._recipients = _path(command), []
                self._say("250 2.1.0 ok")
            elif verb == "RCPT":
                reply = self._recorder.refuse(_path(command))
                if not reply:
                    self._recipients.append(_path(command))
                self._say(reply or "250 2.1.5 ok")
            elif verb == "DATA":
                self._data()
            elif verb == "QUIT":
                self._say("221 2.0.0 bye")
                return
            else:
                self._say("250 2.0.0 ok")

    def _data(self) -> None:
        if not self._recipients:
            self._say("554 5.5.1 no valid recipients")
            return
        self._say("354 go on")
        # The line end before the dot belongs to the content; for content without a line it is the one of DATA.
        self._buffer = b"\r\n" + self._buffer
        stuffed = self._until(b"\r\n.\r\n")
        if stuffed is None:
            return
        content = stuffed.replace(b"\r\n.", b"\r\n")[2:] + b"\r\n" if stuffed else b""
        isResumed = bool(isinstance(self._connection, ssl.SSLSocket) and self._connection.session_reused)
        recipients = tuple(self._recipients)
        self._recorder.messages.append(
            Received(self._number, self._sender, recipients, content, time.monotonic(), self._isTls, isResumed)
        )
        self._say(*["250 2.0.0 recorded"] * (len(self._recipients) if self._isLmtp else 1))

    def _until(self, end: bytes) -> bytes | None:
        """What comes before C{end}; None: the peer closed."""
        searched = 0
        while (at := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end))
            data = self._connection.recv(65536)
            if not data:
                return None
            self._buffer += data
        found, self._buffer = self._buffer[:at], self._buffer[at + len(end) :]
        return found

    def _say(self, *lines: str) -> None:
        self._connection.sendall("".join(f"{line}\r\n" for line in lines).encode())


def _path(command: str) -> str:
    return command.partition("<")[2].partition(">")[0]
