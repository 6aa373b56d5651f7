"""What all connections share: hosts, routes and pools, their limits, and one coarse timer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IQueue
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.routing import ITable
from pysmtpd.interfaces.tls import IClientTls
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Envelope
from pysmtpd.model.events import Event
from pysmtpd.model.ids import SessionId
from pysmtpd.model.reply import Reply
from pysmtpd.mta.bounds import Charge, Load, strictest
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.encounter import Encounter
from pysmtpd.mta.host import NEVER
from pysmtpd.mta.hosts import Hosts
from pysmtpd.mta.keys import ConnectionKey
from pysmtpd.mta.opening import Opening
from pysmtpd.mta.pacer import Pacer
from pysmtpd.mta.pool import IMPATIENCE, Pool
from pysmtpd.mta.race import Race
from pysmtpd.mta.security import satisfies
from pysmtpd.mta.shaping.keys import Facts
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.slots import Slots
from pysmtpd.mta.task import Part, Task

TICK = 1.0
"""Seconds between two looks at deadlines, while there are connections."""

PRESSED_TICK = 0.25
"""The same while hosts of which nothing bad is known wait for a place."""

SWEEP = 600.0
"""Seconds between two sweeps of what is no longer used."""


class Binding(NamedTuple):
    """A limit that binds.

    @ivar kind: route, host, source, all or shaped: an idle connection may make room; lane: for want of a share; else empty, or delay.
    @ivar text: in the words of the configuration.
    @ivar until: monotonic seconds; 0: until something ends.
    @ivar charge: what has no room.
    @ivar place: of idle connections that may make room for one under a limit that they share.
    """

    kind: str
    text: str
    until: float = 0.0
    charge: Charge | None = None
    place: str = ""


Decided = Callable[[Connection, Task, "Sequence[tuple[Part, Envelope]]", "Sequence[Reply]"], None]

Steps = Callable[[Event], None]


class Board:
    """
    @ivar config: the newest generation: what connections share belongs to none.
    @ivar decided: told of each transaction's end.
    @ivar homeless: told of tasks whose host turned out to be of no use.
    @ivar emptied: told when the last connection is gone, while stopping.
    @ivar moved: told of a task that a host has not taken and another may take: where, its reply, and whether the host
        lacks what the message needs.
    @ivar lacksSource: told of an address that this machine does not have, and why.
    @ivar fault: told of faults of ours.
    @ivar load: what counts against limits of domains and relays.
    @ivar met: told of each session with a host, once for each domain.
    @ivar connected: told of each connection that is ready for transactions.
    @ivar steps: gives who wants to hear of each command; None: nobody does.
    @ivar displaced: told of tasks whose host has to do without a connection, for it is slow.
    @ivar slots: connections as places; C{pacer} tells who is slow.
    @ivar opening: lets connections begin.
    @ivar starved: pools that may not open a connection now, for another reason than want of a place.
    @ivar impatient: pools where somebody waits for a connection that is in use.
    """

    def __init__(
        self,
        platform: IPlatform,
        queue: IQueue,
        config: Callable[[], Config],
        tables: Callable[[], Mapping[str, ITable]],
        report: IReport,
        tls: IClientTls,
        shaper: Shaper,
        decided: Decided,
        homeless: Callable[[Sequence[Task]], None],
        emptied: Callable[[], None],
        moved: Callable[[Task, Connection, Reply, bool], None],
        lacksSource: Callable[[str, str], None],
        fault: Callable[[str, Failure], None],
        displaced: Callable[[Sequence[Task]], None],
        met: Callable[[Encounter], None] = lambda encounter: None,
        connected: Callable[[], None] = lambda: None,
        steps: Callable[[], Steps | None] = lambda: None,
        most: int = 0,
    ) -> None:
        """
        @param most: connections in all; 0: no bound.
        """
        self.clock = platform.clock
        self.network = platform.network
        self.secret = platform.secret
        self.queue = queue
        self.config = config
        self.report = report
        self.tls = tls
        self.shaper = shaper
        self.decided = decided
        self.homeless = homeless
        self.emptied = emptied
        self.moved = moved
        self.lacksSource = lacksSource
        self.fault = fault
        self.displaced = displaced
        self.load = Load()
        self.slots = Slots(platform.clock, most, lambda: config().mta.maxConnPerSource)
        self.opening = Opening(platform.clock, tables, tls)
        self.pacer = Pacer(platform.clock, self.slots)
        self.met = met
        self.connected = connected
        self.steps = steps
        self.stopping = False
        self.hosts = Hosts(lambda key, route: Pool(key, route, self))
        self.race = Race(platform.clock, self.hosts)
        self.connections: dict[Connection, None] = {}
        self.starved: dict[ConnectionKey, Pool] = {}
        self.impatient: dict[Pool, None] = {}
        self._lastFrom: dict[str, float] = {}
        # Pools that wait for one of these to have room.
        self._blocked: dict[Charge, dict[Pool, None]] = {}
        self._freed: dict[Pool, None] = {}
        # Idle connections by their host and by their source, longest idle first.
        self._resting: dict[str, dict[Connection, None]] = {}
        self._random = platform.random
        self._timer: IDelayedCall | None = None
        self._swept = 0.0

    def newSession(self) -> SessionId:
        return SessionId(self._random.getrandbits(63))

    # --- connections

    def mayOpen(self, pool: Pool, task: Task, now: float) -> bool:
        """Do the limits allow one more, for C{task}? If only an idle connection of another key is in the way, it has to go. If not, the
        pool is told to grow when they may.

        Asked for every starved pool at every tick, so it must not look at all the others.
        """
        binding = self.binding(pool, task, now)
        if binding is None:
            return True
        if binding.charge is not None and not binding.until:
            self.block(pool, binding.charge)
        elif self._makesRoom(pool, task, binding):
            return self.mayOpen(pool, task, now)
        if binding.kind in _PLACES:
            self.slots.wait(pool, pool.route.host.lane(now))
            self._wind()
        else:
            self.starve(pool)
        return False

    def _makesRoom(self, pool: Pool, task: Task, binding: Binding) -> bool:
        """Let an idle connection go, if that is of use: another pool's, or one that C{task} may not use."""
        route = pool.route
        if binding.kind in ("host", "route"):
            resting = self._resting.get(route.host.address, {})
        elif binding.kind == "source":
            resting = self._resting.get(_fromSource(pool.key.source), {})
        elif binding.kind == "all":
            resting = self._resting.get(_ALL, {})
        elif binding.place:
            resting = self._resting.get(binding.place, {})
        else:
            return False
        for connection in resting:
            if connection.pool is pool and connection.facts is not None and satisfies(connection.facts, task.policy):
                continue
            if connection.pool.route is route or binding.kind != "route":
                connection.pool.quit(connection)
                return True
        return False

    def binding(self, pool: Pool, task: Task, now: float) -> Binding | None:
        """The one limit that keeps a connection from being opened for C{task}; None: it may be."""
        config = self.config()
        limits = strictest(config, task.domains)
        route, host, source = pool.route, pool.route.host, pool.key.source
        if route.connections >= limits.maxConnPerRoute:
            return Binding("route", f"max-conn-per-route {limits.maxConnPerRoute}")
        if host.connections >= limits.maxConnPerHost:
            return Binding("host", f"max-conn-per-host {limits.maxConnPerHost}")
        place = self.slots.full(source, host.lane(now), not pool.connections, limits.maxConnPerSource)
        if place is not None:
            return Binding(place.kind, place.text)
        charges = task.charges
        full = self.load.full(config, charges)
        if full is not None:
            return Binding("", f"max-conn-per-{full.kind} {full.most(config)}", 0.0, full)
        caution = route.cautious(now)
        until, delay = caution.next if caution is not None else 0.0, ""
        if until > now:
            delay = "caution after the host asked for patience"
        for at, seconds, name in (
            (host.opened, limits.connDelayHost, "conn-delay-host"),
            (route.opened, limits.connDelayRoute, "conn-delay-route"),
            (route.closed, limits.reconnDelayRoute, "reconn-delay-route"),
            (self._lastFrom.get(source, NEVER), limits.connDelaySource, "conn-delay-source"),
        ):
            if seconds and at + seconds > max(now, until):
                until, delay = at + seconds, name
        if delay:
            return Binding("delay", delay, until)
        limit = self.shaper.connectionLimit(_factsOf(pool, task), now)
        if limit is not None:
            wait = self.shaper.wait(limit, now)
            return Binding("shaped", limit.text, now + wait if wait else 0.0, None, "" if wait else _limited(limit.key))
        early = self.load.early(config, charges, now)
        if early is not None:
            return Binding("delay", f"conn-delay-{early[0].kind}", early[1], early[0])
        return None

    def charge(self, connection: Connection, task: Task) -> None:
        """The connection is in use for C{task}, or being opened for it."""
        self.discharge(connection)
        connection.charges = task.charges
        self.load.begin(connection.charges)

    def discharge(self, connection: Connection) -> None:
        """It is not any more."""
        charges, connection.charges = connection.charges, ()
        if not charges:
            return
        self.load.end(charges)
        if self._blocked:
            for charge in charges:
                pools = self._blocked.pop(charge, None)
                if pools:
                    if not self._freed:
                        self.clock.callLater(0, self._revive)
                    self._freed.update(pools)

    def block(self, pool: Pool, charge: Charge) -> None:
        """Let C{pool} know when there is room."""
        self._blocked.setdefault(charge, {})[pool] = None

    def _revive(self) -> None:
        freed, self._freed = self._freed, {}
        for pool in freed:
            pool.revive()

    def rests(self, connection: Connection) -> None:
        """It is idle from now on."""
        self.slots.rests(connection.pool.key.source, connection.lane)
        for place in _places(connection):
            self._resting.setdefault(place, {})[connection] = None

    def wakes(self, connection: Connection) -> None:
        """It is not idle any more, if it was."""
        if connection not in self._resting.get(_ALL, ()):
            return
        self.slots.wakes(connection.pool.key.source, connection.lane)
        for place in _places(connection):
            resting = self._resting[place]
            del resting[connection]
            if not resting:
                del self._resting[place]

    def opened(self, pool: Pool, connection: Connection, task: Task, now: float) -> None:
        route = pool.route
        connection.counted = self.shaper.connected(_factsOf(pool, task), now)
        self.charge(connection, task)
        self.load.opened(self.config(), connection.charges, now)
        route.opens(now)
        route.host.opened = now
        self._lastFrom[pool.key.source] = now
        route.connections += 1
        route.host.connections += 1
        self.pacer.opens(connection, now)
        self.connections[connection] = None
        self._wind()

    def visits(self, connection: Connection) -> None:
        """It is nobody's, and counts for nobody, but has its time."""
        self.connections[connection] = None
        self._wind()

    def closed(self, pool: Pool, connection: Connection) -> None:
        """Its place is free."""
        self.discharge(connection)
        route = pool.route
        self.shaper.disconnected(connection.counted)
        route.closed = self.clock.seconds()
        route.connections -= 1
        route.host.connections -= 1
        self.slots.add(pool.key.source, connection.lane, -1)

    def forget(self, connection: Connection) -> None:
        """It is gone."""
        self.connections.pop(connection, None)
        if self.stopping and not self.connections:
            self.emptied()

    def starve(self, pool: Pool) -> None:
        """Try again soon."""
        self.starved[pool.key] = pool
        self._wind()

    # --- time

    def _wind(self) -> None:
        if self._timer is None:
            self._timer = self.clock.callLater(PRESSED_TICK if self.slots.isPressed else TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        for connection in list(self.connections):
            if connection.deadline <= now:
                connection.expired()
        self.pacer.look(list(self.connections), now)
        starved, self.starved = self.starved, {}
        for pool in starved.values():
            pool.grow(now)
        self.slots.serve()
        impatient, self.impatient = self.impatient, {}
        for pool in impatient:
            if pool.waiting and now - pool.waiting[0].since > IMPATIENCE:
                pool.grow(now, isImpatient=True)
            elif pool.waiting:
                self.impatient[pool] = None
        if now - self._swept > SWEEP:
            self._sweep(now)
        if self.connections or self.starved or self.slots.isWaited:
            self._wind()

    def _sweep(self, now: float) -> None:
        self._swept = now
        self.load.forget(now, SWEEP)
        self.race.forget(now)
        self.hosts.forget(now)

    def end(self) -> None:
        """Nothing is to come: stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_ALL = ""
"""Told from the address of a host, and from what is told from that."""

_PLACES = ("source", "all", "lane")


def _factsOf(pool: Pool, task: Task) -> Facts:
    """Of a connection that is to be opened."""
    return Facts("", task.target.host.lower(), pool.key.source, isOurs=not task.parts[0].relay.key.domain)


def _fromSource(source: str) -> str:
    """Told from the address of a host."""
    return f"from {source}"


def _limited(key: str) -> str:
    """Told from both."""
    return f"under {key}"


def _places(connection: Connection) -> Sequence[str]:
    key = connection.pool.key
    places = (key.address, _fromSource(key.source), _ALL)
    return (*places, *map(_limited, connection.counted)) if connection.counted else places
