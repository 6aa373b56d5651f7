"""One RCPT: through the rules, through aliases and virtual addresses, down to users and remote addresses.

It always ends: nothing is expanded twice, not deeper than L{MAX_DEPTH}, and not into more than L{MAX_NODES}.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar

from pysmtpd.model.address import Path, untagged
from pysmtpd.model.config import Action, Method
from pysmtpd.model.decision import Decision, Question, Step
from pysmtpd.model.envelope import Agent, Destination
from pysmtpd.model.facts import Transaction
from pysmtpd.model.question import Answer, Ask, AskLookup, AskUser, Service, TempFail
from pysmtpd.model.reply import Reply
from pysmtpd.ruleset.compile import Compiled, CompiledRule
from pysmtpd.ruleset.nodes import AddressNode, ErrorNode, Node, UnsupportedNode, UserNode, isUserName, parseNodes
from pysmtpd.ruleset.walk import Walk, domainOf

MAX_DEPTH = 10
MAX_NODES = 10_000

INVALID = Reply(550, "Invalid recipient", "5.1.1")
DENIED = Reply(550, "Relaying denied", "5.7.1")
REJECTED = Reply(550, "Delivery not authorized", "5.7.1")
TEMPORARY = Reply(451, "Temporary failure", "4.3.0")
UNEXPANDABLE = Reply(524, "Mailing list expansion problem", "5.2.4")

# As in the walk: made several times for every recipient.
_make: Any = tuple.__new__
_ALIAS = Service.ALIAS
_RELAY, _LMTP = Method.RELAY, Method.LMTP
_MTA, _MDA = Agent.MTA, Agent.MDA

T = TypeVar("T")
Asking: TypeAlias = Generator[Ask, Answer, T]


class Expansion:
    """Decides about one RCPT; used once."""

    __slots__ = ("_compiled", "_destinations", "_nodes", "_rcpt", "_refusals", "_seen", "_transaction")

    def __init__(self, compiled: Compiled, rcpt: Path, transaction: Transaction) -> None:
        self._compiled = compiled
        self._rcpt = rcpt
        self._transaction = transaction
        self._destinations: dict[tuple[str, str, str], Destination] = {}
        self._refusals: list[tuple[Reply, str]] = []
        self._seen: set[tuple[str, ...]] = set()
        self._nodes = 0

    def run(self) -> Asking[Decision]:
        """Any refused node refuses the whole; otherwise one that cannot be told now is a temporary failure of the whole."""
        step = yield from self._address(self._rcpt, 0)
        if not self._refusals and not self._destinations:
            self._refuse(UNEXPANDABLE, f"{self._rcpt} expands to nothing")
        if self._refusals:
            reply, reason = min(self._refusals, key=lambda refusal: refusal[0].isTemporary)
            return Decision((), reply, reason, step)
        return Decision(tuple(self._destinations.values()), None, step.outcome, step)

    def _refuse(self, reply: Reply, reason: str) -> str:
        self._refusals.append((reply, reason))
        return reason

    # --- addresses

    def _address(self, path: Path, depth: int) -> Asking[Step]:
        """An address from outside (depth 0) or from an expansion."""
        walk = Walk(self._compiled, path, self._transaction, isForwarded=depth > 0)
        rule = yield from walk.run()
        children: tuple[Step, ...] = ()
        chosen = None
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
                self._add(rule, action, path, "", _MTA)
                outcome = f'action "{action.name}": relay'
            elif action.virtual:
                outcome, children = yield from self._virtual(rule, action, path, depth, walk.questions)
            else:
                name = path.local.lower()
                outcome, children = yield from self._user(rule, action, path, name, "", depth, walk.questions)
        return Step(path, tuple(walk.considered), tuple(walk.questions), chosen, outcome, children)

    def _virtual(
        self, rule: CompiledRule, action: Action, path: Path, depth: int, questions: list[Question]
    ) -> Asking[tuple[str, tuple[Step, ...]]]:
        """An address whose action has a virtual table: there it must be found."""
        assert action.virtual
        local, domain = path.local.lower(), domainOf(path, self._compiled.config)
        user = untagged(local, self._compiled.config.subAddressDelimiter)
        forms = (local,) if user == local else (local, user)
        keys = (*(f"{form}@{domain}" for form in forms), *forms, f"@{domain}", "@")
        value = yield from self._lookup(action.virtual.name, keys, questions)
        if isinstance(value, TempFail):
            return self._refuse(TEMPORARY, f"{path}: {value}"), ()
        if value is None:
            reply = INVALID if depth == 0 else UNEXPANDABLE
            return self._refuse(reply, f"{path} is not in the table {action.virtual.name} ({rule.place})"), ()
        children = yield from self._nodesOf(rule, action, path, value, "", depth + 1)
        return f'action "{action.name}": virtual', children

    # --- users

    def _user(
        self,
        rule: CompiledRule,
        action: Action,
        path: Path,
        name: str,
        parent: str,
        depth: int,
        questions: list[Question],
    ) -> Asking[tuple[str, tuple[Step, ...]]]:
        """A user of a local action: perhaps another name in its table, else one of the system.

        @param parent: the name that expanded to this one: a name that expands to itself is a user.
        """
        user = untagged(name, self._compiled.config.subAddressDelimiter)
        table = action.alias or action.virtual
        if table and user != parent:
            keys = (name,) if name == user else (name, user)
            value = yield from self._lookup(table.name, keys, questions)
            if isinstance(value, TempFail):
                return self._refuse(TEMPORARY, f"{name}: {value}"), ()
            if value is not None:
                children = yield from self._nodesOf(rule, action, path, value, user, depth + 1)
                return f'action "{action.name}": alias', children
        found: Answer = False
        if isUserName(user):
            ask = AskUser(user)
            found = yield ask
            questions.append(Question(ask, found))
        if isinstance(found, TempFail):
            return self._refuse(TEMPORARY, f"{user}: {found}"), ()
        if not found:
            return self._refuse(
                INVALID if depth == 0 else UNEXPANDABLE, f'there is no user "{user}" ({rule.place})'
            ), ()
        isLmtp = action.method is _LMTP
        self._add(rule, action, path, user if isLmtp else action.user or user, _MTA if isLmtp else _MDA)
        return f'action "{action.name}": {action.method.value} for {user}', ()

    def _lookup(self, table: str, keys: tuple[str, ...], questions: list[Question]) -> Asking[str | TempFail | None]:
        """The value of the first key that is there."""
        for key in keys:
            ask: AskLookup = _make(AskLookup, (table, _ALIAS, key))
            answer = yield ask
            questions.append(_make(Question, (ask, answer)))
            if answer is not None and not isinstance(answer, bool):
                return answer
        return None

    # --- nodes

    def _nodesOf(
        self, rule: CompiledRule, action: Action, path: Path, value: str, parent: str, depth: int
    ) -> Asking[tuple[Step, ...]]:
        """What C{path} (or an alias on its way) expands to."""
        steps: list[Step] = []
        for node in parseNodes(value):
            self._nodes += 1
            if depth > MAX_DEPTH or self._nodes > MAX_NODES:
                bound = f"{MAX_DEPTH} levels" if depth > MAX_DEPTH else f"{MAX_NODES} nodes"
                outcome = self._refuse(UNEXPANDABLE, f"{self._rcpt} expands to more than {bound} ({rule.place})")
                steps.append(Step(path, outcome=outcome))
                break
            step = yield from self._node(rule, action, path, node, parent, depth)
            steps.append(step)
        return tuple(steps)

    def _node(
        self, rule: CompiledRule, action: Action, path: Path, node: Node, parent: str, depth: int
    ) -> Asking[Step]:
        questions: list[Question] = []
        children: tuple[Step, ...] = ()
        shown = path
        match node:
            case AddressNode(address) if address.key == path.key:
                # An address that expands to itself, among others, keeps its copy.
                shown = Path(untagged(path.local.lower(), self._compiled.config.subAddressDelimiter), "")
                outcome, children = yield from self._once(
                    rule, action, path, shown.local, shown.local, depth, questions
                )
            case AddressNode(address):
                if not self._isNew("address", address.key):
                    return Step(address, outcome="a duplicate")
                return (yield from self._address(address, depth))
            case UserNode(name):
                shown = Path(name, "")
                outcome, children = yield from self._once(rule, action, path, name, parent, depth, questions)
            case ErrorNode(reply):
                outcome = self._refuse(reply, f"{path}: {reply}")
            case UnsupportedNode(kind, text):
                outcome = self._refuse(
                    TEMPORARY, f'{path} expands to a {kind}, which is not supported yet: "{text[:200]}"'
                )
            case _:
                outcome = self._refuse(
                    UNEXPANDABLE, f'{path} expands to what is neither an address nor a user: "{node.text}"'
                )
        return Step(shown, questions=tuple(questions), outcome=outcome, children=children)

    def _once(
        self,
        rule: CompiledRule,
        action: Action,
        path: Path,
        name: str,
        parent: str,
        depth: int,
        questions: list[Question],
    ) -> Asking[tuple[str, tuple[Step, ...]]]:
        isSelf = "self" if name == parent else ""
        if not self._isNew("user", action.name, path.key, name, isSelf):
            return "a duplicate", ()
        return (yield from self._user(rule, action, path, name, parent, depth, questions))

    def _isNew(self, *node: str) -> bool:
        if node in self._seen:
            return False
        self._seen.add(node)
        return True

    def _add(self, rule: CompiledRule, action: Action, path: Path, user: str, agent: Agent) -> None:
        """One destination for each action, address and user."""
        self._destinations.setdefault(
            (action.name, path.key, user),
            Destination(path, self._rcpt, agent, action.name, user, rule.place, action.ttl),
        )
