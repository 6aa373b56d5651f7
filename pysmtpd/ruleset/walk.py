"""One address on its way through the rules: the first rule whose tests all hold."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias

from pysmtpd.model.address import Path, untagged
from pysmtpd.model.config import Config, Predicate
from pysmtpd.model.decision import Considered, Question
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.question import Answer, Ask, AskMatch, Service, TempFail
from pysmtpd.ruleset.compile import Compiled, CompiledRule

Asking: TypeAlias = Generator[Ask, Answer, CompiledRule | TempFail | None]

# Members of an enumeration are slow to reach in Python 3.11.
_MAILADDR = Service.MAILADDR
_STRING = Service.STRING
_AUTH = Predicate.AUTH
_MAIL_FROM = Predicate.MAIL_FROM
_FOR = (Predicate.FOR_DOMAIN, Predicate.FOR_LOCAL)

# Several of each are made for every recipient: a named tuple's own constructor costs twice as much.
_make: Any = tuple.__new__

_PREDICATES = len(Predicate)


def domainOf(path: Path, config: Config) -> str:
    """For comparing: a path without a domain (RFC 5321 4.1.1.3: postmaster) is ours."""
    return (path.domain or config.serverName).lower()


class Walk:
    """
    @ivar considered: every rule that was tried, in order.
    @ivar questions: every question that was asked, in order.
    @ivar isOurs: some rule is for the address's domain.
    """

    __slots__ = ("_compiled", "_facts", "_isForwarded", "_path", "_transaction", "considered", "isOurs", "questions")

    def __init__(self, compiled: Compiled, path: Path, transaction: Transaction, isForwarded: bool) -> None:
        """
        @param isForwarded: the address comes from an expansion: its source is local.
        """
        self._compiled = compiled
        self._path = path
        self._transaction = transaction
        self._facts: SessionFacts = transaction.session
        self._isForwarded = isForwarded
        self.considered: list[Considered] = []
        self.questions: list[Question] = []
        self.isOurs = False

    def run(self) -> Asking:
        """@return: the rule that matches; None: none does; L{TempFail}: a question cannot be answered now."""
        compiled = self._compiled
        consider = self.considered.append
        record = self.questions.append
        known: list[bool | None] = [None] * compiled.slots
        keys: list[str | None] = [None] * _PREDICATES
        # Of the same kinds, without their sub-addresses; empty: they have none.
        others: list[str | None] = [None] * _PREDICATES
        for rule in compiled.rules:
            for predicate, slot, table, service, negated, failed, kind in rule.tests:
                holds = known[slot]
                if holds is None:
                    if service is None:
                        holds = self._simple(predicate)
                    else:
                        key = keys[kind]
                        if key is None:
                            key = keys[kind] = self._key(predicate)
                        if not key and predicate is not _MAIL_FROM:
                            # What has no name is in no table.
                            holds = False
                        else:
                            if predicate is _AUTH and service is _STRING and "@" in key:
                                service = _MAILADDR
                            ask: AskMatch = _make(AskMatch, (table, service, key))
                            answer = yield ask
                            record(_make(Question, (ask, answer)))
                            if answer is False and service is _MAILADDR:
                                other = others[kind]
                                if other is None:
                                    other = others[kind] = self._untaggedKey(key)
                                if other:
                                    ask = AskMatch(table, service, other)
                                    answer = yield ask
                                    record(Question(ask, answer))
                            if answer is True:
                                holds = True
                                if predicate in _FOR:
                                    self.isOurs = True
                            elif isinstance(answer, TempFail):
                                consider(failed)
                                return answer
                            else:
                                holds = False
                    known[slot] = holds
                if holds is negated:
                    consider(failed)
                    break
            else:
                consider(rule.matched)
                return rule
        return None

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

    def _untaggedKey(self, key: str) -> str:
        """An entry without a sub-address also stands for the address with one. Empty: this address has none."""
        local, at, domain = key.rpartition("@")
        if not at:
            local, domain = domain, ""
        stripped = untagged(local, self._compiled.config.subAddressDelimiter)
        return "" if stripped == local else f"{stripped}{at}{domain}"
