"""What is to be said of a configuration's rules as a whole."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace

from pysmtpd.generations import Generations
from pysmtpd.interfaces import IForwardReader, IPlatform, ITable, TableError, asDeferred
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
from pysmtpd.table.seen import entriesOf, see
from pysmtpd.table.static import StaticTable
from pysmtpd.table.uses import servicesOf
from pysmtpd.tls.generations import CertificateGenerations

# The lane.
LANE = "reload"
# What rules and expansions ask for. What patterns match cannot be told from looking at them.
_SEEN = (Service.DOMAIN, Service.NETADDR, Service.MAILADDR, Service.STRING, Service.ALIAS)


@dataclass(frozen=True, slots=True)
class Analysis:
    """
    @ivar warnings: each with its place.
    """

    relaying: Relaying
    warnings: tuple[str, ...]


class Sights:
    """What the tables of a configuration hold now, as far as the rules ask for it and it can be seen.

    @ivar outside: those that may change while the configuration does not.
    """

    def __init__(self, contents: Mapping[tuple[str, Service], Content], outside: tuple[str, ...]) -> None:
        self._contents = contents
        self.outside = outside

    def tables(self) -> Tables:
        return Tables(self._match, self._lookup, self._holds, self._entries)

    def _match(self, table: str, service: Service, key: str) -> bool | None:
        content = self._contents.get((table, service))
        return content.match(service, key) if content is not None else None

    def _lookup(self, table: str, service: Service, key: str) -> Answer:
        content = self._contents.get((table, service))
        if content is None:
            return TempFail("it cannot be seen")
        try:
            return content.lookup(service, key)
        except TableError as error:
            return TempFail(str(error))

    def _holds(self, table: str, service: Service, key: str) -> bool:
        content = self._contents.get((table, service))
        return content is not None and content.get(key) is not None

    def _entries(self, table: str, service: Service) -> Iterable[tuple[str, str]] | None:
        content = self._contents.get((table, service))
        return entriesOf(content) if content is not None else None


async def look(platform: IPlatform, config: Config, tables: Mapping[str, ITable]) -> Sights:
    """At the tables of a generation."""
    contents: dict[tuple[str, Service], Content] = {}
    outside: dict[str, None] = {}
    for name, services in servicesOf(config).items():
        # Whatever has an order of its own is not to depend on how a set is kept.
        for service in sorted((one for one in services if one in _SEEN), key=str):
            try:
                contents[name, service] = await see(platform, tables[name], service)
            except TableError:
                # What it would say is not known: so is what depends on it.
                continue
            if not isinstance(tables[name], StaticTable):
                outside[name] = None
    return Sights(contents, tuple(outside))


def analyse(config: Config, sights: Sights) -> Analysis:
    """Rules that can never match, and whether strangers can relay. All of it is values, so a lane may do it."""
    tables = sights.tables()
    verdict = replace(relaying(config, tables), asOf=sights.outside)
    warnings = [f"{where}: {why}" for where, why in shadowed(config, tables)]
    if verdict.verdict == "open":
        place = f"{verdict.where}: " if verdict.where is not None else ""
        warnings.append(f"{place}open relay: anybody can relay to foreign domains: {verdict.reason}")
    elif verdict.verdict == "closed" and verdict.reason:
        warnings.append(f"{verdict.where}: this rule is an open relay but for the listeners: {verdict.reason}")
    return Analysis(verdict, tuple(warnings))


def unroutable(config: Config, sights: Sights, findUser: Callable[[str], UserInfo | None]) -> tuple[str, ...]:
    """Warnings about domains of ours without a postmaster, as far as that can be told without a daemon.

    @param findUser: the system's users.
    """
    tables = sights.tables()
    lost = _Lost()
    for path, transaction, where in postmasters(config, tables):
        decision = _decided(decide(config, path, transaction), tables, findUser)
        if decision is not None:
            lost.look(where, path, decision)
    return lost.told


def _decided(
    deciding: Generator[Ask, Answer, Decision], tables: Tables, findUser: Callable[[str], UserInfo | None]
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
            case AskMatch(table, service, key) if (known := tables.match(table, service, key)) is not None:
                answer = known
            case AskLookup(table, service, key):
                answer = tables.lookup(table, service, key)
            case AskUser(name):
                answer = findUser(name)
            case AskForward():
                answer = None
            case AskTrust():
                answer = True
            case _:
                deciding.close()
                return None


class _Lost:
    """Postmasters whom nobody reads, by the rule: a table may have many domains, and one word is enough for all of them."""

    def __init__(self) -> None:
        self._found: dict[Where, tuple[Path, str, int]] = {}

    def look(self, where: Where, path: Path, decision: Decision) -> None:
        if decision.refusal is not None and decision.refusal.isPermanent:
            first, reason, count = self._found.get(where, (path, decision.reason, 0))
            self._found[where] = (first, reason, count + 1)

    @property
    def told(self) -> tuple[str, ...]:
        return tuple(f"{where}: {_unread(*found)}" for where, found in self._found.items())


def _unread(path: Path, reason: str, count: int) -> str:
    more, was = ("another domain", "was") if count == 2 else (f"{count - 1} other domains", "were")
    others = f", nor to the postmasters of {more} that {was} tried" if count > 1 else ""
    return f"nobody reads mail to <{path}>{others} (RFC 5321 4.5.1): {reason}"


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
        sights = await look(self._platform, config, self._generations.tables(config))
        analysis = await self._platform.workers.run(LANE, analyse, config, sights)
        # This one tells nobody what it finds.
        router = Router(self._platform, decide, self._generations.tables, forwards=self._forwards)
        lost = _Lost()
        for path, transaction, where in postmasters(config, sights.tables()):
            lost.look(where, path, await asDeferred(router.expand(config, path, transaction)))
        if config is self._generations.newest.config:
            self.found = replace(analysis, warnings=(*analysis.warnings, *lost.told))

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
