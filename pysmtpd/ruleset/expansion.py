"""One RCPT: through the rules, through aliases, virtual addresses and C{.forward}, down to users, commands, files and remote addresses.

It always ends: nothing is expanded twice, not deeper than L{MAX_DEPTH}, and not into more than L{MAX_NODES}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeAlias, TypeVar

from pysmtpd.model.address import Path, untagged
from pysmtpd.model.config import Action, Method, TableRef
from pysmtpd.model.decision import Decision, Kind, Question, Record, Source, Step, Where
from pysmtpd.model.envelope import Agent, Hop
from pysmtpd.model.facts import Transaction
from pysmtpd.model.question import (
    Answer,
    Ask,
    AskForward,
    AskInclude,
    AskLookup,
    AskMatch,
    AskToday,
    AskUser,
    Holders,
    Refusal,
    Service,
    TempFail,
    UserInfo,
    called,
    titled,
)
from pysmtpd.model.srs import BadSrs, decode, isSrs
from pysmtpd.ruleset.compile import Compiled
from pysmtpd.ruleset.errands import Errands
from pysmtpd.ruleset.nodes import (
    AddressNode,
    CommandNode,
    ErrorNode,
    FileNode,
    IncludeNode,
    Node,
    UserNode,
    isUserName,
    parseLines,
    parseNodes,
)
from pysmtpd.ruleset.place import Place
from pysmtpd.ruleset.results import DENIED, INVALID, REJECTED, TEMPORARY, UNEXPANDABLE, Outcome, Results
from pysmtpd.ruleset.walk import Walk, domainOf

MAX_DEPTH = 10
MAX_NODES = 10_000
# In one .forward.
MAX_FORWARD_NODES = 100

# As in the walk: made several times for every recipient.
_make: Any = tuple.__new__
_ALIAS = Service.ALIAS
_RELAY, _LMTP = Method.RELAY, Method.LMTP
_ONLY = (Method.FORWARD_ONLY, Method.EXPAND_ONLY)
_MTA, _MDA = Agent.MTA, Agent.MDA
_USERINFO = re.compile(r"(?P<uid>[0-9]{1,10}):(?P<gid>[0-9]{1,10}):(?P<home>/[^\x00-\x1f:]*)\Z")
_ROOT = 0

T = TypeVar("T")
Asking: TypeAlias = Generator[Ask, Answer, T]


def _needsHome(action: Action) -> bool:
    """Does it deliver beneath the user's home, or run there?"""
    if action.method is Method.MDA:
        return True
    return action.method is Method.MAILDIR and not action.path.startswith("/")


def _both(one: Callable[[], tuple[T, ...]], other: Callable[[], tuple[T, ...]]) -> Callable[[], tuple[T, ...]]:
    return lambda: one() + other()


class Expansion:
    """Decides about one RCPT; used once."""

    __slots__ = (
        "_compiled",
        "_delimiter",
        "_errands",
        "_holders",
        "_nodes",
        "_rcpt",
        "_results",
        "_seen",
        "_transaction",
    )

    def __init__(
        self, compiled: Compiled, rcpt: Path, transaction: Transaction, holders: Holders | None = None
    ) -> None:
        self._compiled = compiled
        self._holders = holders
        self._delimiter = compiled.config.subAddressDelimiter
        self._rcpt = rcpt
        self._transaction = transaction
        self._seen: set[tuple[str, ...]] = set()
        self._nodes = 0
        self._results = Results(rcpt, rcpt.key)
        self._errands = Errands(self._results)

    def run(self) -> Asking[Decision]:
        """See L{Results.decision}."""
        rcpt = self._rcpt
        self._isNew("address", rcpt.key)
        if self._compiled.config.srs is not None and self._transaction.sender.isNull and isSrs(rcpt):
            step = yield from self._srs(rcpt)
        else:
            step = yield from self._address(rcpt, 0)
        return self._results.decision(step)

    # --- addresses

    def _srs(self, path: Path) -> Asking[Step]:
        """A sender that we may have rewritten: a bounce goes back to it, and nowhere else."""
        config = self._compiled.config
        spec = config.srs
        assert spec is not None
        questions: list[Question] = []
        domain = path.domain.lower()
        isOurs: Answer = domain == config.serverName.lower()
        if not isOurs and spec.domains is not None:
            service = Service.REGEX if spec.domains.regex else Service.DOMAIN
            isOurs = yield from self._match(spec.domains.name, service, domain, questions)
        if isinstance(isOurs, TempFail):
            return Step(
                path, (), tuple(questions), None, self._results.refuse(TEMPORARY, f"{path}: {isOurs}"), kind=Kind.SRS
            )
        if not isOurs:
            return (yield from self._address(path, 0))
        day = yield AskToday()
        questions.append(Question(AskToday(), day))
        if not isinstance(day, int):
            return Step(
                path, (), tuple(questions), None, self._results.refuse(TEMPORARY, f"{path}: {day}"), kind=Kind.SRS
            )
        try:
            sender = decode(spec, path, day)
        except BadSrs as error:
            outcome = self._results.refuse(INVALID, f"{path} is no rewritten sender to answer to: {error}")
            return Step(path, (), tuple(questions), None, outcome, kind=Kind.SRS)
        self._isNew("address", sender.key)
        child = yield from self._address(sender, 1)
        return Step(path, (), tuple(questions), None, f"rewritten sender {sender}", (child,), kind=Kind.SRS)

    def _match(self, table: str, service: Service, key: str, questions: list[Question]) -> Asking[Answer]:
        ask = AskMatch(table, service, key)
        answer = yield ask
        questions.append(Question(ask, answer))
        return answer

    def _address(self, path: Path, depth: int, source: Source | None = None) -> Asking[Step]:
        """An address from outside (depth 0) or from an expansion."""
        walk = Walk(self._compiled, path, self._transaction, depth > 0, self._holders)
        rule = yield from walk.run()
        considered, questions = walk.considered, walk.questions
        if rule is None and not path.domain:
            # RFC 5321 4.5.1: no rule says anything about the bare form; then it is ours by name.
            named = Path(path.local, self._compiled.config.serverName)
            again = Walk(self._compiled, named, self._transaction, depth > 0, self._holders)
            rule = yield from again.run()
            considered = _both(walk.considered, again.considered)
            questions = _both(walk.questions, again.questions)
            walk = again
        more: list[Question] = []
        children: tuple[Step, ...] = ()
        chosen = None
        outer, self._results.taken = self._results.taken, (rule, walk)
        if rule is None:
            reply = INVALID if walk.isOurs else DENIED
            outcome = self._results.refuse(reply if depth == 0 else UNEXPANDABLE, f"no rule matches {path}")
        elif isinstance(rule, TempFail):
            outcome = self._results.refuse(TEMPORARY, f"{path}: {rule}")
        else:
            chosen = rule.where
            action = rule.action
            if action is None:
                outcome = self._results.refuse(
                    REJECTED if depth == 0 else UNEXPANDABLE, f"{path} is rejected at {rule.place}"
                )
            elif action.method is _RELAY:
                to = path if path.domain else Path(path.local, self._compiled.config.serverName)
                self._results.add(Place(rule, action, to, "", depth), "", _MTA)
                outcome = rule.done
            else:
                place = Place(rule, action, path, "", depth)
                if action.virtual:
                    outcome, children = yield from self._virtual(place, action.virtual, more)
                else:
                    outcome, children = yield from self._user(place, path.local.lower(), more)
        self._results.taken = outer
        return Step(
            path, Record(considered), Record(questions, more), chosen, outcome, children, Kind.ADDRESS, "", source
        )

    def _virtual(self, place: Place, table: TableRef, questions: list[Question]) -> Asking[Outcome]:
        """An address whose action has a virtual table: there it must be found."""
        path = place.path
        local, domain = path.local.lower(), domainOf(path, self._compiled.config)
        user = untagged(local, self._delimiter)
        forms = (local,) if user == local else (local, user)
        keys = (*(f"{form}@{domain}" for form in forms), *forms, f"@{domain}", "@")
        found = yield from self._lookup(table.name, keys, questions)
        if isinstance(found, TempFail):
            return self._results.cannot(f"{path}: {found}")
        if found is None:
            reply = INVALID if place.depth == 0 else UNEXPANDABLE
            return self._results.refuse(reply, f"{path} is not in the {titled(table.name)} ({place.rule.place})"), ()
        children = yield from self._values(place, table.name, found, "")
        return f'action "{place.action.name}": virtual', children

    # --- users

    def _user(self, place: Place, name: str, questions: list[Question]) -> Asking[Outcome]:
        """A user of a local action: perhaps another name in its table, else one of the system, who may have a .forward."""
        action = place.action
        user = untagged(name, self._delimiter)
        table = action.alias or action.virtual
        if table and place.parent not in (user, name):
            keys = (name,) if name == user else (name, user)
            found = yield from self._lookup(table.name, keys, questions)
            if isinstance(found, TempFail):
                return self._results.cannot(f"{name}: {found}")
            if found is not None:
                children = yield from self._values(place, table.name, found, found[0])
                return f'action "{action.name}": alias', children
        info = yield from self._info(place, user, questions)
        if isinstance(info, TempFail):
            return self._results.cannot(f"{user}: {info}")
        if info is None:
            reply = INVALID if place.depth == 0 else UNEXPANDABLE
            return self._results.refuse(reply, f'there is no user "{user}" ({place.rule.place})'), ()
        if info.uid == _ROOT and not action.user and action.method is not _LMTP:
            reply = INVALID if place.depth == 0 else UNEXPANDABLE
            return self._results.refuse(
                reply, f'"{user}" is root: nothing is done as root, an alias is needed ({place.rule.place})'
            ), ()
        isOwn = place.owner is not None and place.owner.name == user
        if not isOwn and info.uid != _ROOT and (not action.user or action.user == user):
            forwarded = yield from self._forward(place, info, questions)
            if forwarded is not None:
                return forwarded
        return self._deliver(place, user)

    def _deliver(self, place: Place, user: str) -> Outcome:
        action = place.action
        method = action.method
        if method in _ONLY:
            why = f'"{user}" expands to nothing else, and the action "{action.name}" only forwards ({place.rule.place})'
            if method is Method.FORWARD_ONLY:
                return self._results.cannot(why)
            return self._results.refuse(INVALID if place.depth == 0 else UNEXPANDABLE, why), ()
        isLmtp = method is _LMTP
        self._results.add(place, user if isLmtp else action.user or user, _MTA if isLmtp else _MDA)
        return f"{place.rule.done} for {user}", ()

    def _info(self, place: Place, user: str, questions: list[Question]) -> Asking[UserInfo | TempFail | None]:
        """Who C{user} is, to the system or in the action's own table of users."""
        if not isUserName(user):
            return None
        base = place.action.userbase
        ask: Ask = AskUser(user) if base is None else AskLookup(base.name, Service.USERINFO, user)
        answer = yield ask
        questions.append(_make(Question, (ask, answer)))
        if answer is None or isinstance(answer, (UserInfo, TempFail)):
            return answer
        found = _USERINFO.match(answer) if isinstance(answer, str) else None
        if found is None or (int(found["uid"]) != _ROOT and int(found["gid"]) == _ROOT):
            # Nothing is delivered with root's group, so nothing is taken.
            why = f'{called(base.name) if base else "the system"} has no "uid:gid:home" for {user}'
            self._results.faults.append(why)
            return TempFail(why)
        return UserInfo(user, int(found["uid"]), int(found["gid"]), found["home"])

    def _forward(self, place: Place, user: UserInfo, questions: list[Question]) -> Asking[Outcome | None]:
        """What the user's .forward makes of it; None: the user has none, or an empty one."""
        ask: AskForward = _make(AskForward, (user,))
        text = yield ask
        questions.append(_make(Question, (ask, text)))
        if text is None:
            return None
        file = f"{user.home.rstrip('/')}/.forward"
        if isinstance(text, TempFail):
            if text.isHomeMissing and not _needsHome(place.action):
                # A user whose home was never made has mail all the same, where nothing is put there.
                return None
            return self._results.cannot(f"{file}: {text}")
        if isinstance(text, Refusal) or not isinstance(text, str):
            self._results.faults.append(f"{file}: {text}")
            return self._results.refuse(UNEXPANDABLE, f"{file}: {text}"), ()
        lines = tuple(parseLines(text))
        if not lines:
            return None
        if len(lines) > MAX_FORWARD_NODES:
            return self._results.fault(f"{file} names more than {MAX_FORWARD_NODES} addresses")
        inside = place._replace(parent=user.name, depth=place.depth + 1, table="", owner=user, isIncluded=False)
        children = yield from self._children(
            inside, ((node, Source(file, "", Where(file, line))) for line, node in lines)
        )
        return f'action "{place.action.name}": .forward', children

    def _lookup(
        self, table: str, keys: tuple[str, ...], questions: list[Question]
    ) -> Asking[tuple[str, str] | TempFail | None]:
        """The first key that is there, and its value."""
        for key in keys:
            ask: AskLookup = _make(AskLookup, (table, _ALIAS, key))
            answer = yield ask
            questions.append(_make(Question, (ask, answer)))
            if isinstance(answer, str):
                return key, answer
            if isinstance(answer, TempFail):
                return answer
        return None

    # --- nodes

    def _values(self, place: Place, table: str, found: tuple[str, str], parent: str) -> Asking[tuple[Step, ...]]:
        """What a table gave for C{place.path}, or for a user on its way."""
        key, value = found
        spec = self._compiled.config.tables.get(table)
        source = Source(table, key, spec.where if spec is not None else None)
        inside = Place(place.rule, place.action, place.path, parent, place.depth + 1, table)
        return (yield from self._children(inside, [(node, source) for node in parseNodes(value)]))

    def _children(self, place: Place, nodes: Iterable[tuple[Node, Source]]) -> Asking[tuple[Step, ...]]:
        steps: list[Step] = []
        for node, source in nodes:
            self._nodes += 1
            if place.depth > MAX_DEPTH or self._nodes > MAX_NODES:
                bound = f"{MAX_DEPTH} levels" if place.depth > MAX_DEPTH else f"{MAX_NODES} nodes"
                outcome = self._results.refuse(
                    UNEXPANDABLE, f"{self._rcpt} expands to more than {bound} ({place.rule.place})"
                )
                steps.append(Step(place.path, outcome=outcome, source=source))
                break
            self._results.trail.append(Hop(str(node), str(source)))
            step = yield from self._node(place, node, source)
            self._results.trail.pop()
            steps.append(step)
        return tuple(steps)

    def _node(self, place: Place, node: Node, source: Source) -> Asking[Step]:
        questions: list[Question] = []
        children: tuple[Step, ...] = ()
        path = shown = place.path
        kind = Kind.USER
        match node:
            case AddressNode(address) if self._isItself(place, address):
                # An address that expands to itself, among others, keeps its copy.
                name = untagged(path.local.lower(), self._delimiter)
                shown = Path(name, "")
                outcome, children = yield from self._once(place._replace(parent=name), name, questions)
            case AddressNode(address):
                if not self._isNew("address", address.key):
                    return Step(address, outcome=self._results.duplicate(), source=source)
                return (yield from self._address(address, place.depth, source))
            case UserNode(name):
                shown = Path(name, "")
                outcome, children = yield from self._once(place, name, questions)
            case CommandNode(command):
                kind = Kind.COMMAND
                outcome, children = yield from self._errands.command(place, command, questions)
            case FileNode(file):
                kind = Kind.FILE
                outcome, children = yield from self._errands.run(place, Kind.FILE, file, questions)
            case IncludeNode(file):
                kind = Kind.INCLUDE
                outcome, children = yield from self._include(place, file, questions)
            case ErrorNode(reply):
                kind = Kind.ERROR
                forwardsOnly = place.action.method is Method.FORWARD_ONLY
                outcome = self._results.refuse(
                    TEMPORARY if forwardsOnly else reply, f"{path}: {reply}", isOurs=forwardsOnly
                )
            case _:
                kind = Kind.UNKNOWN
                outcome, children = self._results.fault(f'"{node.text}" is neither an address nor a user')
        text = "" if kind is Kind.USER else str(node)
        return Step(shown, (), tuple(questions), None, outcome, children, kind, text, source)

    def _isItself(self, place: Place, address: Path) -> bool:
        path = place.path
        local = path.local.lower()
        return address.key == path.key and place.parent in ("", local, untagged(local, self._delimiter))

    def _once(self, place: Place, name: str, questions: list[Question]) -> Asking[Outcome]:
        # The same name leads elsewhere where it stands for itself, and elsewhere again in the .forward of its own.
        user = untagged(name, self._delimiter)
        by = (
            ".forward"
            if place.owner is not None and place.owner.name == user
            else "itself"
            if place.parent in (user, name)
            else ""
        )
        if not self._isNew("user", place.action.name, self._results.keyOf(place.path), name, by):
            return self._results.duplicate(), ()
        return (yield from self._user(place, name, questions))

    def _isNew(self, *node: str) -> bool:
        if node in self._seen:
            return False
        self._seen.add(node)
        return True

    def _include(self, place: Place, file: str, questions: list[Question]) -> Asking[Outcome]:
        """The lines of a file, one level deep."""
        what = f'include of "{file[:200]}"'
        if place.owner is not None:
            return self._results.fault(f"{place.path}: {what}: a .forward includes nothing")
        if place.isIncluded:
            return self._results.fault(f"{place.path}: {what}: an included file includes nothing")
        refused = yield from self._errands.distrust(place, what, questions)
        if refused is not None:
            return refused
        if not self._isNew("include", place.action.name, place.path.key, file):
            return self._results.duplicate(), ()
        ask = AskInclude(file)
        text = yield ask
        questions.append(Question(ask, text))
        if not isinstance(text, str):
            return self._results.fault(f"{place.path}: {file}: {text}")
        inside = place._replace(depth=place.depth + 1, isIncluded=True)
        children = yield from self._children(
            inside, ((node, Source(file, "", Where(file, line))) for line, node in parseLines(text))
        )
        return f"{len(children)} lines", children
