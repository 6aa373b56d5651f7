"""An operator of a World's daemon: the control socket, by Twisted's own AMP."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.protocol import ClientFactory
from twisted.protocols.amp import AMP
from twisted.python.failure import Failure

from pysmtpd.control.amp import AMP_COMMANDS
from pysmtpd.testing.daemon import SPOOL
from pysmtpd.testing.world import World

SOCKET = f"{SPOOL}/control.sock"


class Operator:
    """One connection to the control socket. Each question lets time pass until it is answered."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.protocol = AMP()
        world.until(lambda: world.service.controlServer.isOpen, 5, "the control socket is open")
        factory: Any = ClientFactory.forProtocol(lambda: self.protocol)
        factory.noisy = False
        world.platform.network.connectUNIX(SOCKET, factory)
        world.until(lambda: self.protocol.transport is not None, 1, "the control socket answers")

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """
        @raise Exception: what the daemon answered: one of L{pysmtpd.control.amp}'s.
        """
        answers: list[Any] = []
        self.protocol.callRemote(AMP_COMMANDS[name], **arguments).addBoth(answers.append)
        self._world.until(lambda: answers, 60, f"{name} is answered")
        (answer,) = answers
        if isinstance(answer, Failure):
            answer.raiseException()
        result: dict[str, Any] = answer
        return result

    def whole(self, name: str, **arguments: Any) -> Any:
        """The value of an answer that comes in pieces."""
        data, cursor = b"", ""
        while True:
            answer = self.ask(name, cursor=cursor, **arguments)
            data += answer["data"]
            cursor = answer["cursor"]
            if not cursor:
                return json.loads(data)

    def rows(self, name: str) -> list[Any]:
        """All pages of a list."""
        return [row for page in self.pages(name) for row in page]

    def pages(self, name: str) -> list[list[Any]]:
        cursor = ""
        pages = []
        while True:
            answer = self.ask(name, cursor=cursor)
            pages.append(answer["rows"])
            cursor = answer["cursor"]
            if not cursor:
                return pages

    def queue(self) -> list[dict[str, Any]]:
        return self.rows("Queue")

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.ask("Status")["status"]
        return status

    def stats(self) -> dict[str, float]:
        return dict(self.rows("Stats"))
