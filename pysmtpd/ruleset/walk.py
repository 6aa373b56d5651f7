"""One address on its way through the rules: the first rule whose tests all hold."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from pysmtpd.model.address import Path
from pysmtpd.model.config import Config, Predicate
from pysmtpd.model.decision import Considered, Question
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.question import Answer, Ask, AskMatch, Service, TempFail
from pysmtpd.ruleset.compile import Compiled, CompiledRule, Test

Asking: TypeAlias = Generator[Ask, Answer, CompiledRule | TempFail | None]

_SERVICES = {
    Predicate.TAG: Service.STRING,
    Predicate.FROM_SRC: Service.NETADDR,
    Predicate.FROM_RDNS: Service.DOMAIN,
    Predicate.FOR_LOCAL: Service.DOMAIN,
    Predicate.FOR_DOMAIN: Service.DOMAIN,
    Predicate.HELO: Service.DOMAIN,
    Predicate.MAIL_FROM: Service.MAILADDR,
    Predicate.RCPT_TO: Service.MAILADDR,
}


def domainOf(path: Path, config: Config) -> str:
    """For comparing: a path without a domain (RFC 5321 4.1.1.3: postmaster) is ours."""
    return (path.domain or config.serverName).lower()


def untagged(local: str, delimiter: str) -> str:
    """A local part without its sub-address, C{user} of C{user+tag}."""
    at = local.find(delimiter)
    return local[:at] if at > 0 else local


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
        considered = self.considered
        known: list[bool | None] = [None] * compiled.slots
        for rule in compiled.rules:
            for test in rule.tests:
                _, slot, table, negated, failed = test
                holds = known[slot]
                if holds is None:
                    if table:
                        key = self._key(test)
                        if key is None:
                            # Nothing to compare: it holds neither so nor negated.
                            considered.append(failed)
                            break
                        answer = yield from self._ask(test, key)
                        if isinstance(answer, TempFail):
                            considered.append(failed)
                            return answer
                        holds = bool(answer)
                    else:
                        holds = self._simple(test.predicate)
                    known[slot] = holds
                if holds is negated:
                    considered.append(failed)
                    break
            else:
                considered.append(rule.matched)
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

    def _key(self, test: Test) -> str | None:
        """What is looked for in the test's table; None: there is nothing of the kind."""
        facts = self._facts
        match test.predicate:
            case Predicate.FOR_DOMAIN | Predicate.FOR_LOCAL:
                return domainOf(self._path, self._compiled.config)
            case Predicate.FROM_SRC:
                return "local" if self._isForwarded or facts.isSocket else facts.peer.lower()
            case Predicate.FROM_RDNS:
                return facts.rdns.lower() or None
            case Predicate.RCPT_TO:
                return self._path.key
            case Predicate.MAIL_FROM:
                return self._transaction.sender.key
            case Predicate.HELO:
                return facts.helo.lower()
            case Predicate.TAG:
                return facts.tag.lower()
        return facts.user.lower()

    def _ask(self, test: Test, key: str) -> Generator[Ask, Answer, Answer]:
        predicate = test.predicate
        service = _SERVICES.get(predicate) or (Service.MAILADDR if "@" in key else Service.STRING)
        if not key and predicate in (Predicate.TAG, Predicate.AUTH, Predicate.HELO):
            return False
        ask = AskMatch(test.table, service, key)
        answer = yield ask
        self.questions.append(Question(ask, answer))
        if answer is False and service is Service.MAILADDR:
            # An entry without a sub-address also stands for the address with one.
            local, at, domain = key.rpartition("@")
            stripped = untagged(local if at else domain, self._compiled.config.subAddressDelimiter)
            if len(stripped) != len(local if at else domain):
                ask = AskMatch(test.table, service, f"{stripped}{at}{domain if at else ''}")
                answer = yield ask
                self.questions.append(Question(ask, answer))
        elif answer is True and (predicate is Predicate.FOR_DOMAIN or predicate is Predicate.FOR_LOCAL):
            self.isOurs = True
        return answer
