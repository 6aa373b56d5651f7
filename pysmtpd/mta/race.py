"""Hosts with addresses of both families: which one is asked first, and the other beside it (RFC 8305)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime

from pysmtpd.mta.hosts import Hosts
from pysmtpd.mta.keys import ConnectionKey, Target
from pysmtpd.mta.pool import Pool
from pysmtpd.mta.task import Task

RACE_TIME = 600.0
"""Seconds for which it is remembered by which family a host was reached sooner."""


class Race:
    """Between two pools of a host."""

    def __init__(self, clock: IReactorTime, hosts: Hosts) -> None:
        self._clock = clock
        self._hosts = hosts
        # By the name of a host: its family that lost, and until when that is remembered.
        self._slower: dict[str, tuple[str, float]] = {}

    def slower(self, host: str, now: float) -> str:
        """The family by which a host that has both is not asked first."""
        family, until = self._slower.get(host, ("", 0.0))
        return family if until > now else "inet4"

    def lost(self, target: Target, now: float) -> None:
        """The host was reached sooner by its other family."""
        self._slower[target.host] = (target.family, now + RACE_TIME)

    def alsoTry(self, task: Task) -> None:
        """The address that was chosen takes its time: let one of the host's other family be tried as well."""
        target = task.others[0]
        task.home, task.others = task.target, ()
        task.target, task.policy = target, target.policy
        self._hosts.pool(target).submit(task)

    def comeHome(self, pool: Pool, keys: Sequence[ConnectionKey]) -> None:
        """C{pool} has a connection after all: what waits for others, and was meant for it, may come back."""
        for key in keys:
            other = self._hosts.find(key)
            if other is None or other.proven:
                continue
            for task in other.takeBack(pool.key):
                home = task.home
                assert home is not None
                task.target, task.policy, task.home = home, home.policy, None
                pool.submit(task)

    def forget(self, now: float) -> None:
        """Races that were long ago."""
        self._slower = {host: lost for host, lost in self._slower.items() if lost[1] > now}
