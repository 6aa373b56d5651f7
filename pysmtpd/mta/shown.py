"""The mta for people: relays, routes, hosts and connections, each with its state and the one constraint that binds it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.model.ids import formatMessageId, formatSessionId
from pysmtpd.mta.board import Board
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.hosts import Known
from pysmtpd.mta.pool import Pool
from pysmtpd.mta.relay import Relay
from pysmtpd.mta.standing import UNBOUND
from pysmtpd.mta.task import Task
from pysmtpd.mta.turnstile import Turnstile
from pysmtpd.smtp.client_events import Stage

MAX_SHOWN = 50
"""Hosts of a relay that are shown to an operator."""

Row = Mapping[str, object]


class Constraint(NamedTuple):
    """Why it does not go faster.

    @ivar kind: C{concurrency}, C{rate}, C{back-off}, C{DNS}, C{TLS policy}, C{suspended}, or C{nothing to send}; C{none}: it goes.
    @ivar until: wall-clock seconds when it ends; 0: that depends on others.
    """

    kind: str
    text: str = ""
    until: float = 0.0

    @property
    def row(self) -> Row:
        return {"kind": self.kind, "text": self.text, "until": self.until}


NOTHING = Constraint("nothing to send")
FREE = Constraint("none")


class Shown:
    """One look: everything is of the same moment."""

    def __init__(
        self,
        platform: IPlatform,
        board: Board,
        relays: Sequence[Relay],
        turnstile: Turnstile,
        lacking: Sequence[str],
        isPaused: bool,
    ) -> None:
        """
        @param lacking: source addresses that this machine does not have, with the reason.
        """
        self._now = platform.clock.seconds()
        self._wallTime = platform.wallTime()
        self._board = board
        self._relays = relays
        self._turnstile = turnstile
        self._lacking = list(lacking)
        self._isPaused = isPaused
        self._waiting: dict[Relay, tuple[Pool, Task]] = {}
        self._running: dict[Relay, int] = {}
        for pool in board.hosts.pools:
            for task in pool.waiting:
                for part in task.parts:
                    self._waiting.setdefault(part.relay, (pool, task))
            for connection in pool.connections:
                if connection.task is not None:
                    for part in connection.task.parts:
                        self._running[part.relay] = self._running.get(part.relay, 0) + 1

    def relays(self) -> Sequence[Row]:
        return [self._relay(relay) for relay in self._relays]

    def routes(self) -> Sequence[Row]:
        return [self._route(pool) for pool in self._board.hosts.pools]

    def hosts(self) -> Sequence[Row]:
        return [self._host(host) for host in self._board.hosts]

    def connections(self) -> Sequence[Row]:
        return [self._connection(connection) for connection in self._board.connections]

    # --- relays

    def _relay(self, relay: Relay) -> Row:
        down = relay.isDown(self._now)
        constraint = self._relayConstraint(relay)
        if relay.waiting:
            state = "resolving"
        elif relay in self._running:
            state = "sending"
        elif down is not None:
            state = "down"
        else:
            state = "waiting" if relay.backlog or relay.held or constraint is not NOTHING else "idle"
        return {
            "relay": relay.name,
            "state": state,
            "constraint": constraint.row,
            "backlog": relay.backlog,
            "envelopes": relay.envelopes,
            "held": relay.held,
            "hosts": relay.labels(MAX_SHOWN),
            "sources_skipped": self._lacking if relay.key.source else [],
            "error": relay.lastError,
            "next_try": self._wall(down.until) if down is not None else 0.0,
        }

    def _relayConstraint(self, relay: Relay) -> Constraint:
        if self._isPaused:
            return Constraint("suspended", "the mta is paused")
        if relay.waiting:
            return Constraint("DNS", "its hosts are being looked up")
        found = self._waiting.get(relay)
        if found is not None:
            pool, task = found
            return self._waitingConstraint(pool, task)
        shaped = self._board.shaper.constraint(relay.limit, self._now) if relay.limit else None
        if shaped is not None:
            kind, text, wait = shaped
            return Constraint(kind, text, self._wall(self._now + wait) if wait else 0.0)
        if relay in self._running:
            return FREE
        down = relay.isDown(self._now)
        if down is not None:
            kind = "TLS policy" if self._isPolicy(relay) else "back-off"
            return Constraint(kind, down.reply.text, self._wall(down.until))
        resolution = relay.resolution
        if relay.backlog:
            return Constraint("DNS", "some of its mail waits for other domains' answers")
        if relay.held and self._turnstile.isWaiting(relay):
            word = relay.lane.word
            return Constraint("concurrency", f"envelopes under way, of which those for {word} hosts have their share")
        if relay.held:
            return Constraint("concurrency", "task-hiwat: as much is under way as there may be")
        if resolution is not None and resolution.failure is not None:
            return Constraint("DNS", resolution.failure[1].text)
        return NOTHING

    def _isPolicy(self, relay: Relay) -> bool:
        """Is each of its hosts kept out by what TLS has to be, and by nothing else?"""
        resolution = relay.resolution
        targets = [target for level in resolution.levels for target in level] if resolution is not None else []
        return bool(targets) and all(self._board.hosts.isPolicy(target, self._now) for target in targets)

    # --- routes

    def _route(self, pool: Pool) -> Row:
        key, route = pool.key, pool.route
        busy = sum(connection.task is not None for connection in pool.connections)
        penalty = pool.standing.penalty
        broken = pool.standing.broken(self._now)
        if broken is not None:
            state = "broken"
        elif not pool.connections:
            state = "waiting" if pool.waiting else "closed"
        elif not pool.proven:
            state = "half-open" if pool.standing.penalty.failures else "connecting"
        else:
            state = "sending" if busy else "open"
        return {
            "protocol": key.protocol,
            "source": key.source,
            "host": route.host.names,
            "address": key.address,
            "port": key.port,
            "helo": key.helo,
            "credential": key.credential,
            "tls": str(key.tls),
            "state": state,
            "constraint": self._routeConstraint(pool, busy).row,
            "connections": len(pool.connections),
            "idle": len(pool.idle),
            "waiting": len(pool.waiting),
            "delivered": route.delivered,
            "failures": penalty.failures,
            "penalty": max(0.0, penalty.until - self._now),
            "error": broken.error if broken is not None else penalty.error,
            "next_try": self._wall(broken.until) if broken is not None else 0.0,
        }

    def _routeConstraint(self, pool: Pool, busy: int) -> Constraint:
        if self._isPaused:
            return Constraint("suspended", "the mta is paused")
        if pool.waiting:
            return self._waitingConstraint(pool, pool.waiting[0])
        broken = pool.standing.broken(self._now)
        if broken is not None:
            kind = "back-off" if broken is pool.standing.penalty else "TLS policy"
            return Constraint(kind, broken.error, self._wall(broken.until))
        return FREE if busy else NOTHING

    def _waitingConstraint(self, pool: Pool, task: Task) -> Constraint:
        """Why C{task}, which waits at C{pool}, does not run."""
        if not pool.proven and pool.connections:
            return Constraint("concurrency", "until the host answers, one connection is tried")
        binding = self._board.binding(pool, task, self._now)
        if binding is None:
            text = (
                f"{len(pool.connections)} connections are in use"
                if pool.connections
                else "a connection is about to be opened"
            )
            if pool.standing.most(self._now) < UNBOUND:
                text += ", and the host takes no more"
            return Constraint("concurrency", text)
        if binding.kind == "shaped" and binding.until:
            return Constraint("rate", binding.text, self._wall(binding.until))
        if binding.kind != "delay":
            return Constraint("concurrency", binding.text)
        if pool.route.cautiousUntil > self._now and binding.text.startswith("caution"):
            return Constraint("back-off", f"the host said: {pool.route.said}", self._wall(binding.until))
        return Constraint("rate", binding.text, self._wall(binding.until))

    # --- hosts

    def _host(self, host: Known) -> Row:
        pools = host.pools
        broken = [penalty for pool in pools if (penalty := pool.standing.broken(self._now)) is not None]
        worst = max(broken, key=lambda penalty: penalty.until, default=None)
        cautious = [pool.route for pool in pools if pool.route.cautiousUntil > self._now]
        waiting = next((pool for pool in pools if pool.waiting), None)
        busy = sum(connection.task is not None for pool in pools for connection in pool.connections)
        if waiting is not None:
            constraint = self._routeConstraint(waiting, busy)
        elif broken and len(broken) == len(pools):
            constraint = Constraint("back-off", broken[0].error, self._wall(min(each.until for each in broken)))
        else:
            constraint = FREE if busy else NOTHING
        return {
            "address": host.address,
            "name": host.names,
            "state": "broken" if broken and len(broken) == len(pools) else "open" if host.connections else "closed",
            "pace": host.lane(self._now).word,
            "constraint": constraint.row,
            "connections": host.connections,
            "delivered": sum({pool.key.source: pool.route.delivered for pool in pools}.values()),
            "failures": max((pool.standing.penalty.failures for pool in pools), default=0),
            "penalty": max(0.0, worst.until - self._now) if worst is not None else 0.0,
            "error": worst.error if worst is not None else "",
            "next_try": self._wall(worst.until) if worst is not None else 0.0,
            "rcpt_max": host.rcptMax if host.rcptMaxUntil > self._now else 0,
            "asked_for_patience": cautious[0].said if cautious else "",
        }

    # --- connections

    def _connection(self, connection: Connection) -> Row:
        stage = connection.stage
        task = connection.task
        if stage is Stage.IDLE and task is None:
            constraint = NOTHING
        else:
            constraint = Constraint("none", f"waits for {stage.value}", self._wall(connection.deadline))
        return {
            "session": formatSessionId(connection.session),
            "host": connection.label,
            "source": connection.source or connection.target.key.source,
            "protocol": connection.target.key.protocol,
            "tls": connection.tls,
            "state": stage.value,
            "constraint": constraint.row,
            "messages": connection.transactions,
            "message": formatMessageId(task.message.id) if task is not None else "",
            "recipients": len(task.envelopes) if task is not None else 0,
        }

    def _wall(self, seconds: float) -> float:
        """Of the monotonic clock."""
        left = seconds - self._now
        return self._wallTime + left if 0 < left < 1e9 else 0.0
