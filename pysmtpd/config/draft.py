"""A configuration in the making: what the directives read so far have said."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, TypeVar

from lark import Token

from pysmtpd.config.environment import Environment
from pysmtpd.config.hints import wordHint
from pysmtpd.config.machine import Node
from pysmtpd.config.parser import Directive
from pysmtpd.config.problem import Finding, Problems, didYouMean
from pysmtpd.config.token import Token as Lexeme
from pysmtpd.model.config import (
    Action,
    BackendSpec,
    CaSpec,
    Command,
    FilterSpec,
    ListenerSpec,
    MdaLimits,
    MtaLimits,
    PkiSpec,
    ProcSpec,
    QueueLimits,
    RateRule,
    ResolverSpec,
    Rule,
    SchedulerLimits,
    SmtpLimits,
    SrsSpec,
    TableRef,
    TableSpec,
)
from pysmtpd.model.decision import Where
from pysmtpd.model.question import INLINE

T = TypeVar("T")


class Refused(Exception):
    """A part of a directive is wrong; what remains of it is not looked at.

    @param message: empty for a consequence of what has been told already.
    """

    def __init__(self, where: Where, message: str, finding: Finding = Finding.LANGUAGE) -> None:
        super().__init__(message)
        self.where = where
        self.message = message
        self.finding = finding


class Draft:
    """
    @ivar listened: addresses and ports, and where they are listened on.
    @ivar used: kind and name of what something refers to: C{("table", "aliases")}.
    @ivar failed: kind and name of what was declared with mistakes, so that a reference to it is not another one.
    @ivar missed: by kind and name: the problems of references to what was not declared by then.
    @ivar places: where settings were said, by their words.
    @ivar ruleCount: rules that were read, those with mistakes included.
    """

    def __init__(self, environment: Environment, problems: Problems) -> None:
        self.environment = environment
        self.problems = problems
        self.listeners: list[ListenerSpec] = []
        self.listened: dict[tuple[str, int], Where] = {}
        self.socket: ListenerSpec | None = None
        self.pki: dict[str, PkiSpec] = {}
        self.ca: dict[str, CaSpec] = {}
        self.tables: dict[str, TableSpec] = {}
        self.actions: dict[str, Action] = {}
        self.wrappers: dict[str, Command] = {}
        self.procs: dict[str, ProcSpec] = {}
        self.filters: dict[str, FilterSpec] = {}
        self.rules: list[Rule] = []
        self.ruleCount = 0
        self.used: set[tuple[str, str]] = set()
        self.failed: set[tuple[str, str]] = set()
        self.missed: dict[tuple[str, str], list[tuple[Where, str]]] = {}
        self.places: dict[str, Where] = {}
        self.smtp = SmtpLimits()
        self.mta = MtaLimits()
        self.mtaDomains: dict[str, MtaLimits] = {}
        self.mtaRates: list[RateRule] = []
        self.mtaProviders: dict[str, tuple[str, ...]] = {}
        self.mda = MdaLimits()
        self.scheduler = SchedulerLimits()
        self.queue = QueueLimits()
        self.backends: dict[str, BackendSpec] = {}
        self.resolver: ResolverSpec | None = None
        self.srs = SrsSpec("")
        self.bounceWarn: tuple[float, ...] = (4 * 3600.0,)
        self.admd = ""
        self.ciphers = ""
        self.maxDeferred = 100
        self.queueCompression = False
        self.queueEncryption = ""
        self.queueBackupKey = ""
        self.allowLocalMx = False
        self.bounceSigned8bit = False
        self.subAddressDelimiter = "+"
        self._once: dict[str, Where] = {}
        self._consequences = 0

    @contextmanager
    def recovering(self) -> Iterator[None]:
        """Tell what is refused inside, and go on after it."""
        try:
            yield
        except Refused as refused:
            if refused.message:
                self.problems.add(refused.where, refused.message, refused.finding)
            else:
                self._consequences += 1

    @property
    def trouble(self) -> int:
        """How much has gone wrong; it grows with each part that is refused, told or not."""
        return self.problems.told + self._consequences

    def once(self, where: Where, what: str) -> None:
        """
        @raise Refused: the file has said C{what} before.
        """
        before = self._once.setdefault(what, where)
        if before is not where:
            raise Refused(where, f"{what} is already set at {before}")

    def spoil(self, tokens: Sequence[Lexeme]) -> None:
        """A line was refused: what it would have declared is not missed by others.

        @param tokens: those of the line, or the first of them.
        """
        words = [token.text for token in tokens[:3]]
        match words:
            case ["table", "<", name] | ["table" | "action" | "filter" | "proc", name, *_]:
                self.failed.add((words[0], name))
            case ["pki" | "ca", name, *_]:
                self.failed.add((words[0], name.lower()))
            case ["mda", "wrapper", name] | ["mta", "provider", name]:
                self.failed.add((f"{words[0]} {words[1]}", name))
            case ["match", *_]:
                self.ruleCount += 1

    def declared(self, kind: str, name: str, where: Where) -> None:
        """Something is there now; who referred to it above is told."""
        for place, message in self.missed.pop((kind, name), []):
            self.used.add((kind, name))
            self.problems.reword(
                place, message, f'{kind} "{name}" is declared below, at {where}, and must be declared above this line'
            )

    def declare(self, kind: str, name: str, where: Where, known: dict[str, T], placeOf: Callable[[T], Where]) -> None:
        """
        @raise Refused: there is one of this kind and name.
        """
        self.declared(kind, name, where)
        if name in known:
            raise Refused(where, f'{kind} "{name}" is already declared at {placeOf(known[name])}')
        if (kind, name) in self.failed:
            raise Refused(where, f'{kind} "{name}" is already declared')

    def known(self, kind: str, name: str, where: Where, known: dict[str, T], finding: Finding = Finding.LANGUAGE) -> T:
        """What C{name} refers to.

        @raise Refused: nothing has that name.
        """
        if name not in known:
            if (kind, name) in self.failed:
                raise Refused(where, "")
            names = [each for each in known if not each.startswith("<")]
            message = f'no {kind} "{name}" is declared above this line{didYouMean(name, names)}'
            self.missed.setdefault((kind, name), []).append((where, message))
            raise Refused(where, message, finding)
        self.used.add((kind, name))
        return known[name]

    def inlineTable(self, where: Where, entries: tuple[tuple[str, str], ...], isMap: bool) -> TableRef:
        """A table that has no name of its own. Its name comes from what it holds: equal ones are one, also after a reload."""
        digest = sha256(repr((entries, isMap)).encode("utf-8", "surrogateescape")).hexdigest()
        name = f"{INLINE}{digest[:12]}>"
        self.tables.setdefault(name, TableSpec(name, BackendSpec("static"), entries, isMap, where))
        return TableRef(name)

    def table(
        self, directive: Directive, node: Node, asMap: bool | None = None, finding: Finding = Finding.LANGUAGE
    ) -> TableRef:
        """The table that stands where the language takes one.

        @param asMap: it must be a map (True) or a list (False); None: either.
        @param finding: what it is where it is not.
        """
        where = directive.where(node)
        isRegex = node.data == "regex"
        if isRegex:
            inner = node.children[0]
            assert not isinstance(inner, Token)
            node = inner
        if node.data == "reference":
            name = str(node.children[0])
            self.known("table", name, where, self.tables)
            ref = TableRef(name, isRegex)
        else:
            entries, isMap = inlineEntries(node)
            ref = TableRef(self.inlineTable(where, entries, isMap).name, isRegex)
        spec = self.tables[ref.name]
        if asMap is not None and spec.backend.name == "static" and spec.isMap is not asMap:
            raise Refused(where, _otherKind(spec, asMap, str(directive.tree.data), self.tables), finding)
        if node.data == "inline_value" and (named := self.tables.get(str(node.children[0]))):
            self.problems.warn(
                where, f'this is the value "{named.name}"; the table of that name is written <{named.name}>'
            )
        if isRegex and spec.backend.name == "static":
            for entry, _ in spec.entries:
                if fault := self.environment.regexFault(entry):
                    self.problems.add(where, f'"{entry[:80]}" is no regular expression: {fault}', Finding.ENVIRONMENT)
        return ref

    def tableOf(
        self, directive: Directive, option: Node, asMap: bool | None, finding: Finding = Finding.LANGUAGE
    ) -> TableRef:
        """The table that is an option's first part."""
        node = option.children[0]
        assert not isinstance(node, Token)
        return self.table(directive, node, asMap, finding)

    def filterNames(self, directive: Directive, node: Node) -> tuple[str, ...]:
        """The filters that are named, each once. Braces make a chain of them, and a chain holds no other."""
        isChain = node.data == "filters"
        names: list[str] = []
        procs: set[str] = set()
        for token in node.children:
            assert isinstance(token, Token)
            where = directive.where(token)
            name = str(token)
            spec = self.known("filter", name, where, self.filters)
            if isChain and spec.members:
                raise Refused(where, f'"{name}" is a chain, and a chain holds no other')
            if name in names:
                raise Refused(where, f'filter "{name}" is given twice')
            if spec.proc and spec.proc in procs:
                self.problems.warn(where, f'the process "{spec.proc}" has another filter here, and is asked for each')
            if spec.proc:
                procs.add(spec.proc)
            names.append(name)
        return tuple(names)


def _otherKind(spec: TableSpec, asMap: bool, directive: str, known: Container[str]) -> str:
    """Why a table cannot stand where one of the other kind must."""
    wanted = "a map { key = value }" if asMap else "a list { value }"
    if not spec.name.startswith("<"):
        return f'table "{spec.name}" is {"a list" if asMap else "a map"}, and {wanted} must stand here'
    value = spec.entries[0][0]
    if len(spec.entries) == 1 and value in known:
        return f'{wanted} must stand here; did you mean "<{value}>"?'
    near = "" if len(spec.entries) > 1 else wordHint(directive.partition("_")[0], value)
    return f"{wanted} must stand here{near}"


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


def change(field: str, value: object) -> dict[str, Any]:
    """One field for C{dataclasses.replace}, by a name that a table holds."""
    return {field: value}


def parsed(place: Where, parse: Callable[[str], T], written: str, finding: Finding = Finding.LANGUAGE) -> T:
    """What C{parse} makes of a value.

    @raise Refused: it is not one.
    """
    try:
        return parse(written)
    except ValueError as error:
        raise Refused(place, str(error), finding) from error


_SPELT = {
    "pki_name": "pki",
    "ca_name": "ca",
    "use_filter": "filter",
    "use_srs": "srs",
    "pki_cert": "cert",
    "pki_key": "key",
    "pki_dhe": "dhe",
    "process_user": "user",
    "process_group": "group",
    "process_chroot": "chroot",
}


def wordOf(node: Node) -> str:
    """The word of smtpd.conf(5) that a node of the tree stands for."""
    name = str(node.data)
    return _SPELT.get(name, name.replace("_", "-"))


def text(node: Node) -> str:
    """The first token below a node."""
    return str(node.children[0])


def valueAt(directive: Directive, node: Node) -> Where:
    """Where the first token or part below a node stands: its value, behind its own words."""
    return directive.where(node.children[0])
