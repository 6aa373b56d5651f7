"""A queue backend behind a child process, as a third party might write one: the seam holds with nothing shared but octets.

Frames on the child's standard input and output: 4 octets of length, then a pickled C{(number, name, arguments)} or C{(number, isDone,
result)}. The child runs any backend over a real directory, one call after the other. Test-only: pickle trusts its peer.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import Space
from pysmtpd.interfaces.queue import (
    Durability,
    IBody,
    IQueueBackend,
    IStage,
    NewMessage,
    QueueError,
    SetAside,
    SpoolError,
    StoredMessage,
    StoredPage,
)
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.queue.refusal import FAILED

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class _Channel(ProcessProtocol):
    """The parent's side."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: dict[int, Deferred[Any]] = {}
        self._number = 0
        self._ended = False
        self.gone: Deferred[None] = Deferred()

    def call(self, name: str, *arguments: Any) -> Deferred[Any]:
        if self._ended:
            return fail(QueueError(FAILED, "the backend's process has ended"))
        self._number += 1
        done = self._waiting[self._number] = Deferred()
        data = pickle.dumps((self._number, name, arguments))
        assert self.transport is not None
        self.transport.write(len(data).to_bytes(4, "big") + data)
        return done

    def outReceived(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < 4 + length:
                break
            frame, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
            number, isDone, result = pickle.loads(frame)
            if isDone:
                self._waiting.pop(number).callback(result)
            else:
                self._waiting.pop(number).errback(result)

    def processEnded(self, reason: Failure) -> None:
        self._ended = True
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done.errback(QueueError(FAILED, "the backend's process has ended"))
        self.gone.callback(None)


@implementer(IStage)
class _RemoteStage:
    def __init__(self, channel: _Channel, number: int, name: str) -> None:
        self.name = name
        self._channel = channel
        self._number = number

    def write(self, chunk: bytes) -> Deferred[None]:
        return self._channel.call("stageDo", self._number, "write", chunk)

    def finish(self) -> Deferred[None]:
        return self._channel.call("stageDo", self._number, "finish")

    def discard(self) -> Deferred[None]:
        return self._channel.call("stageDo", self._number, "discard")


@implementer(IBody)
class _RemoteBody:
    def __init__(self, channel: _Channel, number: int, size: int) -> None:
        self.size = size
        self._channel = channel
        self._number = number

    def read(self) -> Deferred[bytes]:
        return self._channel.call("bodyDo", self._number, "read")

    def rewind(self) -> None:
        self._channel.call("bodyDo", self._number, "rewind")

    def close(self) -> None:
        self._channel.call("bodyDo", self._number, "close").addErrback(lambda failure: None)


@implementer(IQueueBackend)
class ProcessBackend:
    """
    @param name: of the shipped backend that the child runs.
    @param place: its directory.
    """

    durability = Durability.DURABLE

    def __init__(self, reactor: Any, name: str, place: str) -> None:
        self._reactor = reactor
        self._argv = [sys.executable, "-m", "tests.queue.process", name, place]
        self._channel = _Channel()

    def open(self) -> Deferred[int]:
        environment = {**os.environ, "PYTHONPATH": ROOT}
        channel = self._channel
        self._reactor.spawnProcess(
            channel, sys.executable, self._argv, env=environment, childFDs={0: "w", 1: "r", 2: 2}
        )

        def refused(failure: Failure) -> Deferred[int]:
            failure.trap(SpoolError)
            return self._end().addCallback(lambda _: failure)

        return channel.call("open").addErrback(refused)

    def _end(self) -> Deferred[None]:
        assert self._channel.transport is not None
        self._channel.transport.closeStdin()
        return self._channel.gone

    def kill(self) -> Deferred[None]:
        """As a crash does it."""
        assert self._channel.transport is not None
        self._channel.transport.signalProcess("KILL")
        return self._channel.gone

    def reserve(self, ceiling: MessageId) -> Deferred[None]:
        return self._channel.call("reserve", ceiling)

    def stage(self, message: MessageId) -> Deferred[IStage]:
        return self._channel.call("stage", message).addCallback(lambda found: _RemoteStage(self._channel, *found))

    def commit(self, messages: Sequence[NewMessage]) -> Deferred[None]:
        return self._channel.call("commit", messages)

    def update(self, states: Mapping[EnvelopeId, bytes]) -> Deferred[None]:
        return self._channel.call("update", states)

    def delete(self, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        return self._channel.call("delete", envelopes)

    def load(self, message: MessageId) -> Deferred[StoredMessage | None]:
        return self._channel.call("load", message)

    def body(self, message: MessageId) -> Deferred[IBody | None]:
        return self._channel.call("body", message).addCallback(
            lambda found: None if found is None else _RemoteBody(self._channel, *found)
        )

    def walk(self, cursor: str | None, limit: int) -> Deferred[StoredPage]:
        return self._channel.call("walk", cursor, limit)

    def page(self, after: MessageId, limit: int) -> Deferred[tuple[StoredMessage, ...]]:
        return self._channel.call("page", after, limit)

    def putAside(self, message: MessageId, reason: str) -> Deferred[None]:
        return self._channel.call("putAside", message, reason)

    def setAside(self) -> Deferred[tuple[SetAside, ...]]:
        return self._channel.call("setAside")

    def space(self) -> Deferred[Space]:
        return self._channel.call("space")

    def close(self) -> Deferred[None]:
        return self._channel.call("close").addCallback(lambda _: self._end())


class _Served:
    """The child's side."""

    def __init__(self, backend: IQueueBackend) -> None:
        self._backend = backend
        self._stages: list[IStage] = []
        self._bodies: list[IBody] = []

    def call(self, name: str, arguments: tuple[Any, ...]) -> Deferred[Any]:
        if name == "stageDo":
            number, verb, *rest = arguments
            return asDeferred(getattr(self._stages[number], verb)(*rest))
        if name == "bodyDo":
            return asDeferred(getattr(self._bodies[arguments[0]], arguments[1])())
        answer: Deferred[Any] = getattr(self._backend, name)(*arguments)
        if name == "stage":
            return answer.addCallback(self._staged)
        if name == "body":
            return answer.addCallback(self._opened)
        return answer

    def _staged(self, stage: IStage) -> tuple[int, str]:
        self._stages.append(stage)
        return len(self._stages) - 1, stage.name

    def _opened(self, body: IBody | None) -> tuple[int, int] | None:
        if body is None:
            return None
        self._bodies.append(body)
        return len(self._bodies) - 1, body.size


def serve(name: str, place: str) -> None:
    """Answer until standard input ends."""
    from pysmtpd.model.config import QueueLimits
    from pysmtpd.platform.disk import RealDisk
    from pysmtpd.queue import fs, sqlite
    from tests.queue.support import SmallPlatform

    make = {"sqlite": sqlite.make, "fs": fs.make}[name]
    served = _Served(make(place, SmallPlatform(RealDisk()), {"spool": place, "limits": QueueLimits()}))
    reader, writer = sys.stdin.buffer, sys.stdout.buffer
    while head := reader.read(4):
        number, method, arguments = pickle.loads(reader.read(int.from_bytes(head, "big")))
        answers: list[tuple[int, bool, Any]] = []
        # Lanes run inline here: every Deferred has fired.
        served.call(method, arguments).addCallbacks(
            lambda result, number=number, answers=answers: answers.append((number, True, result)),
            lambda failure, number=number, answers=answers: answers.append((number, False, _portable(failure))),
        )
        data = pickle.dumps(answers[0])
        writer.write(len(data).to_bytes(4, "big") + data)
        writer.flush()


def _portable(failure: Failure) -> Exception:
    error = failure.value
    if isinstance(error, QueueError):
        return _Refused(error.reply, error.reason)
    return error if isinstance(error, SpoolError) else _Refused(FAILED, repr(error))


class _Refused(QueueError):
    """One that can be pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _Refused, (self.reply, self.reason)


if __name__ == "__main__":
    from tests.queue import process

    process.serve(*sys.argv[1:3])
