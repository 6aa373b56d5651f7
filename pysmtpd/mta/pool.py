"""Connections of one key, and the transactions that wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pysmtpd.model.envelope import Envelope
from pysmtpd.model.reply import Reply
from pysmtpd.mta.bounds import strictest
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.ending import Blame, Ending
from pysmtpd.mta.host import Route
from pysmtpd.mta.keys import ConnectionKey, Target
from pysmtpd.mta.lanes import Lane
from pysmtpd.mta.security import Level, satisfies
from pysmtpd.mta.shaping.backoff import complains
from pysmtpd.mta.standing import GOOD, Standing
from pysmtpd.mta.task import Part, Task
from pysmtpd.mta.underway import NOTHING, UnderWay
from pysmtpd.smtp.client_events import Stage

if TYPE_CHECKING:
    from pysmtpd.mta.board import Board

IMPATIENCE = 1.0
"""Seconds that a transaction waits for a busy connection before another one is opened for it."""

FORGOTTEN = 3600.0
"""Seconds after its last connection for which a host is remembered, and at least as long after what is held against it."""

STAGGER = 0.25
"""Seconds after which a second address is tried beside the first (RFC 8305 5)."""

AT_FIRST = 5
"""Connections to a host that has not taken a message yet."""

BROKEN = 3
"""Connections in a row that a host ends before a transaction does: then it is left alone for a while."""


class Pool:
    """
    @ivar proven: some connection was established since the last failure; before that only one is tried at a time.
    """

    __slots__ = ("_now", "_tried", "board", "key", "proven", "route", "standing")

    def __init__(self, key: ConnectionKey, route: Route, board: Board) -> None:
        self.key = key
        self.route = route
        self.board = board
        self.standing = GOOD
        self.proven = False
        self._now = NOTHING
        # Others that were tried beside this one.
        self._tried: tuple[ConnectionKey, ...] = ()

    @property
    def waiting(self) -> list[Task]:
        """In order of arrival."""
        return self._now.waiting

    @property
    def connections(self) -> dict[Connection, None]:
        """Open, or being opened."""
        return self._now.connections

    @property
    def idle(self) -> list[Connection]:
        """Those of them that wait for a task."""
        return self._now.idle

    def _rest(self) -> None:
        """Perhaps nothing is under way."""
        if not (self.connections or self.waiting):
            self._now = NOTHING

    def _takeAll(self) -> list[Task]:
        """Those who wait, who do so no more."""
        tasks = list(self.waiting)
        if tasks:
            self.waiting.clear()
            self._rest()
        return tasks

    # --- what is known of it

    def forgive(self) -> bool:
        """Something should be sent here after all.

        @return: there was something to forgive.
        """
        had = self.route.caution is not None or (self.standing is not GOOD and self.standing.forgive())
        self.standing = GOOD
        self.route.caution = None
        self.route.host.forgive()
        return had

    def isIdle(self, now: float) -> bool:
        """It may be forgotten."""
        if self.connections or self.waiting or not self.standing.isOver(now):
            return False
        return max(self.route.opened, self.route.closed) + FORGOTTEN < now

    def _own(self) -> Standing:
        """Something is to be written down."""
        if self.standing is GOOD:
            self.standing = Standing()
        return self.standing

    # --- work

    def submit(self, task: Task) -> None:
        """Start it, or let it wait."""
        if self._now is NOTHING:
            self._now = UnderWay()
        self._now.meets(task)
        idle = self.idle
        if idle and self._hasRoom(task):
            if not self._now.isMixed:
                idle.pop().run(task)
                return
            for index in range(len(idle) - 1, -1, -1):
                facts = idle[index].facts
                if facts is not None and satisfies(facts, task.policy):
                    idle.pop(index).run(task)
                    return
        self.waiting.append(task)
        self.grow(self.board.clock.seconds())
        if self._now.isLate and task.others:
            self._alsoTry([task])

    def _alsoTry(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.waiting.remove(task)
            self._tried += (task.others[0].key,)
            self.board.race.alsoTry(task)

    def _late(self, connection: Connection) -> None:
        """So long, and no connection yet: it goes on, but not alone (RFC 8305)."""
        if connection in self.connections and not connection.isConnected:
            self._now.isLate = True
            self._alsoTry([task for task in self.waiting if task.others])

    def takeBack(self, key: ConnectionKey) -> Sequence[Task]:
        """What waits here, and was meant for another pool."""
        back = [task for task in self.waiting if task.home is not None and task.home.key == key]
        if back:
            self.waiting[:] = [task for task in self.waiting if task not in back]
            self._rest()
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
            if self._now.isMixed and not satisfies(facts, task.policy):
                continue
            if self._hasRoom(task):
                # Perhaps without some of its parts, which wait at the end now.
                del waiting[index]
                return task
        return None

    def freed(self, connection: Connection) -> None:
        """It is idle again."""
        limits = connection.limits
        if (
            connection.transactions >= connection.maxMails
            or connection.failures >= limits.maxFailuresPerSession
            or (
                connection.lane >= Lane.SLOW
                and connection.transactions
                and not self.board.slots.mayStay(connection, self.board.clock.seconds())
            )
        ):
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
            if self.standing.lostInRow:
                self.standing.lostInRow = 0
        self.board.pacer.decided(connection, task)
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
                if self.proven:
                    # They wait for connections that are in use.
                    self.board.impatient[self] = None
                return
            if not self.board.mayOpen(self, task, now):
                return
            isImpatient = False
            self._open(task, now)

    def _suitable(self, task: Task) -> int:
        if not self._now.isMixed:
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
        if self._now.isMixed:
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
        if total >= AT_FIRST and self.route.host.lane(now) is Lane.NEW:
            return False
        suitable = self._suitable(task)
        if total >= self.standing.most(now):
            if self.idle and not suitable:
                # Idle connections that serve nobody who waits make room.
                self.quit(self.idle.pop())
            return False
        return isImpatient or not suitable or len(self.waiting) > suitable

    def _open(self, task: Task, now: float) -> None:
        target = Target(self.key, task.target.host, task.policy)
        plain = target.policy.level is Level.OPPORTUNISTIC and self.standing.isPlain(now)
        connection = Connection(self, target, plain, self.board.newSession())
        if task.others and not self.proven:
            self.board.clock.callLater(STAGGER, self._late, connection)
        connection.limits = strictest(self.board.config(), task.domains)
        self.connections[connection] = None
        self.board.opened(self, connection, task, now)

        self.board.opening.begin(connection)

    def established(self, connection: Connection) -> None:
        self.board.discharge(connection)
        now = self.board.clock.seconds()
        if self.standing is not GOOD:
            self.standing.worked(connection.target.policy)
        if not self.board.pacer.mayBegin(connection, now):
            return
        if not self.proven:
            for task in self.waiting:
                if task.home is not None:
                    self.board.race.lost(task.home, now)
                    break
        self.proven = True
        self._now.isLate = False
        self.freed(connection)
        if self._tried:
            tried, self._tried = self._tried, ()
            self.board.race.comeHome(self, tuple(dict.fromkeys(tried)))
        self.grow(now)

    def quit(self, connection: Connection) -> None:
        """Say QUIT; its place is free at once."""
        if connection in self.idle:
            self.idle.remove(connection)
        connection.leave()
        self._drop(connection)
        if self.waiting:
            self.grow(self.board.clock.seconds())

    def giveWay(self, connection: Connection) -> None:
        """The host is slow, and so are others: its place is free at once. It costs nobody a try."""
        if connection.transaction is not None:
            self.waiting.insert(0, connection.transaction.takeBack())
        self._drop(connection)
        connection.giveWay()
        if self.connections:
            return
        self.proven = False
        self.board.displaced(self._takeAll())

    def _drop(self, connection: Connection) -> bool:
        if connection not in self.connections:
            return False
        del self.connections[connection]
        self.board.wakes(connection)
        if not self.connections:
            self._now.forgetPolicies()
            self._rest()
        self.board.closed(self, connection)
        return True

    def unbound(self, connection: Connection, why: str) -> None:
        """Our own address could not be had: that says nothing about the host."""
        if not self._drop(connection):
            return
        self.board.lacksSource(self.key.source, why)
        tasks, now = self._takeAll(), self.board.clock.seconds()
        for relay in dict.fromkeys(part.relay for task in tasks for part in task.parts):
            relay.skips(self.key.source, why, now)
        self.board.homeless(tasks)

    def withoutDescriptor(self, connection: Connection) -> None:
        """We have no more to spare: that says nothing about the host."""
        if self._drop(connection):
            self.board.starve(self)

    def lost(self, connection: Connection, stage: Stage, reply: Reply, moved: Task | None = None) -> None:
        """It has ended, not by our wish; its task has been given back.

        @param moved: what another host may take.
        """
        if connection in self.idle:
            self.idle.remove(connection)
        if not self._drop(connection):
            return
        if self._now is not NOTHING:
            self._now.isLate = False
        now = self.board.clock.seconds()
        isEstablished = connection.facts is not None
        ending = Ending(
            connection.target.policy, stage, reply, isEstablished, moved is not None, connection.offersTicket
        )
        if ending.isOfTls and not (isEstablished or ending.isStale):
            connection.encounters.missed(self.waiting, reply)
        if not isEstablished or moved is not None:
            # Else it is the reply to a transaction, and told as that.
            self.heard(connection, reply)
        blame = ending.blame(self.proven, bool(self.connections))
        if blame is Blame.DROPPED:
            standing = self._own()
            standing.lostInRow += 1
            if standing.lostInRow >= BROKEN and not self.connections:
                self._failed(ending, now)
        elif blame is Blame.TLS:
            self._own().tlsFailed(now)
        elif blame is Blame.CROWDED:
            self._own().tookOnly(len(self.connections), now)
        elif blame is Blame.USELESS:
            self._failed(ending, now)
        if moved is not None:
            self.board.moved(moved, connection, reply, False)
        if self.waiting:
            self.grow(now)

    def _failed(self, ending: Ending, now: float) -> None:
        """Nothing works here: let everyone who waits go elsewhere."""
        policy = ending.concerned
        if policy is None or not self.connections:
            self.proven = False
        self._own().failed(policy).failed(now, str(ending.reply), ending.takesNoMail)
        tasks = [task for task in self.waiting if policy is None or task.policy == policy]
        if tasks:
            self.waiting[:] = [task for task in self.waiting if policy is not None and task.policy != policy]
            self._rest()
        self.board.homeless(tasks)
