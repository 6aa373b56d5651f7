"""The wires between the hosts of a world: who is there, how far away, and what goes wrong on the way."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionRefusedError, NoRouteError

from pysmtpd.testing.clock import SimulatedClock, Timeline
from pysmtpd.testing.transport import SimulatedTransport

if TYPE_CHECKING:
    from pysmtpd.testing.network import SimulatedNetwork, SimulatedPort

NEAR = 0.00002


class Condition(Enum):
    """How an address answers; what is not said otherwise answers as its listeners do."""

    NORMAL = "normal"
    REFUSING = "refusing"
    SILENT = "silent"
    UNREACHABLE = "unreachable"


def normal(address: str) -> str:
    """The one way to write an address; names stay as they are."""
    try:
        return str(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return address


def isAddress(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class Internet:
    """Hosts and the wires between them. Delays, segments and losses are drawn from one seed.

    An address that no host has is silent: a connection to it times out.

    @ivar clock: the wires' own; it outlives the processes.
    @ivar split: which share of what is written arrives in several pieces.
    @ivar resets: which share of the pieces breaks its connection instead of arriving.
    @ivar losses: which share of the datagrams does not arrive.
    """

    def __init__(self, timeline: Timeline | None = None, seed: object = 0) -> None:
        self.clock = SimulatedClock(timeline)
        self._seed = seed
        self._random = Random(f"{seed}/internet")
        self._hosts: dict[str, SimulatedNetwork] = {}
        self._conditions: dict[str, Condition] = {}
        self._delays: dict[tuple[str, str], float] = {}
        self._transports: dict[int, SimulatedTransport] = {}
        self.split = 0.25
        self.resets = 0.0
        self.losses = 0.0

    # --- what tests do

    def host(
        self,
        *addresses: str,
        clock: SimulatedClock | None = None,
        beside: list[SimulatedNetwork] | None = None,
    ) -> SimulatedNetwork:
        """A host with these addresses.

        @param clock: of its process; None: one of its own.
        @param beside: other processes of the same machine.
        """
        from pysmtpd.testing.network import SimulatedNetwork

        own = clock or SimulatedClock(self.clock.timeline)
        made = SimulatedNetwork(self, tuple(map(normal, addresses)), own, beside)
        for address in made.addresses:
            if address in self._hosts:
                raise ValueError(f"{address} is another host's")
            self._hosts[address] = made
        return made

    def set(self, address: str, condition: Condition) -> None:
        """From now on the address answers so. SILENT also swallows what travels on connections that stand."""
        self._conditions[normal(address)] = condition

    def distance(self, first: str, second: str, seconds: float) -> None:
        """Let everything between two addresses take so long, one way. For connections made from now on."""
        self._delays[self._pair(normal(first), normal(second))] = seconds

    def reset(self, address: str) -> int:
        """Break all connections of an address; says how many."""
        address = normal(address)
        broken = [
            transport
            for transport in self._transports.values()
            if transport.connected and getattr(transport.getHost(), "host", "") == address
        ]
        for transport in broken:
            transport.reset()
        return len(broken)

    # --- for hosts and transports

    def remove(self, host: SimulatedNetwork) -> None:
        """The host's process ended; its addresses are free for the next."""
        for address in host.addresses:
            if self._hosts.get(address) is host:
                del self._hosts[address]

    def at(self, address: str) -> SimulatedNetwork | None:
        return self._hosts.get(address)

    def condition(self, address: str) -> Condition:
        return self._conditions.get(address, Condition.NORMAL)

    @staticmethod
    def _pair(first: str, second: str) -> tuple[str, str]:
        return (first, second) if first < second else (second, first)

    def delay(self, source: str, destination: str) -> float:
        """Seconds one way: five to sixty milliseconds between hosts, next to nothing inside one."""
        pair = self._pair(source, destination)
        found = self._delays.get(pair)
        if found is None:
            host = self._hosts.get(source)
            if source == destination or (host is not None and host is self._hosts.get(destination)):
                found = NEAR
            else:
                # Drawn by the pair, so that it does not depend on who talked first.
                found = 0.005 + 0.055 * Random(f"{self._seed}/{pair[0]}/{pair[1]}").random()
            self._delays[pair] = found
        return found

    def jitter(self) -> float:
        return 1.0 + 0.1 * self._random.random()

    def segments(self, data: bytes) -> Sequence[bytes]:
        """The pieces in which it arrives."""
        random = self._random.random
        if len(data) < 2 or random() >= self.split:
            return (data,)
        cuts = sorted(1 + int(random() * (len(data) - 1)) for _ in range(1 + int(random() * 3)))
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        return [piece for piece in pieces if piece]

    def carries(self, transport: SimulatedTransport, item: bytes | str) -> bool:
        """Does the wire take it? May break the connection instead."""
        if self._conditions:
            for end in (transport.getHost(), transport.getPeer()):
                if self._conditions.get(getattr(end, "host", "")) is Condition.SILENT:
                    return False
        if self.resets and isinstance(item, bytes) and self._random.random() < self.resets:
            self.clock.callLater(0, transport.reset)
            return False
        return True

    def losesDatagram(self, source: str, destination: str) -> bool:
        if Condition.SILENT in (self.condition(source), self.condition(destination)):
            return True
        return bool(self.losses) and self._random.random() < self.losses

    def remember(self, transport: SimulatedTransport) -> None:
        self._transports[id(transport)] = transport

    def transportsOf(self, host: SimulatedNetwork) -> Sequence[SimulatedTransport]:
        """Ends of connections, being made or standing."""
        return [transport for transport in self._transports.values() if transport.owner is host]

    def forget(self, transport: SimulatedTransport) -> None:
        self._transports.pop(id(transport), None)

    def connect(self, client: SimulatedTransport, source: str, destination: str, port: int) -> None:
        """Knock at a door."""
        condition = self.condition(destination)
        host = self._hosts.get(destination)
        delay = self.delay(source, destination)
        if condition is Condition.UNREACHABLE:
            self.clock.callLater(delay, client.failIfNotConnected, NoRouteError())
        elif host is not None and condition is not Condition.SILENT:
            find: Callable[[], SimulatedPort | None] = lambda: host.portFor(destination, port)  # noqa: E731
            if condition is Condition.REFUSING:
                find = lambda: None  # noqa: E731
            self.clock.callLater(delay, self.knock, client, find, delay)

    def knock(self, client: SimulatedTransport, find: Callable[[], Any], delay: float) -> None:
        """The request has arrived: at a port, or at none."""
        port = find()
        if port is None:
            self.clock.callLater(delay, client.failIfNotConnected, ConnectionRefusedError())
            return
        server = SimulatedTransport(self, port.network, False, client.getPeer(), client.getHost(), delay)
        server.other, client.other = client, server
        # The answer to the request goes before all that the server says.
        server.lastArrival = self.clock.seconds() + delay
        self.clock.callLater(delay, self._answered, client)
        port.knocked(server)

    def _answered(self, client: SimulatedTransport) -> None:
        if client.disconnected or client.isDead:
            # It has given up: tell the server.
            client.arrived(b"")
            return
        client.connector.connected(client)
