"""A configuration's rules, made ready: what can be known before an address comes is known here, once for each generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pysmtpd.model.config import Action, Condition, Config, Predicate
from pysmtpd.model.decision import Considered, Where
from pysmtpd.model.question import Service

# Those that hold for everything are not evaluated, unless they are negated.
_UNIVERSAL = (Predicate.FROM_ANY, Predicate.FOR_ANY)
_KEPT = 8
# So many tables are as soon asked one by one.
FEW = 4
KINDS = {predicate: number for number, predicate in enumerate(Predicate)}
SERVICES = {
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


class Slot(NamedTuple):
    """One condition. Rules share those that are equal: each is evaluated once for an address.

    @ivar service: how the table is asked; None where the predicate takes no table.
    @ivar kind: the predicate's number: all slots of a kind look for one key.
    """

    predicate: Predicate
    table: str
    service: Service | None
    kind: int


class Group(NamedTuple):
    """The slots of one kind that compare with entries of tables, side by side: one look may tell most of them.

    @ivar begin: the first.
    @ivar end: the place after the last.
    @ivar nothing: so many times: it does not hold.
    @ivar byTable: where each table's is.
    """

    begin: int
    end: int
    nothing: list[bool | None]
    byTable: Mapping[str, int]


class CompiledRule(NamedTuple):
    """
    @ivar tests: a slot, and: is it negated?
    @ivar failed: for each test, what is recorded if the rule fails there.
    @ivar action: None for C{reject}.
    @ivar matched: what is recorded if no test fails.
    @ivar done: what is said of an address that the action takes.
    """

    tests: tuple[tuple[int, bool], ...]
    failed: tuple[Considered, ...]
    action: Action | None
    matched: Considered
    where: Where
    place: str
    done: str


class Compiled(NamedTuple):
    """
    @ivar groups: by kind; None where they are few.
    """

    config: Config
    rules: tuple[CompiledRule, ...]
    slots: tuple[Slot, ...]
    groups: tuple[Group | None, ...]


_compiled: dict[int, Compiled] = {}


def compileRules(config: Config) -> Compiled:
    """The compiled rules of a generation; made at its first use, or taken from one that shares its rules. The latest few are kept."""
    found = _compiled.get(id(config))
    if found is None or found.config is not config:
        same = [one for one in _compiled.values() if _isSame(one.config, config)]
        while len(_compiled) >= _KEPT:
            del _compiled[next(iter(_compiled))]
        found = _compiled[id(config)] = same[0]._replace(config=config) if same else _compile(config)
    return found


def _isSame(one: Config, other: Config) -> bool:
    """Is all that is compiled the very same? So it is where a table was read again."""
    return one.rules is other.rules and one.actions is other.actions


def _compile(config: Config) -> Compiled:
    tests = [
        [each for each in rule.conditions if each.negated or each.predicate not in _UNIVERSAL] for rule in config.rules
    ]
    # Sorted, the slots of a group stand side by side.
    slots = sorted(dict.fromkeys(_slot(condition) for each in tests for condition in each), key=_order)
    numbers = {slot: number for number, slot in enumerate(slots)}
    rules: list[CompiledRule] = []
    for rule, conditions in zip(config.rules, tests, strict=True):
        numbered = tuple((numbers[_slot(condition)], condition.negated) for condition in conditions)
        failed = tuple(Considered(rule.where, rule.text, _said(condition)) for condition in conditions)
        action = None if rule.action is None else config.actions[rule.action]
        done = "" if action is None else f'action "{action.name}": {action.method.value}'
        matched = Considered(rule.where, rule.text)
        rules.append(CompiledRule(numbered, failed, action, matched, rule.where, str(rule.where), done))
    groups = tuple(_group(slots, kind) for kind in range(len(Predicate)))
    return Compiled(config, tuple(rules), tuple(slots), groups)


def _slot(condition: Condition) -> Slot:
    predicate, table = condition.predicate, condition.table
    name = table.name if table is not None else ""
    isRegex = table is not None and table.regex
    service = None if not name else Service.REGEX if isRegex else SERVICES[predicate]
    return Slot(predicate, name, service, KINDS[predicate])


def _order(slot: Slot) -> tuple[int, bool]:
    return slot.kind, _isOfEntries(slot)


def _isOfEntries(slot: Slot) -> bool:
    return slot.service is not None and slot.service is not Service.REGEX


def _group(slots: Sequence[Slot], kind: int) -> Group | None:
    byTable = {slot.table: place for place, slot in enumerate(slots) if slot.kind == kind and _isOfEntries(slot)}
    if len(byTable) < FEW:
        return None
    begin = min(byTable.values())
    return Group(begin, begin + len(byTable), [False] * len(byTable), byTable)


def _said(condition: Condition) -> str:
    """For people."""
    name = condition.table.name if condition.table is not None else ""
    isRegex = condition.table is not None and condition.table.regex
    shown = "" if not name or name.startswith("<") else f"{' regex' if isRegex else ''} <{name}>"
    return f"{'! ' if condition.negated else ''}{condition.predicate.value}{shown}"
