"""The generations of the configuration that are alive: each with its tables, which it shares with its neighbours where they are the same.

A session keeps the generation that it began with; an attempt to deliver takes the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from pysmtpd.backends import NoSuchBackend, findBackend, makeBy
from pysmtpd.interfaces import IPlatform, IScreen, ITable, TableError, TableUpdate
from pysmtpd.model.config import NOWHERE, Config, ListenerSpec, TableSpec
from pysmtpd.model.decision import Where
from pysmtpd.table.screen import Screen, makeScreen
from pysmtpd.table.uses import servicesOf

MOST = 4
"""Generations that are alive at one time; for more, the sessions of the oldest one have to end."""
LINGER = 60.0
"""Seconds for which tables that nobody's generation has any more still answer. Who has asked meanwhile has an answer by then."""


@dataclass(frozen=True, slots=True)
class Generation:
    """
    @ivar number: from 1.
    @ivar since: wall-clock seconds.
    @ivar screen: of the tables; None: there are few.
    """

    number: int
    config: Config
    tables: Mapping[str, ITable]
    since: float
    screen: Screen | None = None


class Generations:
    """
    @ivar newest: the one that new sessions get.
    """

    _log = Logger()

    def __init__(
        self,
        platform: IPlatform,
        config: Config,
        sessionsOf: Callable[[Config], int],
        retire: Callable[[Config], None],
    ) -> None:
        """
        @param config: the first one's. Its tables have not been read yet.
        @param sessionsOf: how many sessions a generation has.
        @param retire: end its sessions, as soon as each can.
        @raise NoSuchBackend: of one of its tables.
        """
        self._platform = platform
        self._sessionsOf = sessionsOf
        self._retire = retire
        self.newest = Generation(1, config, makeTables(platform, config), platform.wallTime())
        self._older: dict[int, Generation] = {}
        self._retired: dict[int, None] = {}

    def begin(self, tables: Mapping[str, ITable], screen: Screen | None) -> None:
        """The tables of the first generation have been read: these are they."""
        self.newest = replace(self.newest, tables=tables, screen=screen)

    async def look(self, config: Config, tables: Mapping[str, ITable]) -> Screen | None:
        """Make the screen of a generation to come. One call at a time, and its generation before the next."""
        return await makeScreen(self._platform, tables, servicesOf(config), self.newest.screen)

    def add(self, config: Config, tables: Mapping[str, ITable], screen: Screen | None) -> Generation:
        """This one is the newest from now on.

        @param config: none that is in use already.
        """
        before = self.newest
        self._older[id(before.config)] = before
        self.newest = Generation(before.number + 1, config, tables, self._platform.wallTime(), screen)
        self.forget()
        alive = [key for key in self._older if key not in self._retired]
        for key in alive[: max(0, len(alive) + 1 - MOST)]:
            self._retired[key] = None
            self._retire(self._older[key].config)
        return self.newest

    def of(self, config: Config) -> Generation:
        """The one with this configuration; the newest, if nobody needs that any more."""
        newest = self.newest
        return newest if config is newest.config else self._older.get(id(config), newest)

    def tables(self, config: Config) -> Mapping[str, ITable]:
        """Those of a generation."""
        return self.of(config).tables

    def screen(self, config: Config) -> IScreen | None:
        """That of a generation's tables."""
        return self.of(config).screen

    def __iter__(self) -> Iterator[tuple[Generation, int]]:
        """Each that is alive, with its sessions; the newest first."""
        for generation in (self.newest, *reversed(self._older.values())):
            yield generation, self._sessionsOf(generation.config)

    def forget(self) -> None:
        """Nobody needs a generation whose last session has ended, nor tables that no other generation has."""
        gone = [self._older[key] for key, older in self._older.items() if not self._sessionsOf(older.config)]
        for older in gone:
            del self._older[id(older.config)]
            self._retired.pop(id(older.config), None)
        kept = {id(table) for each in (self.newest, *self._older.values()) for table in each.tables.values()}
        leaving = {id(table): table for each in gone for table in each.tables.values() if id(table) not in kept}
        for table in leaving.values():
            self._platform.clock.callLater(LINGER, self._close, table)

    def close(self, tables: Iterable[ITable]) -> None:
        """Nobody uses them."""
        for table in tables:
            self._close(table)

    def _close(self, table: ITable) -> None:
        maybeDeferred(table.close).addErrback(
            lambda failure: self._log.failure("Closing the table {name}", failure=failure, name=table.name)
        )


def makeTables(platform: IPlatform, config: Config, before: Generation | None = None) -> dict[str, ITable]:
    """Those that a generation has. New ones have not been read yet.

    @param before: a table that says the same there is the same.
    @raise NoSuchBackend: of one of them.
    """
    services = servicesOf(config)
    if before is None:
        same: dict[str, ITable] = {}
    else:
        asked = servicesOf(before.config)
        same = {
            name: before.tables[name]
            for name, spec in config.tables.items()
            if name in before.tables
            and _isSameTable(before.config.tables[name], spec)
            and asked.get(name) == services.get(name)
        }
    # Finding a plugin takes some milliseconds, and there may be many tables.
    find = lru_cache(partial(findBackend, "table"))

    def made(name: str, spec: TableSpec) -> ITable:
        try:
            maker = find(spec.backend.name)
        except NoSuchBackend as error:
            raise NoSuchBackend(f"{spec.backend.where}: {error}") from error
        table: ITable = makeBy(maker, spec.backend, platform, {"spec": spec, "services": services.get(name, ())})
        return table

    return {name: same[name] if name in same else made(name, spec) for name, spec in config.tables.items()}


async def readTables(
    tables: Mapping[str, ITable],
) -> tuple[dict[str, ITable], dict[str, TableUpdate], dict[str, TableError]]:
    """Read the sources of all of them.

    @return: what they are then, what came of it, and why some could not be read: these stay as they are.
    """
    read, updates, errors = dict(tables), dict[str, TableUpdate](), dict[str, TableError]()
    for name, table in tables.items():
        try:
            read[name], updates[name] = await table.update()
        except TableError as error:
            errors[name] = error
    return read, updates, errors


def _isSameTable(one: TableSpec, other: TableSpec) -> bool:
    """Do two tables say the same, wherever they stand?"""
    return _unplaced(one) == _unplaced(other)


def _unplaced(spec: TableSpec) -> TableSpec:
    return replace(spec, name="", where=NOWHERE, backend=replace(spec.backend, where=NOWHERE))


def unchangeable(old: Config, new: Config) -> list[tuple[Where, str]]:
    """What a reload cannot change, with the place of each in the new file, or in the old one where the new one says nothing."""
    found: list[tuple[Where, str]] = []
    for what, before, after in (
        ("queue", old.queueBackend, new.queueBackend),
        ("scheduler", old.schedulerBackend, new.schedulerBackend),
        ("stat", old.statBackend, new.statBackend),
    ):
        if (before.name, before.argument) != (after.name, after.argument):
            where = after.where if after.where.line else before.where
            found.append((where, f'the {what} backend is changed from "{before}" to "{after}"'))
    for word, what, attributes in (
        ("resolver", "the resolver is changed", ("resolver",)),
        ("queue compression", "how the queue is stored is changed", ("queueCompression",)),
        ("queue encryption", "how the queue is stored is changed", ("queueEncryption", "queueBackupKey")),
        ("scheduler limit", "the limits of the scheduler are changed", ("scheduler",)),
    ):
        if any(getattr(old, name) != getattr(new, name) for name in attributes):
            place = new.places.get(word) or old.places.get(word) or Where(new.file, 1)
            found.append((place, what))
    return found


def beyondHelper(start: Config, new: Config, hasHelper: bool) -> list[tuple[Where, str]]:
    """What would have needed a root helper, or one with other terms, with the place of each.

    @param start: the configuration that the daemon was started with: the helper's terms are made of it.
    """
    found: list[tuple[Where, str]] = []
    knowsPasswords = hasHelper and any(spec.asksSystem for spec in start.listeners)
    for spec in new.listeners:
        if spec.asksSystem and not knowsPasswords:
            found.append((spec.where, "auth without a table asks the system for its users' passwords"))
    knowsIds = not hasHelper or any(action.userbase is not None for action in start.actions.values())
    for action in new.actions.values():
        if action.userbase is not None and not knowsIds:
            found.append((action.where, "a userbase is used for the first time"))
    return found


def changes(old: Config, new: Config) -> list[str]:
    """What is different, in a few words each, for people."""
    told: list[str] = []
    if [replace(rule, where=NOWHERE) for rule in old.rules] != [replace(rule, where=NOWHERE) for rule in new.rules]:
        told.append(f"{len(new.rules)} rules" if len(new.rules) != 1 else "1 rule")
    actions = {name: replace(action, where=NOWHERE) for name, action in old.actions.items()}
    told += _differences("action", actions, {name: replace(one, where=NOWHERE) for name, one in new.actions.items()})
    tables = {name: _unplaced(spec) for name, spec in old.tables.items() if not name.startswith("<")}
    after = {name: _unplaced(spec) for name, spec in new.tables.items() if not name.startswith("<")}
    told += _differences("table", tables, after)
    told += _differences("pki", _placeless(old.pki), _placeless(new.pki))
    told += _differences("listener", _places(old), _places(new))
    for what in ("smtp", "mta", "mda", "queue"):
        if getattr(old, what) != getattr(new, what):
            told.append(f"limits of {what}")
    if old.serverName != new.serverName:
        told.append(f"the server's name: {new.serverName}")
    return told


def _differences(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    told = [f"{what} {name} is new" for name in new if name not in old]
    told += [f"{what} {name} is gone" for name in old if name not in new]
    return told + [f"{what} {name} is changed" for name in new if name in old and old[name] != new[name]]


def _placeless(pki: Mapping[str, object]) -> dict[str, object]:
    return {name: replace(spec, where=NOWHERE) for name, spec in pki.items()}  # type: ignore[type-var]


def _places(config: Config) -> dict[str, ListenerSpec]:
    specs = [*config.listeners, *([config.socket] if config.socket is not None else [])]
    return {
        f"[{address}]:{spec.port}" if ":" in address else f"{address}:{spec.port}": replace(spec, where=NOWHERE)
        for spec in specs
        for address in spec.addresses or (spec.interface,)
    }
