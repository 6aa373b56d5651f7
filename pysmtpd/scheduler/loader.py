"""Feeding the scheduler from the queue at start, while mail flows."""

from __future__ import annotations

from contextlib import suppress

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IQueue, QueueError, Walked
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.events import QueueFailed, QueueLoaded
from pysmtpd.model.schedule import entryOf

# Seconds until a queue that refused a page is asked for it again.
_RETRY = 5.0


class Loader:
    """Walks the queue once. Between two pages everything else has its turn."""

    _log = Logger()

    def __init__(self, platform: IPlatform, scheduler: IScheduler, queue: IQueue, report: IReport) -> None:
        self._clock = platform.clock
        self._scheduler = scheduler
        self._queue = queue
        self._report = report
        self.loaded = 0
        self.isDone = False
        self._stopped = False
        self._sleeping: Deferred[None] | None = None

    def stop(self) -> None:
        """End after the page under way."""
        self._stopped = True
        if self._sleeping is not None:
            self._sleeping.cancel()

    async def load(self) -> int:
        """Returns the number of envelopes when the walk has ended."""
        began = self._clock.seconds()
        cursor: str | None = None
        while not self._stopped:
            page = await self._page(cursor)
            if page is None:
                await self._sleep(_RETRY)
                continue
            await self._take(page)
            cursor = page.cursor
            if cursor is None:
                self.isDone = True
                self._report.happened(QueueLoaded(self.loaded, self._clock.seconds() - began))
                break
            await self._sleep(0.0)
        return self.loaded

    async def _sleep(self, seconds: float) -> None:
        if self._stopped:
            return
        self._sleeping = deferLater(self._clock, seconds)
        with suppress(CancelledError):
            await self._sleeping
        self._sleeping = None

    async def _page(self, cursor: str | None) -> Walked | None:
        try:
            return await self._queue.walk(cursor)
        except QueueError as error:
            self._report.happened(QueueFailed("walk", error.reason))
        except Exception as error:
            self._log.failure("while walking the queue")
            self._report.happened(QueueFailed("walk", repr(error)))
        return None

    async def _take(self, page: Walked) -> None:
        try:
            entries = [entryOf(one) for _, envelopes in page.messages for one in envelopes]
            await asDeferred(self._scheduler.insert(entries))
            for commit in [self._scheduler.commit(message.id) for message, _ in page.messages]:
                self.loaded += await asDeferred(commit)
        except Exception:
            self._log.failure("while handing queued mail to the scheduler")
