"""C{proc} and C{filter}."""

from __future__ import annotations

from dataclasses import replace

from lark import Token

from pysmtpd.config.draft import Draft, Refused, change, parts, text, wordOf
from pysmtpd.config.machine import Node
from pysmtpd.config.parser import Directive
from pysmtpd.config.problem import oneOf
from pysmtpd.model.config import FilterKind, FilterSpec, ProcSpec
from pysmtpd.model.decision import Where

# What is known from which phase on; the others are known from the connection on.
_HELO = ("helo", "ehlo", "auth", "mail-from", "rcpt-to", "data", "commit")
_AUTH = ("auth", "mail-from", "rcpt-to", "data", "commit")
_PHASES = {
    "helo": _HELO,
    "auth": _AUTH,
    "mail-from": ("mail-from", "rcpt-to", "data", "commit"),
    "rcpt-to": ("rcpt-to",),
}
_NOT_IN_COMMIT = ("junk", "bypass")


def addProc(draft: Draft, directive: Directive) -> None:
    """
    @raise Refused: it cannot be used.
    """
    tree = directive.tree
    where = directive.where(tree)
    name, command = str(tree.children[0]), str(tree.children[1])
    draft.declare("proc", name, where, draft.procs, lambda spec: spec.where)
    draft.procs[name] = _proc(draft, directive, ProcSpec(name, command, where=where))


def _proc(draft: Draft, directive: Directive, spec: ProcSpec) -> ProcSpec:
    for option in parts(draft, directive, directive.tree.children):
        spec = replace(spec, **change(wordOf(option), text(option)))
    return spec


def addFilter(draft: Draft, directive: Directive) -> None:
    """
    @raise Refused: it cannot be used.
    """
    tree = directive.tree
    where = directive.where(tree)
    name = text(tree)
    draft.declare("filter", name, where, draft.filters, lambda spec: spec.where)
    draft.failed.add(("filter", name))
    match str(tree.data):
        case "filter_proc":
            token = tree.children[1]
            assert isinstance(token, Token)
            draft.known("proc", str(token), directive.where(token), draft.procs)
            spec = FilterSpec(name, FilterKind.PROC, proc=str(token), where=where)
        case "filter_proc_exec":
            # Its process has the filter's name, and takes the place of another of that name.
            draft.procs[name] = _proc(draft, directive, ProcSpec(name, str(tree.children[1]), where=where))
            draft.used.add(("proc", name))
            spec = FilterSpec(name, FilterKind.PROC_EXEC, proc=name, where=where)
        case "filter_chain":
            members = tree.children[1]
            assert not isinstance(members, Token)
            spec = FilterSpec(name, FilterKind.CHAIN, members=draft.filterNames(directive, members), where=where)
        case _:
            spec = _builtIn(draft, directive, name, where)
    draft.filters[name] = spec
    draft.failed.discard(("filter", name))


def _builtIn(draft: Draft, directive: Directive, name: str, where: Where) -> FilterSpec:
    phaseNode, conditionNode, decisionNode = directive.tree.children[1:]
    assert not isinstance(phaseNode, Token)
    assert not isinstance(conditionNode, Token)
    assert not isinstance(decisionNode, Token)
    phase = text(phaseNode)
    tested = conditionNode.children[-1]
    assert not isinstance(tested, Token)
    condition = wordOf(tested)
    decision = wordOf(decisionNode)
    if phase not in _PHASES.get(condition, (phase,)):
        raise Refused(
            directive.where(tested),
            f'"{condition}" is not known in the phase {phase}, but in {oneOf(_PHASES[condition])}',
        )
    if phase == "commit" and decision in _NOT_IN_COMMIT:
        raise Refused(directive.where(decisionNode), f'"{decision}" comes too late in the phase commit')
    return FilterSpec(
        name,
        FilterKind.PHASE,
        phase=phase,
        condition=condition,
        negated=len(conditionNode.children) > 1,
        table=draft.tableOf(directive, tested, asMap=None) if tested.children else None,
        decision=decision,
        text=text(decisionNode) if decisionNode.children else "",
        where=where,
    )


def useFilter(draft: Draft, directive: Directive, option: Node) -> tuple[str, ...]:
    """The filters of a listener's or relay's C{filter}.

    @raise Refused: one is not there.
    """
    names = option.children[0]
    assert not isinstance(names, Token)
    return draft.filterNames(directive, names)
