"""Hosts as they behave: how many connections they have, and when to leave them alone."""

from __future__ import annotations

from pysmtpd.model.reply import Reply
from pysmtpd.mta.keys import RouteKey

PENALTY_UNIT = 15.0
"""Seconds; the n-th failure in a row keeps a place out for n squared of them."""

MAX_PENALTY = 3600.0

CAUTION_DELAY = 5.0
"""Seconds between two connections, where the configuration says none, after a peer asked for patience (421, 4.7.x)."""

CAUTION_TIME = 600.0
"""For how long that is heeded, in seconds."""


_OUR_OWN = ("4.7.4", "4.7.5", "4.7.11", "4.7.30")


def asksPatience(reply: Reply) -> bool:
    """Does the peer want less of us: 421, or 4.7.x that is not one of ours?"""
    return reply.code == 421 or (reply.enhanced.startswith("4.7.") and reply.enhanced not in _OUR_OWN)


class Penalty:
    """Times are of the monotonic clock."""

    __slots__ = ("error", "failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0
        self.error = ""

    def failed(self, now: float, error: str) -> None:
        self.failures += 1
        self.until = now + min(PENALTY_UNIT * self.failures**2, MAX_PENALTY)
        self.error = error

    def worked(self) -> None:
        self.failures = 0
        self.until = 0.0
        self.error = ""


class Host:
    """One address, whoever uses it.

    @ivar connections: open, or being opened.
    """

    __slots__ = ("address", "connections", "names")

    def __init__(self, address: str) -> None:
        self.address = address
        self.connections = 0
        self.names = ""


class Route:
    """Source address x host address.

    @ivar penalty: for failures to connect; what comes later is between us and one port.
    @ivar cautiousUntil: delays between connections count until then.
    """

    __slots__ = ("cautiousUntil", "connections", "delivered", "host", "key", "nextConnect")

    def __init__(self, key: RouteKey, host: Host) -> None:
        self.key = key
        self.host = host
        self.connections = 0
        self.delivered = 0
        self.cautiousUntil = 0.0
        self.nextConnect = 0.0

    def beCautious(self, now: float) -> None:
        self.cautiousUntil = now + CAUTION_TIME
