"""A peer that says lines to a World's daemon, one after the other, whatever it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol

from pysmtpd.testing.world import World


class Caller(Protocol):
    """
    @ivar replies: the last line of each reply; the first is the greeting.
    """

    transport: Any

    def __init__(self, lines: Sequence[str]) -> None:
        self.replies: list[str] = []
        self.isOver = False
        self._lines = list(lines)
        self._buffer = b""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            if line[3:4] != b"-":
                self.replies.append(line.decode())
                self._next()

    def _next(self) -> None:
        if self._lines:
            self.transport.write(self._lines.pop(0).encode() + b"\r\n")
        else:
            self.isOver = True

    def connectionLost(self, reason: object = None) -> None:
        self.isOver = True


def call(world: World, lines: Sequence[str], source: str, port: int = 25) -> list[str]:
    """Say all lines; gives the last line of each reply, the greeting left out. The connection is broken off after the last one."""
    network = world.platform.network if source.startswith("127.") else world.client(source)
    caller = Caller(lines)
    factory: Any = ClientFactory.forProtocol(lambda: caller)
    factory.noisy = False
    target = "127.0.0.1" if source.startswith("127.") else world.platform.network.addresses[0]
    network.connectTCP(target, port, factory)
    world.until(lambda: caller.isOver, 60, "everything is answered")
    caller.transport.abortConnection()
    world.run(0.1)
    return caller.replies[1:]
