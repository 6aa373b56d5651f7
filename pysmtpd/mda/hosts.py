"""Delivery in lanes of this process, as the user who started it: what happens without root."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import DeliveryRefused, IBody, IDeliveryHosts, IPlatform, answered
from pysmtpd.mda.exits import verdict
from pysmtpd.mda.maildir import BATCH, Letter, storeAll
from pysmtpd.mda.writers import Writer, deliverWhole, maildirOf, openWriter
from pysmtpd.model.reply import Reply
from pysmtpd.model.task import Account, Exit, MaildirTask, Task

T = TypeVar("T")

# Content above this goes to its file piece by piece.
WHOLE = 1_048_576

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def refusal(error: OSError) -> DeliveryRefused:
    """What a file system's error means for a delivery; always temporary, for an operator can mend it (RFC 3463)."""
    if error.errno in _FULL:
        return DeliveryRefused(Reply(452, f"Mailbox storage is full: {error.strerror}", "4.2.2"))
    return DeliveryRefused(Reply(451, f"Mailbox cannot be written: {error.strerror or error}", "4.2.0"))


def concluded(exit: Exit, task: Task) -> str:
    """What a command's end is for the letter.

    @return: the command, for the log.
    @raise DeliveryRefused: it is not delivered.
    """
    reply = verdict(exit)
    if reply is not None:
        raise DeliveryRefused(reply)
    return "" if isinstance(task, MaildirTask) else getattr(task, "argv", ("",))[0]


@dataclass(slots=True)
class _Waiting:
    letter: Letter
    done: Deferred[str]


@implementer(IDeliveryHosts)
class LaneHosts:
    """Delivers for the invoking user only. While every lane is busy letters gather, and then go in batches. What may wait for others, a
    command or a mailbox that is locked, and what is large, has a lane of its own."""

    def __init__(self, platform: IPlatform, lanes: int = 4) -> None:
        self._platform = platform
        self._free = [f"mda.{number}" for number in reversed(range(lanes))]
        self._waiting: deque[_Waiting] = deque()
        self._slow: list[str] = []
        self._slowLanes = 0
        self._busy = 0
        self._closed: Deferred[None] | None = None

    def deliver(self, account: Account, task: Task, body: IBody) -> Deferred[str]:
        """See L{IDeliveryHosts.deliver}."""
        return Deferred.fromCoroutine(self._deliver(account, task, body))

    async def _deliver(self, account: Account, task: Task, body: IBody) -> str:
        me = self._platform.users.me()
        if (account.uid != me.uid) if account.isNumeric else (account.name != me.name):
            raise DeliveryRefused(
                Reply(
                    451,
                    f"Delivery as user {account.name} needs a daemon started as root; this one runs as {me.name}",
                    "4.3.5",
                )
            )
        home = account.home or me.home
        self._busy += 1
        try:
            if body.size <= WHOLE:
                parts = []
                while chunk := await answered(body.read()):
                    parts.append(chunk)
                if isinstance(task, MaildirTask):
                    disk, directory = self._platform.disk, ""
                    if task.beneath or task.folder:
                        disk, directory = await self._run("mda.look", maildirOf, disk, home, task)
                    else:
                        disk, directory = maildirOf(disk, home, task)
                    return await self._enqueue(Letter(directory, task.name, (task.prefix, *parts), disk))
                result = await self._alone(deliverWhole, home, task, parts)
            else:
                result = await self._inPieces(home, task, body)
        except OSError as error:
            raise refusal(error) from error
        finally:
            self._busy -= 1
            if self._closed is not None and not self._busy:
                self._closed.callback(None)
        return concluded(result, task) if isinstance(result, Exit) else result

    def _run(self, lane: str, work: Callable[..., T], *values: Any) -> Deferred[T]:
        return self._platform.workers.run(lane, work, *values)

    @contextmanager
    def _ownLane(self) -> Iterator[str]:
        if self._slow:
            lane = self._slow.pop()
        else:
            lane = f"mda.slow.{self._slowLanes}"
            self._slowLanes += 1
        try:
            yield lane
        finally:
            self._slow.append(lane)

    async def _alone(self, work: Callable[..., T], home: str, task: Task, *values: Any) -> T:
        platform = self._platform
        with self._ownLane() as lane:
            return await self._run(lane, work, platform.disk, platform.processes, home, task, *values)

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

    async def _inPieces(self, home: str, task: Task, body: IBody) -> str | Exit:
        platform = self._platform
        with self._ownLane() as lane:
            writer: Writer = await self._run(lane, openWriter, platform.disk, platform.processes, home, task)
            try:
                while chunk := await answered(body.read()):
                    await self._run(lane, writer.write, chunk)
            except BaseException:
                await self._run(lane, writer.abort)
                raise
            return await self._run(lane, _finish, writer)

    def close(self) -> Deferred[None]:
        """See L{IDeliveryHosts.close}."""
        if self._closed is None:
            self._closed = Deferred()
            self._platform.processes.endCommands()
            if not self._busy:
                return succeed(None)
        return self._closed


def _finish(writer: Writer) -> str | Exit:
    return writer.finish()
