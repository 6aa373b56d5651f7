"""The agent: takes deliveries, finds where they go, and gives every envelope exactly one outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.delivery import IAgent, IOutcomes, IRelease, IRoutes
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IQueue
from pysmtpd.interfaces.reporting import IReport, IStat
from pysmtpd.interfaces.routing import IResolver, ITable
from pysmtpd.interfaces.tls import IClientTls
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Destination, Envelope
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery
from pysmtpd.mta.board import Board
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.directory import Directory
from pysmtpd.mta.foresight import foresee
from pysmtpd.mta.gather import Gathering
from pysmtpd.mta.keys import Target, finalSender, lacksRequireTls
from pysmtpd.mta.mx import Resolution
from pysmtpd.mta.policy import Foreseen, IPolicies, NoPolicies
from pysmtpd.mta.relay import FOLLOW, Down, Relay
from pysmtpd.mta.shaping.entry import Waiting, countRest, enter, nextHop
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.task import Part, Task, group

MAX_ENVELOPES = 4000
"""Envelopes that are taken at one time. The scheduler has 5,000 in flight: the rest is for local delivery, whatever remote hosts do."""

MAX_HOSTS = 20
"""Hosts that are tried in one attempt. Who publishes a thousand dead addresses would keep a message for ever: when the last of them has
failed the first is worth another try. The penalties of those that were tried lead the next attempt to others."""

BARRED_TIME = 300.0
"""Seconds after which a host that a policy bars is looked at again."""

MAX_SHOWN = 50
"""Hosts of a relay that are shown to an operator."""

GRACE = 10.0
"""Seconds that transactions under way get to end when we stop."""

STOPPING = Reply(421, "Shutting down", "4.3.2")

_MAX_ERRORS = 900


@implementer(IAgent, IRoutes)
class MtaAgent:
    """Remote delivery by SMTP and LMTP."""

    _log = Logger()

    def __init__(
        self,
        platform: IPlatform,
        resolver: IResolver,
        queue: IQueue,
        config: Callable[[], Config],
        tables: Callable[[], Mapping[str, ITable]],
        report: IReport,
        stat: IStat,
        release: IRelease,
        tls: IClientTls,
        grace: float = GRACE,
        policies: IPolicies | None = None,
        shaper: Shaper | None = None,
    ) -> None:
        self._platform = platform
        self._clock = platform.clock
        self._config = config
        self._stat = stat
        self._releases = release
        self._grace = grace
        self._shaper = shaper or Shaper(platform, config, release)
        self._policies = policies or NoPolicies()
        self._board = Board(
            platform,
            queue,
            config,
            tables,
            report,
            tls,
            self._shaper,
            self._decided,
            self._homeless,
            self._checkStopped,
            self._policies.met,
        )
        self._directory = Directory(platform, resolver, self._policies, tables, self._relayEnded, self._board.fault)
        self._resolver = resolver
        self._gatherings: dict[Gathering, None] = {}
        self._envelopes = 0
        self._paused = False
        self._stopped: Deferred[None] | None = None
        self._graceTimer: IDelayedCall | None = None

    # --- IAgent

    def capacity(self) -> int:
        return 0 if self._paused else max(0, MAX_ENVELOPES - self._envelopes)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = self._board.stopping

    def deliver(self, delivery: Delivery, outcomes: IOutcomes) -> None:
        message = delivery.message
        self._envelopes += len(delivery.envelopes)
        if self._board.stopping:
            self._hold(outcomes, delivery.envelopes, "")
            return
        config = self._config()
        self._directory.adopt(config)
        parts: dict[tuple[str, str, str], Part] = {}
        plain = message.transaction.sender
        said = str(plain)
        for envelope in delivery.envelopes:
            place = self._directory.place(envelope.destination)
            if isinstance(place, Reply):
                result = Result.PERMANENT if place.isPermanent else Result.TEMPORARY
                self._tell(outcomes, [_outcome(envelope, result, place)])
                continue
            relay, action = place
            sender = said
            if action.mailFrom is not None or action.srs:
                wallTime = self._platform.wallTime()
                sender = str(finalSender(config, action, plain, envelope.destination, wallTime))
            name = (action.name, relay.name, sender)
            part = parts.get(name)
            if part is None:
                parts[name] = Part(message, relay, action, [envelope], outcomes, sender)
            else:
                part.envelopes.append(envelope)
        room = max(1, config.mta.taskHiwat)
        now = self._clock.seconds()
        taken: list[Part] = []
        for part in parts.values():
            relay = part.relay
            down = relay.isDown(now) if part.isUsual else None
            suspension = self._shaper.suspension(nextHop(part))
            if suspension is not None:
                self._shaper.held(suspension, message.id, len(part.envelopes), now)
                relay.limit = suspension.text
                self._hold(outcomes, part.envelopes, suspension.key)
            elif down is not None:
                self._fail(part, Result.TEMPORARY, down.reply, down.retryAt)
            elif relay.backlog >= room or not self._hasShare(relay, len(part.envelopes)):
                relay.held += len(part.envelopes)
                self._hold(outcomes, part.envelopes, relay.name)
            else:
                relay.begin()
                relay.envelopes += len(part.envelopes)
                taken.append(part)
        if taken:
            self._route(config, taken)

    def _hasShare(self, relay: Relay, envelopes: int) -> bool:
        """May a relay have so many more under way? Not more than what is left for all others, so that something always is: those
        whose hosts are slow must not keep everyone else waiting. A relay with nothing under way may always begin."""
        return not relay.backlog or relay.envelopes + envelopes <= MAX_ENVELOPES - self._envelopes

    def stop(self) -> Deferred[None]:
        self._paused = True
        stopped: Deferred[None] = Deferred()
        if self._stopped is not None:
            self._stopped.chainDeferred(stopped)
            return stopped
        self._stopped = stopped
        self._board.stopping = True
        self._graceTimer = self._clock.callLater(self._grace, self._graceOver)
        # What only waits for DNS has not begun.
        self._abandonGatherings()
        for pool in list(self._board.pools.values()):
            while pool.waiting:
                self._giveBack(pool.waiting.popleft().parts)
            for connection in list(pool.idle):
                pool.quit(connection)
            for connection in list(pool.connections):
                if connection.facts is None:
                    connection.giveUp(STOPPING)
        self._checkStopped()
        return stopped

    def _graceOver(self) -> None:
        self._graceTimer = None
        for pool in list(self._board.pools.values()):
            while pool.waiting:
                self._giveBack(pool.waiting.popleft().parts)
        self._abandonGatherings()
        for connection in list(self._board.connections):
            connection.giveUp(STOPPING)
        self._checkStopped()

    def _abandonGatherings(self) -> None:
        for gathering in list(self._gatherings):
            self._giveBack(gathering.abandon())
        self._gatherings.clear()

    def _checkStopped(self) -> None:
        stopped = self._stopped
        if stopped is None or stopped.called or self._envelopes:
            return
        if self._board.connections and self._graceTimer is not None:
            return
        if self._graceTimer is not None:
            self._graceTimer.cancel()
            self._graceTimer = None
        for connection in list(self._board.connections):
            connection.giveUp(STOPPING)
        self._board.end()
        stopped.callback(None)

    # --- where to

    def _route(self, config: Config, parts: Sequence[Part]) -> None:
        now = self._clock.seconds()
        ready: list[tuple[Part, Resolution]] = []
        unknown: list[Part] = []
        for part in parts:
            resolution = part.relay.fresh(now)
            if resolution is not None:
                ready.append((part, resolution))
            else:
                unknown.append(part)
        if not unknown:
            self._dispatch(ready)
            return
        gathering = Gathering(self._clock, config.mta.gather, parts, self._dispatch, self._gathered)
        self._gatherings[gathering] = None
        for part, resolution in ready:
            gathering.answered(part, resolution)
        for part in unknown:
            self._directory.resolve(part.relay, partial(gathering.answered, part))

    def _gathered(self, gathering: Gathering) -> None:
        self._gatherings.pop(gathering, None)

    def _dispatch(self, ready: Sequence[tuple[Part, Resolution]]) -> None:
        now = self._clock.seconds()
        usable: list[tuple[Part, Sequence[Target]]] = []
        for part, resolution in ready:
            if resolution.failure is not None:
                self._refuse([part], *resolution.failure)
                continue
            down = part.relay.isDown(now) if part.isUsual else None
            if down is not None:
                self._refuse([part], Result.TEMPORARY, down.reply, down.retryAt)
                continue
            targets = self._choose(part.levels(resolution), now)
            if targets:
                usable.append((part, targets))
            else:
                self._unreachable(part, resolution, now)
        if not usable:
            return
        for key, parts, targets in group(usable):
            target = self._pick(targets)
            entered = enter(self._shaper, parts, target, now, self._wait)
            for part in entered:
                part.relay.limit = ""
            if entered:
                self._board.pool(target).submit(Task(key, entered, target, now))

    def _wait(self, waiting: Waiting) -> None:
        """A limit binds these: they wait alone, and it costs them no try."""
        part = waiting.part
        part.relay.limit = waiting.binding.text
        self._hold(part.outcomes, waiting.envelopes, waiting.binding.key)
        if waiting.isWhole:
            part.end()
        else:
            part.relay.envelopes -= len(waiting.envelopes)

    def _choose(self, levels: Sequence[Sequence[Target]], now: float) -> Sequence[Target]:
        """The usable hosts of the first level that has any: a level counts only when those before it are down."""
        problem = self._board.problem
        for level in levels:
            up = [target for target in level if not problem(target, now)]
            if up:
                return up
        return ()

    def _pick(self, targets: Sequence[Target]) -> Target:
        """Among equals: one that has a connection to spare, else by chance (RFC 5321 5.1)."""
        if len(targets) == 1:
            return targets[0]
        pools = self._board.pools
        spare = [target for target in targets if target.key in pools and pools[target.key].idle]
        return self._platform.random.choice(spare or targets)

    def _unreachable(self, part: Part, resolution: Resolution, now: float) -> None:
        """Name each host with its error; a try before the first of them is worth another is useless.

        This part's next try comes then and finds out for all others, which come a little later.
        """
        errors: list[tuple[Target, str]] = []
        until = now + 3600.0
        for level in part.levels(resolution):
            for target in level:
                errors.append((target, self._board.problem(target, now)))
                if target.isKeptByMtaSts(errors[-1][1]):
                    self._policies.again(target.wishes.domain)
                until = min(
                    until, now + BARRED_TIME if target.barred else self._board.pool(target).until(target.policy)
                )
        text = "; ".join(target.explain(problem) for target, problem in errors) or "no host"
        if lacksRequireTls(errors):
            reply = Reply(550, f"REQUIRETLS is not to be had: {text}"[:_MAX_ERRORS], "5.7.30")
            self._refuse([part], Result.PERMANENT, reply)
            return
        reply = Reply(451, f"No host could be reached: {text}"[:_MAX_ERRORS], "4.4.1")
        relay = part.relay
        relay.lastError = reply.text
        retryAt = self._platform.wallTime() + max(0.0, until - now)
        if part.isUsual:
            relay.down = Down(until, resolution, reply, retryAt + FOLLOW)
        self._refuse([part], Result.TEMPORARY, reply, retryAt)
        if relay.held:
            # None of them needs room to hear it.
            held, relay.held = relay.held, 0
            self._releases.release(relay.name, held)

    def _homeless(self, tasks: Sequence[Task]) -> None:
        """Their host is down: other hosts at once."""
        if self._board.stopping:
            for task in tasks:
                self._giveBack(task.parts)
            return
        now = self._clock.seconds()
        for task in tasks:
            left: list[Part] = []
            for part in task.parts:
                part.moves += 1
                if part.moves < MAX_HOSTS:
                    left.append(part)
                else:
                    last = f"{task.target.label}: {self._board.problem(task.target, now)}"
                    text = f"None of {part.moves} hosts could be reached; {last}"
                    self._refuse([part], Result.TEMPORARY, Reply(451, text[:_MAX_ERRORS], "4.4.1"))
            if left:
                self._route(self._config(), left)

    # --- outcomes

    def _refuse(self, parts: Sequence[Part], result: Result, reply: Reply, retryAt: float = 0.0) -> None:
        for part in parts:
            self._fail(part, result, reply, retryAt)
            part.end()

    def _fail(self, part: Part, result: Result, reply: Reply, retryAt: float) -> None:
        name = part.relay.name
        self._tell(part.outcomes, [Outcome(one.id, result, reply, "", name, "", retryAt) for one in part.envelopes])

    def _giveBack(self, parts: Sequence[Part]) -> None:
        """We stop, and these were not begun: it costs them no try."""
        for part in parts:
            self._hold(part.outcomes, part.envelopes, part.relay.name)
            part.end()

    def _hold(self, outcomes: IOutcomes, envelopes: Sequence[Envelope], key: str) -> None:
        self._envelopes -= len(envelopes)
        try:
            outcomes.hold([envelope.id for envelope in envelopes], key)
        except Exception:
            self._board.fault("holding envelopes", Failure())
        if self._stopped is not None:
            self._checkStopped()

    def _decided(
        self,
        connection: Connection,
        task: Task,
        envelopes: Sequence[tuple[Part, Envelope]],
        replies: Sequence[Reply],
    ) -> None:
        self._stat.increment("mta.transaction")
        countRest(self._shaper, task, self._clock.seconds())
        label, source = connection.label, connection.source
        results = []
        for (_, envelope), reply in zip(envelopes, replies, strict=True):
            code = reply.code
            result = Result.DELIVERED if code < 400 else Result.TEMPORARY if code < 500 else Result.PERMANENT
            results.append(Outcome(envelope.id, result, reply, label, label, source))
        parts = task.parts
        self._tell(parts[0].outcomes, results)
        for part in parts:
            part.end()

    def _tell(self, outcomes: IOutcomes, results: list[Outcome]) -> None:
        self._envelopes -= len(results)
        try:
            outcomes.finished(results)
        except Exception:
            self._board.fault("taking outcomes", Failure())
        if self._stopped is not None:
            self._checkStopped()

    def _relayEnded(self, relay: Relay) -> None:
        """There is room again for some that are held."""
        limits = self._config().mta
        if relay.held and relay.backlog <= limits.taskLowat:
            count = max(1, limits.taskRelease)
            relay.held = max(0, relay.held - count)
            self._releases.release(relay.name, count)

    # --- IRoutes

    def forgive(self) -> None:
        """See L{IRoutes.forgive}."""
        for pool in self._board.pools.values():
            pool.forgive()
        for relay in self._directory.relays.values():
            relay.down = None

    def showTls(self, domain: str) -> Sequence[Mapping[str, object]]:
        """See L{IRoutes.showTls}."""
        now = self._clock.seconds()
        rows = list(self._policies.show(domain))
        for relay in self._directory.of(domain):
            for target in relay.targets(MAX_SHOWN):
                problem = target.barred or self._board.problem(target, now)
                rows.append({"what": "host", "host": target.label, "asks": target.verdict, "problem": problem})
        return rows

    def forgetTls(self, domain: str) -> int:
        """See L{IRoutes.forgetTls}."""
        for relay in self._directory.of(domain):
            relay.resolution = relay.down = None
        return self._policies.forget(domain)

    def foresee(
        self, config: Config, destination: Destination, sender: Path, asksDns: bool
    ) -> Deferred[Mapping[str, object]]:
        """See L{IRoutes.foresee}."""
        resolver = self._resolver if asksDns else None
        own = self._platform.localAddresses()
        return Deferred.fromCoroutine(
            foresee(
                config,
                destination,
                sender,
                resolver,
                own,
                self._clock,
                self._platform.wallTime(),
                Foreseen(self._policies),
            )
        )

    def suspendDestination(self, name: str) -> Deferred[bool]:
        """See L{IRoutes.suspendDestination}."""
        return self._shaper.suspend(name)

    def resumeDestination(self, name: str) -> Deferred[bool]:
        """See L{IRoutes.resumeDestination}."""
        return self._shaper.resume(name)

    def showLimits(self) -> Sequence[Mapping[str, object]]:
        return self._shaper.show()

    def showRoutes(self) -> Sequence[Mapping[str, object]]:
        now = self._clock.seconds()
        return [
            {
                "protocol": pool.key.protocol,
                "source": pool.key.source,
                "host": pool.route.host.names,
                "address": pool.key.address,
                "port": pool.key.port,
                "connections": len(pool.connections),
                "idle": len(pool.idle),
                "waiting": len(pool.waiting),
                "delivered": pool.route.delivered,
                "penalty": max(0.0, pool.penalty.until - now),
                "error": pool.penalty.error,
            }
            for pool in self._board.pools.values()
        ]

    def showHosts(self) -> Sequence[Mapping[str, object]]:
        return [
            {"address": host.address, "name": host.names, "connections": host.connections}
            for host in self._board.hosts.values()
        ]

    def showRelays(self) -> Sequence[Mapping[str, object]]:
        return [
            {
                "relay": relay.name,
                "backlog": relay.backlog,
                "held": relay.held,
                "hosts": relay.labels(MAX_SHOWN),
                "error": relay.lastError,
                "limit": relay.limit,
            }
            for relay in self._directory.relays.values()
        ]


def _outcome(envelope: Envelope, result: Result, reply: Reply) -> Outcome:
    return Outcome(envelope.id, result, reply, relay=envelope.destination.recipient.domain)
