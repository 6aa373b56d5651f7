"""The service between queue, scheduler and agents, with the one timer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.delivery import IAgent, IBounce, IRelease
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IQueue
from pysmtpd.interfaces.ready import unlessFailed
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.envelope import Route
from pysmtpd.model.events import InternalError
from pysmtpd.model.ids import EnvelopeId, MessageId, messageOf
from pysmtpd.model.schedule import Batch, Delivery, Kind, Lease, entryOf
from pysmtpd.scheduler.alike import postpone
from pysmtpd.scheduler.ends import Ends
from pysmtpd.scheduler.fetching import Fetching
from pysmtpd.scheduler.flight import Desk, Flight
from pysmtpd.scheduler.loader import Loader
from pysmtpd.scheduler.recorder import Recorder
from pysmtpd.scheduler.rerouting import Rerouting
from pysmtpd.scheduler.suspension import Suspension
from pysmtpd.scheduler.warnings import Warnings

# Envelopes under way that no agent limits: those to be removed; those whose sender is being told, of expired ones and of failed ones.
_MAX_REMOVED = 256
_MAX_BOUNCES = 64
# Seconds. Wall time may jump, so no sleep is longer.
_LONGEST = 300.0
# Seconds until a scheduler that failed is asked again.
_RETRY = 5.0


@implementer(IRelease)
class Dispatcher:
    """Asks the scheduler for work, loads it from the queue, hands it to agents, and records what came of it.

    An envelope is in the queue until its delivery is recorded there, or until one step has put a bounce in its place. So it is
    delivered at least once, whatever fails; and twice only if the daemon ends, or the queue refuses, between the two.
    """

    _log = Logger()

    def __init__(
        self,
        platform: IPlatform,
        scheduler: IScheduler,
        queue: IQueue,
        agents: Mapping[Kind, IAgent],
        bounce: IBounce,
        report: IReport,
        worker: str = "main",
        warnAfter: Callable[[], Sequence[float]] = tuple,
    ) -> None:
        """
        @param agents: for MTA and MDA. It is read whenever it is needed, so it may be filled after this (agents need
            the dispatcher, as their L{IRelease}), before C{start}.
        @param worker: our name towards the scheduler.
        @param warnAfter: gives the ages in seconds at which a sender is told that mail is late, ascending.
        """
        self._clock = platform.clock
        self._wallTime = platform.wallTime
        self._scheduler = scheduler
        self._queue = queue
        self._agents = agents
        self._report = report
        self._worker = worker
        self._recorder = Recorder(platform, scheduler, queue, report, self._arm)
        self._warnings = Warnings(platform.clock, bounce, report, self.wake)
        self._desk = Desk(
            platform.wallTime, scheduler, self._recorder, report, self._landed, warnAfter, self._warnings.add
        )
        self._ends = Ends(platform.wallTime, scheduler, self._recorder, bounce, report, self._over)
        self._loader = Loader(platform, scheduler, queue, report)
        self._fetching = Fetching(platform, scheduler, queue, report, self._take, self._begin, self._over, self._arm)
        self._timer: IDelayedCall | None = None
        self._timerAt = 0.0
        self._running = False
        self._asking = False
        self._askAgain = False
        # When the scheduler may have more for us than at the last question (monotonic seconds); and whether it may have had more than
        # there was room for, so that whatever ends makes room.
        self._askAt = 0.0
        self._isCut = False
        self._paused: dict[Kind, bool] = {}
        self._loading = dict.fromkeys(Kind, 0)
        # What is handed out and not over, and of that, what is at an agent; by the lease's token.
        self._leases: dict[int, Lease] = {}
        self._flights: dict[int, Flight] = {}
        self._suspension = Suspension(scheduler, queue, self._flights)
        self._rerouting = Rerouting(scheduler, queue, self._isBusy)
        # Envelopes of each lease that its agent's capacity does not know of.
        self._uncounted: dict[int, int] = {}
        self._stopping: list[Deferred[None]] = []
        self._triedLast = False
        self._isOver = False
        scheduler.notify(self.wake)

    # --- running

    def start(self) -> None:
        """Begin to hand out work."""
        self._running = True
        self.wake()

    def load(self) -> Deferred[int]:
        """Feed the scheduler with what is queued; fires with the number of envelopes at the end of the walk. Mail flows meanwhile."""
        return Deferred.fromCoroutine(self._loader.load())

    def stop(self) -> Deferred[None]:
        """Hand out nothing more; fires when every outcome that was outstanding is recorded. Stop the agents as well: their
        outcomes are what it waits for."""
        if self._isOver:
            return succeed(None)
        self._running = False
        self._desk.isStopping = True
        self._loader.stop()
        self._fetching.stop()
        stopped: Deferred[None] = Deferred()
        self._stopping.append(stopped)
        self.wake()
        return stopped

    def pause(self, kind: Kind) -> None:
        """Hand out no more work of this kind. Takes effect at once; what is under way goes on."""
        self._paused[kind] = True
        if kind in self._agents:
            self._agents[kind].pause()

    def resume(self, kind: Kind) -> None:
        self._paused[kind] = False
        if kind in self._agents:
            self._agents[kind].resume()
        self.wake()

    def isPaused(self, kind: Kind) -> bool:
        return self._paused.get(kind, False)

    def suspendEnvelopes(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        """Suspend envelopes in scheduler and queue, so that it outlasts a restart; fires with how many that changed.

        @raise QueueError: it will not outlast a restart.
        """
        return Deferred.fromCoroutine(self._suspension.suspend(envelopes))

    def resumeEnvelopes(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        """The reverse; envelopes that are held for an operator go on as well."""
        return Deferred.fromCoroutine(self._suspension.resume(envelopes))

    def reroute(
        self, message: MessageId, changes: Mapping[EnvelopeId, tuple[Route | None, str]]
    ) -> Deferred[tuple[EnvelopeId, ...]]:
        """Let envelopes of a message go another way, or hold them for an operator; durable when it fires, with those that have not changed:
        they are being delivered, or gone.

        @param changes: the way, or why it is held.
        @raise QueueError: it would not outlast a restart; nothing has changed.
        """
        return Deferred.fromCoroutine(self._rerouting.reroute(message, changes))

    def _isBusy(self, envelope: EnvelopeId) -> bool:
        return any(
            envelope in lease.envelopes for lease in self._leases.values() if lease.message == messageOf(envelope)
        )

    @property
    def isLoading(self) -> bool:
        """Is the walk over the queue not at its end yet?"""
        return not self._loader.isDone

    @property
    def loaded(self) -> int:
        """Envelopes that the walk has found so far."""
        return self._loader.loaded

    def release(self, key: str, count: int) -> None:
        self._scheduler.release(key, count).addErrback(self._lost)
        self.wake()

    def retry(self, envelopes: Sequence[EnvelopeId]) -> None:
        """See L{IRelease.retry}."""
        self._scheduler.schedule(envelopes).addErrback(self._lost)

    def wake(self) -> None:
        """There may be something to do."""
        self._askAt = 0.0
        self._arm(0.0)

    # --- the timer

    def _arm(self, delay: float) -> None:
        """Take a turn in C{delay} seconds at the latest."""
        at = self._clock.seconds() + delay
        if self._timer is None:
            if self._isOver:
                return
            self._timer = self._clock.callLater(delay, self._turn)
        elif at < self._timerAt:
            self._timer.reset(delay)
        else:
            return
        self._timerAt = at

    def _turn(self) -> None:
        self._timer = None
        if self._stopping and not (self._leases or self._asking):
            self._warnings.flush()
            if not self._warnings.isBusy:
                self._finish()
            return
        self._recorder.flush()
        if self._running:
            self._fetching.resume()
            if self._isCut or self._clock.seconds() >= self._askAt:
                self._ask()
            elif self._askAt < inf:
                self._arm(self._askAt - self._clock.seconds())

    def _finish(self) -> None:
        """All outcomes have come: record what is left, once more also against a queue that refused, and end."""
        if not (self._recorder.isIdle or self._recorder.isBusy):
            if self._triedLast:
                self._recorder.giveUp()
            else:
                self._triedLast = True
                self._recorder.flush(last=True)
        if self._recorder.isIdle:
            self._isOver = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            stopping, self._stopping = self._stopping, []
            for stopped in stopping:
                stopped.callback(None)

    # --- handing out

    def _ask(self) -> None:
        if self._asking:
            self._askAgain = True
            return
        room = {kind: most - self._loading[kind] for kind, most in self._room() if not self._paused.get(kind)}
        capacity = {kind: left for kind, left in room.items() if left > 0}
        self._asking = True
        self._askAgain = False
        # Whoever wakes us meanwhile makes it earlier.
        self._askAt = inf
        asked = maybeDeferred(self._scheduler.batch, self._worker, capacity)
        asked.addCallbacks(self._hand, self._notAsked, callbackArgs=(room,))
        # Whatever fails here must not be the last question.
        asked.addErrback(self._notAsked)

    def _room(self) -> list[tuple[Kind, int]]:
        """How many envelopes of each kind may be under way."""
        room = [(Kind.REMOVE, _MAX_REMOVED), (Kind.EXPIRE, _MAX_BOUNCES), (Kind.BOUNCE, _MAX_BOUNCES)]
        for kind, agent in self._agents.items():
            try:
                room.append((kind, agent.capacity()))
            except Exception as error:
                self._fault(f"asking {kind.value} for its capacity", error)
                room.append((kind, 0))
        return room

    def _hand(self, batch: Batch, room: dict[Kind, int]) -> None:
        self._asking = False
        for _, kind, _, envelopes, _ in batch.leases:
            room[kind] = room.get(kind, 0) - len(envelopes)
        ready = self._fetching.get(batch.leases)
        if len(ready) > 1 and self._running:
            ready = self._settle(ready)
        for delivery in ready:
            self._begin(delivery)
        self._isCut = any(left <= 0 for left in room.values())
        if self._askAgain or self._stopping:
            self.wake()
        elif batch.due is not None:
            self._askIn(min(max(0.0, batch.due - self._wallTime()), _LONGEST))

    def _askIn(self, delay: float) -> None:
        self._askAt = min(self._askAt, self._clock.seconds() + delay)
        self._arm(delay)

    def _take(self, lease: Lease) -> None:
        """It counts from now on."""
        if lease.token in self._leases:
            return
        self._leases[lease.token] = lease
        self._uncounted[lease.token] = len(lease.envelopes)
        self._loading[lease.kind] += len(lease.envelopes)

    def _settle(self, ready: Sequence[Delivery]) -> list[Delivery]:
        """Of many that come together: those whose outcome is known without an attempt have it, in one step.

        @return: the others.
        """
        over: dict[int, None] = {}
        for kind, agent in self._agents.items():
            some = [delivery for delivery in ready if delivery.lease.kind is kind]
            if len(some) < 2:
                continue
            try:
                for outcome, deliveries in agent.foregone(some):
                    if outcome.retryAt > self._wallTime():
                        postpone(self._desk, outcome, deliveries)
                        over.update([(delivery.lease.token, None) for delivery in deliveries])
            except Exception as error:
                self._fault(f"asking {kind.value} what is known", error)
        if not over:
            return list(ready)
        self._arm(0.0)
        return [delivery for delivery in ready if delivery.lease.token not in over]

    def _notAsked(self, failure: Failure) -> None:
        self._asking = False
        self._log.failure("the scheduler gave no work", failure)
        self._report.happened(InternalError("asking the scheduler", repr(failure.value)))
        self._askIn(_RETRY)

    def _begin(self, delivery: Delivery) -> None:
        lease, message, envelopes = delivery
        try:
            if lease.kind not in self._agents:
                # Nobody else limits these: they count until they are over.
                self._take(lease)
                self._ends.take(lease, message, envelopes)
            elif not self._running:
                unlessFailed(self._scheduler.update(lease, [entryOf(envelope) for envelope in envelopes]), self._lost)
                self._over(lease)
            else:
                self._leases[lease.token] = lease
                self._count(lease)
                self._deliver(delivery)
        except Exception:
            self._fetching.broken(Failure(), lease)

    def _deliver(self, delivery: Delivery) -> None:
        lease = delivery.lease
        flight = self._flights[lease.token] = Flight(self._desk, *delivery)
        try:
            self._agents[lease.kind].deliver(delivery, flight)
        except Exception as error:
            self._fault(f"delivering by {lease.kind.value}", error)
            flight.abandon()

    # --- coming back

    def _landed(self, flight: Flight) -> None:
        if flight.isOver:
            self._leases.pop(flight.lease.token, None)
            self._flights.pop(flight.lease.token, None)
        self._arm(0.0)

    def _over(self, lease: Lease) -> None:
        self._leases.pop(lease.token, None)
        self._count(lease)
        self._arm(0.0)

    def _count(self, lease: Lease) -> None:
        """From now on its agent counts it, or it is over."""
        self._loading[lease.kind] -= self._uncounted.pop(lease.token, 0)

    def _fault(self, doing: str, error: Exception) -> None:
        self._log.failure("while {doing}", doing=doing)
        self._report.happened(InternalError(doing, repr(error)))

    def _lost(self, failure: Failure) -> None:
        self._log.failure("while dispatching", failure)
