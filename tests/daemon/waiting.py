"""A peer that stays connected, and speaks when it is told to."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol

from pysmtpd.testing.world import World

SOURCE = "192.0.2.88"


class Waiter(Protocol):
    """
    @ivar replies: the last line of each reply, the greeting included.
    @ivar isOver: the connection is gone, or was never made.
    """

    transport: Any = None

    def __init__(self, world: World, source: str = SOURCE, port: int = 25) -> None:
        self.replies: list[str] = []
        self.isOver = False
        self._world = world
        self._buffer = b""
        factory: Any = ClientFactory.forProtocol(lambda: self)
        factory.noisy = False
        factory.clientConnectionFailed = lambda connector, reason: self.connectionLost(reason)
        world.client(source).connectTCP(world.platform.network.addresses[0], port, factory)
        world.until(lambda: self.replies or self.isOver, 60, "we are greeted")

    def say(self, *lines: str, expected: int | None = None) -> list[str]:
        """Say lines, and give the replies to them.

        @param expected: how many; None: one for each line.
        """
        before = len(self.replies)
        count = len(lines) if expected is None else expected
        for number, line in enumerate(lines, 1):
            self.transport.write(line.encode() + b"\r\n")
            if expected is None:
                self._until(before + number)
        self._until(before + count)
        return self.replies[before : before + count]

    def _until(self, count: int) -> None:
        self._world.until(lambda: len(self.replies) >= count or self.isOver, 60, "we are answered")

    def hangUp(self) -> None:
        self.transport.abortConnection()
        self._world.run(1)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            if line[3:4] != b"-":
                self.replies.append(line.decode())

    def connectionLost(self, reason: object = None) -> None:
        self.isOver = True
