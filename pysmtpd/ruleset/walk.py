"""One address on its way through the rules: the first rule whose tests all hold."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TypeAlias, TypeVar

from pysmtpd.model.address import Path, untagged
from pysmtpd.model.config import Config, Predicate
from pysmtpd.model.decision import Considered, Question
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.question import Answer, Ask, AskHolders, AskMatch, Service, TempFail
from pysmtpd.ruleset.compile import SERVICES, Compiled, CompiledRule, Slot

T = TypeVar("T")
Asking: TypeAlias = Generator[Ask, Answer, T]
Sought: TypeAlias = tuple[Service, str]

# Members of an enumeration are slow to reach in Python 3.11.
_MAILADDR = Service.MAILADDR
_REGEX = Service.REGEX
_AUTH = Predicate.AUTH
_MAIL_FROM = Predicate.MAIL_FROM
_FOR = (Predicate.FOR_DOMAIN, Predicate.FOR_LOCAL)


def domainOf(path: Path, config: Config) -> str:
    """For comparing: a path without a domain (RFC 5321 4.1.1.3: postmaster) is ours."""
    return (path.domain or config.serverName).lower()


class Walk:
    """What it has found out is told again as a record, when somebody wants to read that.

    @ivar isOurs: some rule is for the address's domain.
    """

    __slots__ = (
        "_answers",
        "_compiled",
        "_facts",
        "_isForwarded",
        "_known",
        "_path",
        "_sought",
        "_transaction",
        "isOurs",
    )

    def __init__(self, compiled: Compiled, path: Path, transaction: Transaction, isForwarded: bool) -> None:
        """
        @param isForwarded: the address comes from an expansion: its source is local.
        """
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
                        told = yield from self._ask(place, slot)
                        if isinstance(told, TempFail):
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
        sought = self._sought.get(slot.kind)
        if sought is None:
            sought = self._sought[slot.kind] = self._soughtBy(slot.predicate)
            yield from self._look(slot.kind, sought)
        if self._known[place] is False or not sought:
            return False
        if slot.service is _REGEX:
            sought = ((_REGEX, sought[0][1]),)
        questions = self._answers[place] = []
        for service, key in sought:
            ask = AskMatch(slot.table, service, key)
            answer = yield ask
            questions.append(Question(ask, answer))
            if answer is True:
                if slot.predicate in _FOR:
                    self.isOurs = True
                return True
            if isinstance(answer, TempFail):
                return answer
        return False

    def _look(self, kind: int, sought: tuple[Sought, ...]) -> Asking[None]:
        """Where many tables are asked for the same, most have none of it, and need not be asked."""
        group = self._compiled.groups[kind]
        if group is None or not sought:
            return
        holders: list[str] = []
        for service, key in sought:
            answer = yield AskHolders(service, key)
            if not isinstance(answer, list):
                return
            holders += answer
        known = self._known
        known[group.begin : group.end] = group.nothing
        for table in holders:
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

    def _soughtBy(self, predicate: Predicate) -> tuple[Sought, ...]:
        key = self._key(predicate)
        service = SERVICES[predicate]
        if predicate is _AUTH and "@" in key:
            service = _MAILADDR
        if not key and predicate is not _MAIL_FROM:
            # What has no name is in no table.
            return ()
        if service is _MAILADDR:
            # An entry without a sub-address also stands for the address with one.
            local, at, domain = key.rpartition("@")
            if not at:
                local, domain = domain, ""
            stripped = untagged(local, self._compiled.config.subAddressDelimiter)
            if stripped != local:
                return (service, key), (service, f"{stripped}{at}{domain}")
        return ((service, key),)

    def _key(self, predicate: Predicate) -> str:
        """What is looked for in the test's table; empty: there is nothing of the kind."""
        facts = self._facts
        match predicate:
            case Predicate.FOR_DOMAIN | Predicate.FOR_LOCAL:
                return domainOf(self._path, self._compiled.config)
            case Predicate.FROM_SRC:
                return "local" if self._isForwarded or facts.isSocket else facts.peer.lower()
            case Predicate.FROM_RDNS:
                return facts.rdns.lower()
            case Predicate.RCPT_TO:
                return self._path.key
            case Predicate.MAIL_FROM:
                return self._transaction.sender.key
            case Predicate.HELO:
                return facts.helo.lower()
            case Predicate.TAG:
                return facts.tag.lower()
        return facts.user.lower()
