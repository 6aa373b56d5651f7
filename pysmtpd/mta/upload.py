"""Content of more than one chunk, on its way into a connection as fast as the transport takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.queue import IBody, QueueError
from pysmtpd.model.reply import Reply

_WRONG_SIZE = Reply(451, "The stored content has not its size", "4.3.0")


@implementer(IPushProducer)
class Upload:
    """Reads while the transport has room. What cannot be read in full fails: half a message must never look like a whole one.

    @param remaining: octets that have to come.
    @param write: takes each chunk, and whether it is the last; calls L{close} if no more is wanted.
    @param failed: told why it cannot go on.
    """

    __slots__ = ("_body", "_failed", "_isOpen", "_paused", "_reading", "_remaining", "_transport", "_write")

    def __init__(
        self,
        body: IBody,
        remaining: int,
        transport: Any,
        write: Callable[[bytes, bool], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._body = body
        self._remaining = remaining
        self._transport = transport
        self._write = write
        self._failed = failed
        self._isOpen = True
        self._paused = False
        self._reading = False

    def start(self) -> None:
        self._transport.registerProducer(self, True)
        self._pump()

    def close(self) -> None:
        """No more."""
        if self._isOpen:
            self._isOpen = False
            self._body.close()
            self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._pump()

    def stopProducing(self) -> None:
        self.close()

    def _pump(self) -> None:
        while self._isOpen and not (self._paused or self._reading):
            self._reading = True
            try:
                chunk = self._body.read()
            except QueueError:
                self._failed(Failure())
                return
            if isinstance(chunk, Deferred):
                chunk.addCallback(self._came).addErrback(self._failed)
                return
            self._reading = False
            self._chunk(chunk)

    def _came(self, chunk: bytes) -> None:
        self._reading = False
        self._chunk(chunk)
        self._pump()

    def _chunk(self, chunk: bytes) -> None:
        if not self._isOpen:
            return
        self._remaining -= len(chunk)
        if self._remaining < 0 or not chunk:
            self._failed(Failure(QueueError(_WRONG_SIZE, _WRONG_SIZE.text)))
            return
        last = self._remaining == 0
        if last:
            self.close()
        self._write(chunk, last)
