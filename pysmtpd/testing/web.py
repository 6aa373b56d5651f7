"""Web servers that give MTA-STS policies, and take reports about TLS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from pysmtpd.testing.certificates import serverOptions
from pysmtpd.testing.internet import Internet

PATH = "/.well-known/mta-sts.txt"


class ScriptedWeb:
    """One web server over TLS; every request is answered with the same.

    @ivar answer: all of it, head and body; empty: none.
    @ivar requests: first lines and Host fields, in order; C{bodies}: what came with them.
    """

    def __init__(self, internet: Internet, address: str, names: Sequence[str], certificateFor: str = "") -> None:
        """
        @param certificateFor: the name in its certificate, if it is not the first of C{names}.
        """
        self.address = address
        self.answer = b""
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.options = serverOptions(certificateFor or names[0])
        network = internet.host(address)
        clock = internet.clock
        factory = TLSMemoryBIOFactory(self.options, False, _Requests(self), clock=clock)
        network.listenTCP(443, factory, interface=address)

    def policy(self, text: str, status: str = "200 OK", type: str = "text/plain; charset=utf-8") -> None:
        """Answer with this policy."""
        body = text.encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.answer = head.encode() + body


class _Requests(Factory):
    noisy = False

    def __init__(self, web: ScriptedWeb) -> None:
        self._web = web

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Request(self._web)


class _Request(Protocol):
    def __init__(self, web: ScriptedWeb) -> None:
        self._web = web
        self._buffer = b""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        head, isWhole, body = self._buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        sizes = [int(line[15:]) for line in lines if line.lower().startswith("content-length:")]
        if not isWhole or len(body) < sum(sizes):
            return
        host = next((line[5:].strip() for line in lines if line.lower().startswith("host:")), "")
        self._web.requests.append((lines[0], host))
        self._web.bodies.append(body)
        self._buffer = b""
        if self._web.answer:
            transport: Any = self.transport
            transport.write(self._web.answer)
            transport.loseConnection()
