"""The mda: one delivery for each envelope, bounded in all and per user."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import (
    DeliveryRefused,
    IAgent,
    IBody,
    IDeliveryHosts,
    IOutcomes,
    IPlatform,
    IQueue,
    IRelease,
    IStat,
    ITable,
    NoSuchItem,
    QueueError,
    answered,
)
from pysmtpd.mda.accounts import Accounts
from pysmtpd.mda.exits import FAULT
from pysmtpd.mda.header import deliveredTo
from pysmtpd.mda.plan import ConfigurationFault, Letter, method, needsHome, plan
from pysmtpd.model.config import Action, Config, Method
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.ids import formatEnvelopeId
from pysmtpd.model.limits import MdaLimits
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery
from pysmtpd.model.task import placeOf

# Octets of a message in which the loop check looks for the header.
HEAD = 65_536

# A fresh interpreter that takes nothing from the environment and sees no installed packages.
_RUN = "import sys; sys.path.append(sys.argv[1]); from pysmtpd.mda.__main__ import main; sys.exit(main(sys.argv[2:]))"
_PROGRAM = (sys.executable, "-I", "-S", "-c", _RUN, __file__.rpartition("/pysmtpd/")[0])

DELIVERED = Reply(250, "Delivered", "2.1.5")
LOOP = Reply(554, "Mail loops: it has been delivered to this address before", "5.4.6")
NO_ACTION = "The configuration has no such action for local delivery any more: "


@dataclass(slots=True)
class _Job:
    """
    @ivar weight: how many letters of a batch it counts for.
    """

    message: Message
    envelope: Envelope
    outcomes: IOutcomes
    weight: int


class _PerUser:
    """What is under way for one user, and what waits.

    @ivar running: the weight of what is under way.
    @ivar taken: envelopes under way or waiting.
    @ivar held: envelopes that the scheduler was asked to hold, at most; it may have fewer by now.
    """

    __slots__ = ("held", "isReady", "running", "taken", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.taken = 0
        self.waiting: deque[_Job] = deque()
        self.held = 0
        self.isReady = False


@implementer(IAgent)
class MdaAgent:
    """Local delivery.

    At most C{taskHiwat} envelopes of a user are taken, and not more than are left for all others, so that something always is, however many
    users have commands that take their time. More are held in the scheduler under C{mda:USER}, and come back C{taskRelease} at a time
    when fewer than C{taskLowat} are left.
    """

    _log = Logger()

    def __init__(
        self,
        platform: IPlatform,
        hosts: IDeliveryHosts,
        queue: IQueue,
        config: Callable[[], Config],
        tables: Callable[[], Mapping[str, ITable]],
        release: IRelease,
        stat: IStat,
    ) -> None:
        self._hosts = hosts
        self._queue = queue
        self._config = config
        self._release = release
        self._stat = stat
        self._platform = platform
        self._accounts = Accounts(platform, tables)
        self._hostname = platform.hostname.replace("/", "\\057").replace(":", "\\072")
        self._users: dict[str, _PerUser] = {}
        self._ready: deque[str] = deque()
        self._filling = False
        self._running = 0
        self._taken = 0
        self._paused = False
        self._stopped: Deferred[None] | None = None

    # --- IAgent

    def deliver(self, delivery: Delivery, outcomes: IOutcomes) -> None:
        """See L{IAgent.deliver}."""
        config = self._config()
        limits = config.mda
        for envelope in delivery.envelopes:
            user = envelope.destination.user
            own = self._users.setdefault(user, _PerUser())
            if own.taken and own.taken >= min(limits.taskHiwat, self._room(limits)):
                own.held += 1
                outcomes.hold((envelope.id,), f"mda:{user}")
                continue
            self._taken += 1
            own.taken += 1
            own.waiting.append(_Job(delivery.message, envelope, outcomes, _weight(config, envelope)))
            if not own.isReady:
                own.isReady = True
                self._ready.append(user)
        self._fill()

    def foregone(self, deliveries: Sequence[Delivery]) -> Sequence[tuple[Outcome, Sequence[Delivery]]]:
        """See L{IAgent.foregone}. What became of others says nothing here."""
        return ()

    def capacity(self) -> int:
        """See L{IAgent.capacity}."""
        if self._paused or self._stopped is not None:
            return 0
        return max(0, self._room(self._config().mda))

    def _room(self, limits: MdaLimits) -> int:
        return 2 * limits.taskHiwat - self._taken

    def pause(self) -> None:
        """See L{IAgent.pause}."""
        self._paused = True

    def resume(self) -> None:
        """See L{IAgent.resume}."""
        self._paused = False

    def stop(self) -> Deferred[None]:
        """See L{IAgent.stop}. What waits for a session is given back untried."""
        if self._stopped is None:
            self._stopped = Deferred()
            self._ready.clear()
            for own in self._users.values():
                own.isReady = False
                while own.waiting:
                    job = own.waiting.popleft()
                    self._taken -= 1
                    job.outcomes.hold((job.envelope.id,), f"mda:{job.envelope.destination.user}")
            if not self._running:
                return succeed(None)
        return self._stopped

    # --- one envelope

    def _fill(self) -> None:
        """Start what waits, user by user. Deliveries that end at once come back here: the loop that runs goes on for them."""
        if self._filling:
            return
        self._filling = True
        limits = self._config().mda
        inAll = limits.maxSession * limits.batch
        perUser = limits.maxSessionPerUser * limits.batch
        skipped: list[str] = []
        while self._ready and self._running < inAll and self._stopped is None:
            user = self._ready.popleft()
            own = self._users[user]
            if own.running < perUser:
                self._start(user, own, own.waiting.popleft())
                if own.waiting:
                    self._ready.append(user)
                else:
                    own.isReady = False
            else:
                skipped.append(user)
        self._ready.extend(skipped)
        self._filling = False

    def _start(self, user: str, own: _PerUser, job: _Job) -> None:
        own.running += job.weight
        self._running += job.weight
        done = Deferred.fromCoroutine(self._run(job))
        done.addErrback(self._failed, job)
        done.addCallback(lambda _: self._ended(user, own, job.weight))

    def _failed(self, failure: Failure, job: _Job) -> None:
        self._log.failure(
            "Delivery of {evpid} failed unexpectedly", failure=failure, evpid=formatEnvelopeId(job.envelope.id)
        )
        self._finish(job, Result.TEMPORARY, Reply(451, "Internal error", "4.3.0"), "")

    def _ended(self, user: str, own: _PerUser, weight: int) -> None:
        own.running -= weight
        own.taken -= 1
        self._running -= weight
        self._fill()
        limits = self._config().mda
        left, room = own.taken, self._room(limits)
        # Where others have taken nearly all, not so many that most would be held again.
        if own.held and left < max(1, min(limits.taskLowat, room // 2)):
            count = max(1, min(limits.taskRelease, room))
            own.held = max(0, own.held - count)
            self._release.release(f"mda:{user}", count)
        if not left and not own.held:
            self._users.pop(user, None)
        if self._stopped is not None and not self._running and not self._stopped.called:
            self._stopped.callback(None)

    async def _run(self, job: _Job) -> None:
        envelope = job.envelope
        config = self._config()
        action = config.actions.get(envelope.destination.action)
        if action is None:
            self._refused(job, Reply(451, NO_ACTION + envelope.destination.action, FAULT))
            return
        try:
            body = await self._queue.open(job.message.body)
        except NoSuchItem:
            self._refused(job, Reply(451, "The message is not in the queue", "4.3.0"))
            return
        except QueueError as error:
            self._refused(job, error.reply)
            return
        try:
            await self._store(job, config, action, body)
        except DeliveryRefused as refused:
            self._refused(job, refused.reply)
        except QueueError as error:
            self._finish(job, Result.TEMPORARY, error.reply, "")
        except ConfigurationFault as fault:
            self._refused(job, Reply(451, str(fault), FAULT))
        finally:
            body.close()

    async def _store(self, job: _Job, config: Config, action: Action, body: IBody) -> None:
        destination = job.envelope.destination
        head = b""
        while len(head) < HEAD and b"\r\n\r\n" not in head and (chunk := await answered(body.read())):
            head += chunk
        if str(destination.recipient).lower() in deliveredTo(head):
            self._finish(job, Result.LOOP, LOOP, "")
            return
        body.rewind()
        account = await self._accounts.find(config, action, destination, needsHome(config, action, destination))
        letter = Letter(job.message, job.envelope, account, head, self._platform.wallTime(), self._hostname, _PROGRAM)
        task = plan(config, action, letter)
        try:
            where = "" if task is None else await self._hosts.deliver(account, task, body)
        except DeliveryRefused as refused:
            # Whoever mends it must know which of several files or commands it was.
            self._refused(job, refused.reply, "" if task is None else placeOf(task))
            return
        self._finish(job, Result.DELIVERED, DELIVERED, where)

    def _refused(self, job: _Job, reply: Reply, where: str = "") -> None:
        if reply.enhanced == FAULT:
            self._log.error(
                "Configuration fault: {evpid} for {recipient} is not delivered: {why}",
                evpid=formatEnvelopeId(job.envelope.id),
                recipient=str(job.envelope.destination.recipient),
                why=reply.text,
            )
        self._finish(job, Result.PERMANENT if reply.isPermanent else Result.TEMPORARY, reply, where)

    def _finish(self, job: _Job, result: Result, reply: Reply, relay: str) -> None:
        self._taken -= 1
        job.outcomes.finished((Outcome(job.envelope.id, result, reply, relay=relay),))


def _weight(config: Config, envelope: Envelope) -> int:
    """Letters for Maildirs go in batches; all else is a batch of its own."""
    action = config.actions.get(envelope.destination.action)
    isLetter = action is None or method(action, envelope.destination) is Method.MAILDIR
    return 1 if isLetter else config.mda.batch
