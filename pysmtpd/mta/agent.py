"""The agent: takes deliveries, finds where they go, and gives every envelope exactly one outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.delivery import IAgent, IOutcomes, IRelease, IRoutes
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IQueue
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.reporting import IReport, IStat
from pysmtpd.interfaces.routing import IResolver, ITable, TableError
from pysmtpd.interfaces.tls import IClientTls
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Destination, Envelope
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery
from pysmtpd.mta.board import Board, Steps
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.directory import Directory, Place
from pysmtpd.mta.foresight import foresee
from pysmtpd.mta.gather import Gathering
from pysmtpd.mta.hoststats import HostStats
from pysmtpd.mta.keys import Target, finalSender, lacksRequireTls
from pysmtpd.mta.mx import Resolution
from pysmtpd.mta.policy import Foreseen, IPolicies, NoPolicies
from pysmtpd.mta.probe import Probe
from pysmtpd.mta.relay import FOLLOW, Down, Relay
from pysmtpd.mta.shaping.entry import Waiting, countRest, enter, nextHop
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.shown import MAX_SHOWN, Shown
from pysmtpd.mta.sources import Sources, Turn
from pysmtpd.mta.task import Part, Refused, Task, group
from pysmtpd.mta.timings import Timings

MAX_ENVELOPES = 4000
"""Envelopes that are taken at one time. The scheduler has 5,000 in flight: the rest is for local delivery, whatever remote hosts do."""

MAX_HOSTS = 20
"""Hosts that are tried in one attempt. Who publishes a thousand dead addresses would keep a message for ever: when the last of them has
failed the first is worth another try. The penalties of those that were tried lead the next attempt to others."""

BARRED_TIME = 300.0
"""Seconds after which a host that a policy bars is looked at again."""

GRACE = 10.0
"""Seconds that transactions under way get to end when we stop."""

STOPPING = Reply(421, "Shutting down", "4.3.2")

_MAX_ERRORS = 900
_UNREACHED = "4.4.1"
_OTHER = {"inet4": "inet6", "inet6": "inet4"}


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
        steps: Callable[[], Steps | None] = lambda: None,
    ) -> None:
        """
        @param steps: gives who wants to hear of each command of outgoing sessions; None: nobody does.
        """
        self._platform = platform
        self._clock = platform.clock
        self._config = config
        self._timings = Timings(stat)
        self._releases = release
        self._grace = grace
        self._shaper = shaper or Shaper(platform, config, release)
        self._policies = policies or NoPolicies()
        self._sources = Sources(platform, tables)
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
            self._moved,
            self._sources.lacks,
            self._policies.met,
            self._timings.connected,
            steps,
        )
        self._directory = Directory(platform, resolver, self._policies, tables, self._relayEnded, self._board.fault)
        self._resolver = resolver
        self._tables = tables
        self._gatherings: dict[Gathering, None] = {}
        self._placings: dict[int, tuple[Delivery, IOutcomes]] = {}
        self._lastPlacing = 0
        self._hostStats = HostStats()
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
        self._envelopes += len(delivery.envelopes)
        if self._board.stopping:
            self._hold(outcomes, delivery.envelopes, "")
            return
        config = self._config()
        self._directory.adopt(config)
        asked: dict[tuple[str, str], Ready[Place | Reply]] = {}
        late: dict[Deferred[Place | Reply], None] = {}
        places: list[Ready[Place | Reply]] = []
        for envelope in delivery.envelopes:
            place = self._directory.place(envelope.destination, asked)
            places.append(place)
            if isinstance(place, Deferred):
                late[place] = None
        if not late:
            self._placed(config, delivery, outcomes, cast("list[Place | Reply]", places))
            return
        # A table takes its time.
        self._lastPlacing += 1
        token = self._lastPlacing
        self._placings[token] = (delivery, outcomes)
        waiting = DeferredList(list(late))
        waiting.addCallback(lambda _: self._latePlaced(config, token, places))
        waiting.addErrback(lambda failure: self._board.fault("finding relays", failure))

    def _latePlaced(self, config: Config, token: int, places: Sequence[Ready[Place | Reply]]) -> None:
        if token not in self._placings:
            # Given up: we stop.
            return
        delivery, outcomes = self._placings.pop(token)
        if self._board.stopping:
            self._hold(outcomes, delivery.envelopes, "")
            return
        found = [place.result if isinstance(place, Deferred) else place for place in places]
        self._placed(config, delivery, outcomes, cast("list[Place | Reply]", found))

    def _placed(self, config: Config, delivery: Delivery, outcomes: IOutcomes, places: Sequence[Place | Reply]) -> None:
        message = delivery.message
        parts: dict[tuple[str, str, str], Part] = {}
        plain = message.transaction.sender
        said = str(plain)
        for envelope, place in zip(delivery.envelopes, places, strict=True):
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
                relay.limit = suspension.key
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
        # What only waits for DNS or a table has not begun.
        self._abandonGatherings()
        for pool in list(self._board.pools.values()):
            while pool.waiting:
                self._giveBack(pool.waiting.pop(0).parts)
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
                self._giveBack(pool.waiting.pop(0).parts)
        self._abandonGatherings()
        for connection in list(self._board.connections):
            connection.giveUp(STOPPING)
        self._checkStopped()

    def _abandonGatherings(self) -> None:
        for gathering in list(self._gatherings):
            self._giveBack(gathering.abandon())
        self._gatherings.clear()
        placings, self._placings = self._placings, {}
        for delivery, outcomes in placings.values():
            self._hold(outcomes, delivery.envelopes, "")

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
        sourced: dict[tuple[str, str], list[tuple[Part, Resolution]]] = {}
        for part, resolution in ready:
            if resolution.failure is not None:
                self._refuse([part], *resolution.failure)
                continue
            relay = part.relay
            down = relay.isDown(now) if part.isUsual and not part.refused else None
            if down is not None:
                self._refuse([part], Result.TEMPORARY, down.reply, down.retryAt)
                continue
            if relay.key.source:
                sourced.setdefault((relay.key.source, relay.key.heloTable), []).append((part, resolution))
                continue
            targets = self._choose(part, part.levels(resolution), now)
            if targets:
                usable.append((part, targets))
            else:
                self._unreachable(part, resolution, now)
        if usable:
            self._submit(usable, now)
        for (table, heloTable), some in sourced.items():
            work = Deferred.fromCoroutine(self._fromSources(some, self._sources.turn(table, heloTable)))
            work.addErrback(lambda failure: self._board.fault("choosing a source address", failure))

    def _wait(self, waiting: Waiting) -> None:
        """A limit binds these: they wait alone, and it costs them no try."""
        part = waiting.part
        part.relay.limit = waiting.binding.key
        self._hold(part.outcomes, waiting.envelopes, waiting.binding.key)
        if waiting.isWhole:
            part.end()
        else:
            part.relay.envelopes -= len(waiting.envelopes)

    async def _fromSources(self, left: list[tuple[Part, Resolution]], turn: Turn) -> None:
        """Give each part the first source address in turn that can reach one of its hosts; parts of one message share it."""
        tried: dict[Part, list[Target]] = {}
        while left:
            try:
                source = await turn.next()
            except TableError as error:
                self._refuse([part for part, _ in left], Result.TEMPORARY, Reply(451, str(error), "4.3.0"))
                return
            if self._board.stopping:
                self._giveBack([part for part, _ in left])
                return
            now = self._clock.seconds()
            if source is None:
                for part, resolution in left:
                    self._unreachable(part, resolution, now, turn.skipped, tried.get(part, ()))
                return
            usable: list[tuple[Part, Sequence[Target]]] = []
            rest: list[tuple[Part, Resolution]] = []
            why = ""
            for part, resolution in left:
                levels = [_fromSource(level, *source) for level in part.levels(resolution)]
                targets = self._choose(part, levels, now)
                if targets:
                    usable.append((part, targets))
                    continue
                rest.append((part, resolution))
                hosts = [target for level in levels for target in level]
                tried.setdefault(part, []).extend(hosts)
                why = why or (self._problems(part, hosts, now) if hosts else "no host is of its family")
            if usable:
                self._submit(usable, now)
            if rest:
                turn.skip(source[0], why)
            left = rest

    def _submit(self, usable: Sequence[tuple[Part, Sequence[Target]]], now: float) -> None:
        for key, parts, targets in group(usable):
            target = self._pick(targets, now)
            entered = enter(self._shaper, parts, target, now, self._wait)
            if not entered:
                continue
            for part in entered:
                part.relay.limit = ""
            task = Task(key, entered, target, now)
            if len(targets) > 1:
                task.others = [other for other in targets if other.host == target.host and _differ(other, target)]
            self._board.pool(target).submit(task)

    def _choose(self, part: Part, levels: Sequence[Sequence[Target]], now: float) -> Sequence[Target]:
        """The usable hosts of the first level that has any: a level counts only when those before it are down."""
        problem = self._board.problem
        refused = part.refused
        for level in levels:
            up = [target for target in level if not problem(target, now)]
            if refused:
                up = [target for target in up if (target.key.address, target.key.port) not in refused]
            if up:
                return up
        return ()

    def _pick(self, targets: Sequence[Target], now: float) -> Target:
        """Among equals: one that has a connection to spare, else the least loaded, else by chance (RFC 5321 5.1). Of a host that has
        addresses of both families, those of the better one."""
        if len(targets) == 1:
            return targets[0]
        pools = self._board.pools
        families = dict.fromkeys((target.host, target.family) for target in targets)
        slower = self._board.slower
        targets = [
            target
            for target in targets
            if (target.host, _OTHER.get(target.family)) not in families or slower(target.host, now) != target.family
        ]
        loads = [pools[target.key].load if target.key in pools else 0 for target in targets]
        least = min(loads)
        return self._platform.random.choice([each for each, load in zip(targets, loads, strict=True) if load == least])

    def _problems(self, part: Part, targets: Sequence[Target], now: float) -> str:
        """Each host with its error."""
        errors = []
        for target in targets:
            refused = part.refused.get((target.key.address, target.key.port))
            error = str(refused.reply) if refused is not None else self._board.problem(target, now)
            errors.append(f"{target.label}: {error}")
        return "; ".join(errors)

    def _unreachable(
        self,
        part: Part,
        resolution: Resolution,
        now: float,
        skipped: Sequence[str] = (),
        tried: Sequence[Target] = (),
    ) -> None:
        """Name each host with its error; a try before the first of them is worth another is useless.

        This part's next try comes then and finds out for all others, which come a little later.

        @param skipped: source addresses that were of no use; empty: the system chooses the address.
        @param tried: the hosts, as targets from these.
        """
        if part.refused:
            self._exhausted(part, resolution, now, skipped)
            return
        targets = tried or [target for level in part.levels(resolution) for target in level]
        if skipped:
            text = f"No source address is of use: {'; '.join(skipped)}"[:_MAX_ERRORS]
            part.relay.lastError = text
            if lacksRequireTls([(target, self._board.problem(target, now)) for target in targets]):
                self._refuse([part], Result.PERMANENT, Reply(550, text, "5.7.30"))
                return
        if targets and all(self._board.takesNoMail(target, now) for target in targets):
            text = f"No host takes mail: {self._problems(part, targets, now)}"
            self._refuse([part], Result.PERMANENT, Reply(521, text[:_MAX_ERRORS], "5.3.2"))
            return
        if skipped:
            self._refuse([part], Result.TEMPORARY, Reply(451, part.relay.lastError, "4.4.1"))
            return
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
        if resolution.isComplete and lacksRequireTls(errors):
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

    def _exhausted(self, part: Part, resolution: Resolution, now: float, skipped: Sequence[str]) -> None:
        """Some hosts were talked to, and none is left. What all of those lack is not there for good; the rest may be tomorrow."""
        refused = list(part.refused.values())
        last = refused[-1]
        if resolution.isComplete and all(each.isLacking for each in refused):
            self._refuse([part], Result.PERMANENT, last.reply, remote=last)
            return
        targets = [target for level in part.levels(resolution) for target in level]
        part.relay.lastError = str(last.reply)
        if len(targets) == 1 and not skipped:
            reply = last.reply if last.reply.enhanced else Reply(last.reply.code, last.reply.text, "4.0.0")
        else:
            text = "; ".join([*skipped, self._problems(part, targets, now)])
            reply = Reply(451, f"No host took it: {text}"[:_MAX_ERRORS], "4.4.1")
        self._refuse([part], Result.TEMPORARY, reply, remote=last)

    def _moved(self, task: Task, connection: Connection, reply: Reply, isLacking: bool) -> None:
        """This host has not taken it, and another may."""
        key = task.target.key
        refused = Refused(connection.label, connection.source, connection.tls, reply, isLacking)
        for part in task.parts:
            part.refused[key.address, key.port] = refused
        self._homeless([task])

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

    def _refuse(
        self, parts: Sequence[Part], result: Result, reply: Reply, retryAt: float = 0.0, remote: Refused | None = None
    ) -> None:
        for part in parts:
            self._fail(part, result, reply, retryAt, remote)
            part.end()

    def _fail(self, part: Part, result: Result, reply: Reply, retryAt: float, remote: Refused | None = None) -> None:
        """
        @param remote: the last host that was talked to.
        """
        name = part.relay.name
        if result is Result.TEMPORARY and reply.enhanced == _UNREACHED:
            now, most = self._platform.wallTime(), self._config().maxDeferred
            for envelope in part.envelopes:
                domain = envelope.destination.recipient.domain.lower()
                self._hostStats.unreached(domain, str(reply), (envelope.id,), now, most)
        label, source, tls = (remote.label, remote.source, remote.tls) if remote is not None else ("", "", "")
        self._tell(
            part.outcomes,
            [Outcome(one.id, result, reply, label, label or name, source, retryAt, tls) for one in part.envelopes],
        )

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
        self._timings.ended(connection.source, connection.target.key.address, replies, connection.elapsed)
        countRest(self._shaper, task, self._clock.seconds())
        label, source, tls = connection.label, connection.source, connection.tls
        success = connection.success
        results = []
        again: list[EnvelopeId] = []
        wallTime = self._platform.wallTime()
        for (_, envelope), reply in zip(envelopes, replies, strict=True):
            code = reply.code
            domain = envelope.destination.recipient.domain.lower()
            again += self._hostStats.told(domain, str(reply), code < 400, wallTime)
            result = Result.DELIVERED if code < 400 else Result.TEMPORARY if code < 500 else Result.PERMANENT
            results.append(
                Outcome(envelope.id, result, reply, label, label, source, 0.0, tls, connection.session, success)
            )
        parts = task.parts
        self._tell(parts[0].outcomes, results)
        for part in parts:
            part.end()
        if again:
            self._releases.retry(again)

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

    def forgive(self, name: str = "") -> int:
        """See L{IRoutes.forgive}."""
        count = 0
        for pool in self._board.pools.values():
            if (not name or name in (pool.key.address, pool.route.host.names)) and pool.forgive():
                count += 1
                if name:
                    self._shaper.forgive(pool.route.host.names)
        for relay in self._directory.relays.values():
            relay.down = None
        if not name:
            self._sources.lacking.clear()
        return count

    def probe(self, name: str) -> Deferred[Mapping[str, object]]:
        """See L{IRoutes.probe}."""
        own = self._platform.localAddresses()
        probe = Probe(self._board, self._config(), own, self._resolver, Foreseen(self._policies, mayFetch=True))
        return Deferred.fromCoroutine(probe.run(name))

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
                self._tables(),
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

    def _shown(self) -> Shown:
        relays = list(self._directory.relays.values())
        isPaused = self._paused and not self._board.stopping
        return Shown(self._platform, self._board, relays, self._sources.show(), isPaused)

    def showRelays(self) -> Sequence[Mapping[str, object]]:
        return self._shown().relays()

    def showRoutes(self) -> Sequence[Mapping[str, object]]:
        return self._shown().routes()

    def showHosts(self) -> Sequence[Mapping[str, object]]:
        return self._shown().hosts()

    def showConnections(self) -> Sequence[Mapping[str, object]]:
        return self._shown().connections()

    def showHostStats(self) -> Sequence[Mapping[str, object]]:
        return self._hostStats.show(self._platform.wallTime())


def _differ(one: Target, other: Target) -> bool:
    """Are they of the two families?"""
    return _OTHER.get(one.family) == other.family


def _fromSource(level: Sequence[Target], address: str, helo: str) -> list[Target]:
    """The hosts that can be reached from this address, as targets from there."""
    family = "inet6" if ":" in address else "inet4"
    return [target.fromSource(address, helo) for target in level if target.family == family]


def _outcome(envelope: Envelope, result: Result, reply: Reply) -> Outcome:
    return Outcome(envelope.id, result, reply, relay=envelope.destination.recipient.domain)
