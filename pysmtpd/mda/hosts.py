"""Delivery in lanes of this process, as the user who started it: what happens without root."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import DeliveryRefused, IBody, IDeliveryHosts, IPlatform, asDeferred
from pysmtpd.mda.maildir import BATCH, Letter, LetterWriter, storeAll
from pysmtpd.model.reply import Reply

# Content above this goes to its file piece by piece.
WHOLE = 1_048_576

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def refusal(error: OSError) -> DeliveryRefused:
    """What a file system's error means for a delivery; always temporary, for an operator can mend it (RFC 3463)."""
    if error.errno in _FULL:
        return DeliveryRefused(Reply(452, f"Mailbox storage is full: {error.strerror}", "4.2.2"))
    return DeliveryRefused(Reply(451, f"Mailbox cannot be written: {error.strerror or error}", "4.2.0"))


@dataclass(slots=True)
class _Waiting:
    letter: Letter
    done: Deferred[str]


@implementer(IDeliveryHosts)
class LaneHosts:
    """Stores for the invoking user only. While every lane is busy letters gather, and then go in batches."""

    def __init__(self, platform: IPlatform, lanes: int = 4) -> None:
        self._platform = platform
        self._free = [f"mda.{number}" for number in reversed(range(lanes))]
        self._waiting: deque[_Waiting] = deque()
        self._busy = 0
        self._closed: Deferred[None] | None = None

    def deliver(self, user: str, task: Mapping[str, Any], body: IBody) -> Deferred[str]:
        """See L{IDeliveryHosts.deliver}."""
        return Deferred.fromCoroutine(self._deliver(user, task, body))

    async def _deliver(self, user: str, task: Mapping[str, Any], body: IBody) -> str:
        me = self._platform.users.me()
        if user != me.name:
            raise DeliveryRefused(
                Reply(
                    451, f"Delivery as user {user} needs a daemon started as root; this one runs as {me.name}", "4.3.5"
                )
            )
        directory = task["path"]
        if directory.startswith("~/"):
            directory = f"{me.home}/{directory[2:]}"
        self._busy += 1
        try:
            if body.size <= WHOLE:
                parts = [task["prefix"]]
                while chunk := await asDeferred(body.read()):
                    parts.append(chunk)
                return await self._enqueue(Letter(directory, task["name"], tuple(parts)))
            return await self._inPieces(directory, task, body)
        except OSError as error:
            raise refusal(error) from error
        finally:
            self._busy -= 1
            if self._closed is not None and not self._busy:
                self._closed.callback(None)

    def _enqueue(self, letter: Letter) -> Deferred[str]:
        done: Deferred[str] = Deferred()
        self._waiting.append(_Waiting(letter, done))
        self._fill()
        return done

    def _fill(self) -> None:
        while self._free and self._waiting:
            lane = self._free.pop()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            stored = self._platform.workers.run(lane, storeAll, self._platform.disk, [each.letter for each in batch])
            stored.addBoth(self._stored, lane, batch)

    def _stored(self, results: list[str | OSError] | Failure, lane: str, batch: list[_Waiting]) -> None:
        self._free.append(lane)
        self._fill()
        for number, each in enumerate(batch):
            result = results if isinstance(results, Failure) else results[number]
            if isinstance(result, str):
                each.done.callback(result)
            else:
                each.done.errback(result)

    async def _inPieces(self, directory: str, task: Mapping[str, Any], body: IBody) -> str:
        # A lane of its own: the reading side may be slow, and others must not wait for it.
        def run(work: Any, *values: Any) -> Deferred[Any]:
            return self._platform.workers.run("mda.large", work, *values)

        disk = self._platform.disk
        writer: LetterWriter = await run(LetterWriter, disk, directory, task["name"])
        try:
            await run(writer.write, task["prefix"])
            while chunk := await asDeferred(body.read()):
                await run(writer.write, chunk)
        except BaseException:
            await run(writer.abort)
            raise
        path: str = await run(writer.finish)
        return path

    def close(self) -> Deferred[None]:
        """See L{IDeliveryHosts.close}."""
        if self._closed is None:
            self._closed = Deferred()
            if not self._busy:
                return succeed(None)
        return self._closed
