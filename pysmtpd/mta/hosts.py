"""All hosts that are known, with the routes and pools to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pysmtpd.mta.host import Host, Route
from pysmtpd.mta.keys import ConnectionKey, Target
from pysmtpd.mta.lanes import Lane
from pysmtpd.mta.pool import Pool


class Known(Host):
    """
    @ivar pools: to all of its services.
    """

    __slots__ = ("pools",)

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.pools: tuple[Pool, ...] = ()


class Hosts:
    """By address; there may be many, so there is one mapping for all of it."""

    def __init__(self, make: Callable[[ConnectionKey, Route], Pool]) -> None:
        """
        @param make: gives the pool of a key.
        """
        self._make = make
        self._hosts: dict[str, Known] = {}

    def __iter__(self) -> Iterator[Known]:
        return iter(self._hosts.values())

    @property
    def pools(self) -> Iterator[Pool]:
        """Of all hosts."""
        for host in self._hosts.values():
            yield from host.pools

    def find(self, key: ConnectionKey) -> Pool | None:
        """The pool of this key, if there is one."""
        host = self._hosts.get(key.address)
        if host is not None:
            for pool in host.pools:
                if pool.key is key or pool.key == key:
                    return pool
        return None

    def pool(self, target: Target) -> Pool:
        """The pool for it, made if need be."""
        pool = self.find(target.key)
        return pool if pool is not None else self._add(target)

    def _add(self, target: Target) -> Pool:
        key = target.key
        host = self._hosts.get(key.address)
        if host is None:
            host = self._hosts[key.address] = Known(key.address)
        host.names = target.host
        route = next((pool.route for pool in host.pools if pool.key.source == key.source), None)
        pool = self._make(key, route or Route(key.source, host))
        host.pools = (*host.pools, pool)
        return pool

    def forget(self, now: float) -> None:
        """Those that nobody has used for long."""
        for address, host in list(self._hosts.items()):
            if any(pool.isIdle(now) for pool in host.pools):
                host.pools = tuple(pool for pool in host.pools if not pool.isIdle(now))
                if not host.pools:
                    del self._hosts[address]

    # --- what is held against them

    def problem(self, target: Target, now: float) -> str:
        """Why C{target} is of no use now; empty: it may be."""
        if target.barred:
            return target.barred
        pool = self.find(target.key)
        return pool.standing.problem(target.policy, now) if pool is not None else ""

    def isPolicy(self, target: Target, now: float) -> bool:
        """Is C{target} of no use for what its TLS has to be, and for nothing else?"""
        pool = self.find(target.key)
        return bool(target.barred) or (pool is not None and pool.standing.isPolicy(target.policy, now))

    def takesNoMail(self, target: Target, now: float) -> bool:
        """Has the host said so (521, RFC 7504)?"""
        pool = self.find(target.key)
        return pool is not None and pool.standing.penalty.takesNoMail and pool.standing.penalty.until > now

    def lane(self, target: Target, now: float) -> Lane:
        """What is known of its pace."""
        host = self._hosts.get(target.key.address)
        return host.lane(now) if host is not None else Lane.NEW
