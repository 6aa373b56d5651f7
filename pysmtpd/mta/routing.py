"""From parts of messages to the hosts that are asked to take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import TableError
from pysmtpd.model.config import Config
from pysmtpd.model.outcome import Result
from pysmtpd.model.reply import Reply
from pysmtpd.mta.board import Board
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.directory import Directory
from pysmtpd.mta.gather import Gathering
from pysmtpd.mta.grouping import group
from pysmtpd.mta.keys import Target
from pysmtpd.mta.lanes import Lane
from pysmtpd.mta.ledger import Ledger
from pysmtpd.mta.mx import Resolution
from pysmtpd.mta.nohost import NoHost
from pysmtpd.mta.shaping.entry import Waiting, enter
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.sources import Sources, Turn
from pysmtpd.mta.task import Part, Refused, Task
from pysmtpd.mta.turnstile import Turnstile

MAX_HOSTS = 20
"""Hosts that are tried in one attempt. Who publishes a thousand dead addresses would keep a message for ever: when the last of them has
failed the first is worth another try. The penalties of those that were tried lead the next attempt to others."""

SLOWNESS = 20
"""Transactions that have to wait for a quick host before some go to a slow one that is as good."""

_MAX_ERRORS = 900
_OTHER = {"inet4": "inet6", "inet6": "inet4"}


class Routing:
    """Resolves, chooses, and hands over to pools; when a host turns out to be of no use, chooses again."""

    def __init__(
        self,
        platform: IPlatform,
        config: Callable[[], Config],
        directory: Directory,
        sources: Sources,
        shaper: Shaper,
        board: Board,
        ledger: Ledger,
        turnstile: Turnstile,
        noHost: NoHost,
    ) -> None:
        self._platform = platform
        self._clock = platform.clock
        self._config = config
        self._directory = directory
        self._sources = sources
        self._shaper = shaper
        self._board = board
        self._ledger = ledger
        self._turnstile = turnstile
        self._noHost = noHost
        self._gatherings: dict[Gathering, None] = {}

    def route(self, config: Config, parts: Sequence[Part]) -> None:
        """Find hosts for the parts of one message. Each gets its outcome, whatever is found."""
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
            relay = part.relay
            if resolution.failure is not None:
                result, reply = resolution.failure
                if result is Result.TEMPORARY:
                    relay.lastError = str(reply)
                self._ledger.refuse([part], result, reply)
                continue
            down = relay.isDown(now) if part.isUsual and not part.refused else None
            if down is not None:
                self._ledger.refuse([part], Result.TEMPORARY, down.reply, down.retryAt)
                continue
            if relay.key.source:
                sourced.setdefault((relay.key.source, relay.key.heloTable), []).append((part, resolution))
                continue
            targets = self._choose(part, part.levels(resolution), now)
            if targets:
                usable.append((part, targets))
            else:
                self._lacksHost(part, resolution, now)
        if usable:
            self._submit(usable, now)
        for (table, heloTable), some in sourced.items():
            work = Deferred.fromCoroutine(self._fromSources(some, self._sources.turn(table, heloTable)))
            work.addErrback(lambda failure: self._board.fault("choosing a source address", failure))

    async def _fromSources(self, left: list[tuple[Part, Resolution]], turn: Turn) -> None:
        """Give each part the first source address in turn that can reach one of its hosts; parts of one message share it."""
        tried: dict[Part, list[Target]] = {}
        while left:
            try:
                source = await turn.next()
            except TableError as error:
                self._ledger.refuse([part for part, _ in left], Result.TEMPORARY, Reply(451, str(error), "4.3.0"))
                return
            if self._board.stopping:
                self._ledger.giveBack([part for part, _ in left])
                return
            now = self._clock.seconds()
            for part, _ in left:
                for address, why in turn.skipped:
                    part.relay.skips(address, why, now)
            if source is None:
                skipped = [f"source {address}: {why}" for address, why in turn.skipped]
                for part, resolution in left:
                    self._lacksHost(part, resolution, now, skipped, tried.get(part, ()))
                return
            usable: list[tuple[Part, Sequence[Target]]] = []
            rest: list[tuple[Part, Resolution]] = []
            why = ""
            for part, resolution in left:
                levels = [_fromSource(level, *source) for level in part.levels(resolution)]
                targets = self._choose(part, levels, now)
                if targets:
                    part.relay.uses(source[0])
                    usable.append((part, targets))
                    continue
                rest.append((part, resolution))
                hosts = [target for level in levels for target in level]
                tried.setdefault(part, []).extend(hosts)
                why = why or (self._noHost.problems(part, hosts, now) if hosts else "no host is of its family")
            if usable:
                self._submit(usable, now)
            if rest:
                turn.skip(source[0], why)
            left = rest

    def _lacksHost(
        self,
        part: Part,
        resolution: Resolution,
        now: float,
        skipped: Sequence[str] = (),
        tried: Sequence[Target] = (),
    ) -> None:
        """None of the hosts that are known can take it. What is not known yet may: then it is asked again."""
        if resolution.isComplete:
            self._noHost.unreachable(part, resolution, now, skipped, tried)
            return
        gathering = Gathering(self._clock, self._config().mta.gather, [part], self._dispatch, self._gathered)
        self._gatherings[gathering] = None
        resolution.whenComplete(partial(gathering.answered, part, resolution))

    def _submit(self, usable: Sequence[tuple[Part, Sequence[Target]]], now: float) -> None:
        for key, parts, targets in group(usable):
            target = self._pick(targets, now)
            entered = enter(self._shaper, parts, target, now, self._wait)
            if not entered:
                continue
            for part in entered:
                if part.relay.lane is Lane.NEW:
                    # Others may know more.
                    part.relay.keeps(self._board.hosts.lane(target, now))
            task = Task(key, entered, target, now)
            if len(targets) > 1:
                task.others = [other for other in targets if other.host == target.host and _differ(other, target)]
            self._board.hosts.pool(target).submit(task)

    def _wait(self, waiting: Waiting) -> None:
        """A limit binds these: they wait alone, and it costs them no try."""
        part = waiting.part
        part.relay.limit = waiting.binding.key
        self._ledger.hold(part.outcomes, waiting.envelopes, waiting.binding.key)
        if waiting.isWhole:
            part.end()
        else:
            part.relay.count(-len(waiting.envelopes))

    def _choose(self, part: Part, levels: Sequence[Sequence[Target]], now: float) -> Sequence[Target]:
        """The usable hosts of the first level that has any: a level counts only when those before it are down."""
        problem = self._board.hosts.problem
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
        find = self._board.hosts.find
        families = dict.fromkeys((target.host, target.family) for target in targets)
        slower = self._board.race.slower
        targets = [
            target
            for target in targets
            if (target.host, _OTHER.get(target.family)) not in families or slower(target.host, now) != target.family
        ]
        loads = [pool.load if (pool := find(target.key)) is not None else 0 for target in targets]
        lanes = [self._board.hosts.lane(target, now) for target in targets]
        if max(lanes) > Lane.NEW:
            # One that is slow counts as if it had much to do.
            loads = [load + SLOWNESS * (lane > Lane.NEW) for load, lane in zip(loads, lanes, strict=True)]
        least = min(loads)
        return self._platform.random.choice([each for each, load in zip(targets, loads, strict=True) if load == least])

    def moved(self, task: Task, connection: Connection, reply: Reply, isLacking: bool) -> None:
        """This host has not taken it, and another may."""
        key = task.target.key
        refused = Refused(connection.label, connection.source, connection.tls, reply, isLacking)
        for part in task.parts:
            part.refused[key.address, key.port] = refused
        self.homeless([task])

    def homeless(self, tasks: Sequence[Task]) -> None:
        """Their host is down: other hosts at once."""
        if self._board.stopping:
            for task in tasks:
                self._ledger.giveBack(task.parts)
            return
        now = self._clock.seconds()
        for task in tasks:
            left: list[Part] = []
            for part in task.parts:
                part.moves += 1
                if part.moves < MAX_HOSTS:
                    left.append(part)
                else:
                    last = f"{task.target.label}: {self._board.hosts.problem(task.target, now)}"
                    text = f"None of {part.moves} hosts could be reached; {last}"[:_MAX_ERRORS]
                    part.relay.lastError = text
                    self._ledger.refuse([part], Result.TEMPORARY, Reply(451, text, "4.4.1"))
            if left:
                self.route(self._config(), left)

    def displaced(self, tasks: Sequence[Task]) -> None:
        """Their host is slow, and has to wait for a connection: another may be quicker. What its lane has no room for waits in the
        scheduler."""
        now = self._clock.seconds()
        for task in tasks:
            lane = self._board.hosts.lane(task.target, now)
            left: list[Part] = []
            for part in task.parts:
                relay = part.relay
                relay.keeps(lane)
                if self._board.stopping:
                    self._ledger.giveBack([part])
                elif self._turnstile.isOver(lane):
                    relay.held += len(part.envelopes)
                    self._turnstile.putOut(relay)
                    self._ledger.giveBack([part])
                else:
                    left.append(part)
            if left:
                self.route(self._config(), left)

    @property
    def gathering(self) -> list[Part]:
        """Parts that wait for DNS, their own or that of other parts."""
        return [part for gathering in self._gatherings for part in gathering.parts]

    def abandon(self) -> None:
        """Give back what waits for DNS."""
        for gathering in list(self._gatherings):
            self._ledger.giveBack(gathering.abandon())
        self._gatherings.clear()


def _differ(one: Target, other: Target) -> bool:
    """Are they of the two families?"""
    return _OTHER.get(one.family) == other.family


def _fromSource(level: Sequence[Target], address: str, helo: str) -> list[Target]:
    """The hosts that can be reached from this address, as targets from there."""
    family = "inet6" if ":" in address else "inet4"
    return [target.fromSource(address, helo) for target in level if target.family == family]
