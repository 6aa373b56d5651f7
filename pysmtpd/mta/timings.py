"""What transactions came to on each route, and how long they took, as statistics. C{docs/metrics.md} lists the keys."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from pysmtpd.interfaces.reporting import IStat
from pysmtpd.model.reply import Reply

MOST_ROUTES = 500
"""Routes with keys of their own; what is beyond that counts as C{other}."""

BOUNDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0)
"""Seconds: upper ends of the histogram's classes; what takes longer is in one more."""

OTHER = "other"

_CLASSES = (*(f"{bound:g}s" for bound in BOUNDS), "more")
_RESULTS = ("ok", "ok", "ok", "ok", "tempfail", "permfail")


class Timings:
    """Counts. A route is our address and the host's; the first L{MOST_ROUTES} of a daemon's life are told apart."""

    def __init__(self, stat: IStat) -> None:
        self._stat = stat
        self._routes: dict[str, None] = {}
        self._transactions = 0
        self._recipients = 0
        self._delivered = 0
        self._connections = 0

    def connected(self) -> None:
        """A connection is ready for its first transaction."""
        self._connections += 1

    def ended(self, source: str, address: str, replies: Sequence[Reply], seconds: float) -> None:
        """
        @param source: our own address.
        @param replies: for each recipient.
        @param seconds: from the first command to the last reply.
        """
        stat = self._stat
        route = f"{source or 'local'}>{address}"
        if route not in self._routes:
            if len(self._routes) < MOST_ROUTES:
                self._routes[route] = None
            else:
                route = OTHER
        stat.increment("mta.transaction")
        stat.increment(f"mta.route.{route}.latency.{_CLASSES[bisect_left(BOUNDS, seconds)]}")
        delivered = 0
        for reply in replies:
            kind = reply.code // 100
            delivered += kind == 2
            stat.increment(f"mta.route.{route}.{_RESULTS[kind]}")
        self._transactions += 1
        self._recipients += len(replies)
        self._delivered += delivered
        stat.set("mta.ratio.recipients-per-transaction", self._recipients / self._transactions)
        stat.set("mta.ratio.transactions-per-connection", self._transactions / max(1, self._connections))
        stat.set("mta.ratio.delivered", self._delivered / max(1, self._recipients))
