"""C{match}: which mail is taken, and for which action."""

from __future__ import annotations

from lark import Token, Tree

from pysmtpd.config.draft import Draft, Refused
from pysmtpd.config.machine import Node
from pysmtpd.config.parser import Directive
from pysmtpd.model.config import Condition, Predicate, Rule, TableRef, TableSpec

# A word may say several things; the last of them is what "!" negates.
_MEANINGS: dict[str, tuple[Predicate, ...]] = {
    "tag": (Predicate.TAG,),
    "from_any": (Predicate.FROM_ANY,),
    "from_local": (Predicate.FROM_LOCAL,),
    "from_socket": (Predicate.FROM_SOCKET,),
    "from_src": (Predicate.FROM_SRC,),
    "from_rdns": (Predicate.FROM_RDNS,),
    "from_auth": (Predicate.FROM_ANY, Predicate.AUTH),
    "from_mail_from": (Predicate.FROM_ANY, Predicate.MAIL_FROM),
    "for_any": (Predicate.FOR_ANY,),
    "for_local": (Predicate.FOR_LOCAL,),
    "for_domain": (Predicate.FOR_DOMAIN,),
    "for_rcpt_to": (Predicate.FOR_ANY, Predicate.RCPT_TO),
    "helo": (Predicate.HELO,),
    "auth": (Predicate.AUTH,),
    "tls": (Predicate.TLS,),
    "mail_from": (Predicate.MAIL_FROM,),
    "rcpt_to": (Predicate.RCPT_TO,),
}
# Conditions whose table may be a map, of which the keys count.
_MAP_OR_LIST = ("auth", "mail_from", "rcpt_to", "from_mail_from", "for_rcpt_to")
_ORDER = {predicate: place for place, predicate in enumerate(Predicate)}


def groupOf(predicate: Predicate) -> str:
    """What may stand in a rule but once: C{from}, C{for}, or the predicate itself."""
    return predicate.value.split(" ")[0]


def addRule(draft: Draft, directive: Directive) -> None:
    """
    @raise Refused: it cannot be used.
    """
    tree = directive.tree
    draft.ruleCount += 1
    before = draft.trouble
    conditions: dict[str, Condition] = {}
    for node in tree.children:
        if not isinstance(node, Token):
            with draft.recovering():
                for condition in _conditions(draft, directive, node):
                    group = groupOf(condition.predicate)
                    if group in conditions:
                        raise Refused(directive.where(node), f'"{group}" is given twice in one rule')
                    conditions[group] = condition
    conditions.setdefault("from", Condition(Predicate.FROM_LOCAL))
    conditions.setdefault("for", Condition(Predicate.FOR_LOCAL, TableRef("<localnames>")))
    action = _action(draft, directive) if tree.data == "match_action" else None
    if draft.trouble == before:
        ordered = tuple(sorted(conditions.values(), key=lambda condition: _ORDER[condition.predicate]))
        draft.rules.append(Rule(ordered, action, ruleText(ordered, action, draft.tables), directive.where(tree)))


def _action(draft: Draft, directive: Directive) -> str:
    token = directive.tree.children[-1]
    assert isinstance(token, Token)
    draft.known("action", str(token), directive.where(token), draft.actions)
    return str(token)


def _conditions(draft: Draft, directive: Directive, node: Node) -> list[Condition]:
    *negation, said = node.children
    assert not isinstance(said, Token)
    meanings = _MEANINGS[str(said.data)]
    table: TableRef | None = None
    if said.children:
        (tested,) = said.children
        isEither = str(said.data) in _MAP_OR_LIST and not (isinstance(tested, Tree) and tested.data == "regex")
        table = draft.tableOf(directive, said, asMap=None if isEither else False)
    elif meanings[-1] is Predicate.FOR_LOCAL:
        table = TableRef("<localnames>")
    return [
        *(Condition(predicate) for predicate in meanings[:-1]),
        Condition(meanings[-1], table, bool(negation)),
    ]


def ruleText(conditions: tuple[Condition, ...], action: str | None, tables: dict[str, TableSpec]) -> str:
    """The rule as people know it, on one line, every word of it said."""
    words = ["match"]
    for condition in conditions:
        table = condition.table if condition.predicate is not Predicate.FOR_LOCAL else None
        words += ["!"] * condition.negated + [condition.predicate.value]
        if table:
            words += ["regex"] * table.regex + [_tableText(tables[table.name])]
    words.append("reject" if action is None else f"action {quoted(action)}")
    return " ".join(words)


def _tableText(spec: TableSpec) -> str:
    if not spec.name.startswith("<"):
        return f"<{spec.name}>"
    shown = [quoted(key) if not value else f"{quoted(key)} = {quoted(value)}" for key, value in spec.entries[:8]]
    more = ["..."] * (len(spec.entries) > 8)
    return f"{{ {', '.join(shown + more)} }}"


def quoted(word: str) -> str:
    """A word as it may stand in a file, always in quotes."""
    return '"' + word.replace('"', '\\"') + '"'
