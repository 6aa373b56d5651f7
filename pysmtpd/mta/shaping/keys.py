"""Which limits a transaction touches. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pysmtpd.model.providers import PROVIDERS
from pysmtpd.model.shaping import CONNECTIONS, Rate, RateRule

MAX_KNOWN = 20_000
"""Names whose limits are remembered."""


class Facts(NamedTuple):
    """What is known of one recipient group of a transaction before it starts. All in lower case.

    @ivar domain: the next hop: the recipients' domain, or the first host that the configuration names.
    @ivar host: name of the mail host.
    @ivar source: our address; empty: the system chooses.
    @ivar sender: as it was accepted.
    @ivar user: who was authenticated then.
    @ivar isOurs: the configuration names the next hop, so no shipped limit counts.
    """

    domain: str
    host: str
    source: str = ""
    sender: str = ""
    user: str = ""
    tag: str = ""
    isOurs: bool = False


class Limit(NamedTuple):
    """One rate of one name.

    @ivar key: what its bucket is kept by.
    @ivar text: for people.
    """

    key: str
    text: str
    rate: Rate


class Limits:
    """The limits of one configuration.

    For each kind the first rule whose pattern matches counts, as with C{match}; the limits of all kinds count together.
    """

    def __init__(self, rules: Sequence[RateRule], providers: Mapping[str, tuple[str, ...]]) -> None:
        self._rules: dict[str, list[tuple[re.Pattern[str], RateRule]]] = {}
        for rule in rules:
            self._rules.setdefault(rule.kind, []).append((_pattern(rule.name.lower()), rule))
        shipped = {each.name: each.patterns for each in PROVIDERS if each.name not in providers}
        self._providers = [
            (name, [_pattern(text.lower()) for text in patterns])
            for name, patterns in (*providers.items(), *shipped.items())
        ]
        self._shipped = {each.name: each.rates for each in PROVIDERS}
        self._providerOf: dict[str, str] = {}
        self._known: dict[tuple[str, str], tuple[Limit, ...]] = {}
        self._shippedKnown: dict[str, tuple[Limit, ...]] = {}

    def provider(self, host: str) -> str:
        """Whose host it is; empty: nobody's that is known."""
        found = self._providerOf.get(host)
        if found is None:
            if len(self._providerOf) >= MAX_KNOWN:
                self._providerOf.clear()
            matching = (name for name, patterns in self._providers if any(each.match(host) for each in patterns))
            found = self._providerOf[host] = next(matching, "")
        return found

    def names(self, facts: Facts) -> tuple[str, ...]:
        """By which names its destination can be suspended."""
        return tuple(dict.fromkeys(filter(None, (facts.domain, facts.host, self.provider(facts.host)))))

    def of(self, facts: Facts) -> list[Limit]:
        """All that it touches, but for connections."""
        return [limit for limit in self._of(facts) if limit.rate.unit != CONNECTIONS]

    def ofConnection(self, facts: Facts) -> list[Limit]:
        """Those that a connection counts against."""
        return [limit for limit in self._of(facts) if limit.rate.unit == CONNECTIONS]

    def _of(self, facts: Facts) -> list[Limit]:
        found: list[Limit] = []
        rules = self._rules
        if rules:
            for kind, name in (
                ("", ""),
                ("domain", facts.domain),
                ("host", facts.host),
                ("src", facts.source),
                ("mail-from", facts.sender),
                ("auth", facts.user),
                ("tag", facts.tag),
            ):
                if kind in rules and (name or not kind):
                    found += self._matching(kind, name)
        provider = self.provider(facts.host)
        if provider:
            found += self._ofProvider(provider, facts.isOurs)
        return found

    def _matching(self, kind: str, name: str) -> tuple[Limit, ...]:
        known = self._known.get((kind, name))
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            matching = (rule for pattern, rule in self._rules[kind] if pattern.match(name))
            rule = next(matching, None)
            known = self._known[kind, name] = _limits(kind, name, rule.rates) if rule is not None else ()
        return known

    def _ofProvider(self, provider: str, isOurs: bool) -> tuple[Limit, ...]:
        for _, rule in self._rules.get("provider", ()):
            if rule.name == provider:
                return self._matching("provider", provider)
        if isOurs or provider not in self._shipped:
            return ()
        known = self._shippedKnown.get(provider)
        if known is None:
            known = self._shippedKnown[provider] = _limits("provider", provider, self._shipped[provider])
        return known


def _limits(kind: str, name: str, rates: Sequence[Rate]) -> tuple[Limit, ...]:
    who = f"{kind} {name}".strip()
    return tuple(
        Limit(
            f"{who} {rate.unit}{'' if rate.period else ' at-once'}", f"{who}: {rate}" if who else f"all: {rate}", rate
        )
        for rate in rates
    )


def _pattern(text: str) -> re.Pattern[str]:
    """C{*} is any text, everything else is itself."""
    return re.compile("".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", text)) + r"\Z")
