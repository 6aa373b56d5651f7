"""One RCPT: through the rules, through aliases, virtual addresses and C{.forward}, down to users, commands, files and remote addresses.

It always ends: nothing is expanded twice, not deeper than L{MAX_DEPTH}, and not into more than L{MAX_NODES}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pysmtpd.model.address import Path, untagged
from pysmtpd.model.command import NeedsShell, splitCommand
from pysmtpd.model.config import Action, Method, TableRef
from pysmtpd.model.decision import Decision, Kind, Question, Record, Source, Step, Where
from pysmtpd.model.envelope import Agent, Destination, Hop, formatVia
from pysmtpd.model.facts import Transaction
from pysmtpd.model.question import (
    Answer,
    Ask,
    AskForward,
    AskInclude,
    AskLookup,
    AskMatch,
    AskSelf,
    AskToday,
    AskTrust,
    AskUser,
    Holders,
    Refusal,
    Service,
    TempFail,
    UserInfo,
    called,
)
from pysmtpd.model.reply import Reply
from pysmtpd.model.specifiers import checkFormat
from pysmtpd.model.srs import BadSrs, decode, isSrs
from pysmtpd.ruleset.compile import Compiled, CompiledRule
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
from pysmtpd.ruleset.walk import Walk, domainOf

MAX_DEPTH = 10
MAX_NODES = 10_000
# In one .forward.
MAX_FORWARD_NODES = 100

INVALID = Reply(550, "Invalid recipient", "5.1.1")
DENIED = Reply(550, "Relaying denied", "5.7.1")
REJECTED = Reply(550, "Delivery not authorized", "5.7.1")
TEMPORARY = Reply(451, "Temporary failure", "4.3.0")
UNEXPANDABLE = Reply(524, "Mailing list expansion problem", "5.2.4")

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
Outcome: TypeAlias = tuple[str, tuple[Step, ...]]


class _Place(NamedTuple):
    """Where in the tree a node stands.

    @ivar rule: the one whose local action it belongs to.
    @ivar path: the address that this rule took.
    @ivar parent: the user whose name or .forward gave the node; the same name again is that user, not another alias. It has its sub-address
        where the table knows it with that.
    @ivar depth: how many expansions led here.
    @ivar table: the one that gave the node, itself or by an included file; empty: a .forward did.
    @ivar owner: whose .forward gave the node, who is delivered to if it gives the same name again; None: a table did.
    @ivar isIncluded: a file that a table named gave the node.
    """

    rule: CompiledRule
    action: Action
    path: Path
    parent: str = ""
    depth: int = 0
    table: str = ""
    owner: UserInfo | None = None
    isIncluded: bool = False


class _Refused(NamedTuple):
    """A part of the expansion that is refused.

    @ivar cited: as in L{Decision}.
    """

    reply: Reply
    reason: str
    cited: str


def _cited(rule: CompiledRule | TempFail | None, walk: Walk) -> str:
    if rule is None:
        return "no rule matches"
    where = walk.considered()[-1].where if isinstance(rule, TempFail) else rule.where
    return f"{where.file.rpartition('/')[2]}:{where.line}"


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
        "_destinations",
        "_faults",
        "_holders",
        "_key",
        "_nodes",
        "_rcpt",
        "_refusals",
        "_repeated",
        "_seen",
        "_taken",
        "_trail",
        "_transaction",
        "_trusted",
    )

    def __init__(
        self, compiled: Compiled, rcpt: Path, transaction: Transaction, holders: Holders | None = None
    ) -> None:
        self._compiled = compiled
        self._holders = holders
        self._delimiter = compiled.config.subAddressDelimiter
        self._rcpt = rcpt
        self._key = rcpt.key
        self._transaction = transaction
        self._destinations: dict[tuple[str, str, str, str, str], Destination] = {}
        self._refusals: list[_Refused] = []
        # The rule that took the address which is looked at, or why there is none, and how that was found.
        self._taken: tuple[CompiledRule | TempFail | None, Walk] | None = None
        self._faults: list[str] = []
        self._seen: set[tuple[str, ...]] = set()
        self._trusted: dict[str, Answer] = {}
        self._nodes = 0
        # From the recipient to the node that is looked at.
        self._trail: list[Hop] = []
        # Those of nodes that were there before.
        self._repeated: list[str] = []

    def run(self) -> Asking[Decision]:
        """Any refused node refuses the whole; otherwise one that cannot be told now is a temporary failure of the whole."""
        rcpt = self._rcpt
        self._isNew("address", self._key)
        if self._compiled.config.srs is not None and self._transaction.sender.isNull and isSrs(rcpt):
            step = yield from self._srs(rcpt)
        else:
            step = yield from self._address(rcpt, 0)
        if not self._refusals and not self._destinations:
            leads = f" but what it came from: {self._repeated[0]}" if self._repeated else ""
            self._refuse(UNEXPANDABLE, f"{rcpt} expands to nothing{leads}")
        faults = tuple(self._faults)
        if self._refusals:
            refused = min(self._refusals, key=lambda refused: refused.reply.isTemporary)
            return Decision((), refused.reply, refused.reason, step, faults, refused.cited)
        return Decision(tuple(self._destinations.values()), None, step.outcome, step, faults)

    def _refuse(self, reply: Reply, reason: str, isOurs: bool = True) -> str:
        """
        @param isOurs: the reply is not what somebody has written.
        @return: the reason alone; what is refused names the way to it, too.
        """
        way = f"; {self._rcpt} leads there: {formatVia(self._trail)}" if self._trail else ""
        self._refusals.append(_Refused(reply, reason + way, _cited(*self._taken) if isOurs and self._taken else ""))
        return reason

    def _cannot(self, reason: str) -> Outcome:
        """It cannot be told now, or done now."""
        return self._refuse(TEMPORARY, reason), ()

    def _fault(self, reason: str) -> Outcome:
        """Likewise, and somebody has to mend it."""
        outcome = self._cannot(reason)
        self._faults.append(self._refusals[-1].reason)
        return outcome

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
            return Step(path, (), tuple(questions), None, self._refuse(TEMPORARY, f"{path}: {isOurs}"), kind=Kind.SRS)
        if not isOurs:
            return (yield from self._address(path, 0))
        day = yield AskToday()
        questions.append(Question(AskToday(), day))
        if not isinstance(day, int):
            return Step(path, (), tuple(questions), None, self._refuse(TEMPORARY, f"{path}: {day}"), kind=Kind.SRS)
        try:
            sender = decode(spec, path, day)
        except BadSrs as error:
            outcome = self._refuse(INVALID, f"{path} is no rewritten sender to answer to: {error}")
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
        outer, self._taken = self._taken, (rule, walk)
        if rule is None:
            reply = INVALID if walk.isOurs else DENIED
            outcome = self._refuse(reply if depth == 0 else UNEXPANDABLE, f"no rule matches {path}")
        elif isinstance(rule, TempFail):
            outcome = self._refuse(TEMPORARY, f"{path}: {rule}")
        else:
            chosen = rule.where
            action = rule.action
            if action is None:
                outcome = self._refuse(REJECTED if depth == 0 else UNEXPANDABLE, f"{path} is rejected at {rule.place}")
            elif action.method is _RELAY:
                to = path if path.domain else Path(path.local, self._compiled.config.serverName)
                self._add(_Place(rule, action, to, "", depth), "", _MTA)
                outcome = rule.done
            else:
                place = _Place(rule, action, path, "", depth)
                if action.virtual:
                    outcome, children = yield from self._virtual(place, action.virtual, more)
                else:
                    outcome, children = yield from self._user(place, path.local.lower(), more)
        self._taken = outer
        return Step(
            path, Record(considered), Record(questions, more), chosen, outcome, children, Kind.ADDRESS, "", source
        )

    def _virtual(self, place: _Place, table: TableRef, questions: list[Question]) -> Asking[Outcome]:
        """An address whose action has a virtual table: there it must be found."""
        path = place.path
        local, domain = path.local.lower(), domainOf(path, self._compiled.config)
        user = untagged(local, self._delimiter)
        forms = (local,) if user == local else (local, user)
        keys = (*(f"{form}@{domain}" for form in forms), *forms, f"@{domain}", "@")
        found = yield from self._lookup(table.name, keys, questions)
        if isinstance(found, TempFail):
            return self._cannot(f"{path}: {found}")
        if found is None:
            reply = INVALID if place.depth == 0 else UNEXPANDABLE
            return self._refuse(reply, f"{path} is not in the table {called(table.name)} ({place.rule.place})"), ()
        children = yield from self._values(place, table.name, found, "")
        return f'action "{place.action.name}": virtual', children

    # --- users

    def _user(self, place: _Place, name: str, questions: list[Question]) -> Asking[Outcome]:
        """A user of a local action: perhaps another name in its table, else one of the system, who may have a .forward."""
        action = place.action
        user = untagged(name, self._delimiter)
        table = action.alias or action.virtual
        if table and place.parent not in (user, name):
            keys = (name,) if name == user else (name, user)
            found = yield from self._lookup(table.name, keys, questions)
            if isinstance(found, TempFail):
                return self._cannot(f"{name}: {found}")
            if found is not None:
                children = yield from self._values(place, table.name, found, found[0])
                return f'action "{action.name}": alias', children
        info = yield from self._info(place, user, questions)
        if isinstance(info, TempFail):
            return self._cannot(f"{user}: {info}")
        if info is None:
            reply = INVALID if place.depth == 0 else UNEXPANDABLE
            return self._refuse(reply, f'there is no user "{user}" ({place.rule.place})'), ()
        if info.uid == _ROOT and not action.user and action.method is not _LMTP:
            reply = INVALID if place.depth == 0 else UNEXPANDABLE
            return self._refuse(
                reply, f'"{user}" is root: nothing is done as root, an alias is needed ({place.rule.place})'
            ), ()
        isOwn = place.owner is not None and place.owner.name == user
        if not isOwn and info.uid != _ROOT and (not action.user or action.user == user):
            forwarded = yield from self._forward(place, info, questions)
            if forwarded is not None:
                return forwarded
        return self._deliver(place, user)

    def _deliver(self, place: _Place, user: str) -> Outcome:
        action = place.action
        method = action.method
        if method in _ONLY:
            why = f'"{user}" expands to nothing else, and the action "{action.name}" only forwards ({place.rule.place})'
            if method is Method.FORWARD_ONLY:
                return self._cannot(why)
            return self._refuse(INVALID if place.depth == 0 else UNEXPANDABLE, why), ()
        isLmtp = method is _LMTP
        self._add(place, user if isLmtp else action.user or user, _MTA if isLmtp else _MDA)
        return f"{place.rule.done} for {user}", ()

    def _info(self, place: _Place, user: str, questions: list[Question]) -> Asking[UserInfo | TempFail | None]:
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
            self._faults.append(why)
            return TempFail(why)
        return UserInfo(user, int(found["uid"]), int(found["gid"]), found["home"])

    def _forward(self, place: _Place, user: UserInfo, questions: list[Question]) -> Asking[Outcome | None]:
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
            return self._cannot(f"{file}: {text}")
        if isinstance(text, Refusal) or not isinstance(text, str):
            self._faults.append(f"{file}: {text}")
            return self._refuse(UNEXPANDABLE, f"{file}: {text}"), ()
        lines = tuple(parseLines(text))
        if not lines:
            return None
        if len(lines) > MAX_FORWARD_NODES:
            return self._fault(f"{file} names more than {MAX_FORWARD_NODES} addresses")
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

    def _values(self, place: _Place, table: str, found: tuple[str, str], parent: str) -> Asking[tuple[Step, ...]]:
        """What a table gave for C{place.path}, or for a user on its way."""
        key, value = found
        spec = self._compiled.config.tables.get(table)
        source = Source(table, key, spec.where if spec is not None else None)
        inside = _Place(place.rule, place.action, place.path, parent, place.depth + 1, table)
        return (yield from self._children(inside, [(node, source) for node in parseNodes(value)]))

    def _children(self, place: _Place, nodes: Iterable[tuple[Node, Source]]) -> Asking[tuple[Step, ...]]:
        steps: list[Step] = []
        for node, source in nodes:
            self._nodes += 1
            if place.depth > MAX_DEPTH or self._nodes > MAX_NODES:
                bound = f"{MAX_DEPTH} levels" if place.depth > MAX_DEPTH else f"{MAX_NODES} nodes"
                outcome = self._refuse(UNEXPANDABLE, f"{self._rcpt} expands to more than {bound} ({place.rule.place})")
                steps.append(Step(place.path, outcome=outcome, source=source))
                break
            self._trail.append(Hop(str(node), str(source)))
            step = yield from self._node(place, node, source)
            self._trail.pop()
            steps.append(step)
        return tuple(steps)

    def _node(self, place: _Place, node: Node, source: Source) -> Asking[Step]:
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
                    return Step(address, outcome=self._duplicate(), source=source)
                return (yield from self._address(address, place.depth, source))
            case UserNode(name):
                shown = Path(name, "")
                outcome, children = yield from self._once(place, name, questions)
            case CommandNode(command):
                kind = Kind.COMMAND
                outcome, children = yield from self._command(place, command, questions)
            case FileNode(file):
                kind = Kind.FILE
                outcome, children = yield from self._run(place, Kind.FILE, file, questions)
            case IncludeNode(file):
                kind = Kind.INCLUDE
                outcome, children = yield from self._include(place, file, questions)
            case ErrorNode(reply):
                kind = Kind.ERROR
                forwardsOnly = place.action.method is Method.FORWARD_ONLY
                outcome = self._refuse(TEMPORARY if forwardsOnly else reply, f"{path}: {reply}", isOurs=forwardsOnly)
            case _:
                kind = Kind.UNKNOWN
                outcome, children = self._fault(f'"{node.text}" is neither an address nor a user')
        text = "" if kind is Kind.USER else str(node)
        return Step(shown, (), tuple(questions), None, outcome, children, kind, text, source)

    def _isItself(self, place: _Place, address: Path) -> bool:
        path = place.path
        local = path.local.lower()
        return address.key == path.key and place.parent in ("", local, untagged(local, self._delimiter))

    def _once(self, place: _Place, name: str, questions: list[Question]) -> Asking[Outcome]:
        # The same name leads elsewhere where it stands for itself, and elsewhere again in the .forward of its own.
        user = untagged(name, self._delimiter)
        by = (
            ".forward"
            if place.owner is not None and place.owner.name == user
            else "itself"
            if place.parent in (user, name)
            else ""
        )
        if not self._isNew("user", place.action.name, self._keyOf(place.path), name, by):
            return self._duplicate(), ()
        return (yield from self._user(place, name, questions))

    def _keyOf(self, path: Path) -> str:
        return self._key if path is self._rcpt else path.key

    def _duplicate(self) -> str:
        self._repeated.append(formatVia(self._trail))
        return "a duplicate"

    def _isNew(self, *node: str) -> bool:
        if node in self._seen:
            return False
        self._seen.add(node)
        return True

    # --- commands, files, includes

    def _command(self, place: _Place, command: str, questions: list[Question]) -> Asking[Outcome]:
        try:
            for word in splitCommand(command):
                checkFormat(word)
        except NeedsShell as error:
            rewrite = f'; write "|{error.rewrite}"' if error.rewrite else ""
            return self._fault(f'{place.path} expands to "|{command}": {error}{rewrite}')
        except ValueError as error:
            return self._fault(f'{place.path} expands to "|{command}", which cannot be run: {error}')
        return (yield from self._run(place, Kind.COMMAND, command, questions))

    def _run(self, place: _Place, kind: Kind, text: str, questions: list[Question]) -> Asking[Outcome]:
        """A command or a file, where the one who named it may do so."""
        action = place.action
        what = f'{kind.value} "{text[:200]}"'
        if action.method is Method.FORWARD_ONLY:
            return self._cannot(f'{place.path} expands to the {what}, and the action "{action.name}" only forwards')
        refused = yield from self._distrust(place, what, questions)
        if refused is not None:
            return refused
        user = shown = action.user or (place.owner.name if place.owner is not None else "")
        if not user:
            # It stays empty: a name could be another's in a userbase, or not be ours at the next start.
            ask = AskSelf()
            me = yield ask
            questions.append(Question(ask, me))
            if not isinstance(me, UserInfo):
                return self._cannot(f"{place.path}: {me}")
            if me.uid == _ROOT:
                return self._fault(
                    f'{place.path} expands to the {what}, and nothing is run as root: give the action a "user"'
                )
            shown = me.name
        if kind is Kind.COMMAND:
            self._add(place, user, _MDA, command=text)
        else:
            self._add(place, user, _MDA, file=text)
        return f'action "{action.name}": {kind.value} as {shown}', ()

    def _include(self, place: _Place, file: str, questions: list[Question]) -> Asking[Outcome]:
        """The lines of a file, one level deep."""
        what = f'include of "{file[:200]}"'
        if place.owner is not None:
            return self._fault(f"{place.path}: {what}: a .forward includes nothing")
        if place.isIncluded:
            return self._fault(f"{place.path}: {what}: an included file includes nothing")
        refused = yield from self._distrust(place, what, questions)
        if refused is not None:
            return refused
        if not self._isNew("include", place.action.name, place.path.key, file):
            return self._duplicate(), ()
        ask = AskInclude(file)
        text = yield ask
        questions.append(Question(ask, text))
        if not isinstance(text, str):
            return self._fault(f"{place.path}: {file}: {text}")
        inside = place._replace(depth=place.depth + 1, isIncluded=True)
        children = yield from self._children(
            inside, ((node, Source(file, "", Where(file, line))) for line, node in parseLines(text))
        )
        return f"{len(children)} lines", children

    def _distrust(self, place: _Place, what: str, questions: list[Question]) -> Asking[Outcome | None]:
        """None: a .forward speaks for its own user, and this table may name commands."""
        if place.owner is not None or place.isIncluded:
            return None
        table = place.table
        if table not in self._trusted:
            ask = AskTrust(table)
            self._trusted[table] = answer = yield ask
            questions.append(Question(ask, answer))
        trusted = self._trusted[table]
        if trusted is True:
            return None
        if isinstance(trusted, TempFail):
            return self._cannot(f"{place.path}: {trusted}")
        return self._fault(
            f"{place.path} expands to the {what}, which the table {called(table)} may not name: others than root and the daemon's user "
            "could have written it (allow-commands says that it may)"
        )

    def _add(self, place: _Place, user: str, agent: Agent, command: str = "", file: str = "") -> None:
        """One destination for each action, address, user, command and file."""
        action, path = place.action, place.path
        key = (action.name, self._keyOf(path), user, command, file)
        if key not in self._destinations:
            self._destinations[key] = Destination(
                path,
                self._rcpt,
                agent,
                action.name,
                user,
                place.rule.place,
                action.ttl,
                command=command,
                file=file,
                isForwarded=place.depth > 0,
                via=tuple(self._trail),
            )
