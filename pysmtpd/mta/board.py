"""What all connections share: hosts, routes and pools, their limits, and one coarse timer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IQueue
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.routing import ITable, Service, TableError
from pysmtpd.interfaces.tls import IClientTls
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Envelope
from pysmtpd.model.events import InternalError
from pysmtpd.model.ids import SessionId
from pysmtpd.model.reply import Reply
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.encounter import Encounter
from pysmtpd.mta.host import CAUTION_DELAY, Host, Route
from pysmtpd.mta.keys import ConnectionKey, RouteKey, Target
from pysmtpd.mta.pool import IMPATIENCE, Pool
from pysmtpd.mta.shaping.keys import Facts
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.task import Part, Task
from pysmtpd.smtp.client_events import Credentials

TICK = 1.0
"""Seconds between two looks at deadlines, while there are connections."""

SWEEP = 600.0
"""Seconds between two sweeps of what is no longer used."""

LAST = 5
"""One of so many connections of a source address is kept for hosts that have none: a few slow hosts must not have them all."""

Decided = Callable[[Connection, Task, "Sequence[tuple[Part, Envelope]]", "Sequence[Reply]"], None]


class Board:
    """
    @ivar config: the newest generation: what connections share belongs to none.
    @ivar decided: told of each transaction's end.
    @ivar homeless: told of tasks whose host turned out to be of no use.
    @ivar emptied: told when the last connection is gone, while stopping.
    @ivar met: told of each session with a host, once for each domain.
    @ivar starved: pools that may not open a connection now.
    """

    _log = Logger()

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
        met: Callable[[Encounter], None] = lambda encounter: None,
    ) -> None:
        self.clock = platform.clock
        self.network = platform.network
        self.queue = queue
        self.config = config
        self.report = report
        self.tls = tls
        self.shaper = shaper
        self.decided = decided
        self.homeless = homeless
        self.emptied = emptied
        self.met = met
        self.stopping = False
        self.pools: dict[ConnectionKey, Pool] = {}
        self.hosts: dict[str, Host] = {}
        self.routes: dict[RouteKey, Route] = {}
        self.connections: dict[Connection, None] = {}
        self.starved: dict[ConnectionKey, Pool] = {}
        self._perSource: dict[str, int] = {}
        # Idle connections by their host and by their source, longest idle first.
        self._resting: dict[str, dict[Connection, None]] = {}
        self._random = platform.random
        self._tables = tables
        self._timer: IDelayedCall | None = None
        self._swept = 0.0

    def newSession(self) -> SessionId:
        return SessionId(self._random.getrandbits(63))

    def fault(self, doing: str, failure: Failure) -> None:
        """A fault of ours."""
        self._log.failure("while {doing}", failure, doing=doing)
        self.report.happened(InternalError(doing, failure.getErrorMessage()))

    # --- places

    def pool(self, target: Target) -> Pool:
        key = target.key
        pool = self.pools.get(key)
        if pool is None:
            host = self.hosts.get(key.address)
            if host is None:
                host = self.hosts[key.address] = Host(key.address)
            host.names = target.host
            route = self.routes.get(key.route)
            if route is None:
                route = self.routes[key.route] = Route(key.route, host)
            pool = self.pools[key] = Pool(key, route, self)
        return pool

    def problem(self, target: Target, now: float) -> str:
        """Why C{target} is of no use now; empty: it may be."""
        if target.barred:
            return target.barred
        pool = self.pools.get(target.key)
        return pool.problem(target.policy, now) if pool is not None else ""

    def credentials(self, name: str) -> Ready[Credentials | None]:
        """
        @param name: C{table:label}, or empty.
        @raise TableError: (or a Deferred that fails with it)
        """
        if not name:
            return None
        table, _, label = name.partition(":")
        try:
            answer = self._tables()[table].lookup(Service.CREDENTIALS, label)
        except KeyError:
            return None
        return answer.addCallback(_credentials) if isinstance(answer, Deferred) else _credentials(answer)

    # --- connections

    def mayOpen(self, pool: Pool, now: float) -> bool:
        """Do the limits allow one more? If only an idle connection of another key is in the way, it has to go.

        Asked for every starved pool at every tick, so it must not look at all the others.
        """
        limits = self.config().mta
        route = pool.route
        if route.cautiousUntil > now and now < route.nextConnect:
            return False
        if not self.shaper.mayConnect(_factsOf(pool), now):
            return False
        isRouteFull = route.connections >= limits.maxConnPerRoute
        if isRouteFull or route.host.connections >= limits.maxConnPerHost:
            resting = self._resting.get(route.host.address, {})
        elif self._perSource.get(pool.key.source, 0) >= limits.maxConnPerSource - (
            limits.maxConnPerSource // LAST if pool.connections else 0
        ):
            resting = self._resting.get(_fromSource(pool.key.source), {})
        else:
            return True
        for connection in resting:
            if connection.pool is not pool and (connection.pool.route is route or not isRouteFull):
                connection.pool.quit(connection)
                return self.mayOpen(pool, now)
        return False

    def rests(self, connection: Connection) -> None:
        """It is idle from now on."""
        for place in _places(connection):
            self._resting.setdefault(place, {})[connection] = None

    def wakes(self, connection: Connection) -> None:
        """It is not idle any more, if it was."""
        for place in _places(connection):
            resting = self._resting.get(place)
            if resting is not None and connection in resting:
                del resting[connection]
                if not resting:
                    del self._resting[place]

    def opened(self, pool: Pool, connection: Connection, now: float) -> None:
        route = pool.route
        connection.counted = self.shaper.connected(_factsOf(pool), now)
        route.connections += 1
        route.host.connections += 1
        self._perSource[pool.key.source] = self._perSource.get(pool.key.source, 0) + 1
        self.connections[connection] = None
        if route.cautiousUntil > now:
            limits = self.config().mta
            delays = (
                limits.connDelayHost,
                limits.connDelayRoute,
                limits.connDelaySource,
                limits.connDelayConnector,
                limits.connDelayRelay,
                limits.connDelayDomain,
                limits.reconnDelayRoute,
            )
            route.nextConnect = now + (max(delays) or CAUTION_DELAY)
        self._wind()

    def closed(self, pool: Pool, connection: Connection) -> None:
        """Its place is free."""
        route = pool.route
        self.shaper.disconnected(connection.counted)
        route.connections -= 1
        route.host.connections -= 1
        self._perSource[pool.key.source] -= 1

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
            self._timer = self.clock.callLater(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        for connection in list(self.connections):
            if connection.deadline <= now:
                connection.expired()
        starved, self.starved = self.starved, {}
        for pool in starved.values():
            pool.grow(now)
        for pool in list(self.pools.values()):
            if pool.waiting and now - pool.waiting[0].since > IMPATIENCE:
                pool.grow(now, isImpatient=True)
        if now - self._swept > SWEEP:
            self._sweep(now)
        if self.connections or self.starved:
            self._wind()

    def _sweep(self, now: float) -> None:
        self._swept = now
        self.pools = {key: pool for key, pool in self.pools.items() if not pool.isIdle(now)}
        self.routes = {pool.route.key: pool.route for pool in self.pools.values()}
        self.hosts = {route.host.address: route.host for route in self.routes.values()}

    def end(self) -> None:
        """Nothing is to come: stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _factsOf(pool: Pool) -> Facts:
    """Of a connection that is to be opened."""
    task = pool.waiting[0]
    return Facts("", task.target.host.lower(), pool.key.source, isOurs=not task.parts[0].relay.key.domain)


def _fromSource(source: str) -> str:
    """Told from the address of a host."""
    return f"from {source}"


def _places(connection: Connection) -> tuple[str, str]:
    key = connection.pool.key
    return key.address, _fromSource(key.source)


def _credentials(value: str | None) -> Credentials | None:
    """
    @raise TableError: not C{user:password}.
    """
    if value is None:
        return None
    user, mark, password = value.partition(":")
    if not mark:
        raise TableError("credentials are not user:password")
    return Credentials(user, password.encode())
