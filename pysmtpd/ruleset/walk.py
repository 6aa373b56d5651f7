"""One address on its way through the rules: the first rule whose tests all hold."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

from pysmtpd.model.address import Path, untagged
from pysmtpd.model.config import Config, Predicate
from pysmtpd.model.decision import Considered, Question
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.netaddr import canonicalLiteral
from pysmtpd.model.question import Answer, Ask, AskMatch, Holders, Service, TempFail
from pysmtpd.ruleset.compile import KINDS, SERVICES, Compiled, CompiledRule, Slot

T = TypeVar("T")
Asking: TypeAlias = Generator[Ask, Answer, T]
Sought: TypeAlias = tuple[Service, str]

# Members of an enumeration are slow to reach in Python 3.11.
_MAILADDR = Service.MAILADDR
_REGEX = Service.REGEX
_AUTH = Predicate.AUTH
_MAIL_FROM = Predicate.MAIL_FROM
# Several of each are made for every recipient: a named tuple's own constructor costs twice as much.
_make: Any = tuple.__new__
_FOR = (Predicate.FOR_DOMAIN, Predicate.FOR_LOCAL)


def domainOf(path: Path, config: Config) -> str:
    """For comparing: a path without a domain (RFC 5321 4.1.1.3: postmaster) is ours."""
    domain = (path.domain or config.serverName).lower()
    return canonicalLiteral(domain) if domain[:1] == "[" else domain


class Walk:
    """What it has found out is told again as a record, when somebody wants to read that.

    @ivar isOurs: some rule is for the address's domain.
    """

    __slots__ = (
        "_answers",
        "_compiled",
        "_facts",
        "_holders",
        "_isForwarded",
        "_known",
        "_path",
        "_sought",
        "_transaction",
        "isOurs",
    )

    def __init__(
        self,
        compiled: Compiled,
        path: Path,
        transaction: Transaction,
        isForwarded: bool,
        holders: Holders | None = None,
    ) -> None:
        """
        @param isForwarded: the address comes from an expansion: its source is local.
        @param holders: None: each table is asked.
        """
        self._holders = holders
        self._compiled = compiled
        self._path = path
        self._transaction = transaction
        self._facts: SessionFacts = transaction.session
        self._isForwarded = isForwarded
        # By slot: does it hold? None: that was not needed, or cannot be told.
        self._known: list[bool | None] = [None] * len(compiled.slots)
        # By slot: what its table was asked.
        self._answers: dict[int, list[Question]] = {}
        # By kind: what tables are asked for, one after the other until there is a yes. Empty: there is nothing of the kind.
        self._sought: dict[int, tuple[Sought, ...]] = {}
        self.isOurs = False

    def run(self) -> Asking[CompiledRule | TempFail | None]:
        """@return: the rule that matches; None: none does; L{TempFail}: a question cannot be answered now."""
        known = self._known
        for rule in self._compiled.rules:
            for place, negated in rule.tests:
                holds = known[place]
                if holds is None:
                    slot = self._compiled.slots[place]
                    if slot.service is None:
                        holds = self._simple(slot.predicate)
                    else:
                        if slot.kind not in self._sought:
                            self._look(slot)
                            holds = known[place]
                        if holds is None:
                            told = yield from self._ask(place, slot)
                            if told is not True and told is not False:
                                return told
                            holds = told
                    known[place] = holds
                if holds is negated:
                    break
            else:
                return rule
        return None

    def considered(self) -> tuple[Considered, ...]:
        """Every rule that was tried, in order."""
        return tuple(considered for considered, _ in self._tried())

    def questions(self) -> tuple[Question, ...]:
        """Every question that was asked, in order, those included that were spared because the answer was known to be no."""
        places = dict.fromkeys(place for _, places in self._tried() for place in places)
        return tuple(question for place in places for question in self._asked(place))

    def _tried(self) -> Iterator[tuple[Considered, list[int]]]:
        """For each rule that was tried what is recorded, and the slots that were looked at."""
        for rule in self._compiled.rules:
            places: list[int] = []
            for (place, negated), failed in zip(rule.tests, rule.failed, strict=True):
                places.append(place)
                holds = self._known[place]
                if holds is None:
                    yield failed, places
                    return
                if holds is negated:
                    yield failed, places
                    break
            else:
                yield rule.matched, places
                return

    def _asked(self, place: int) -> Sequence[Question]:
        slot = self._compiled.slots[place]
        if place in self._answers or slot.service is None:
            return self._answers.get(place, ())
        return [Question(AskMatch(slot.table, service, key), False) for service, key in self._sought[slot.kind]]

    def _ask(self, place: int, slot: Slot) -> Asking[bool | TempFail]:
        """Does the slot's table have what is looked for?"""
        sought = self._sought[slot.kind]
        if slot.service is _REGEX and sought:
            sought = ((_REGEX, sought[0][1]),)
        questions = self._answers[place] = []
        for service, key in sought:
            ask: AskMatch = _make(AskMatch, (slot.table, service, key))
            answer = yield ask
            questions.append(_make(Question, (ask, answer)))
            if answer is True:
                if slot.predicate in _FOR:
                    self.isOurs = True
                return True
            if answer is not False and isinstance(answer, TempFail):
                return answer
        return False

    def _look(self, slot: Slot) -> None:
        """Something of a kind is looked for the first time. Where many tables may be asked for it, most have it not."""
        sought = self._sought[slot.kind] = self._soughtBy(slot)
        group = self._compiled.groups[slot.kind]
        if group is None or self._holders is None or not sought:
            return
        known = self._known
        known[group.begin : group.end] = group.nothing
        for service, key in sought:
            for table in self._holders(service, key):
                place = group.byTable.get(table)
                if place is not None:
                    known[place] = None

    def _simple(self, predicate: Predicate) -> bool:
        """A predicate without a table."""
        facts = self._facts
        match predicate:
            case Predicate.FROM_LOCAL:
                return self._isForwarded or facts.isLocal or facts.isSocket
            case Predicate.FROM_SOCKET:
                return facts.isSocket
            case Predicate.FROM_RDNS:
                return bool(facts.rdns)
            case Predicate.AUTH:
                return bool(facts.user)
            case Predicate.TLS:
                return facts.tls is not None
        return True

    def _soughtBy(self, slot: Slot) -> tuple[Sought, ...]:
        service, keyOf = _SOUGHT[slot.kind]
        predicate = slot.predicate
        key = keyOf(self)
        if not key and predicate is not _MAIL_FROM:
            # What has no name is in no table.
            return ()
        if predicate is _AUTH and "@" in key:
            service = _MAILADDR
        if service is _MAILADDR:
            # An entry without a sub-address also stands for the address with one.
            local, at, domain = key.rpartition("@")
            if not at:
                local, domain = domain, ""
            stripped = untagged(local, self._compiled.config.subAddressDelimiter)
            if stripped != local:
                return (service, key), (service, f"{stripped}{at}{domain}")
        return ((service, key),)

    # What is looked for in tables; empty: there is nothing of the kind.

    def _domain(self) -> str:
        return domainOf(self._path, self._compiled.config)

    def _peer(self) -> str:
        return "local" if self._isForwarded or self._facts.isSocket else self._facts.peer.lower()

    def _rdns(self) -> str:
        return self._facts.rdns.lower()

    def _recipient(self) -> str:
        return self._path.key

    def _sender(self) -> str:
        return self._transaction.sender.key

    def _helo(self) -> str:
        return self._facts.helo.lower()

    def _tag(self) -> str:
        return self._facts.tag.lower()

    def _user(self) -> str:
        return self._facts.user.lower()

    KEYS: ClassVar[Mapping[Predicate, Callable[[Walk], str]]] = {
        Predicate.FOR_DOMAIN: _domain,
        Predicate.FOR_LOCAL: _domain,
        Predicate.FROM_SRC: _peer,
        Predicate.FROM_RDNS: _rdns,
        Predicate.RCPT_TO: _recipient,
        Predicate.MAIL_FROM: _sender,
        Predicate.HELO: _helo,
        Predicate.TAG: _tag,
        Predicate.AUTH: _user,
    }


# By kind: hashing a member of an enumeration is slow, too.
_SOUGHT = {KINDS[predicate]: (SERVICES[predicate], keyOf) for predicate, keyOf in Walk.KEYS.items()}
