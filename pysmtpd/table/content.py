"""The entries of a table held in memory, made ready for every way of asking. Immutable: a reload makes another."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pysmtpd.interfaces.routing import Service
from pysmtpd.table.glob import Globs
from pysmtpd.table.networks import Networks, parseNetwork

_MAILADDR = Service.MAILADDR
_DOMAIN = Service.DOMAIN
_NETWORK_LIKE = re.compile(r"\[|[0-9.]+(?:/[0-9]+)?\Z|[0-9a-f]*:")


class Content:
    """
    @param entries: keys and values; values are empty in a list. Keys lose their case; of equal keys the last counts.
    """

    __slots__ = ("_entries", "_globs", "_hasGlobs", "_keys", "_mailGlobs", "_networks", "_next")

    def __init__(self, entries: Iterable[tuple[str, str]] = ()) -> None:
        self._entries = {key.lower(): value for key, value in entries}
        keys = self._entries
        starred = [key for key in keys if "*" in key]
        self._globs = Globs(starred)
        self._hasGlobs = bool(starred)
        self._mailGlobs = _mailGlobs(starred)
        self._networks = Networks(
            network for key in keys if _NETWORK_LIKE.match(key) and (network := parseNetwork(key)) is not None
        )
        self._keys: tuple[str, ...] | None = None
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def linear(self) -> int:
        """Entries that must be tried one by one when nothing else matches."""
        return self._globs.linear

    def lookup(self, service: Service, key: str) -> str | None:
        """The value of exactly this key."""
        return self._entries.get(key)

    def match(self, service: Service, key: str) -> bool:
        """Does any entry match, the way the service compares?"""
        if service is _MAILADDR:
            return self._matchAddress(key)
        if key in self._entries:
            return True
        if service is _DOMAIN:
            return self._hasGlobs and self._globs.match(key)
        return service is Service.NETADDR and self._networks.match(key)

    def fetch(self, service: Service) -> str | None:
        """The keys in turn, in their order, for ever; None: there are none."""
        if self._keys is None:
            self._keys = tuple(sorted(self._entries))
        if not self._keys:
            return None
        key = self._keys[self._next % len(self._keys)]
        self._next += 1
        return key

    def _matchAddress(self, key: str) -> bool:
        """Entries are C{user}, C{@domain}, C{user@domain}, with stars in the domain, C{@} for all, and C{<>} for the null path."""
        entries = self._entries
        if "@" in entries:
            return True
        if not key:
            return "<>" in entries
        if key in entries:
            return True
        local, at, domain = key.rpartition("@")
        if not at:
            return False
        if local in entries or f"@{domain}" in entries:
            return True
        globs = self._mailGlobs
        if not globs:
            return False
        return any(globs[user].match(domain) for user in (local, "") if user in globs)


def _mailGlobs(starred: Iterable[str]) -> dict[str, Globs]:
    """Entries C{user@*.domain} by user; C{@*.domain} by the empty one."""
    domains: dict[str, list[str]] = {}
    for key in starred:
        local, at, domain = key.rpartition("@")
        if at and "*" in domain:
            domains.setdefault(local, []).append(domain)
    return {local: Globs(patterns) for local, patterns in domains.items()}
