"""What can only be judged when the whole file is read: what is missing, what is never used, and who may relay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pysmtpd.config.draft import Draft
from pysmtpd.model.config import NOWHERE, Condition, Method, Predicate, Rule, TableSpec
from pysmtpd.model.decision import Where

# A condition of these kinds says nothing about who the peer is: it can claim or arrange all of it.
_NO_PROTECTION = (
    Predicate.MAIL_FROM,
    Predicate.HELO,
    Predicate.FROM_RDNS,
    Predicate.TAG,
    Predicate.TLS,
    Predicate.RCPT_TO,
)
# Shorter prefixes than these name no network that could be trusted.
_SHORTEST_TRUSTED = 8


def check(draft: Draft, file: str) -> None:
    """Tell problems and warnings of the file as a whole."""
    for pki in draft.pki.values():
        for what, path in (("certificate", pki.cert), ("key", pki.key)):
            if not path:
                draft.problems.add(pki.where, f'pki "{pki.name}" has no {what}')
    if not draft.ruleCount and not len(draft.problems):
        draft.problems.add(Where(file, 1), 'there is no "match" rule: no mail could be accepted')
    if draft.places.get("srs") and not draft.srs.key:
        draft.problems.warn(draft.places["srs"], 'nothing is rewritten without a key: srs key "..."')
    for kind, declared in _declared(draft):
        for name, where in declared.items():
            if where is not NOWHERE and not name.startswith("<") and (kind, name) not in draft.used:
                draft.problems.warn(where, f'{kind} "{name}" is never used')
    for rule in openRelays(draft):
        draft.problems.warn(
            rule.where, f"open relay: any peer, without authentication, can relay to foreign domains by: {rule.text}"
        )


def _declared(draft: Draft) -> Iterator[tuple[str, dict[str, Where]]]:
    yield "table", {name: spec.where for name, spec in draft.tables.items()}
    yield "action", {name: action.where for name, action in draft.actions.items()}
    yield "pki", {name: spec.where for name, spec in draft.pki.items()}
    yield "ca", {name: spec.where for name, spec in draft.ca.items()}
    yield "mda wrapper", {name: draft.places[f"mda wrapper {name}"] for name in draft.wrappers}
    yield "proc", {name: spec.where for name, spec in draft.procs.items()}
    yield "filter", {name: spec.where for name, spec in draft.filters.items()}


def openRelays(draft: Draft) -> list[Rule]:
    """Rules by which a peer that is neither local nor authenticated may reach a relay action for a foreign domain."""
    found: list[Rule] = []
    for rule in draft.rules:
        if all(_alwaysHoldsForStrangers(condition) for condition in rule.conditions):
            if _isRelay(draft, rule):
                found.append(rule)
            break
        if _isRelay(draft, rule) and all(
            _mayHoldForStrangers(condition, draft.tables) for condition in rule.conditions
        ):
            found.append(rule)
    return found


def _isRelay(draft: Draft, rule: Rule) -> bool:
    return rule.action is not None and draft.actions[rule.action].method is Method.RELAY


def _alwaysHoldsForStrangers(condition: Condition) -> bool:
    """Does it hold for every stranger and every foreign domain?"""
    if condition.negated:
        return condition.predicate in (Predicate.FROM_LOCAL, Predicate.FROM_SOCKET, Predicate.AUTH, Predicate.FOR_LOCAL)
    return condition.predicate in (Predicate.FROM_ANY, Predicate.FOR_ANY)


def _mayHoldForStrangers(condition: Condition, tables: Mapping[str, TableSpec]) -> bool:
    """May a stranger bring it about, for a foreign domain?"""
    predicate = condition.predicate
    if predicate in _NO_PROTECTION:
        return True
    if condition.negated:
        return predicate not in (Predicate.FROM_ANY, Predicate.FOR_ANY)
    if predicate in (Predicate.FROM_ANY, Predicate.FOR_ANY):
        return True
    table = tables[condition.table.name] if condition.table else None
    if condition.table and condition.table.regex and predicate in (Predicate.FROM_SRC, Predicate.FOR_DOMAIN):
        return True
    if predicate is Predicate.FROM_SRC and table:
        return any(_isWide(key) for key, _ in table.entries)
    if predicate is Predicate.FOR_DOMAIN and table:
        return any(key.startswith("*") and len(key) < 3 for key, _ in table.entries)
    return False


def _isWide(network: str) -> bool:
    _, slash, bits = network.rpartition("/")
    return bool(slash) and bits.isdigit() and int(bits) < _SHORTEST_TRUSTED
