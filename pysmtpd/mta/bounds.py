"""Which of the limits of C{mta limit} hold for whom, and what is counted against them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from pysmtpd.model.config import Config
from pysmtpd.model.limits import MtaLimits

_SMALLEST = (
    "maxConnPerHost",
    "maxConnPerRoute",
    "maxConnPerSource",
    "maxConnPerConnector",
    "maxConnPerRelay",
    "maxConnPerDomain",
    "sessionMailMax",
    "transactionRcptMax",
    "sessionKeepalive",
    "maxFailuresPerSession",
)
_LARGEST = (
    "connDelayHost",
    "connDelayRoute",
    "connDelaySource",
    "connDelayConnector",
    "connDelayRelay",
    "connDelayDomain",
    "reconnDelayRoute",
    "sessionTransactionDelay",
)


def limitsFor(config: Config, domain: str) -> MtaLimits:
    """What C{mta limit for domain} says of it, else what C{mta limit} says.

    @param domain: in lower case; with explicit hosts, the name of the host.
    """
    return config.mtaDomains.get(domain, config.mta)


def strictest(config: Config, domains: Collection[str]) -> MtaLimits:
    """Each bound of each of them: what is shared keeps to all."""
    if not config.mtaDomains:
        return config.mta
    found = [limitsFor(config, domain) for domain in domains] or [config.mta]
    if len(found) == 1:
        return found[0]
    changes = {name: min(getattr(limits, name) for limits in found) for name in _SMALLEST}
    changes |= {name: max(getattr(limits, name) for limits in found) for name in _LARGEST}
    return replace(found[0], **changes)


class Charge(NamedTuple):
    """Something that connections in use are counted against.

    @ivar kind: as in C{max-conn-per-domain}.
    @ivar name: whose; for a connector, relay and source.
    @ivar domain: whose limits say how many.
    """

    kind: str
    name: str
    domain: str

    def most(self, config: Config) -> int:
        """How many connections it may have in use."""
        limits = limitsFor(config, self.domain)
        if self.kind == "domain":
            return limits.maxConnPerDomain
        return limits.maxConnPerRelay if self.kind == "relay" else limits.maxConnPerConnector

    def delay(self, config: Config) -> float:
        """Seconds between two connections that are opened for it."""
        limits = limitsFor(config, self.domain)
        if self.kind == "domain":
            return limits.connDelayDomain
        return limits.connDelayRelay if self.kind == "relay" else limits.connDelayConnector


class Load:
    """What is in use: transactions under way, and connections that are being opened for one.

    A transaction of several domains and relays counts against each of them; none may have more than its limit.
    """

    __slots__ = ("_opened", "_used")

    def __init__(self) -> None:
        self._used: dict[Charge, int] = {}
        self._opened: dict[Charge, float] = {}

    def of(self, charge: Charge) -> int:
        """How many there are."""
        return self._used.get(charge, 0)

    def full(self, config: Config, charges: Sequence[Charge]) -> Charge | None:
        """The first that has no room for one more; None: there is room."""
        used = self._used
        for charge in charges:
            count = used.get(charge)
            if count is not None and count >= charge.most(config):
                return charge
        return None

    def begin(self, charges: Sequence[Charge]) -> None:
        used = self._used
        for charge in charges:
            used[charge] = used.get(charge, 0) + 1

    def end(self, charges: Sequence[Charge]) -> None:
        used = self._used
        for charge in charges:
            left = used[charge] - 1
            if left:
                used[charge] = left
            else:
                del used[charge]

    def opened(self, config: Config, charges: Sequence[Charge], now: float) -> None:
        """A connection was opened for these."""
        for charge in charges:
            if charge.delay(config):
                self._opened[charge] = now

    def early(self, config: Config, charges: Sequence[Charge], now: float) -> tuple[Charge, float] | None:
        """The one whose last connection was opened too short a time ago, and when it is long enough ago; None: there is none."""
        if not self._opened:
            return None
        for charge in charges:
            last = self._opened.get(charge)
            if last is not None and last + charge.delay(config) > now:
                return charge, last + charge.delay(config)
        return None

    def forget(self, now: float, seconds: float) -> None:
        """What was opened so long ago."""
        self._opened = {charge: at for charge, at in self._opened.items() if at + seconds > now}
