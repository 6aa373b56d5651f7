"""What is held against a host: when to leave it alone, for whom, and how it may be used."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pysmtpd.mta.host import Penalty
from pysmtpd.mta.security import Policy

PLAIN_TIME = 3600.0
"""Seconds for which a host whose TLS failed is used in plain text by those who only would like TLS."""

CROWDED_TIME = 60.0
"""Seconds for which a host that refused one connection more is not asked for it again."""

UNBOUND = 1 << 30

_NONE: Mapping[Policy, Penalty] = MappingProxyType({})


class Standing:
    """Times are monotonic seconds.

    @ivar penalty: for all mail.
    @ivar lostInRow: connections in a row that the host ended before a transaction did.
    """

    __slots__ = ("_cap", "_capUntil", "_plainUntil", "_policies", "lostInRow", "penalty")

    def __init__(self) -> None:
        self.penalty = Penalty()
        self.lostInRow = 0
        self._policies: Mapping[Policy, Penalty] = _NONE
        self._plainUntil = 0.0
        self._cap = 0
        self._capUntil = 0.0

    # --- is it any use?

    def problem(self, policy: Policy, now: float) -> str:
        """Why nothing should be sent there now; empty: it may be."""
        if self.penalty.until > now:
            return self.penalty.error
        penalty = self._policies.get(policy)
        return penalty.error if penalty is not None and penalty.until > now else ""

    def until(self, policy: Policy) -> float:
        """When C{problem} ends."""
        penalty = self._policies.get(policy)
        return max(self.penalty.until, penalty.until if penalty is not None else 0.0)

    def broken(self, now: float) -> Penalty | None:
        """The worst of what keeps all, or some, from being sent there; None: nothing does."""
        found = [one for one in (self.penalty, *self._policies.values()) if one.until > now]
        return max(found, key=lambda one: one.until, default=None)

    def isPolicy(self, policy: Policy, now: float) -> bool:
        """Does only what TLS has to be keep those under C{policy} from there?"""
        penalty = self._policies.get(policy)
        return self.penalty.until <= now and penalty is not None and penalty.until > now

    def isPlain(self, now: float) -> bool:
        """Should those who only would like TLS do without?"""
        return now < self._plainUntil

    def most(self, now: float) -> int:
        """How many connections it takes, as far as it was seen."""
        return self._cap if self._cap and now < self._capUntil else UNBOUND

    def isOver(self, now: float) -> bool:
        """It is no different from a host that nothing is held against, and has not been for a while."""
        latest = max([self.penalty.until, self._plainUntil, *(one.until for one in self._policies.values())])
        return latest + PLAIN_TIME < now

    # --- what has happened

    def worked(self, policy: Policy) -> None:
        """It was reached, and gave what C{policy} asks for."""
        self.penalty.worked()
        if policy in self._policies:
            self._policies = {each: one for each, one in self._policies.items() if each != policy}

    def failed(self, policy: Policy | None) -> Penalty:
        """What to write the failure down in.

        @param policy: it concerns only those who ask for this; None: all.
        """
        if policy is None:
            return self.penalty
        penalty = self._policies.get(policy)
        if penalty is None:
            penalty = Penalty()
            self._policies = {**self._policies, policy: penalty}
        return penalty

    def tlsFailed(self, now: float) -> None:
        """Of somebody who only would like it."""
        self._plainUntil = now + PLAIN_TIME

    def tookOnly(self, connections: int, now: float) -> None:
        """It refused one more."""
        self._cap = max(1, connections)
        self._capUntil = now + CROWDED_TIME

    def forgive(self) -> bool:
        """Forget all of it.

        @return: there was something.
        """
        had = bool(self.penalty.failures or self._policies or self._cap or self._plainUntil)
        self.penalty.worked()
        self._policies = _NONE
        self._cap = 0
        self._plainUntil = 0.0
        return had


GOOD = Standing()
"""What most hosts have in common. Nothing is written into it."""
