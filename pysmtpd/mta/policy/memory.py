"""That TLS was to be had: for each domain and host of it, for a month. Pure; times are wall-clock seconds.

It is what remains where nobody publishes anything: who takes STARTTLS out of a conversation gets no mail from those who have talked to the
host before. Whose certificate that was, or whether it was valid, is not remembered.
"""

from __future__ import annotations

from typing import Any

LIFETIME = 30 * 86400.0

GRAIN = 86400.0
"""Seconds by which a memory may be older than what was seen: so that a busy host is not written down with each message."""

MOST = 20_000


class TlsMemory:
    """Bounded: what was seen longest ago goes first."""

    def __init__(self) -> None:
        # Least recently written first.
        self._seen: dict[tuple[str, str], float] = {}

    def saw(self, domain: str, host: str, now: float) -> bool:
        """C{host} had TLS, for mail to C{domain}.

        @return: that is worth being kept.
        """
        key = (domain, host)
        last = self._seen.get(key)
        if last is not None and last <= now < last + GRAIN:
            return False
        self._seen.pop(key, None)
        while len(self._seen) >= MOST:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = now
        return True

    def seen(self, domain: str, host: str, now: float) -> float:
        """When TLS was last to be had there, give or take a day; 0: not in living memory."""
        last = self._seen.get((domain, host))
        return last if last is not None and last <= now < last + LIFETIME else 0.0

    def hosts(self, domain: str, now: float) -> dict[str, float]:
        """All that is remembered of a domain."""
        found = [(host, self.seen(domain, host, now)) for of, host in self._seen if of == domain]
        return {host: last for host, last in found if last}

    def forget(self, domain: str) -> int:
        """How many hosts were forgotten."""
        mine = [key for key in self._seen if key[0] == domain]
        for key in mine:
            del self._seen[key]
        return len(mine)

    def dump(self, now: float) -> list[list[object]]:
        """For a file."""
        return [[domain, host, last] for (domain, host), last in self._seen.items() if self.seen(domain, host, now)]

    def load(self, rows: Any) -> None:
        """What C{dump} gave; what has been seen since stays.

        @raise ValueError: (or L{TypeError}) this is something else; nothing of it is taken.
        """
        found = {(str(domain), str(host)): float(last) for domain, host, last in rows}
        found.update(self._seen)
        self._seen = dict(list(found.items())[-MOST:])
