"""A configuration's rules, made ready: what can be known before an address comes is known here, once for each generation."""

from __future__ import annotations

from typing import NamedTuple

from pysmtpd.model.config import Action, Condition, Config, Predicate, Rule
from pysmtpd.model.decision import Considered, Where
from pysmtpd.model.question import Service

# Those that hold for everything are not evaluated, unless they are negated.
_UNIVERSAL = (Predicate.FROM_ANY, Predicate.FOR_ANY)
_KEPT = 8
_KINDS = {predicate: number for number, predicate in enumerate(Predicate)}
_SERVICES = {
    Predicate.TAG: Service.STRING,
    Predicate.FROM_SRC: Service.NETADDR,
    Predicate.FROM_RDNS: Service.DOMAIN,
    Predicate.FOR_LOCAL: Service.DOMAIN,
    Predicate.FOR_DOMAIN: Service.DOMAIN,
    Predicate.HELO: Service.DOMAIN,
    Predicate.AUTH: Service.STRING,
    Predicate.MAIL_FROM: Service.MAILADDR,
    Predicate.RCPT_TO: Service.MAILADDR,
}


class Test(NamedTuple):
    """One condition of a rule.

    @ivar slot: equal for equal predicates and tables of all rules: each is evaluated once for an address.
    @ivar service: how the table is asked; None where the predicate takes no table.
    @ivar failed: what is recorded if the rule fails here.
    @ivar kind: the predicate's number: all tests of a kind look for one key.
    """

    predicate: Predicate
    slot: int
    table: str
    service: Service | None
    negated: bool
    failed: Considered
    kind: int


class CompiledRule(NamedTuple):
    """
    @ivar action: None for C{reject}.
    @ivar matched: what is recorded if no test fails.
    """

    tests: tuple[Test, ...]
    action: Action | None
    matched: Considered
    where: Where
    place: str


class Compiled(NamedTuple):
    """
    @ivar slots: how many different conditions there are.
    """

    config: Config
    rules: tuple[CompiledRule, ...]
    slots: int


_compiled: dict[int, Compiled] = {}


def compileRules(config: Config) -> Compiled:
    """The compiled rules of a generation; made at its first use. The latest few generations are kept."""
    found = _compiled.get(id(config))
    if found is None or found.config is not config:
        while len(_compiled) >= _KEPT:
            del _compiled[next(iter(_compiled))]
        found = _compiled[id(config)] = _compile(config)
    return found


def _compile(config: Config) -> Compiled:
    slots: dict[tuple[Predicate, str, bool], int] = {}
    rules: list[CompiledRule] = []
    for rule in config.rules:
        tests = tuple(
            _test(rule, condition, slots)
            for condition in rule.conditions
            if condition.negated or condition.predicate not in _UNIVERSAL
        )
        action = None if rule.action is None else config.actions[rule.action]
        rules.append(CompiledRule(tests, action, Considered(rule.where, rule.text), rule.where, str(rule.where)))
    return Compiled(config, tuple(rules), len(slots))


def _test(rule: Rule, condition: Condition, slots: dict[tuple[Predicate, str, bool], int]) -> Test:
    predicate = condition.predicate
    table = condition.table.name if condition.table else ""
    isRegex = condition.table is not None and condition.table.regex
    slot = slots.setdefault((predicate, table, isRegex), len(slots))
    shown = "" if not table or table.startswith("<") else f"{' regex' if isRegex else ''} <{table}>"
    said = f"{'! ' if condition.negated else ''}{predicate.value}{shown}"
    service = None if not table else Service.REGEX if isRegex else _SERVICES[predicate]
    return Test(
        predicate, slot, table, service, condition.negated, Considered(rule.where, rule.text, said), _KINDS[predicate]
    )
