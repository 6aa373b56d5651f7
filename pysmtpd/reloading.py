"""A new configuration while mail flows: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, DeferredLock

from pysmtpd.analysing import LANE, Analyst
from pysmtpd.backends import NoSuchBackend
from pysmtpd.config.problem import ConfigErrors
from pysmtpd.generations import Generation, Generations, beyondHelper, changes, makeTables, readTables, unchangeable
from pysmtpd.interfaces import IPlatform, ITable, ReloadDone, ReloadRefused, TableUpdate
from pysmtpd.listen.listeners import CannotAdopt, Listeners
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Where
from pysmtpd.model.events import Reloaded, ReloadFailed
from pysmtpd.model.schedule import AWAIT_CONFIGURATION
from pysmtpd.queue.front import QueueFront
from pysmtpd.report.bus import Bus
from pysmtpd.scheduler.dispatcher import Dispatcher
from pysmtpd.table.keeper import Keeper
from pysmtpd.tls.certificates import Certificates
from pysmtpd.tls.generations import CertificateGenerations

# More than any hold queue holds.
_ALL = 1 << 30
# Ports from here on are for everybody.
_UNPRIVILEGED = 1024


def _placed(where: Where, text: str) -> str:
    return f"{where.file}:{where.line}:{where.column}: {text}" if where.line else text


class Reloader:
    """See L{pysmtpd.interfaces.IOperator.reload}."""

    def __init__(
        self,
        platform: IPlatform,
        load: Callable[[], Config] | None,
        isRunning: Callable[[], bool],
        hasHelper: bool,
        makeCertificates: Callable[[Config], Certificates],
        generations: Generations,
        analyst: Analyst,
        keeper: Keeper,
        certificates: CertificateGenerations,
        queue: QueueFront,
        listeners: Listeners,
        dispatcher: Dispatcher,
        report: Bus,
        publishing: DeferredLock,
    ) -> None:
        """
        @param publishing: whoever has it may make a generation.
        @param load: reads the file again, in a lane; None: there is none.
        @param hasHelper: ports below 1024 are bound by the root helper.
        @param makeCertificates: reads the files of the certificates, in a lane.
        """
        self._platform = platform
        self._load = load
        self._isRunning = isRunning
        self._hasHelper = hasHelper
        self._makeCertificates = makeCertificates
        self._generations = generations
        self._start = generations.newest.config
        self._analyst = analyst
        self._keeper = keeper
        self._certificates = certificates
        self._queue = queue
        self._listeners = listeners
        self._dispatcher = dispatcher
        self._report = report
        self._publishing = publishing
        self._lock = DeferredLock()

    def run(self) -> Deferred[ReloadDone]:
        """Calls that come together are served one after the other.

        @raise ReloadRefused: everything is as it was.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._run()))

    async def _run(self) -> ReloadDone:
        try:
            generation, changed = await self._takeNew(self._generations.newest)
        except ReloadRefused as refused:
            self._report.happened(ReloadFailed(len(refused.messages), refused.messages[0].partition("\n")[0]))
            raise
        self._report.happened(Reloaded(generation.number, "; ".join(changed) or "nothing"))
        for name in generation.config.actions:
            # What waited for the action to come back.
            for key in AWAIT_CONFIGURATION:
                self._dispatcher.release(f"{key}{name}", _ALL)
        return ReloadDone(generation.number, tuple(changed), self._analyst.warn())

    async def _takeNew(self, before: Generation) -> tuple[Generation, list[str]]:
        """All that may fail comes first, and changes nothing; then the step that nobody sees half done.

        @raise ReloadRefused: it cannot be taken.
        """
        load = self._load
        if load is None or not self._isRunning():
            raise ReloadRefused(["the daemon cannot reload now: it is starting or stopping, or has no file to read"])
        run = self._platform.workers.run
        try:
            config = await run(LANE, load)
            fixed = unchangeable(before.config, config) + beyondHelper(self._start, config, self._hasHelper)
            if fixed:
                raise ReloadRefused([_placed(where, f"{what}; that needs a restart") for where, what in fixed])
            if config == before.config:
                await self._renew(before.config)
                return before, []
            tables = makeTables(self._platform, config, before)
        except ConfigErrors as error:
            raise ReloadRefused([str(problem) for problem in error.problems]) from error
        except NoSuchBackend as error:
            raise ReloadRefused([str(error)]) from error
        fresh = {name: table for name, table in tables.items() if table is not before.tables.get(name)}
        read, updates, errors = await readTables(fresh)
        problems = [_placed(config.tables[name].where, str(error)) for name, error in errors.items()]
        certificates = await run(LANE, self._makeCertificates, config)
        problems += certificates.faults or certificates.faultsOf(config)
        try:
            if problems:
                raise ReloadRefused(problems)
            tables |= read
            generation = await self._publishing.run(self._publish, config, tables, before, updates, certificates)
        except ReloadRefused:
            self._generations.close(read.values())
            raise
        await self._analyst.look(config)
        return generation, changes(before.config, config)

    async def _renew(self, config: Config) -> None:
        """The file says what it said: sessions need not make room for another generation. But certificates may have changed.

        @raise ReloadRefused: they cannot be read.
        """
        certificates = await self._platform.workers.run(LANE, self._makeCertificates, config)
        if problems := certificates.faults or certificates.faultsOf(config):
            raise ReloadRefused(problems)
        self._certificates.adopt(certificates)

    async def _publish(
        self,
        config: Config,
        tables: dict[str, ITable],
        before: Generation,
        updates: Mapping[str, TableUpdate],
        certificates: Certificates,
    ) -> Generation:
        generations = self._generations
        # Of the tables that are the same, some may have been read again meanwhile.
        tables |= {name: generations.newest.tables[name] for name in tables if tables[name] is before.tables.get(name)}
        screen = await generations.look(config, tables)
        try:
            await self._listeners.adopt(config)
        except CannotAdopt as error:
            raise ReloadRefused([self._cannotListen(error)]) from error
        self._certificates.adopt(certificates)
        self._queue.adopt(config.queue)
        self._keeper.take(config.tables, tables, updates)
        return generations.add(config, tables, screen)

    def _cannotListen(self, error: CannotAdopt) -> str:
        text = _placed(error.spec.where, str(error))
        if self._hasHelper and error.spec.port < _UNPRIVILEGED:
            text += (
                "; the root helper binds only what the daemon was started with: a new port below 1024 needs a restart"
            )
        return text
