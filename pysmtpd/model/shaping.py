"""Rates of remote delivery, as the configuration states them."""

from __future__ import annotations

from dataclasses import dataclass

from pysmtpd.model.decision import Where
from pysmtpd.model.table import NOWHERE

MESSAGES = "messages"
RECIPIENTS = "recipients"
CONNECTIONS = "connections"

KINDS = ("domain", "host", "provider", "src", "mail-from", "auth", "tag")
"""What a rate may be for, in the words of the configuration."""

SHARED_KINDS = ("", "host", "provider", "src")
"""Of these, what a connection has: mail of many domains, senders and users shares it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """
    @ivar unit: L{MESSAGES} (transactions), L{RECIPIENTS} or L{CONNECTIONS}.
    @ivar period: seconds; 0: so many at one time, which connections alone can be.
    """

    unit: str
    count: int
    period: float = 0.0

    def __str__(self) -> str:
        return f"{self.unit} {self.count} " + (f"per {delayText(self.period)}" if self.period else "at-once")


@dataclass(frozen=True, slots=True)
class RateRule:
    """
    @ivar kind: one of L{KINDS}; empty: all mail together.
    @ivar name: a pattern, C{*} for any text; each name that matches has the rates for itself. The name of a provider, which stands for
        all its hosts together.
    @ivar rates: empty: no bound.
    """

    kind: str
    name: str
    rates: tuple[Rate, ...]
    where: Where = NOWHERE

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


def delayText(seconds: float) -> str:
    """In the largest unit that leaves no rest."""
    whole = round(seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"
