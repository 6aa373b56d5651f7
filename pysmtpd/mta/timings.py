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
        self._routes: dict[tuple[str, str], _Keys] = {}
        self._others = _Keys(OTHER)
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
        keys = self._routes.get((source, address))
        if keys is None:
            keys = self._others
            if len(self._routes) < MOST_ROUTES:
                keys = self._routes[source, address] = _Keys(f"{source or 'local'}>{address}")
        stat.increment("mta.transaction")
        stat.increment(keys.latency(bisect_left(BOUNDS, seconds)))
        delivered = 0
        for reply in replies:
            kind = reply.code // 100
            delivered += kind == 2
            stat.increment(keys.result(_RESULTS[kind]))
        self._transactions += 1
        self._recipients += len(replies)
        self._delivered += delivered
        stat.set("mta.ratio.recipients-per-transaction", self._recipients / self._transactions)
        stat.set("mta.ratio.transactions-per-connection", self._transactions / max(1, self._connections))
        stat.set("mta.ratio.delivered", self._delivered / max(1, self._recipients))


class _Keys:
    """The keys of one route, each made once."""

    __slots__ = ("_latency", "_results", "_route")

    def __init__(self, route: str) -> None:
        self._route = route
        self._latency: dict[int, str] = {}
        self._results: dict[str, str] = {}

    def latency(self, place: int) -> str:
        key = self._latency.get(place)
        if key is None:
            key = self._latency[place] = f"mta.route.{self._route}.latency.{_CLASSES[place]}"
        return key

    def result(self, word: str) -> str:
        key = self._results.get(word)
        if key is None:
            key = self._results[word] = f"mta.route.{self._route}.{word}"
        return key
