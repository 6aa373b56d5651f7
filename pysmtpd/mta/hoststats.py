"""What became of the latest mail to each destination domain, and which mail waits for its hosts to be reached again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.reply import Reply

KEPT_TIME = 4 * 3600.0
"""Seconds after which a domain that nothing was sent to is forgotten."""

MOST_DOMAINS = 20_000


class _Stat:
    """There are many: the reply is the one that others hold, too; most have nobody who waits, and those that have, few."""

    __slots__ = ("at", "deferred", "delivered", "reply")

    def __init__(self, reply: Reply) -> None:
        self.at = 0.0
        self.reply = reply
        self.delivered = 0
        # Those whose hosts could not be reached, in order of their coming.
        self.deferred: tuple[EnvelopeId, ...] = ()


class HostStats:
    """By destination domain. Times are wall-clock seconds."""

    def __init__(self) -> None:
        self._stats: dict[str, _Stat] = {}

    def told(self, domain: str, reply: Reply, now: float) -> Sequence[EnvelopeId]:
        """A host has said something about mail to this domain.

        @return: envelopes that waited for one to be reached, if it takes mail: now is the time.
        """
        stat = self._stat(domain, reply, now)
        if not reply.isPositive:
            return ()
        stat.delivered += 1
        deferred, stat.deferred = stat.deferred, ()
        return deferred

    def unreached(self, domain: str, reply: Reply, envelopes: Sequence[EnvelopeId], now: float, most: int) -> None:
        """No host could be reached.

        @param most: envelopes that are kept at hand (C{mta max-deferred}).
        """
        stat = self._stat(domain, reply, now)
        room = most - len(stat.deferred)
        if room > 0:
            stat.deferred += tuple([each for each in envelopes if each not in stat.deferred][:room])

    def _stat(self, domain: str, reply: Reply, now: float) -> _Stat:
        stat = self._stats.get(domain)
        if stat is None:
            if len(self._stats) >= MOST_DOMAINS:
                self._forget(now)
            stat = self._stats[domain] = _Stat(reply)
        stat.reply = reply
        stat.at = now
        return stat

    def _forget(self, now: float) -> None:
        kept = {domain: stat for domain, stat in self._stats.items() if stat.at + KEPT_TIME > now}
        if len(kept) >= MOST_DOMAINS:
            # The older half goes, whatever it knows.
            newest = sorted(kept.items(), key=lambda each: each[1].at)[MOST_DOMAINS // 2 :]
            kept = dict(newest)
        self._stats = kept

    def show(self, now: float) -> Sequence[Mapping[str, object]]:
        """For people."""
        self._forget(now)
        return [
            {
                "domain": domain,
                "at": stat.at,
                "status": str(stat.reply),
                "error": "" if stat.reply.isPositive else str(stat.reply),
                "delivered": stat.delivered,
                "deferred": len(stat.deferred),
            }
            for domain, stat in self._stats.items()
        ]
