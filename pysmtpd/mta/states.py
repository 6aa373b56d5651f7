"""The states that routes and relays are shown in, and how they follow each other. docs/delivery.md draws these tables; tests hold what
happens against them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysmtpd.mta.pool import Pool


class RouteState(Enum):
    """Of what leads from one of our addresses to a host's port.

    @cvar WAITING: mail waits, and a limit lets no connection be opened.
    @cvar HALF_OPEN: the host has failed before; one connection tries it.
    @cvar BROKEN: it is left alone for a while.
    """

    CLOSED = "closed"
    WAITING = "waiting"
    CONNECTING = "connecting"
    HALF_OPEN = "half-open"
    OPEN = "open"
    SENDING = "sending"
    BROKEN = "broken"


ROUTE_TURNS: Mapping[RouteState, Mapping[RouteState, str]] = {
    RouteState.CLOSED: {
        RouteState.CONNECTING: "mail",
        RouteState.HALF_OPEN: "mail, after a failure",
        RouteState.WAITING: "mail, and a limit",
    },
    RouteState.WAITING: {
        RouteState.CONNECTING: "there is room",
        RouteState.HALF_OPEN: "there is room, after a failure",
    },
    RouteState.CONNECTING: {
        RouteState.SENDING: "established",
        RouteState.OPEN: "established, and the mail has gone elsewhere",
        RouteState.BROKEN: "failed",
        RouteState.WAITING: "slow, and it gives way to others",
    },
    RouteState.HALF_OPEN: {
        RouteState.SENDING: "established",
        RouteState.BROKEN: "failed again",
    },
    RouteState.OPEN: {
        RouteState.SENDING: "mail",
        RouteState.CLOSED: "session-keepalive, or the host hangs up",
        RouteState.CONNECTING: "the host hangs up, and one more is tried",
    },
    RouteState.SENDING: {
        RouteState.OPEN: "answered",
        RouteState.CLOSED: "the host hangs up",
        RouteState.CONNECTING: "the host hangs up, and more waits",
        RouteState.WAITING: "the host hangs up, more waits, and a limit",
    },
    RouteState.BROKEN: {
        RouteState.CLOSED: "the penalty is over",
        RouteState.HALF_OPEN: "the penalty is over, and mail",
    },
}
"""What follows what, and why. Seldom things that need a coincidence are in it."""


def routeState(pool: Pool, now: float) -> RouteState:
    """How a pool is shown."""
    if pool.standing.broken(now) is not None:
        return RouteState.BROKEN
    if not pool.connections:
        return RouteState.WAITING if pool.waiting else RouteState.CLOSED
    if any(connection.task is not None for connection in pool.connections):
        return RouteState.SENDING
    if any(connection.facts is not None for connection in pool.connections):
        return RouteState.OPEN
    return RouteState.HALF_OPEN if pool.standing.penalty.failures else RouteState.CONNECTING


class RelayState(Enum):
    """Of where messages should go.

    @cvar DOWN: each host that is known is of no use now.
    """

    IDLE = "idle"
    RESOLVING = "resolving"
    WAITING = "waiting"
    SENDING = "sending"
    DOWN = "down"


RELAY_TURNS: Mapping[RelayState, Mapping[RelayState, str]] = {
    RelayState.IDLE: {
        RelayState.RESOLVING: "mail",
        RelayState.WAITING: "mail, hosts are known",
        RelayState.SENDING: "mail, and a connection is idle",
        RelayState.DOWN: "each host has failed others",
    },
    RelayState.RESOLVING: {
        RelayState.WAITING: "answered",
        RelayState.SENDING: "answered, and a connection is idle",
        RelayState.DOWN: "answered, and each host has failed",
    },
    RelayState.WAITING: {
        RelayState.SENDING: "a connection is there",
        RelayState.RESOLVING: "mail, and what DNS said is over",
        RelayState.DOWN: "each host has failed",
        RelayState.IDLE: "nothing is left",
    },
    RelayState.SENDING: {
        RelayState.IDLE: "delivered",
        RelayState.WAITING: "refused, or more waits",
        RelayState.RESOLVING: "mail, and what DNS said is over",
    },
    RelayState.DOWN: {
        RelayState.WAITING: "a penalty is over",
        RelayState.RESOLVING: "mail, and what DNS said is over",
        RelayState.IDLE: "a penalty is over, and nothing is left",
    },
}
