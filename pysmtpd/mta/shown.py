"""The mta for people: relays, routes, hosts and connections, each with its state and the one constraint that binds it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.model.ids import EnvelopeId, formatMessageId, formatSessionId
from pysmtpd.mta.board import Board
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.hosts import Known
from pysmtpd.mta.keys import Target
from pysmtpd.mta.nohost import UNREACHED
from pysmtpd.mta.pool import Pool
from pysmtpd.mta.relay import Relay
from pysmtpd.mta.standing import UNBOUND
from pysmtpd.mta.states import RelayState, routeState
from pysmtpd.mta.task import Part, Task
from pysmtpd.mta.turnstile import Turnstile
from pysmtpd.smtp.client_events import Stage

MAX_SHOWN = 50
"""Hosts of a relay that are shown to an operator."""

Row = Mapping[str, object]


_AWAITED = {
    Stage.GREETING: "its greeting",
    Stage.HELLO: "the answer to EHLO",
    Stage.STARTTLS: "the answer to STARTTLS",
    Stage.TLS: "its handshake",
    Stage.AUTH: "the answer to AUTH",
    Stage.IDLE: "the message's content, from the queue",
    Stage.MAIL: "the answer to MAIL",
    Stage.RCPT: "the answer to RCPT",
    Stage.DATA: "the answer to DATA",
    Stage.CONTENT: "it to take more of the content",
    Stage.END_OF_DATA: "the answer to the content",
    Stage.QUIT: "the answer to QUIT",
    Stage.CLOSED: "its end",
}


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
        gathering: Sequence[Part],
        isPaused: bool,
    ) -> None:
        """
        @param gathering: parts of messages that wait for DNS, their own or that of other parts.
        """
        self._now = platform.clock.seconds()
        self._wallTime = platform.wallTime()
        self._board = board
        self._relays = relays
        self._turnstile = turnstile
        self._gathering = gathering
        self._usual = board.config().serverName
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

    def hostStats(self, stats: Sequence[Row]) -> Sequence[Row]:
        """What became of the latest mail to each domain, with what binds it now."""
        found = {relay.key.domain: relay for relay in reversed(self._relays)}
        rows: list[Row] = []
        for stat in stats:
            relay = found.get(str(stat["domain"]))
            more = self._relay(relay) if relay is not None else {}
            constraint = more.get("constraint", NOTHING.row)
            state = more.get("state", RelayState.IDLE.value)
            times = {name: more.get(name, 0.0) for name in ("penalty", "next_try")}
            rows.append({**stat, "state": state, "constraint": constraint, **times})
        return rows

    def connections(self) -> Sequence[Row]:
        return [self._connection(connection) for connection in self._board.connections]

    # --- relays

    def _relay(self, relay: Relay) -> Row:
        down = self._down(relay)
        constraint = self._relayConstraint(relay)
        if relay.waiting:
            state = RelayState.RESOLVING
        elif relay in self._running:
            state = RelayState.SENDING
        elif down is not None:
            state = RelayState.DOWN
        else:
            isIdle = not (relay.backlog or relay.held) and constraint is NOTHING
            state = RelayState.IDLE if isIdle else RelayState.WAITING
        return {
            "relay": relay.key.named(self._usual),
            "state": state.value,
            "constraint": constraint.row,
            "backlog": relay.backlog,
            "envelopes": relay.envelopes,
            "held": relay.held,
            "hosts": relay.labels(MAX_SHOWN),
            "sources_skipped": relay.skipped,
            "error": relay.lastError,
            "penalty": max(0.0, down.until - self._wallTime) if down is not None else 0.0,
            "next_try": _nextTry(down.until if down is not None else 0.0, constraint),
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
        if relay in self._running and not relay.held:
            return FREE
        down = self._down(relay)
        if down is not None:
            return down
        if relay.held and self._turnstile.isWaiting(relay):
            word = relay.lane.word
            return Constraint("concurrency", f"envelopes under way, of which those for {word} hosts have their share")
        if relay.held:
            return Constraint("concurrency", "task-hiwat: as much is under way as there may be")
        if relay.backlog:
            return Constraint("DNS", "some of its mail waits for other domains' answers")
        resolution = relay.resolution
        if resolution is not None and resolution.failure is not None:
            return Constraint("DNS", resolution.failure[1].text.removeprefix("DNS: "))
        return Constraint(NOTHING.kind, "what was deferred waits for its next try") if relay.lastError else NOTHING

    def _down(self, relay: Relay) -> Constraint | None:
        """Each of its hosts is of no use now: why, and until when; None: one may be of use, or they are not known."""
        targets = relay.targets(MAX_SHOWN)
        known = relay.down
        if not targets and known is not None and self._now < known.until:
            # Its hosts were let go; what was said of them was not.
            kind = "TLS policy" if known.isPolicy else "back-off"
            return Constraint(kind, known.reply.text.removeprefix(UNREACHED), self._wall(known.until))
        problems = [(target, self._board.hosts.problem(target, self._now)) for target in targets]
        if not targets or not all(problem for _, problem in problems):
            return None
        isPolicy = all(self._board.hosts.isPolicy(target, self._now) for target in targets)
        until = min(self._until(target) for target in targets)
        text = "; ".join(target.explain(problem) for target, problem in problems)
        return Constraint("TLS policy" if isPolicy else "back-off", text, self._wall(until))

    def _until(self, target: Target) -> float:
        pool = self._board.hosts.find(target.key)
        return pool.standing.until(target.policy) if pool is not None and not target.barred else 0.0

    # --- routes

    def _route(self, pool: Pool) -> Row:
        key, route = pool.key, pool.route
        busy = sum(connection.task is not None for connection in pool.connections)
        broken = pool.standing.broken(self._now)
        constraint = self._routeConstraint(pool, busy)
        return {
            "protocol": key.protocol,
            "source": key.source,
            "host": route.host.names,
            "address": key.address,
            "port": key.port,
            "helo": key.helo,
            "credential": key.credential,
            "tls": str(key.tls),
            "state": routeState(pool, self._now).value,
            "constraint": constraint.row,
            "connections": len(pool.connections),
            "idle": len(pool.idle),
            "waiting": len(pool.waiting),
            "delivered": route.delivered,
            "failures": (broken or pool.standing.penalty).failures,
            "penalty": max(0.0, broken.until - self._now) if broken is not None else 0.0,
            "error": broken.error if broken is not None else pool.standing.penalty.error,
            "next_try": _nextTry(self._wall(broken.until) if broken is not None else 0.0, constraint),
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
            return Constraint("concurrency", "only one connection is tried until the host has answered")
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
        caution = pool.route.cautious(self._now)
        if caution is not None and binding.text.startswith("caution"):
            return Constraint("back-off", f"{task.target.host} said: {caution.said}", self._wall(binding.until))
        return Constraint("rate", binding.text, self._wall(binding.until))

    # --- hosts

    def _host(self, host: Known) -> Row:
        pools = host.pools
        broken = [penalty for pool in pools if (penalty := pool.standing.broken(self._now)) is not None]
        worst = max(broken, key=lambda penalty: penalty.until, default=None)
        cautions = [caution for pool in pools if (caution := pool.route.cautious(self._now)) is not None]
        waiting = next((pool for pool in pools if pool.waiting), None)
        busy = sum(connection.task is not None for pool in pools for connection in pool.connections)
        if waiting is not None:
            constraint = self._routeConstraint(waiting, busy)
        elif broken and len(broken) == len(pools):
            isPolicy = all(
                penalty is not pool.standing.penalty for pool in pools if (penalty := pool.standing.broken(self._now))
            )
            kind = "TLS policy" if isPolicy else "back-off"
            constraint = Constraint(kind, broken[0].error, self._wall(min(each.until for each in broken)))
        else:
            constraint = FREE if busy else NOTHING
        return {
            "address": host.address,
            "name": host.names,
            "pace": host.lane(self._now).word,
            "state": "broken" if broken and len(broken) == len(pools) else "open" if host.connections else "closed",
            "constraint": constraint.row,
            "connections": host.connections,
            "delivered": sum({pool.key.source: pool.route.delivered for pool in pools}.values()),
            "failures": max(
                ((pool.standing.broken(self._now) or pool.standing.penalty).failures for pool in pools), default=0
            ),
            "penalty": max(0.0, worst.until - self._now) if worst is not None else 0.0,
            "error": worst.error if worst is not None else "",
            "next_try": _nextTry(self._wall(worst.until) if worst is not None else 0.0, constraint),
            "rcpt_max": host.rcptMax if host.rcptMaxUntil > self._now else 0,
            "asked_for_patience": cautions[0].said if cautions else "",
        }

    # --- connections

    def _connection(self, connection: Connection) -> Row:
        stage = connection.stage
        task = connection.task
        if stage is Stage.IDLE and task is None:
            constraint = NOTHING
        else:
            constraint = Constraint("none", f"waits for {_awaited(connection)}", self._wall(connection.deadline))
        standing = connection.pool.standing
        broken = standing.broken(self._now)
        return {
            "session": formatSessionId(connection.session),
            "host": connection.label,
            "source": connection.source or connection.target.key.source,
            "protocol": connection.target.key.protocol,
            "tls": connection.tls,
            "state": stage.value if connection.isConnected else "connecting",
            "constraint": constraint.row,
            # One that is only being tried has nothing of its own to tell: what its route failed with is why it is watched.
            "error": connection.error or ("" if connection.facts is not None else standing.penalty.error),
            "penalty": max(0.0, broken.until - self._now) if broken is not None else 0.0,
            "next_try": self._wall(broken.until) if broken is not None else 0.0,
            "messages": connection.transactions,
            "message": formatMessageId(task.message.id) if task is not None else "",
            "recipients": len(task.envelopes) if task is not None else 0,
        }

    # --- envelopes

    def underWay(self) -> Mapping[EnvelopeId, str]:
        """What each waits for."""
        found: dict[EnvelopeId, str] = {}
        for part in self._gathering:
            found.update((envelope.id, "waits for DNS") for envelope in part.envelopes)
        for pool in self._board.hosts.pools:
            if pool.waiting:
                kind, text, _ = self._waitingConstraint(pool, pool.waiting[0])
                why = f"waits for a connection to {pool.route.host.names} [{pool.key.address}]: {kind}: {text}"
                found.update((envelope.id, why) for task in pool.waiting for _, envelope in task.envelopes)
            for connection in pool.connections:
                if connection.task is not None:
                    why = f"at {connection.label}: waits for {_awaited(connection)}"
                    found.update((envelope.id, why) for _, envelope in connection.task.envelopes)
        return found

    def _wall(self, seconds: float) -> float:
        """Of the monotonic clock."""
        left = seconds - self._now
        return self._wallTime + left if 0 < left < 1e9 else 0.0


def _nextTry(penaltyEnds: float, constraint: Constraint) -> float:
    """When it is tried again, for a penalty or for what else binds it until a known time; 0: that depends on others."""
    return penaltyEnds or constraint.until


def _awaited(connection: Connection) -> str:
    return _AWAITED[connection.stage] if connection.isConnected else "the host to take the connection"
