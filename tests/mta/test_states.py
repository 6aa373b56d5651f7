"""The states of routes and relays follow each other as the tables say that docs/delivery.md draws."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from random import Random
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import MtaLimits
from pysmtpd.mta.states import RELAY_TURNS, ROUTE_TURNS, RelayState, RouteState, routeState
from tests.mta.drawings import PAGE, page
from tests.mta.fakes import Server, World

E = TypeVar("E", bound=Enum)
HOURS = 120


class Watch(Clock):
    """Looks after each thing that happens."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        def call() -> None:
            callable(*args, **kw)
            self._look()

        return super().callLater(delay, call)


class Hour(Generic[E]):
    """Some time with one domain whose host is sometimes there, sometimes not, by one seed.

    @ivar seen: what followed what.
    """

    def __init__(self, seed: int, states: Callable[[World], Mapping[Hashable, E]], first: E) -> None:
        self.seen: dict[tuple[E, E], None] = {}
        self._random = random = Random(seed)
        self._states = states
        self._first = first
        self._last: dict[Hashable, E] = {}
        limits = MtaLimits(maxConnPerHost=random.choice([1, 2, 3]), connDelayHost=random.choice([0, 0, 3, 40]))
        self._world: World | None = None
        self._world = World(limits=limits, clock=Watch(self._look))
        self._addresses = ("192.0.2.1", "2001:db8::1")[: 1 + seed % 2]
        dns = self._world.dns
        dns.domain("d.test", (10, "mx.test"))
        dns.hosts["mx.test"] = self._addresses
        if seed % 3:
            self._slowly(dns)

    def _slowly(self, dns: Any) -> None:
        ask, clock = dns.mx, self._world.clock  # type: ignore[union-attr]

        def mx(domain: str) -> Deferred[Any]:
            answer: Deferred[Any] = Deferred()
            clock.callLater(self._random.choice([0.05, 0.5]), lambda: ask(domain).addCallback(answer.callback))
            return answer

        dns.mx = mx

    def _look(self) -> None:
        if self._world is None:
            return
        for key, state in self._states(self._world).items():
            last = self._last.get(key, self._first)
            if state is not last:
                self.seen[last, state] = None
            self._last[key] = state

    def run(self) -> None:
        world, random = self._world, self._random
        assert world is not None
        for _ in range(25):
            address, chance = random.choice(self._addresses), random.random()
            server = world.network.servers.get((address, 25))
            if chance < 0.45:
                for _ in range(random.choice([1, 5])):
                    world.agent.deliver(world.delivery("b@d.test"), world.ears)
                    self._look()
            elif chance < 0.55:
                world.network.servers.pop((address, 25), None)
            elif chance < 0.7:
                says = random.choice([{}, {}, {"DOT": "421 bye"}, {"DOT": "HANGUP"}])
                world.host(address, Server(greeting=random.choice(["220 x"] * 4 + ["421 no"]), **says))
            elif chance < 0.75:
                world.network.silent[address] = True
            elif chance < 0.8:
                world.network.silent.pop(address, None)
            elif chance < 0.95 and server is not None:
                server.delay = random.choice([0.0, 0.0, 2.0])
                for link in server.connections[: random.choice([1, 100])]:
                    link.lose(ConnectionLost())
            for _ in range(random.choice([1, 3, 20, 60])):
                world.clock.advance(random.choice([0.0, 0.001, 0.1, 1.0, 1.0]))
                self._look()


def routes(world: World) -> Mapping[Hashable, RouteState]:
    now = world.clock.seconds()
    return {pool.key: routeState(pool, now) for pool in world.agent._board.hosts.pools}


def relays(world: World) -> Mapping[Hashable, RelayState]:
    return {str(row["relay"]): RelayState(row["state"]) for row in world.agent.routes.showRelays()}


class StateTests(SynchronousTestCase):
    def follows(
        self,
        turns: Mapping[E, Mapping[E, str]],
        seldom: set[tuple[E, E]],
        states: Callable[[World], Mapping[Hashable, E]],
    ) -> None:
        """What happens is in the table, and all of the table happens.

        @param seldom: it takes a coincidence, which need not be among these.
        """
        told = {(state, then) for state, after in turns.items() for then in after}
        seen: set[tuple[E, E]] = set()
        for seed in range(HOURS):
            hour = Hour(seed, states, next(iter(turns)))
            hour.run()
            self.assertEqual(set(hour.seen) - told, set(), f"seed {seed}")
            seen |= set(hour.seen)
        self.assertEqual(told - seen - seldom, set())

    def test_routes(self) -> None:
        seldom = {
            (RouteState.BROKEN, RouteState.HALF_OPEN),
            (RouteState.OPEN, RouteState.CONNECTING),
            # There are places enough for one host.
            (RouteState.CONNECTING, RouteState.WAITING),
        }
        self.follows(ROUTE_TURNS, seldom, routes)

    def test_relays(self) -> None:
        seldom = {
            (RelayState.IDLE, RelayState.DOWN),
            (RelayState.DOWN, RelayState.IDLE),
            (RelayState.SENDING, RelayState.RESOLVING),
        }
        self.follows(RELAY_TURNS, seldom, relays)


class PageTests(SynchronousTestCase):
    def test_drawings(self) -> None:
        """C{python -m tests.mta.drawings} writes them anew."""
        text = PAGE.read_text()
        self.assertEqual(text, page(text))
