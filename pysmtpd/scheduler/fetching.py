"""What is leased, from the queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IQueue, NoSuchItem, QueueError
from pysmtpd.interfaces.ready import asDeferred, unlessFailed
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.events import InternalError
from pysmtpd.model.schedule import Delivery, Kind, Lease

RELOAD = 60.0
"""Seconds until a message that could not be loaded is tried again."""


class Fetching:
    """Finds the message and the envelopes of each lease. What is not in the queue any more is none of the scheduler's business; what cannot
    be read now is tried again in a while.

    @ivar isStopping: nothing is tried again.
    """

    _log = Logger()

    def __init__(
        self,
        platform: IPlatform,
        scheduler: IScheduler,
        queue: IQueue,
        report: IReport,
        took: Callable[[Lease], None],
        found: Callable[[Delivery], None],
        over: Callable[[Lease], None],
        wake: Callable[[float], None],
    ) -> None:
        """
        @param took: told of each lease that the queue has to look for.
        @param found: told of what it has found.
        @param over: told of each lease of which nothing is left, or that has been given back.
        @param wake: see that C{resume} is called in so many seconds.
        """
        self._clock = platform.clock
        self._wallTime = platform.wallTime
        self._scheduler = scheduler
        self._queue = queue
        self._report = report
        self._took = took
        self._found = found
        self._over = over
        self._wake = wake
        self.isStopping = False
        # What could not be loaded and cannot be given back, and when it is tried again (monotonic seconds).
        self._later: deque[tuple[float, Lease]] = deque()

    def get(self, leases: Iterable[Lease]) -> list[Delivery]:
        """What is at hand; of the others C{found} is told, or C{over}."""
        load = self._queue.load
        ready: list[Delivery] = []
        for lease in leases:
            try:
                found = load(lease.message)
                # Not asked the other way round: whether something is a Deferred takes Python six calls to say no.
                if isinstance(found, tuple):
                    envelopes = found[1]
                    if len(envelopes) == 1 and lease.envelopes == (envelopes[0].id,):
                        # As it mostly is. Its own constructor takes twice as long.
                        ready.append(tuple.__new__(Delivery, (lease, found[0], envelopes)))
                        continue
                    delivery = self._leased(found, lease)
                    if delivery is not None:
                        ready.append(delivery)
                    continue
            except Exception:
                self._took(lease)
                self.broken(Failure(), lease)
                continue
            self._took(lease)
            found.addCallbacks(self._loaded, self._notLoaded, callbackArgs=(lease,), errbackArgs=(lease,))
            found.addErrback(self.broken, lease)
        return ready

    def resume(self) -> None:
        """Try again what is due."""
        later = self._later
        while later and later[0][0] <= self._clock.seconds():
            for delivery in self.get((later.popleft()[1],)):
                self._found(delivery)
        if later:
            self._wake(later[0][0] - self._clock.seconds())

    def stop(self) -> None:
        """What would be tried again is over."""
        self.isStopping = True
        for _, lease in self._later:
            self._over(lease)
        self._later.clear()

    def broken(self, failure: Failure, lease: Lease) -> None:
        """Something has failed that should not; the lease is tried again in a while."""
        self._log.failure("while handing out a message", failure)
        self._report.happened(InternalError("handing out a message", repr(failure.value)))
        self._postpone(lease)

    def _loaded(self, found: tuple[Message, tuple[Envelope, ...]], lease: Lease) -> None:
        delivery = self._leased(found, lease)
        if delivery is not None:
            self._found(delivery)

    def _leased(self, found: tuple[Message, tuple[Envelope, ...]], lease: Lease) -> Delivery | None:
        """What is leased of a message; None: nothing of it is left."""
        message, envelopes = found
        envelopes = self._wanted(envelopes, lease)
        if not envelopes:
            self._over(lease)
            return None
        return Delivery(lease, message, envelopes)

    def _wanted(self, envelopes: tuple[Envelope, ...], lease: Lease) -> tuple[Envelope, ...]:
        known = {envelope.id: envelope for envelope in envelopes}
        gone = [id for id in lease.envelopes if id not in known]
        if gone:
            unlessFailed(self._scheduler.delete(lease, gone), self._lost)
        return tuple(known[id] for id in lease.envelopes if id in known)

    def _notLoaded(self, failure: Failure, lease: Lease) -> None:
        if failure.check(NoSuchItem):
            unlessFailed(self._scheduler.delete(lease, lease.envelopes), self._lost)
            self._over(lease)
            return
        if failure.check(QueueError):
            # The queue has reported it.
            self._postpone(lease)
        else:
            self.broken(failure, lease)

    def _postpone(self, lease: Lease) -> None:
        if self.isStopping:
            self._over(lease)
            return
        if lease.kind in (Kind.EXPIRE, Kind.REMOVE):
            # The scheduler would hand these out again at once.
            self._later.append((self._clock.seconds() + RELOAD, lease))
            self._wake(RELOAD)
            return
        later = self._wallTime() + RELOAD

        async def giveBack() -> None:
            known = await self._scheduler.query(lease.envelopes)
            again = [status.entry._replace(nextTry=later) for status in known]
            await asDeferred(self._scheduler.update(lease, again))

        tried = Deferred.fromCoroutine(giveBack()).addErrback(self._lost)
        tried.addCallback(lambda _: self._over(lease))

    def _lost(self, failure: Failure) -> None:
        self._log.failure("the scheduler did not take an envelope back", failure)
