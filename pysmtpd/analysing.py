"""What is to be said of a configuration's rules as a whole."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace

from pysmtpd.generations import Generations
from pysmtpd.interfaces import IForwardReader, IPlatform, asDeferred
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision, Where
from pysmtpd.model.events import ConfigurationWarned
from pysmtpd.model.question import (
    Answer,
    Ask,
    AskForward,
    AskLookup,
    AskMatch,
    AskTrust,
    AskUser,
    Service,
    TempFail,
    UserInfo,
)
from pysmtpd.report.bus import Bus
from pysmtpd.router.router import Router
from pysmtpd.ruleset import decide
from pysmtpd.ruleset.analysis import Relaying, Tables, postmasters, relaying, shadowed
from pysmtpd.table.content import Content
from pysmtpd.tls.generations import CertificateGenerations

# The lane.
LANE = "reload"

__all__ = ["Analysis", "Analyst", "Relaying", "analyse", "unroutable"]


@dataclass(frozen=True, slots=True)
class Analysis:
    """
    @ivar warnings: each with its place.
    """

    relaying: Relaying
    warnings: tuple[str, ...]


def analyse(config: Config) -> Analysis:
    """Rules that can never match, and whether strangers can relay. Of tables only those in the file itself are looked into.

    All of it is values, so a lane may do it.
    """
    contents = _contents(config)

    def match(table: str, service: Service, key: str) -> bool | None:
        content = contents.get(table)
        return None if content is None or service is Service.REGEX else content.match(service, key)

    def lookup(table: str, service: Service, key: str) -> Answer:
        content = contents.get(table)
        return TempFail("it is not in the configuration itself") if content is None else content.lookup(service, key)

    tables = Tables(match, lookup, lambda table: table in contents)
    verdict = relaying(config, tables)
    warnings = [f"{where}: {why}" for where, why in shadowed(config, tables)]
    if verdict.verdict == "open":
        place = f"{verdict.where}: " if verdict.where is not None else ""
        warnings.append(f"{place}open relay: anybody can relay to foreign domains: {verdict.reason}")
    return Analysis(verdict, tuple(warnings))


def _contents(config: Config) -> Mapping[str, Content]:
    """What stands in the configuration itself, by the names of the tables."""
    return {name: Content(spec.entries) for name, spec in config.tables.items() if spec.backend.name == "static"}


def unroutable(config: Config, findUser: Callable[[str], UserInfo | None]) -> tuple[str, ...]:
    """Warnings about domains of ours without a postmaster, as far as that can be told without a daemon.

    @param findUser: the system's users.
    """
    contents = _contents(config)
    lost = []
    for path, transaction, where in postmasters(config):
        decision = _decided(decide(config, path, transaction), contents, findUser)
        if decision is not None and decision.refusal is not None and decision.refusal.isPermanent:
            lost.append(_withoutPostmaster(where, path, decision))
    return tuple(lost)


def _decided(
    deciding: Generator[Ask, Answer, Decision],
    contents: Mapping[str, Content],
    findUser: Callable[[str], UserInfo | None],
) -> Decision | None:
    """The decision; None: it depends on what cannot be told here."""
    answer: Answer = None
    while True:
        try:
            ask = deciding.send(answer)
        except StopIteration as end:
            decision: Decision = end.value
            return decision
        match ask:
            case AskMatch(table, service, key) if table in contents and service is not Service.REGEX:
                answer = contents[table].match(service, key)
            case AskLookup(table, service, key) if table in contents:
                answer = contents[table].lookup(service, key)
            case AskUser(name):
                answer = findUser(name)
            case AskForward():
                answer = None
            case AskTrust():
                answer = True
            case _:
                deciding.close()
                return None


def _withoutPostmaster(where: Where, path: Path, decision: Decision) -> str:
    return f"{where}: nobody reads mail to <{path}> (RFC 5321 4.5.1): {decision.reason}"


class Analyst:
    """Looks at each generation, and tells the log what an operator should know.

    @ivar found: of the newest generation; None: it is being looked at for the first time.
    """

    def __init__(
        self,
        platform: IPlatform,
        generations: Generations,
        forwards: IForwardReader,
        certificates: CertificateGenerations,
        report: Bus,
    ) -> None:
        self._platform = platform
        self._generations = generations
        self._forwards = forwards
        self._certificates = certificates
        self._report = report
        self.found: Analysis | None = None
        self._told: tuple[str, ...] = ()

    async def look(self, config: Config) -> None:
        """At a generation that is in use. Of an older one than the newest nothing is kept."""
        analysis = await self._platform.workers.run(LANE, analyse, config)
        # This one tells nobody what it finds.
        router = Router(self._platform, decide, self._generations.tables, forwards=self._forwards)
        lost: list[str] = []
        for path, transaction, where in postmasters(config):
            decision = await asDeferred(router.expand(config, path, transaction))
            if decision.refusal is not None and decision.refusal.isPermanent:
                lost.append(_withoutPostmaster(where, path, decision))
        if config is self._generations.newest.config:
            self.found = replace(analysis, warnings=(*analysis.warnings, *lost))

    def warn(self) -> tuple[str, ...]:
        """Tell the log what an operator should know of the configuration in use."""
        warnings = (*self._generations.newest.config.warnings, *self._warnings(), *self._certificates.check())
        self._tell(warnings)
        return warnings

    def warnOfNews(self) -> None:
        """Tell the log what was not to be said before a table was read again."""
        self._tell(tuple(warning for warning in self._warnings() if warning not in self._told))

    def _warnings(self) -> tuple[str, ...]:
        return self.found.warnings if self.found is not None else ()

    def _tell(self, warnings: tuple[str, ...]) -> None:
        self._told = self._warnings()
        for warning in warnings:
            self._report.happened(ConfigurationWarned(warning))
