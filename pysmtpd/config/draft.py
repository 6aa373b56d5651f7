"""A configuration in the making: what the directives read so far have said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from lark import Token

from pysmtpd.config.environment import Environment
from pysmtpd.config.parser import Directive, Node
from pysmtpd.config.problem import Problems, didYouMean
from pysmtpd.model.config import (
    Action,
    BackendSpec,
    ListenerSpec,
    MdaLimits,
    MtaLimits,
    PkiSpec,
    QueueLimits,
    ResolverSpec,
    Rule,
    SchedulerLimits,
    SmtpLimits,
    TableRef,
    TableSpec,
)
from pysmtpd.model.decision import Where


class Refused(Exception):
    """A part of a directive is wrong; what remains of it is not looked at.

    @param message: empty for a consequence of what has been told already.
    """

    def __init__(self, where: Where, message: str) -> None:
        super().__init__(message)
        self.where = where
        self.message = message


def notYet(where: Where, word: str) -> NoReturn:
    """Refuse a word of smtpd.conf(5) by its name."""
    raise Refused(where, f'"{word}" is not supported yet')


class Draft:
    """
    @ivar usedTables: names of declared tables that something refers to; likewise C{usedActions}, C{usedPki}.
    """

    def __init__(self, environment: Environment, problems: Problems) -> None:
        self.environment = environment
        self.problems = problems
        self.listeners: list[ListenerSpec] = []
        self.pki: dict[str, PkiSpec] = {}
        self.tables: dict[str, TableSpec] = {}
        self.actions: dict[str, Action] = {}
        self.rules: list[Rule] = []
        self.usedTables: set[str] = set()
        self.usedActions: set[str] = set()
        self.failedActions: set[str] = set()
        self.failedTables: set[str] = set()
        self.smtp = SmtpLimits()
        self.mta = MtaLimits()
        self.mda = MdaLimits()
        self.scheduler = SchedulerLimits()
        self.queue = QueueLimits()
        self.backends: dict[str, BackendSpec] = {}
        self.resolver: ResolverSpec | None = None
        self.allowLocalMx = False
        self.subAddressDelimiter = "+"
        self._once: dict[str, Where] = {}
        self._inlined: dict[tuple[tuple[tuple[str, str], ...], bool], str] = {}

    @contextmanager
    def recovering(self) -> Iterator[None]:
        """Tell what is refused inside, and go on after it."""
        try:
            yield
        except Refused as refused:
            if refused.message:
                self.problems.add(refused.where, refused.message)

    def once(self, where: Where, what: str) -> None:
        """
        @raise Refused: the file has said C{what} before.
        """
        before = self._once.setdefault(what, where)
        if before is not where:
            raise Refused(where, f"{what} is already set at {before}")

    def inlineTable(self, where: Where, entries: tuple[tuple[str, str], ...], isMap: bool) -> TableRef:
        """A table that has no name of its own. Equal ones are one, so that they are asked once."""
        name = self._inlined.get((entries, isMap))
        if name is None:
            name = self._inlined[entries, isMap] = f"<dynamic:{len(self._inlined) + 1}>"
            self.tables[name] = TableSpec(name, BackendSpec("static"), entries, isMap, where)
        return TableRef(name)

    def table(self, directive: Directive, node: Node, asMap: bool | None = None) -> TableRef:
        """The table that stands where the language takes one.

        @param asMap: it must be a map (True) or a list (False); None: either.
        """
        where = directive.where(node)
        if node.data == "regex":
            notYet(where, "regex")
        if node.data == "reference":
            name = str(node.children[0])
            if name not in self.tables:
                if name in self.failedTables:
                    raise Refused(where, "")
                known = [known for known in self.tables if not known.startswith("<")]
                raise Refused(where, f'no table "{name}" is declared above this line{didYouMean(name, known)}')
            self.usedTables.add(name)
            ref = TableRef(name)
        else:
            entries, isMap = inlineEntries(node)
            ref = self.inlineTable(where, entries, isMap)
        spec = self.tables[ref.name]
        if asMap is not None and spec.backend.name == "static" and spec.isMap is not asMap:
            raise Refused(where, f"a {'map { key = value }' if asMap else 'list { value }'} must stand here")
        return ref


def inlineEntries(node: Node) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Keys and values of C{inline_value}, C{list} or C{map} as they were written, and whether they are a map."""
    if node.data == "inline_value":
        return ((str(node.children[0]), ""),), False
    entries: list[tuple[str, str]] = []
    for child in node.children:
        if isinstance(child, Token):
            entries.append((str(child), ""))
        else:
            key, value = child.children
            entries.append((str(key), str(value)))
    return tuple(entries), node.data == "map"


def parts(
    draft: Draft, directive: Directive, nodes: Sequence[Node | Token], repeatable: Sequence[str] = ()
) -> Iterator[Node]:
    """The option nodes among C{nodes}; one that is given twice is told and left out."""
    seen: set[str] = set()
    for option in nodes:
        if isinstance(option, Token):
            continue
        name = str(option.data)
        if name in seen and name not in repeatable:
            draft.problems.add(directive.where(option), f'"{wordOf(option)}" is given twice')
            continue
        seen.add(name)
        yield option


_SPELT = {
    "pki_name": "pki",
    "ca_name": "ca",
    "use_filter": "filter",
    "use_srs": "srs",
    "mail_from": "mail-from",
    "pki_cert": "cert",
}


def wordOf(node: Node) -> str:
    """The word of smtpd.conf(5) that a node of the tree stands for."""
    name = str(node.data)
    return _SPELT.get(name, name.replace("_", "-"))


def text(node: Node) -> str:
    """The first token below a node."""
    return str(node.children[0])
