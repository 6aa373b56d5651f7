"""Drives the ruleset: finds the answers to its questions."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IDisk, IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.routing import ForwardRefused, IForwardReader, IRouter, IScreen, ITable, TableError
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision, Kind, Step
from pysmtpd.model.events import SrsRefused
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
    TempFail,
    UserInfo,
)
from pysmtpd.model.reply import Reply
from pysmtpd.model.srs import dayOf
from pysmtpd.router.asking import Flights
from pysmtpd.router.users import Users

PATIENCE = 30.0

# Questions that are answered in a row before others have a turn.
_BREATH = range(200)

INCLUDE_LANE = "include"
MAX_INCLUDE = 1_048_576

# Seconds for which a .forward is believed: a burst of mail reads it once.
FORWARD_SECONDS = 5.0
MAX_FORWARDS = 10_000

# Seconds before the same fault is logged again.
FAULT_SECONDS = 60.0
MAX_FAULTS = 1000

# To see that something is no Deferred takes longer than any other question of this kind.
_ANSWERS = frozenset([bool, int, str, type(None), UserInfo, TempFail, Refusal])

Deciding: TypeAlias = Generator[Ask, Answer, Decision]
Decide: TypeAlias = Callable[[Config, Path, Transaction, Holders | None], Deciding]
Tables: TypeAlias = Callable[[Config], Mapping[str, ITable]]


@implementer(IRouter)
class Router:
    """Answers what is at hand in place, so that most decisions are made without a Deferred."""

    _log = Logger()

    def __init__(
        self,
        platform: IPlatform,
        decide: Decide,
        tables: Tables,
        patience: float = PATIENCE,
        forwards: IForwardReader | None = None,
        report: IReport | None = None,
        screen: Callable[[Config], IScreen | None] = lambda config: None,
    ) -> None:
        """
        @param decide: L{pysmtpd.ruleset.decide}.
        @param tables: the tables of a generation, by name.
        @param patience: seconds that one question may take.
        @param forwards: None: nobody has a .forward.
        @param screen: that of a generation's tables; it only spares questions.
        @param report: hears of refused bounces. None: nobody hears of anything, the log included.
        """
        self._platform = platform
        self._decide = decide
        self._tables = tables
        self._flights = Flights(platform.clock, patience)
        self._users = Users(platform)
        self._forwards = forwards
        self._report = report
        self._screen = screen
        self._forwarded: dict[UserInfo, tuple[Answer, float]] = {}
        self._faults: dict[str, float] = {}

    def expand(self, config: Config, path: Path, transaction: Transaction) -> Ready[Decision]:
        screen = self._screen(config)
        deciding = self._decide(config, path, transaction, screen.holders if screen is not None else None)
        inFlight = self._flights.waiting
        try:
            tables = self._tables(config)
            send = deciding.send
            ask = next(deciding)
            answer: Any
            for _ in _BREATH:
                # The usual questions, put to a table in memory, take the shortest way.
                if type(ask) is AskMatch or type(ask) is AskLookup:
                    table = tables.get(ask.table)
                    if table is None or inFlight:
                        answer = self._ofTable(tables, ask)
                    else:
                        answer = self._told(table, ask)
                else:
                    answer = self._answer(tables, ask)
                if type(answer) not in _ANSWERS and isinstance(answer, Deferred):
                    return Deferred.fromCoroutine(self._continue(tables, deciding, answer, path, transaction))
                ask = send(answer)
            # A list of thousands: others have a turn in between.
            answer = self._soon(tables, ask)
            return Deferred.fromCoroutine(self._continue(tables, deciding, answer, path, transaction))
        except StopIteration as decided:
            return self._decided(decided.value, transaction)
        except Exception:
            return self._failed(path, Failure())

    async def _continue(
        self,
        tables: Mapping[str, ITable],
        deciding: Deciding,
        answer: Ready[Answer],
        path: Path,
        transaction: Transaction,
    ) -> Decision:
        count = 0
        try:
            while True:
                count += 1
                if isinstance(answer, Deferred):
                    answer = await answer
                    count = 0
                ask = deciding.send(answer)
                if count < len(_BREATH):
                    answer = self._answer(tables, ask)
                else:
                    answer = self._soon(tables, ask)
        except StopIteration as decided:
            return self._decided(decided.value, transaction)
        except Exception:
            return self._failed(path, Failure())

    def _soon(self, tables: Mapping[str, ITable], ask: Ask) -> Deferred[Answer]:
        """The answer, when others have had a turn."""
        answer: Callable[..., Any] = self._answer
        return deferLater(self._platform.clock, 0, answer, tables, ask)

    def _decided(self, decision: Decision, transaction: Transaction) -> Decision:
        if decision.faults and self._report is not None:
            for fault in decision.faults:
                self._complain(fault)
        step = decision.step
        if step.kind is Kind.SRS and decision.refusal is not None and self._report is not None and not step.children:
            self._report.happened(SrsRefused(transaction.session.session, str(step.path), decision.reason))
        return decision

    def _complain(self, fault: str) -> None:
        """Once a minute: peers may try again and again."""
        now = self._platform.clock.seconds()
        if self._faults.get(fault, now) > now:
            return
        if len(self._faults) >= MAX_FAULTS:
            self._faults.clear()
        self._faults[fault] = now + FAULT_SECONDS
        self._log.error("Mail cannot be taken: {fault}", fault=fault)

    # --- answers

    def _answer(self, tables: Mapping[str, ITable], ask: Ask) -> Ready[Answer]:
        match ask:
            case AskMatch() | AskLookup():
                return self._ofTable(tables, ask)
            case AskUser(name):
                known = self._users.known(name)
                if known is not None:
                    return known[0]
                return self._flight(ask, lambda: self._users.find(name))
            case AskForward(user):
                return self._forward(ask, user)
            case AskTrust(name):
                table = tables.get(name)
                return table is not None and table.allowsCommands
            case AskInclude(path):
                return self._flight(ask, lambda: self._include(path))
            case AskSelf():
                return self._users.me()
            case AskToday():
                return dayOf(self._platform.wallTime())

    def _ofTable(self, tables: Mapping[str, ITable], ask: AskMatch | AskLookup) -> Ready[Answer]:
        table = tables.get(ask.table)
        if table is None:
            return TempFail(f'there is no table "{ask.table}"')
        flights = self._flights
        if flights.waiting and (table, ask) in flights.waiting:
            return flights.join((table, ask))
        return self._told(table, ask)

    def _told(self, table: ITable, ask: AskMatch | AskLookup) -> Ready[Answer]:
        answer: Any
        try:
            if type(ask) is AskMatch:
                answer = table.match(ask.service, ask.key)
            else:
                answer = table.lookup(ask.service, ask.key)
        except TableError as error:
            return TempFail(str(error))
        return answer if type(answer) in _ANSWERS else self._flights.start((table, ask), answer)

    def _flight(self, ask: Ask, start: Callable[[], Deferred[Any]]) -> Deferred[Answer]:
        """Equal questions are asked once."""
        return self._flights.join(ask) if ask in self._flights.waiting else self._flights.start(ask, start())

    def _forward(self, ask: AskForward, user: UserInfo) -> Ready[Answer]:
        if self._forwards is None:
            return None
        known = self._forwarded.get(user)
        if known is not None and known[1] > self._platform.clock.seconds():
            return known[0]
        reader = self._forwards

        def refused(failure: Failure) -> Refusal:
            failure.trap(ForwardRefused)
            return Refusal(failure.getErrorMessage())

        def homeless(failure: Failure) -> TempFail:
            failure.trap(NotADirectoryError)
            return TempFail(failure.getErrorMessage(), isHomeMissing=True)

        def hung(failure: Failure) -> TempFail:
            # Believed for a while, too: who waits for it has a place that others need.
            failure.trap(TimeoutError)
            return TempFail(failure.getErrorMessage())

        def start() -> Deferred[Answer]:
            read = reader.read(user).addErrback(refused).addErrback(homeless).addErrback(hung)
            return read.addCallback(self._learn, user)

        return self._flight(ask, start)

    def _learn(self, answer: Answer, user: UserInfo) -> Answer:
        if len(self._forwarded) >= MAX_FORWARDS:
            self._forwarded.clear()
        self._forwarded[user] = (answer, self._platform.clock.seconds() + FORWARD_SECONDS)
        return answer

    def _include(self, path: str) -> Deferred[str]:
        """By the rule of tables: what others could have written names no recipients."""
        users = (0, self._users.me().uid)
        return self._platform.workers.run(INCLUDE_LANE, _readInclude, self._platform.disk, path, users)

    def _failed(self, path: Path, failure: Failure) -> Decision:
        """A fault of ours or of a table costs this recipient one try."""
        self._log.failure("while deciding about {path}", failure=failure, path=str(path))
        reason = f"{path}: internal error: {failure.getErrorMessage()}"
        return Decision((), Reply(451, "Temporary failure", "4.3.0"), reason, Step(path, outcome=reason))


def _readInclude(disk: IDisk, path: str, users: tuple[int, ...]) -> str:
    """Runs in the lane.

    @raise OSError: it cannot be read, or others could have written it.
    """
    if disk.stat(path).kind not in ("file", "link"):
        raise PermissionError(errno.EPERM, "it is not a file", path)
    file = disk.open(path)
    try:
        if not disk.isWritableOnlyBy(file, path, users):
            raise PermissionError(
                errno.EPERM, "others than root and the daemon's user may write it, or a directory above it", path
            )
        octets = file.read(MAX_INCLUDE + 1)
        while (chunk := file.read(MAX_INCLUDE + 1 - len(octets))) and len(octets) <= MAX_INCLUDE:
            octets += chunk
    finally:
        file.close()
    if len(octets) > MAX_INCLUDE:
        raise OSError(errno.EFBIG, f"it has more than {MAX_INCLUDE} octets", path)
    return octets.decode("utf-8")
