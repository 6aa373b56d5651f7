"""A queue backend in one file: everything in memory, and a journal that makes it durable.

For queues that fit into memory. Each call appends one frame to the journal and syncs it; opening replays the journal and writes it anew.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from zlib import crc32

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IDisk, IFile, IPlatform, Space
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
from pysmtpd.model.ids import EnvelopeId, MessageId, formatMessageId, messageOf
from pysmtpd.model.reply import Reply

LANE = "queue.journal"
FORMAT = 1


def refusal(error: BaseException) -> QueueError:
    """What the peer is told: 452 if there is no room, else 451."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return QueueError(Reply(452, "Insufficient system storage", "4.3.1"), str(error))
    return QueueError(Reply(451, "Local error in processing", "4.3.0"), str(error))


class Journal:
    """The file. All of this runs in the lane."""

    def __init__(self, disk: IDisk, directory: str) -> None:
        self._disk = disk
        self._directory = directory
        self._path = f"{directory}/journal"
        self._file: IFile | None = None
        self._lock: IFile | None = None
        self._isTorn = False

    def open(self) -> list[list[Any]]:
        self._disk.makeDirectory(self._directory)
        self._disk.syncDirectory(self._directory.rpartition("/")[0] or "/")
        try:
            self._lock = self._disk.lock(f"{self._directory}/lock")
        except BlockingIOError as error:
            raise SpoolError(f"{self._directory} is in use: {error}") from error
        frames = self._frames()
        if frames and frames[0] != ["format", FORMAT]:
            self._lock.close()
            raise SpoolError(f"{self._path} has a format that is not known here: {frames[0]}")
        return frames

    def _frames(self) -> list[list[Any]]:
        """All whole frames; what follows a torn one was never acknowledged."""
        try:
            file = self._disk.open(self._path)
        except FileNotFoundError:
            return []
        found: list[list[Any]] = []
        while len(head := file.read(8)) == 8:
            data = file.read(int.from_bytes(head[:4], "big"))
            if crc32(data) != int.from_bytes(head[4:], "big"):
                break
            found.append(json.loads(data))
        file.close()
        return found

    def rewrite(self, frames: Sequence[list[Any]]) -> None:
        """Replace the journal: it gets short, and loses what is torn."""
        temporary = self._path + ".tmp"
        with suppress(FileNotFoundError):
            self._disk.unlink(temporary)
        file = self._disk.create(temporary)
        file.write(b"".join(map(self._frame, [["format", FORMAT], *frames])))
        file.sync()
        self._disk.rename(temporary, self._path)
        self._disk.syncDirectory(self._directory)
        if self._file is not None:
            self._file.close()
        self._file = file
        self._isTorn = False

    def append(self, frame: list[Any], repair: Sequence[list[Any]] | None) -> None:
        """
        @param repair: everything before C{frame}, in case that the journal is torn.
        """
        if self._isTorn:
            if repair is None:
                raise OSError(errno.EIO, "the write before this one failed")
            self.rewrite(repair)
        assert self._file is not None
        self._isTorn = True
        self._file.write(self._frame(frame))
        self._file.sync()
        self._isTorn = False

    def _frame(self, frame: list[Any]) -> bytes:
        data = json.dumps(frame).encode()
        return len(data).to_bytes(4, "big") + crc32(data).to_bytes(4, "big") + data

    def close(self) -> None:
        for file in (self._file, self._lock):
            if file is not None:
                file.close()


@implementer(IStage)
class Stage:
    """A large body: in memory as well, until it is committed."""

    def __init__(self, name: str, stages: dict[str, bytes]) -> None:
        self.name = name
        self._stages = stages
        stages[name] = b""

    def write(self, chunk: bytes) -> Deferred[None]:
        self._stages[self.name] += chunk
        return succeed(None)

    def finish(self) -> Deferred[None]:
        return succeed(None)

    def discard(self) -> Deferred[None]:
        self._stages.pop(self.name, None)
        return succeed(None)


@implementer(IBody)
class Body:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0
        self.size = len(content)

    def read(self) -> bytes:
        start, self._place = self._place, self._place + 65_536
        return self._content[start : self._place]

    def rewind(self) -> None:
        self._place = 0

    def close(self) -> None:
        self._content = b""


class Held:
    """One message."""

    def __init__(self, record: bytes, envelopes: dict[EnvelopeId, bytes], body: bytes) -> None:
        self.record = record
        self.envelopes = envelopes
        self.states: dict[EnvelopeId, bytes] = {}
        self.body = body


def text(data: bytes) -> str:
    """Octets as JSON can hold them."""
    return data.decode("latin-1")


@implementer(IQueueBackend)
class JournalQueue:
    durability = Durability.DURABLE

    def __init__(self, directory: str, platform: IPlatform) -> None:
        self._directory = directory
        self._disk = platform.disk
        self._run = platform.workers.run
        self._journal = Journal(platform.disk, directory)
        self._held: dict[MessageId, Held] = {}
        self._aside: dict[MessageId, str] = {}
        self._stages: dict[str, bytes] = {}
        self._ceiling = 0
        self._openedWith = 0
        self._isTorn = False

    # --- opening and closing

    def open(self) -> Deferred[int]:
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> int:
        try:
            for frame in await self._run(LANE, self._journal.open):
                self._apply(frame)
            await self._run(LANE, self._journal.rewrite, self._snapshot())
        except OSError as error:
            raise SpoolError(f"{self._directory} cannot be opened: {error}") from error
        self._openedWith = max(self._ceiling, *self._held, 0)
        return self._openedWith

    def close(self) -> Deferred[None]:
        return self._run(LANE, self._journal.close)

    # --- writing: first the journal, then memory

    def _write(self, frame: list[Any]) -> Deferred[None]:
        # A failed write may have left half a frame, which nothing may follow: the next one gets what it takes to mend it.
        repair = self._snapshot() if self._isTorn else None
        return self._run(LANE, self._journal.append, frame, repair).addCallbacks(
            self._written, self._failed, callbackArgs=(frame,)
        )

    def _written(self, result: None, frame: list[Any]) -> None:
        self._isTorn = False
        self._apply(frame)

    def _failed(self, failure: Failure) -> None:
        self._isTorn = True
        assert failure.value is not None
        raise refusal(failure.value)

    def _apply(self, frame: list[Any]) -> None:
        """What a frame means, now and when it is replayed."""
        kind, *values = frame
        if kind == "commit":
            for id, record, envelopes, body, supersedes in values[0]:
                byId = {EnvelopeId(envelope): known.encode("latin-1") for envelope, known in envelopes}
                self._held[MessageId(id)] = Held(record.encode("latin-1"), byId, body.encode("latin-1"))
                self._forget(supersedes)
        elif kind == "update":
            for id, state in values[0]:
                held = self._held.get(messageOf(id))
                if held is not None and id in held.envelopes:
                    held.states[id] = state.encode("latin-1")
        elif kind == "delete":
            self._forget(values[0])
        elif kind == "aside":
            if values[0] in self._held:
                self._aside[values[0]] = values[1]
        elif kind == "reserve":
            self._ceiling = max(self._ceiling, values[0])

    def _forget(self, envelopes: Sequence[EnvelopeId]) -> None:
        for id in envelopes:
            held = self._held.get(messageOf(id))
            if held is not None:
                held.envelopes.pop(id, None)
                held.states.pop(id, None)
                if not held.envelopes:
                    del self._held[messageOf(id)]
                    self._aside.pop(messageOf(id), None)

    def _snapshot(self) -> list[list[Any]]:
        """Frames that make what is in memory."""
        frames: list[list[Any]] = [["reserve", self._ceiling]]
        for id, held in self._held.items():
            envelopes = [(envelope, text(record)) for envelope, record in held.envelopes.items()]
            frames.append(["commit", [(id, text(held.record), envelopes, text(held.body), ())]])
            frames.append(["update", [(envelope, text(state)) for envelope, state in held.states.items()]])
        frames.extend(["aside", id, reason] for id, reason in self._aside.items())
        return frames

    def reserve(self, ceiling: MessageId) -> Deferred[None]:
        return self._write(["reserve", ceiling])

    def stage(self, message: MessageId) -> Deferred[IStage]:
        return succeed(Stage(formatMessageId(message), self._stages))

    def commit(self, messages: Sequence[NewMessage]) -> Deferred[None]:
        items = []
        for new in messages:
            body = self._stages.get(new.staged) if new.body is None else new.body
            if body is None or new.id in self._held:
                return fail(refusal(ValueError(f"{formatMessageId(new.id)} is there, or its content is not")))
            envelopes = [(id, text(record)) for id, record in new.envelopes]
            items.append((new.id, text(new.record), envelopes, text(body), new.supersedes))

        def committed(result: None) -> None:
            for new in messages:
                self._stages.pop(new.staged, None)

        return self._write(["commit", items]).addCallback(committed)

    def update(self, states: Mapping[EnvelopeId, bytes]) -> Deferred[None]:
        return self._write(["update", [(id, text(state)) for id, state in states.items()]])

    def delete(self, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        return self._write(["delete", list(envelopes)])

    def putAside(self, message: MessageId, reason: str) -> Deferred[None]:
        return self._write(["aside", message, reason])

    # --- reading: after what was asked for before

    def _after(self, read: Any, *values: Any) -> Deferred[Any]:
        return self._run(LANE, bool).addCallback(lambda _: read(*values))

    def load(self, message: MessageId) -> Deferred[StoredMessage | None]:
        return self._after(self._load, message)

    def _load(self, id: MessageId) -> StoredMessage | None:
        held = self._held.get(id)
        if held is None or id in self._aside:
            return None
        envelopes = tuple((one, record, held.states.get(one, b"")) for one, record in held.envelopes.items())
        return StoredMessage(id, held.record, envelopes)

    def body(self, message: MessageId) -> Deferred[IBody | None]:
        return self._after(lambda: Body(self._held[message].body) if message in self._held else None)

    def walk(self, cursor: str | None, limit: int) -> Deferred[StoredPage]:
        def read() -> StoredPage:
            found = self._page(MessageId(int(cursor or 0)), limit)
            page = tuple(message for message in found if message.id <= self._openedWith)
            return StoredPage(page, str(page[-1].id) if len(page) == limit else None)

        return self._after(read)

    def page(self, after: MessageId, limit: int) -> Deferred[tuple[StoredMessage, ...]]:
        return self._after(self._page, after, limit)

    def _page(self, after: MessageId, limit: int) -> tuple[StoredMessage, ...]:
        ids = sorted(id for id in self._held if id > after and id not in self._aside)
        return tuple(stored for id in ids[:limit] if (stored := self._load(id)) is not None)

    def setAside(self) -> Deferred[tuple[SetAside, ...]]:
        return self._after(lambda: tuple(SetAside(formatMessageId(id), why) for id, why in self._aside.items()))

    def space(self) -> Deferred[Space]:
        return self._run(LANE, self._disk.space, self._directory)


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> JournalQueue:
    """C{journal:DIRECTORY}; without a directory, C{journal} in the spool."""
    return JournalQueue(argument or f"{settings['spool']}/journal", platform)
