"""Connections of one key, and the transactions that wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from pysmtpd.interfaces.ready import whenReady
from pysmtpd.model.envelope import Envelope
from pysmtpd.model.reply import Reply
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.host import Penalty, Route, asksPatience
from pysmtpd.mta.keys import ConnectionKey, Target
from pysmtpd.mta.security import Level, Policy, satisfies
from pysmtpd.mta.task import Part, Task
from pysmtpd.smtp.client_events import Credentials, Stage

if TYPE_CHECKING:
    from pysmtpd.mta.board import Board

IMPATIENCE = 1.0
"""Seconds that a transaction waits for a busy connection before another one is opened for it."""

PLAIN_TIME = 3600.0
"""Seconds for which a host whose TLS failed is used in plain text by those who only would like TLS."""

CROWDED_TIME = 60.0
"""Seconds for which a host that refused one connection more is not asked for it again."""


# Where a host fails that has not what is asked of it. IDLE: all was said, and it was not enough.
_POLICY_STAGES = (Stage.STARTTLS, Stage.TLS, Stage.IDLE)


class Pool:
    """
    @ivar waiting: in order of arrival.
    @ivar proven: some connection was established since the last failure; before that only one is tried at a time.
    """

    __slots__ = (
        "_cap",
        "_capUntil",
        "_mixed",
        "_plainUntil",
        "_policy",
        "_policyPenalties",
        "board",
        "connections",
        "idle",
        "key",
        "penalty",
        "proven",
        "route",
        "waiting",
    )

    def __init__(self, key: ConnectionKey, route: Route, board: Board) -> None:
        self.key = key
        self.route = route
        self.board = board
        self.waiting: deque[Task] = deque()
        self.connections: dict[Connection, None] = {}
        self.idle: list[Connection] = []
        self.penalty = Penalty()
        self.proven = False
        self._policyPenalties: dict[Policy, Penalty] = {}
        self._policy: Policy | None = None
        self._mixed = False
        self._plainUntil = 0.0
        self._cap = 0
        self._capUntil = 0.0

    # --- is it any use?

    def problem(self, policy: Policy, now: float) -> str:
        """Why nothing should be sent here now; empty: it may be."""
        if self.penalty.until > now:
            return self.penalty.error
        penalty = self._policyPenalties.get(policy)
        return penalty.error if penalty is not None and penalty.until > now else ""

    def until(self, policy: Policy) -> float:
        """When C{problem} ends, in monotonic seconds."""
        penalty = self._policyPenalties.get(policy)
        return max(self.penalty.until, penalty.until if penalty is not None else 0.0)

    def forgive(self) -> None:
        """Something should be sent here after all."""
        self.penalty.worked()
        self._policyPenalties.clear()

    def isIdle(self, now: float) -> bool:
        """It may be forgotten."""
        latest = max([self.penalty.until, self._plainUntil, *(one.until for one in self._policyPenalties.values())])
        return not (self.connections or self.waiting) and latest + PLAIN_TIME < now

    # --- work

    def submit(self, task: Task) -> None:
        """Start it, or let it wait."""
        if self._policy is None:
            self._policy = task.policy
        elif task.policy != self._policy:
            self._mixed = True
        idle = self.idle
        if idle:
            if not self._mixed:
                idle.pop().run(task)
                return
            for index in range(len(idle) - 1, -1, -1):
                facts = idle[index].facts
                if facts is not None and satisfies(facts, task.policy):
                    idle.pop(index).run(task)
                    return
        self.waiting.append(task)
        self.grow(self.board.clock.seconds())

    def returned(self, task: Task) -> None:
        """A connection could not do it; it is next."""
        self.waiting.appendleft(task)
        self.board.starve(self)

    def _next(self, connection: Connection) -> Task | None:
        waiting = self.waiting
        if not waiting:
            return None
        if not self._mixed:
            return waiting.popleft()
        facts = connection.facts
        assert facts is not None
        for index, task in enumerate(waiting):
            if satisfies(facts, task.policy):
                del waiting[index]
                return task
        return None

    def freed(self, connection: Connection) -> None:
        """It is idle again."""
        limits = self.board.config().mta
        if connection.transactions >= connection.maxMails or connection.failures >= limits.maxFailuresPerSession:
            self.quit(connection)
            return
        if limits.sessionTransactionDelay and connection.transactions:
            connection.deadline = self.board.clock.seconds() + 60.0
            self.board.clock.callLater(limits.sessionTransactionDelay, self._offer, connection)
            return
        self._offer(connection)

    def _offer(self, connection: Connection) -> None:
        if connection not in self.connections or connection.task is not None:
            return
        task = self._next(connection)
        if task is not None:
            connection.run(task)
            return
        keepalive = self.board.config().mta.sessionKeepalive
        if keepalive <= 0 or self.board.stopping:
            self.quit(connection)
            return
        connection.deadline = self.board.clock.seconds() + keepalive
        self.idle.append(connection)
        self.board.rests(connection)
        if self.waiting:
            self.grow(self.board.clock.seconds())

    def decided(
        self, connection: Connection, task: Task, envelopes: Sequence[tuple[Part, Envelope]], replies: Sequence[Reply]
    ) -> None:
        """A transaction is over."""
        route = self.route
        for reply in replies:
            if reply.code >= 400:
                self.board.shaper.answered(connection.target.host, reply)
                if asksPatience(reply):
                    route.beCautious(self.board.clock.seconds())
            else:
                route.delivered += 1
        self.board.decided(connection, task, envelopes, replies)

    # --- connections

    def grow(self, now: float, isImpatient: bool = False) -> None:
        """Open connections, if more waits than the open ones will soon take."""
        while self.waiting and self._wantsMore(now, isImpatient):
            if not self.board.mayOpen(self, now):
                self.board.starve(self)
                return
            isImpatient = False
            self._open(self._neediest(), now)

    def _suitable(self, task: Task) -> int:
        if not self._mixed:
            return len(self.connections)
        count = 0
        for connection in self.connections:
            if connection.facts is None:
                count += connection.target.policy == task.policy
            else:
                count += satisfies(connection.facts, task.policy)
        return count

    def _neediest(self) -> Task:
        """A waiting task that no connection is there for, or the first."""
        if self._mixed:
            for task in self.waiting:
                if not self._suitable(task):
                    return task
        return self.waiting[0]

    def _wantsMore(self, now: float, isImpatient: bool) -> bool:
        total = len(self.connections)
        if not self.proven:
            return total == 0
        task = self._neediest()
        suitable = self._suitable(task)
        if total >= self._maximum(now):
            if self.idle and not suitable:
                # Idle connections that serve nobody who waits make room.
                self.quit(self.idle.pop())
            return False
        return isImpatient or not suitable or len(self.waiting) > suitable

    def _maximum(self, now: float) -> int:
        if self._cap and now < self._capUntil:
            return self._cap
        limits = self.board.config().mta
        return min(limits.maxConnPerConnector, limits.maxConnPerRelay, limits.maxConnPerDomain)

    def _open(self, task: Task, now: float) -> None:
        target = Target(self.key, task.target.host, task.policy)
        plain = target.policy.level is Level.OPPORTUNISTIC and now < self._plainUntil
        connection = Connection(self, target, plain, self.board.newSession())
        self.connections[connection] = None
        self.board.opened(self, connection, now)

        def failed(failure: Failure) -> None:
            connection.refused(f"Credentials: {failure.getErrorMessage()}")

        def begin(credentials: Credentials | None) -> None:
            if self.key.credential and credentials is None:
                connection.refused(f"Credentials: nothing under {self.key.credential}")
            else:
                connection.begin(credentials)

        whenReady(self.board.credentials(self.key.credential), begin, failed)

    def established(self, connection: Connection) -> None:
        self.proven = True
        self.penalty.worked()
        self._policyPenalties.pop(connection.target.policy, None)
        self.freed(connection)
        self.grow(self.board.clock.seconds())

    def quit(self, connection: Connection) -> None:
        """Say QUIT; its place is free at once."""
        if connection in self.idle:
            self.idle.remove(connection)
        connection.leave()
        self._drop(connection)
        if self.waiting:
            self.grow(self.board.clock.seconds())

    def _drop(self, connection: Connection) -> bool:
        if connection not in self.connections:
            return False
        del self.connections[connection]
        self.board.wakes(connection)
        if not self.connections:
            self._mixed = False
            self._policy = self.waiting[0].policy if self.waiting else None
            self._mixed = any(task.policy != self._policy for task in self.waiting)
        self.board.closed(self, connection)
        return True

    def lost(self, connection: Connection, stage: Stage, reply: Reply) -> None:
        """It has ended, not by our wish; its task has been given back."""
        if connection in self.idle:
            self.idle.remove(connection)
        if not self._drop(connection):
            return
        now = self.board.clock.seconds()
        if asksPatience(reply):
            self.route.beCautious(now)
        level = connection.target.policy.level
        # That STARTTLS is not offered is found out at EHLO.
        isPolicy = stage in _POLICY_STAGES or reply.enhanced == "4.7.4"
        if isPolicy and connection.facts is None:
            connection.missed(self.waiting, reply)
        if connection.facts is None:
            # Later ones are replies to transactions, and told as these.
            self.board.shaper.answered(connection.target.host, reply)
        if connection.facts is not None:
            pass
        elif stage is Stage.TLS and level is Level.OPPORTUNISTIC:
            self._plainUntil = now + PLAIN_TIME
        elif connection.target.policy.asksForMore and isPolicy:
            self._failed(connection, stage, reply, now)
        elif self.proven and self.connections:
            self._cap = max(1, len(self.connections))
            self._capUntil = now + CROWDED_TIME
        else:
            self._failed(connection, stage, reply, now)
        if self.waiting:
            self.grow(now)

    def _failed(self, connection: Connection, stage: Stage, reply: Reply, now: float) -> None:
        """Nothing works here: let everyone who waits go elsewhere."""
        policy = connection.target.policy
        isPolicy = policy.asksForMore and stage is not Stage.GREETING
        if not (isPolicy and self.connections):
            self.proven = False
        penalty = self._policyPenalties.setdefault(policy, Penalty()) if isPolicy else self.penalty
        penalty.failed(now, str(reply))
        tasks = [task for task in self.waiting if not isPolicy or task.policy == policy]
        self.waiting = deque(task for task in self.waiting if isPolicy and task.policy != policy)
        self.board.homeless(tasks)
