"""Connections of one key, and the transactions that wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from pysmtpd.interfaces.ready import whenReady
from pysmtpd.interfaces.routing import TableError
from pysmtpd.model.envelope import Envelope
from pysmtpd.model.events import CredentialsRefused
from pysmtpd.model.reply import Reply
from pysmtpd.mta.bounds import strictest
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.host import Penalty, Route
from pysmtpd.mta.keys import ConnectionKey, Target
from pysmtpd.mta.security import Level, Policy, satisfies
from pysmtpd.mta.shaping.backoff import complains
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

STAGGER = 0.25
"""Seconds after which a second address is tried beside the first (RFC 8305 5)."""

BROKEN = 3
"""Connections in a row that a host ends before a transaction does: then it is left alone for a while."""

TAKES_NO_MAIL = 521
"""RFC 7504."""

_UNBOUND = 1 << 30


def _isLost(reply: Reply) -> bool:
    """Is this what we say of a connection that was lost, or of an answer that did not come in time?"""
    return reply.code == 451 and reply.enhanced == "4.4.2"


# Where a host fails that has not what is asked of it. IDLE: all was said, and it was not enough.
_POLICY_STAGES = (Stage.STARTTLS, Stage.TLS, Stage.IDLE)


class Pool:
    """
    @ivar waiting: in order of arrival. A list, because an empty deque takes 760 octets, and most pools have nobody waiting.
    @ivar proven: some connection was established since the last failure; before that only one is tried at a time.
    """

    __slots__ = (
        "_cap",
        "_capUntil",
        "_isLate",
        "_lostInRow",
        "_mixed",
        "_plainUntil",
        "_policy",
        "_policyPenalties",
        "_tried",
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
        self.waiting: list[Task] = []
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
        self._lostInRow = 0
        self._isLate = False
        # Others that were tried beside this one.
        self._tried: dict[ConnectionKey, None] = {}

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

    def broken(self, now: float) -> Penalty | None:
        """The worst of what keeps all, or some, from being sent here; None: nothing does."""
        found = [one for one in (self.penalty, *self._policyPenalties.values()) if one.until > now]
        return max(found, key=lambda one: one.until, default=None)

    def isPolicy(self, policy: Policy, now: float) -> bool:
        """Does only what TLS has to be keep those under C{policy} from here?"""
        penalty = self._policyPenalties.get(policy)
        return self.penalty.until <= now and penalty is not None and penalty.until > now

    def isCrowded(self, now: float) -> bool:
        """Has the host refused one connection more?"""
        return bool(self._cap) and now < self._capUntil

    def forgive(self) -> bool:
        """Something should be sent here after all.

        @return: there was something to forgive.
        """
        had = bool(self.penalty.failures or self._policyPenalties or self._cap or self._plainUntil or self.route.said)
        self.penalty.worked()
        self._policyPenalties.clear()
        self._cap = 0
        self._plainUntil = 0.0
        self.route.forgive()
        return had

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
        if idle and self._hasRoom(task):
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
        if self._isLate and task.others:
            self._alsoTry([task])

    def _alsoTry(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.waiting.remove(task)
            self._tried[task.others[0].key] = None
            self.board.alsoTry(task)

    def _late(self, connection: Connection) -> None:
        """So long, and no connection yet: it goes on, but not alone (RFC 8305)."""
        if connection in self.connections and not connection.isConnected:
            self._isLate = True
            self._alsoTry([task for task in self.waiting if task.others])

    def takeBack(self, key: ConnectionKey) -> Sequence[Task]:
        """What waits here, and was meant for another pool."""
        back = [task for task in self.waiting if task.home is not None and task.home.key == key]
        self.waiting = [task for task in self.waiting if task not in back]
        return back

    def _hasRoom(self, task: Task) -> bool:
        """Do the limits of all that it touches allow it to run? Parts that have to wait are told apart, and wait here."""
        board = self.board
        full = board.load.full(board.config(), task.charges)
        if full is None:
            return True
        board.block(self, full)
        source = self.key.source
        left = [part for part in task.parts if board.load.full(board.config(), part.relay.charges(source)) is not None]
        if len(left) == len(task.parts):
            return False
        self.waiting.append(task.divide(left))
        return True

    @property
    def load(self) -> int:
        """How much is to do here, for whoever compares; idle connections count as less than nothing."""
        return len(self.waiting) + len(self.connections) - 2 * len(self.idle)

    def revive(self) -> None:
        """There may be room again for some that wait."""
        for connection in list(self.idle):
            if not self.waiting:
                return
            task = self._next(connection)
            if task is None:
                break
            self.idle.remove(connection)
            connection.run(task)
        if self.waiting:
            self.grow(self.board.clock.seconds())

    def returned(self, task: Task) -> None:
        """A connection could not do it; it is next."""
        self.waiting.insert(0, task)
        self.board.starve(self)

    def _next(self, connection: Connection) -> Task | None:
        waiting = self.waiting
        if not waiting:
            return None
        facts = connection.facts
        assert facts is not None
        for index, task in enumerate(waiting):
            if self._mixed and not satisfies(facts, task.policy):
                continue
            if self._hasRoom(task):
                # Perhaps without some of its parts, which wait at the end now.
                del waiting[index]
                return task
        return None

    def freed(self, connection: Connection) -> None:
        """It is idle again."""
        limits = connection.limits
        if connection.transactions >= connection.maxMails or connection.failures >= limits.maxFailuresPerSession:
            self.quit(connection)
            return
        if limits.sessionTransactionDelay and connection.transactions:
            connection.deadline = self.board.clock.seconds() + 60.0
            self.board.clock.callLater(limits.sessionTransactionDelay, self._offer, connection)
            return
        self._offer(connection)

    def _offer(self, connection: Connection) -> None:
        if connection not in self.connections or connection.transaction is not None:
            return
        task = self._next(connection)
        if task is not None:
            connection.run(task)
            return
        keepalive = connection.limits.sessionKeepalive
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
        delivered = sum(reply.code < 400 for reply in replies)
        if delivered:
            self.route.delivered += delivered
            self._lostInRow = 0
        self.board.decided(connection, task, envelopes, replies)

    def heard(self, connection: Connection, reply: Reply, isOfContent: bool = False) -> None:
        """The host has said this of a connection, or of a transaction as a whole: never of single recipients.

        @param isOfContent: in reply to the content.
        """
        board = self.board
        # While we stop we say some of it ourselves.
        if not board.stopping and complains(reply, isOfContent):
            self.route.beCautious(board.clock.seconds(), str(reply))
            board.shaper.complained(connection.target.host, reply)

    # --- connections

    def grow(self, now: float, isImpatient: bool = False) -> None:
        """Open connections, if more waits than the open ones will soon take."""
        while self.waiting:
            task = self._neediest()
            if not self._wantsMore(task, now, isImpatient):
                return
            if not self.board.mayOpen(self, task, now):
                self.board.starve(self)
                return
            isImpatient = False
            self._open(task, now)

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
        """A waiting task that no connection is there for, or the first that has room, or the first."""
        if self._mixed:
            for task in self.waiting:
                if not self._suitable(task):
                    return task
        load, config = self.board.load, self.board.config()
        for task in self.waiting:
            if load.full(config, task.charges) is None:
                return task
        return self.waiting[0]

    def _wantsMore(self, task: Task, now: float, isImpatient: bool) -> bool:
        total = len(self.connections)
        if not self.proven:
            return total == 0
        suitable = self._suitable(task)
        if total >= self._maximum(now):
            if self.idle and not suitable:
                # Idle connections that serve nobody who waits make room.
                self.quit(self.idle.pop())
            return False
        return isImpatient or not suitable or len(self.waiting) > suitable

    def _maximum(self, now: float) -> int:
        return self._cap if self._cap and now < self._capUntil else _UNBOUND

    def _open(self, task: Task, now: float) -> None:
        target = Target(self.key, task.target.host, task.policy)
        plain = target.policy.level is Level.OPPORTUNISTIC and now < self._plainUntil
        connection = Connection(self, target, plain, self.board.newSession())
        if task.others and not self.proven:
            self.board.clock.callLater(STAGGER, self._late, connection)
        connection.limits = strictest(self.board.config(), task.domains)
        self.connections[connection] = None
        self.board.opened(self, connection, task, now)

        def without(why: str) -> None:
            self.board.report.happened(
                CredentialsRefused(connection.session, connection.label, self.key.credential, why)
            )
            connection.refused(f"Credentials: {why}")

        def failed(failure: Failure) -> None:
            without(failure.getErrorMessage())

        def begin(credentials: Credentials | None) -> None:
            if self.key.credential and credentials is None:
                without(f"nothing under {self.key.credential}")
                return
            try:
                self.board.tls.check(self.key.tls)
            except LookupError as error:
                connection.refused(f"TLS: {error.args[0]}")
                return
            connection.begin(credentials)

        try:
            credentials = self.board.credentials(self.key.credential)
        except TableError:
            failed(Failure())
            return
        whenReady(credentials, begin, failed)

    def established(self, connection: Connection) -> None:
        self.board.discharge(connection)
        now = self.board.clock.seconds()
        if not self.proven:
            for task in self.waiting:
                if task.home is not None:
                    self.board.lostRace(task.home, now)
                    break
        self.proven = True
        self._isLate = False
        self.penalty.worked()
        self._policyPenalties.pop(connection.target.policy, None)
        self.freed(connection)
        if self._tried:
            tried, self._tried = list(self._tried), {}
            self.board.comeHome(self, tried)
        self.grow(now)

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

    def unbound(self, connection: Connection, why: str) -> None:
        """Our own address could not be had: that says nothing about the host."""
        if not self._drop(connection):
            return
        self.board.lacksSource(self.key.source, why)
        tasks = list(self.waiting)
        self.waiting.clear()
        self.board.homeless(tasks)

    def lost(self, connection: Connection, stage: Stage, reply: Reply, moved: Task | None = None) -> None:
        """It has ended, not by our wish; its task has been given back.

        @param moved: what another host may take.
        """
        if connection in self.idle:
            self.idle.remove(connection)
        if not self._drop(connection):
            return
        self._isLate = False
        now = self.board.clock.seconds()
        level = connection.target.policy.level
        # That STARTTLS is not offered is found out at EHLO.
        isPolicy = stage in _POLICY_STAGES or reply.enhanced == "4.7.4"
        # The next one begins anew, and says what is wrong, if it still is.
        isStaleTicket = stage is Stage.TLS and connection.offersTicket
        if isPolicy and connection.facts is None and not isStaleTicket:
            connection.encounters.missed(self.waiting, reply)
        if connection.facts is None or moved is not None:
            # Else it is the reply to a transaction, and told as that.
            self.heard(connection, reply)
        if connection.facts is None and isStaleTicket:
            pass
        elif connection.facts is not None:
            if moved is not None:
                self._lostInRow += 1
                if self._lostInRow >= BROKEN and not self.connections:
                    self._failed(connection, Stage.GREETING, reply, now)
        elif level is Level.OPPORTUNISTIC and (stage is Stage.TLS or (stage is Stage.STARTTLS and _isLost(reply))):
            self._plainUntil = now + PLAIN_TIME
        elif connection.target.policy.asksForMore and isPolicy:
            self._failed(connection, stage, reply, now)
        elif self.proven and self.connections:
            self._cap = max(1, len(self.connections))
            self._capUntil = now + CROWDED_TIME
        else:
            self._failed(connection, stage, reply, now)
        if moved is not None:
            self.board.moved(moved, connection, reply, False)
        if self.waiting:
            self.grow(now)

    def _failed(self, connection: Connection, stage: Stage, reply: Reply, now: float) -> None:
        """Nothing works here: let everyone who waits go elsewhere."""
        policy = connection.target.policy
        isPolicy = policy.asksForMore and stage is not Stage.GREETING
        if not (isPolicy and self.connections):
            self.proven = False
        penalty = self._policyPenalties.setdefault(policy, Penalty()) if isPolicy else self.penalty
        penalty.failed(now, str(reply), stage is Stage.GREETING and reply.code == TAKES_NO_MAIL)
        tasks = [task for task in self.waiting if not isPolicy or task.policy == policy]
        self.waiting = [task for task in self.waiting if isPolicy and task.policy != policy]
        self.board.homeless(tasks)
