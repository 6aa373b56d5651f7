"""Drives the ruleset: finds the answers to its questions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import IRouter, ITable, TableError
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision, Step
from pysmtpd.model.facts import Transaction
from pysmtpd.model.question import Answer, Ask, AskMatch, AskUser, TempFail
from pysmtpd.model.reply import Reply
from pysmtpd.router.asking import Flights
from pysmtpd.router.users import Users

PATIENCE = 30.0

Deciding: TypeAlias = Generator[Ask, Answer, Decision]
Decide: TypeAlias = Callable[[Config, Path, Transaction], Deciding]
Tables: TypeAlias = Callable[[Config], Mapping[str, ITable]]


@implementer(IRouter)
class Router:
    """Answers what is at hand in place, so that most decisions are made without a Deferred."""

    _log = Logger()

    def __init__(self, platform: IPlatform, decide: Decide, tables: Tables, patience: float = PATIENCE) -> None:
        """
        @param decide: L{pysmtpd.ruleset.decide}.
        @param tables: the tables of a generation, by name.
        @param patience: seconds that one question may take.
        """
        self._decide = decide
        self._tables = tables
        self._flights = Flights(platform.clock, patience)
        self._users = Users(platform)

    def expand(self, config: Config, path: Path, transaction: Transaction) -> Ready[Decision]:
        deciding = self._decide(config, path, transaction)
        inFlight = self._flights.waiting
        try:
            tables = self._tables(config)
            send = deciding.send
            ask = next(deciding)
            while True:
                answer: Ready[Answer]
                # The usual question, put to a table in memory, takes the shortest way.
                if type(ask) is AskMatch and not inFlight and (table := tables.get(ask.table)) is not None:
                    try:
                        told = table.match(ask.service, ask.key)
                    except TableError as error:
                        ask = send(TempFail(str(error)))
                        continue
                    if told is False or told is True:
                        ask = send(told)
                        continue
                    answer = self._flights.start((table, ask), told) if isinstance(told, Deferred) else told
                else:
                    answer = self._answer(tables, ask)
                if isinstance(answer, Deferred):
                    return Deferred.fromCoroutine(self._continue(tables, deciding, answer, path))
                ask = send(answer)
        except StopIteration as decided:
            decision: Decision = decided.value
            return decision
        except Exception:
            return self._failed(path, Failure())

    async def _continue(
        self, tables: Mapping[str, ITable], deciding: Deciding, answer: Ready[Answer], path: Path
    ) -> Decision:
        try:
            while True:
                told = await answer if isinstance(answer, Deferred) else answer
                answer = self._answer(tables, deciding.send(told))
        except StopIteration as decided:
            decision: Decision = decided.value
            return decision
        except Exception:
            return self._failed(path, Failure())

    def _answer(self, tables: Mapping[str, ITable], ask: Ask) -> Ready[Answer]:
        if isinstance(ask, AskUser):
            known = self._users.known(ask.name)
            if known is not None:
                return known
            if ask in self._flights.waiting:
                return self._flights.join(ask)
            return self._flights.start(ask, self._users.find(ask.name))
        table = tables.get(ask.table)
        if table is None:
            return TempFail(f'there is no table "{ask.table}"')
        flights = self._flights
        if flights.waiting and (table, ask) in flights.waiting:
            return flights.join((table, ask))
        answer: bool | str | Deferred[Any] | None
        try:
            if isinstance(ask, AskMatch):
                answer = table.match(ask.service, ask.key)
            else:
                answer = table.lookup(ask.service, ask.key)
        except TableError as error:
            return TempFail(str(error))
        return flights.start((table, ask), answer) if isinstance(answer, Deferred) else answer

    def _failed(self, path: Path, failure: Failure) -> Decision:
        """A fault of ours or of a table costs this recipient one try."""
        self._log.failure("while deciding about {path}", failure=failure, path=str(path))
        reason = f"{path}: internal error: {failure.getErrorMessage()}"
        return Decision((), Reply(451, "Temporary failure", "4.3.0"), reason, Step(path, outcome=reason))
