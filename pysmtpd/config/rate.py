"""C{mta rate} and C{mta provider}."""

from __future__ import annotations

from lark import Token

from pysmtpd.config.draft import Draft, Refused, parsed
from pysmtpd.config.machine import Node
from pysmtpd.config.parser import Directive
from pysmtpd.config.problem import Finding
from pysmtpd.config.values import parseDelay
from pysmtpd.model.config import RateRule
from pysmtpd.model.shaping import CONNECTIONS, SHARED_KINDS, Rate

_MOST = 1_000_000_000
_UNNAMED = frozenset(' \t"<>{}')


def addRate(draft: Draft, directive: Directive) -> None:
    """
    @raise Refused: it makes no sense.
    """
    where = directive.where(directive.tree)
    kind = name = ""
    rates: dict[tuple[str, bool], Rate] = {}
    for node in directive.tree.children:
        if isinstance(node, Token):
            continue
        if node.data == "rate_for":
            kind, name = _word(node), str(node.children[1]).lower()
            _checkName(directive, node, kind, name)
            continue
        rate = _rate(directive, node, kind)
        key = (rate.unit, bool(rate.period))
        if key in rates:
            raise Refused(directive.where(node), f'"{rate.unit}" is given twice')
        rates[key] = rate
    for rule in draft.mtaRates:
        if (rule.kind, rule.name) == (kind, name):
            said = f"for {rule}" if kind else "for all mail"
            raise Refused(where, f"the rates {said} stand in {rule.where} already", Finding.CHECK)
    draft.mtaRates.append(RateRule(kind, name, tuple(rates.values()), where))


def _word(node: Node) -> str:
    kind = node.children[0]
    assert not isinstance(kind, Token)
    return str(kind.children[0])


def _checkName(directive: Directive, node: Node, kind: str, name: str) -> None:
    if not name or not _UNNAMED.isdisjoint(name):
        raise Refused(directive.where(node), f'"{name[:80]}" is no name or pattern of a {kind}', Finding.CHECK)
    if kind == "provider" and "*" in name:
        raise Refused(
            directive.where(node), 'a provider has a name; its patterns stand in "mta provider"', Finding.CHECK
        )


def _rate(directive: Directive, node: Node, kind: str) -> Rate:
    where = directive.where(node)
    unit = _word(node)
    count = int(str(node.children[1]))
    if not 0 < count <= _MOST:
        raise Refused(where, f"{unit}: a number from 1 to {_MOST} must stand here", Finding.CHECK)
    if unit == CONNECTIONS and kind not in SHARED_KINDS:
        raise Refused(
            where, f'connections are shared by mail of many; no rate for "{kind}" can bound them', Finding.CHECK
        )
    if len(node.children) == 2:
        if unit != CONNECTIONS:
            raise Refused(
                where, f'"at-once" is for connections; {unit} need a time: {unit} {count} per 1m', Finding.CHECK
            )
        return Rate(unit, count)
    token = node.children[2]
    assert isinstance(token, Token)
    return Rate(unit, count, parsed(directive.where(token), parseDelay, str(token)))


def addProvider(draft: Draft, directive: Directive) -> None:
    """
    @raise Refused: it makes no sense.
    """
    tree = directive.tree
    where = directive.where(tree)
    name = str(tree.children[0]).lower()
    if not name or "*" in name or not _UNNAMED.isdisjoint(name):
        raise Refused(where, f'"{name[:80]}" cannot be the name of a provider', Finding.CHECK)
    names = tree.children[1]
    assert not isinstance(names, Token)
    patterns = tuple(str(pattern).lower() for pattern in names.children)
    draft.declare("mta provider", name, where, draft.mtaProviders, lambda _: draft.places[f"mta provider {name}"])
    draft.places[f"mta provider {name}"] = where
    draft.mtaProviders[name] = patterns
