"""One operator's connection to the control socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.amp import AMP, AmpBox
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.control.amp import AMP_COMMANDS, BadArgument, NoSuchItemError, Unavailable
from pysmtpd.control.commands import CONTENT, Control
from pysmtpd.control.schema import PAGE
from pysmtpd.interfaces import IBody, QueueError, asDeferred


@implementer(IPushProducer)
class Connection(AMP):
    """One operator's connection: one call at a time, and none while answers wait to be read. It keeps the content that is being read."""

    _log = Logger()

    def __init__(self, control: Control, clock: IReactorTime, lost: Callable[[Connection], None]) -> None:
        super().__init__()
        self._control = control
        self._clock = clock
        self._lost = lost
        self._boxes: deque[AmpBox] = deque()
        self._isBusy = False
        self._isFull = False
        self._isReading = True
        self._body: IBody | None = None
        self._id = ""
        self._rest = b""

    def connectionMade(self) -> None:
        super().connectionMade()
        cast(Any, self.transport).registerProducer(self, True)

    def ampBoxReceived(self, box: AmpBox) -> None:
        """Calls that come at once wait for each other: so one operator costs the memory of one answer."""
        self._boxes.append(box)
        self._next()

    def _next(self) -> None:
        while self._boxes and not (self._isBusy or self._isFull):
            super().ampBoxReceived(self._boxes.popleft())
        if self._isReading is bool(self._boxes):
            self._isReading = not self._isReading
            transport = cast(Any, self.transport)
            (transport.resumeProducing if self._isReading else transport.pauseProducing)()

    def pauseProducing(self) -> None:
        """The operator does not read our answers."""
        self._isFull = True

    def resumeProducing(self) -> None:
        self._isFull = False
        self._next()

    def stopProducing(self) -> None:
        """C{connectionLost} says so, too."""

    def locateResponder(self, name: bytes) -> Any:
        """Every command of the schema."""
        command = AMP_COMMANDS.get(name.decode("ascii", "replace"))
        if command is None:
            return super().locateResponder(name)
        word = command.__name__
        method = self._content if word == CONTENT else self._control.command(word)
        return self._wrapWithSerialization(lambda **arguments: self._run(method, arguments), command)

    def _run(self, method: Callable[..., Any], arguments: dict[str, Any]) -> Deferred[dict[str, Any]]:
        self._isBusy = True
        done: Deferred[dict[str, Any]] = Deferred.fromCoroutine(method(**arguments))
        return done.addErrback(self._explain).addBoth(self._answered)

    def _answered(self, result: Any) -> Any:
        self._isBusy = False
        # The answer itself goes out first.
        self._clock.callLater(0, self._goOn)
        return result

    def _goOn(self) -> None:
        if self.transport is not None:
            self._next()

    def _explain(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, QueueError):
            return Failure(Unavailable(error.reason))
        if not isinstance(error, NoSuchItemError | BadArgument | Unavailable):
            self._log.failure("While answering a control command", failure=failure)
            return Failure(Unavailable(f"internal error: {error}"))
        return failure

    async def _content(self, id: str, start: bool) -> dict[str, Any]:
        if start or self._body is None or id != self._id:
            self._close()
            self._body = await self._control.body(id)
            self._id = id
        # A chunk of content may be an octet longer than a box's value.
        data = self._rest or await asDeferred(self._body.read())
        self._rest = data[PAGE:]
        if not data:
            self._close()
        return {"data": data[:PAGE]}

    def _close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
            self._rest = b""

    def end(self) -> None:
        """Close, once what was written is gone."""
        if self.transport is not None:
            # With a producer, the transport would wait for its end.
            cast(Any, self.transport).unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        cast("ITCPTransport", self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._boxes.clear()
        self._close()
        super().connectionLost(reason)
        self._lost(self)
