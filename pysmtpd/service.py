"""The composition root: builds the rooms, wires them, orders start and stop. The only file that knows several rooms."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd import __version__
from pysmtpd.analysing import Analysis, analyse
from pysmtpd.backends import NoSuchBackend, makeBackend
from pysmtpd.bounce.service import Bouncer
from pysmtpd.config.problem import ConfigErrors
from pysmtpd.control.commands import Control
from pysmtpd.control.server import ControlServer
from pysmtpd.dns.hosts import parseHosts
from pysmtpd.dns.resolver import Resolver
from pysmtpd.generations import Generation, Generations, changes, isSameTable, unchangeable
from pysmtpd.interfaces import (
    IAgent,
    IContentCodec,
    IDeliveryHosts,
    IFilter,
    IHelper,
    IOperator,
    IPlatform,
    IQueueBackend,
    IScheduler,
    IStat,
    ITable,
    ReloadDone,
    ReloadRefused,
    ResolverSettings,
    SpoolError,
    TableError,
    TableUpdate,
    asDeferred,
)
from pysmtpd.listen.listeners import CannotAdopt, Listeners
from pysmtpd.mda.agent import MdaAgent
from pysmtpd.mda.helperhosts import HelperHosts
from pysmtpd.mda.hosts import LaneHosts
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision, Where
from pysmtpd.model.envelope import Agent, Destination, Envelope, Message, Route, routeOf
from pysmtpd.model.events import (
    ConfigurationWarned,
    DaemonStarted,
    DaemonStopped,
    Event,
    Reloaded,
    ReloadFailed,
)
from pysmtpd.model.explanation import Explanation, Supposed
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.model.question import Answer, Ask
from pysmtpd.model.rematched import Rematched
from pysmtpd.model.schedule import CHANGED, VANISHED, Kind
from pysmtpd.mta.agent import MtaAgent
from pysmtpd.mta.policy.https import PolicyFetcher, ReportPoster
from pysmtpd.mta.policy.known import StsPolicies
from pysmtpd.mta.policy.policies import Policies
from pysmtpd.mta.policy.reports import TlsReports
from pysmtpd.queue.front import QueueFront
from pysmtpd.report.bus import Bus
from pysmtpd.report.counting import Counting
from pysmtpd.router.auth import Authenticator
from pysmtpd.router.forwards import HelperForwards, LaneForwards
from pysmtpd.router.router import Router
from pysmtpd.ruleset import decide, rematch
from pysmtpd.ruleset.analysis import postmasters
from pysmtpd.scheduler.dispatcher import Dispatcher
from pysmtpd.scheduler.gate import ActionGate
from pysmtpd.table.keeper import Keeper
from pysmtpd.table.uses import servicesOf
from pysmtpd.tls.certificates import Certificates
from pysmtpd.tls.client import ClientContexts
from pysmtpd.tls.generations import CertificateGenerations
from pysmtpd.tls.renewal import Renewal

PARTS = ("mta", "mda", "smtp")
_AGENTS = {"mta": Kind.MTA, "mda": Kind.MDA}

# Seconds that running transactions and deliveries have to end.
GRACE = 10.0
# Seconds beyond it after which the rest of the end goes on without a part that does not end.
PATIENCE = 10.0

# Why a daemon may not start though it is in order.
_EXPECTED = (SpoolError, TableError, CannotListenError, OSError)

CONTROL_SOCKET = "control.sock"
LOCAL_SOCKET = "smtp.sock"


RELOAD_LANE = "reload"

# More than any hold queue holds.
_ALL = 1 << 30
# Ports from here on are for everybody.
_UNPRIVILEGED = 1024


def _placed(where: Where, text: str) -> str:
    return f"{where.file}:{where.line}:{where.column}: {text}" if where.line else text


def _noFiles(path: str) -> bytes:
    raise FileNotFoundError(f"{path} is not there")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is not in the configuration file.

    @ivar spool: absolute path of the directory that holds the queue and the control socket.
    @ivar paused: parts that start paused: mta, mda, smtp.
    @ivar maxSessions: what the descriptors allow; the configuration may say less.
    @ivar descriptors: descriptors from this number on are kept for others than sessions; 0: not watched.
    @ivar observers: who hears of every event, before anything happens.
    @ivar ended: called once the daemon has ended by itself: an operator said stop (empty text), or it cannot start (why).
    @ivar opened: called once every port is open.
    @ivar setVerbose: makes the logs verbose or brief.
    @ivar readFile: gives a certificate's or key's file; raises L{OSError}.
    @ivar hosts: text of the system's hosts file.
    @ivar filter: asked at each phase of every session.
    @ivar codec: how queued content is stored.
    @ivar load: reads the configuration again, for a reload; raises L{ConfigErrors}. It runs in a lane. None: it cannot be reloaded.
    @ivar authorities: certificates in PEM form that vouch for other hosts; empty: the system's.
    @ivar helper: where the daemon was started as root; it delivers to every user then, without it to the invoking user only.
    """

    spool: str
    paused: tuple[str, ...] = ()
    maxSessions: int = 1000
    descriptors: int = 0
    grace: float = GRACE
    observers: tuple[Callable[[float, Event], None], ...] = ()
    ended: Callable[[str], None] = lambda why: None
    opened: Callable[[], None] = lambda: None
    setVerbose: Callable[[bool], None] = lambda verbose: None
    readFile: Callable[[str], bytes] = _noFiles
    hosts: str = ""
    filter: IFilter | None = None
    codec: IContentCodec | None = None
    helper: IHelper | None = None
    load: Callable[[], Config] | None = None
    authorities: bytes = b""


def build(platform: IPlatform, config: Config, settings: Settings) -> Daemon:
    """Make every room and wire it. Nothing is opened yet: L{Daemon.startService} does that.

    @raise NoSuchBackend: the configuration names a backend that there is not.
    """
    return Daemon(platform, config, settings)


@implementer(IOperator)
class Daemon(Service):
    """The whole daemon as one service.

    @ivar trouble: what kept it from starting.
    """

    _log = Logger()

    def __init__(self, platform: IPlatform, config: Config, settings: Settings) -> None:
        self._platform = platform
        self._settings = settings
        self._paused = dict.fromkeys(PARTS, False)
        self._starting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None
        self._startedAt = platform.clock.seconds()
        self._ready = False
        self.trouble: BaseException | None = None

        self.report = Bus(platform.wallTime)
        for observer in settings.observers:
            self.report.subscribe(observer)
        self.stat: IStat = makeBackend("stat", config.statBackend, platform, {})
        self.report.subscribe(Counting(self.stat))

        self.generations = Generations(
            config,
            self._makeTables(config),
            platform.wallTime,
            lambda config: self.listeners.sessionsOf(config),
            lambda config: self.listeners.retire(config),
        )
        self._reloading = DeferredLock()
        self._analysis: Analysis | None = None
        self.keeper = Keeper(platform)
        self.keeper.take(config.tables, self.tables)
        self.scheduler: IScheduler = makeBackend(
            "scheduler", config.schedulerBackend, platform, {"limits": config.scheduler}
        )
        backend: IQueueBackend = makeBackend(
            "queue", config.queueBackend, platform, {"spool": settings.spool, "limits": config.queue}
        )
        self.queue = QueueFront(backend, self.scheduler, platform, self.report, config.queue, settings.codec)

        self.resolver = Resolver(platform, self._resolverSettings(), parseHosts(settings.hosts))
        forwards = HelperForwards(platform, settings.helper) if settings.helper is not None else LaneForwards(platform)
        self._forwards = forwards
        self.router = Router(platform, decide, self.generations.tables, forwards=forwards, report=self.report)
        self.certificates = CertificateGenerations(self._makeCertificates(config))
        self.renewal = Renewal(platform, lambda: self.certificates.newest, settings.readFile, self.report)

        self.bouncer = Bouncer(platform, self.queue, self.queue, self.router, self._config, self.report)
        agents: dict[Kind, IAgent] = {}
        self.dispatcher = Dispatcher(platform, self.scheduler, self.queue, agents, self.bouncer, self.report)
        tls = ClientContexts(settings.authorities, self.certificates, platform.clock.seconds)
        sts = StsPolicies(
            platform,
            self.resolver,
            PolicyFetcher(platform, self.resolver, tls).fetch,
            f"{settings.spool}/mta-sts.json",
            lambda *told: self.policies.failed(*told),
        )
        reports = TlsReports(
            platform,
            self.resolver,
            ReportPoster(platform, self.resolver, tls).post,
            f"{settings.spool}/tls-reports.json",
            lambda: self.config.serverName,
            self.report,
        )
        self.policies = Policies(platform, sts, reports, self.report, settings.spool)
        self.mta = MtaAgent(
            platform,
            self.resolver,
            self.queue,
            self._config,
            lambda: self.tables,
            self.report,
            self.stat,
            self.dispatcher,
            tls,
            grace=settings.grace,
            policies=self.policies,
        )
        self.hosts: IDeliveryHosts = (
            HelperHosts(platform, settings.helper) if settings.helper is not None else LaneHosts(platform)
        )
        self.mda = MdaAgent(
            platform, self.hosts, self.queue, self._config, lambda: self.tables, self.dispatcher, self.stat
        )
        agents |= {Kind.MTA: ActionGate(self.mta, self._config), Kind.MDA: ActionGate(self.mda, self._config)}
        self.listeners = Listeners(
            platform,
            self._config,
            self.router,
            self.queue,
            self.certificates,
            Authenticator(
                platform,
                self.generations.tables,
                system=settings.helper.password if settings.helper is not None else None,
            ),
            self.resolver,
            settings.filter,
            self.report,
            settings.maxSessions,
            settings.descriptors,
            self.generations.tables,
            f"{settings.spool}/{LOCAL_SOCKET}",
        )
        self.control = Control(self, self.queue, self.scheduler, self.mta, self.stat, self.report)
        self.controlServer = ControlServer(platform, f"{settings.spool}/{CONTROL_SOCKET}", self.control)

    @property
    def config(self) -> Config:
        """The newest generation's."""
        return self.generations.newest.config

    @property
    def tables(self) -> Mapping[str, ITable]:
        """The newest generation's."""
        return self.generations.newest.tables

    def _config(self) -> Config:
        return self.generations.newest.config

    def _makeTables(self, config: Config, before: Generation | None = None) -> dict[str, ITable]:
        """
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
                and isSameTable(before.config.tables[name], spec)
                and asked.get(name) == services.get(name)
            }
        return {
            name: same.get(name)
            or makeBackend("table", spec.backend, self._platform, {"spec": spec, "services": services.get(name, ())})
            for name, spec in config.tables.items()
        }

    def _makeCertificates(self, config: Config) -> Certificates:
        """Reads their files."""
        return Certificates(config.pki, self._settings.readFile, self._platform.wallTime, ca=config.ca)

    def _resolverSettings(self) -> ResolverSettings:
        own = self.config.resolver
        if own is None:
            return self._platform.resolverSettings()
        return ResolverSettings(((own.address, own.port),), trustAD=isLoopback(own.address))

    # --- start and stop

    def startService(self) -> None:
        """Open the queue, then the listeners, then load what was queued while mail already flows."""
        super().startService()
        self._starting = self._guarded(self._start())

    def _guarded(self, work: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        def failed(failure: Failure) -> None:
            self.trouble = failure.value
            if not failure.check(*_EXPECTED):
                # A fault of ours: where it is helps. What an operator can mend is said in one sentence.
                self._log.failure("The daemon cannot start", failure=failure)
            self._settings.ended(f"{failure.getErrorMessage()}")

        return Deferred.fromCoroutine(work).addErrback(failed)

    async def _start(self) -> None:
        for name in self.tables:
            try:
                await self.keeper.update(name)
            except TableError as error:
                who = f" (the daemon runs as {self._platform.users.me().name})" if self._platform.isPrivileged else ""
                raise TableError(f"table {name}: {error}{who}") from error
        await self.queue.start()
        self.report.happened(DaemonStarted(__version__, str(self.config.queueBackend), self.queue.durability.value))
        for part in self._settings.paused:
            self.pause(part)
        self.policies.start()
        self.listeners.start()
        self.renewal.start()
        self.controlServer.start()
        self._settings.opened()
        self._ready = True
        self.dispatcher.start()
        # Nobody waits for it.
        Deferred.fromCoroutine(self._examine()).addErrback(
            lambda failure: self._log.failure("While looking at the rules as a whole", failure=failure)
        )
        await self.dispatcher.load()

    async def _examine(self) -> None:
        config = self.config
        analysis = await self._analyse(config)
        if config is self.config:
            self._analysis = analysis
            self._warn()

    def stopService(self) -> Deferred[None]:
        """No new sessions; running transactions finish or read 421; deliveries under way are recorded; then the queue closes."""
        if self._stopping is None:
            super().stopService()
            self._stopping = Deferred.fromCoroutine(self._stop())
        return self._stopping

    async def _stop(self) -> None:
        if self._starting is not None and not self._ready:
            # Not open yet, or it could not be opened: what there is of it ends below.
            self._starting.cancel()
        for stage in self._stages():
            await gatherResults([self._ending(doing, work) for doing, work in stage.items()])
        self.report.happened(DaemonStopped("stopped"))

    def _stages(self) -> Sequence[Mapping[str, Callable[[], Deferred[Any]]]]:
        """What ends, one after the other; the parts of each together."""
        return (
            {
                "sessions": lambda: self.listeners.stop(self._settings.grace),
                "deliveries": self.dispatcher.stop,
                "the mta": self.mta.stop,
                "the mda": self.mda.stop,
            },
            {"delivery hosts": self.hosts.close, "control socket": self.controlServer.stop},
            {
                "certificates": self.renewal.stop,
                "TLS policies": lambda: Deferred.fromCoroutine(self.policies.stop()),
                "queue": self.queue.stop,
                "resolver": self.resolver.close,
            },
        )

    def _ending(self, doing: str, work: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """Fires when it has ended; whatever goes wrong, the other parts end, too."""
        ending = maybeDeferred(work).addTimeout(self._settings.grace + PATIENCE, self._platform.clock)
        return ending.addErrback(lambda why: self._log.failure("While stopping: {doing}", failure=why, doing=doing))

    # --- reload

    def reload(self) -> Deferred[ReloadDone]:
        """See L{IOperator.reload}. Calls that come together are served one after the other."""
        return self._reloading.run(lambda: Deferred.fromCoroutine(self._reload()))

    def hangUp(self) -> None:
        """SIGHUP: reload, and tell the log how it went."""

        def failed(failure: Failure) -> None:
            if failure.check(ReloadRefused):
                self._log.error("The configuration is not reloaded:\n{why}", why=failure.getErrorMessage())
            else:
                self._log.failure("The configuration is not reloaded", failure=failure)

        self.reload().addErrback(failed)

    async def _reload(self) -> ReloadDone:
        try:
            generation, changed = await self._takeNew(self.generations.newest)
        except ReloadRefused as refused:
            self.report.happened(ReloadFailed(len(refused.messages), refused.messages[0].partition("\n")[0]))
            raise
        self.report.happened(Reloaded(generation.number, "; ".join(changed) or "nothing"))
        for name in generation.config.actions:
            # What waited for the action to come back.
            for key in (VANISHED, CHANGED):
                self.dispatcher.release(f"{key}{name}", _ALL)
        return ReloadDone(generation.number, tuple(changed), self._warn())

    async def _takeNew(self, before: Generation) -> tuple[Generation, list[str]]:
        """All that may fail comes first, and changes nothing; then the step that nobody sees half done.

        @raise ReloadRefused: it cannot be taken.
        """
        load = self._settings.load
        if load is None or not self._ready or self._stopping is not None:
            raise ReloadRefused(["the daemon cannot reload now: it is starting or stopping, or has no file to read"])
        run = self._platform.workers.run
        try:
            config = await run(RELOAD_LANE, load)
            fixed = unchangeable(before.config, config)
            if fixed:
                raise ReloadRefused([_placed(where, f"{what}; that needs a restart") for where, what in fixed])
            tables = self._makeTables(config, before)
        except ConfigErrors as error:
            raise ReloadRefused([str(problem) for problem in error.problems]) from error
        except NoSuchBackend as error:
            raise ReloadRefused([str(error)]) from error
        problems: list[str] = []
        read: dict[str, TableUpdate] = {}
        for name, table in tables.items():
            if table is not before.tables.get(name):
                try:
                    read[name] = await table.update()
                except TableError as error:
                    problems.append(_placed(config.tables[name].where, str(error)))
        certificates = await run(RELOAD_LANE, self._makeCertificates, config)
        problems += certificates.faults or certificates.faultsOf(config)
        if problems:
            raise ReloadRefused(problems)
        try:
            await self.listeners.adopt(config)
        except CannotAdopt as error:
            raise ReloadRefused([self._cannotListen(error)]) from error
        self.certificates.adopt(certificates)
        self.queue.adopt(config.queue)
        self.keeper.take(config.tables, tables, read)
        generation = self.generations.add(config, tables)
        self._analysis = await self._analyse(config)
        return generation, changes(before.config, config)

    async def _analyse(self, config: Config) -> Analysis:
        """Of a generation that is in use."""
        analysis = await self._platform.workers.run(RELOAD_LANE, analyse, config)
        # This one tells nobody what it finds.
        router = Router(self._platform, decide, self.generations.tables, forwards=self._forwards)
        lost: list[str] = []
        for path, transaction, where in postmasters(config):
            decision = await asDeferred(router.expand(config, path, transaction))
            if decision.refusal is not None and decision.refusal.isPermanent:
                lost.append(f"{where}: nobody reads mail to <{path}> (RFC 5321 4.5.1): {decision.reason}")
        return replace(analysis, warnings=(*analysis.warnings, *lost))

    def _cannotListen(self, error: CannotAdopt) -> str:
        text = _placed(error.spec.where, str(error))
        if self._settings.helper is not None and error.spec.port < _UNPRIVILEGED:
            text += (
                "; the root helper binds only what the daemon was started with: a new port below 1024 needs a restart"
            )
        return text

    def _warn(self) -> tuple[str, ...]:
        """Tell the log what an operator should know of the configuration in use."""
        found = self._analysis.warnings if self._analysis is not None else ()
        warnings = (*self.config.warnings, *found, *self.certificates.check())
        for warning in warnings:
            self.report.happened(ConfigurationWarned(warning))
        return warnings

    # --- IOperator

    def status(self) -> Mapping[str, object]:
        """See L{IOperator.status}."""
        return {
            "version": __version__,
            "configuration": self.config.file,
            "uptime": round(self._platform.clock.seconds() - self._startedAt, 1),
            "process": self._platform.processId(),
            "queue": str(self.config.queueBackend),
            "durability": self.queue.durability.value,
            "listeners": list(self.listeners.names),
            "sessions": self.listeners.sessions,
            "paused": [part for part, isPaused in self._paused.items() if isPaused],
            "relaying": str(self._analysis.relaying) if self._analysis is not None else "",
            "trusted": list(self._analysis.relaying.trusted) if self._analysis is not None else [],
            "generations": [
                {"number": each.number, "since": round(each.since, 1), "sessions": sessions}
                for each, sessions in self.generations
            ],
            "loading": self.dispatcher.isLoading,
            "loaded": self.dispatcher.loaded,
        }

    def pause(self, part: str) -> None:
        """See L{IOperator.pause}."""
        self._turn(part, True)

    def resume(self, part: str) -> None:
        """See L{IOperator.resume}."""
        self._turn(part, False)

    def _turn(self, part: str, off: bool) -> None:
        if part not in self._paused:
            raise ValueError(f"there is no part {part!r} to pause; there are: {', '.join(PARTS)}")
        self._paused[part] = off
        if part == "smtp":
            (self.listeners.pause if off else self.listeners.resume)()
            return
        (self.dispatcher.pause if off else self.dispatcher.resume)(_AGENTS[part])

    def suspendEnvelopes(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        """See L{IOperator.suspendEnvelopes}."""
        return self.dispatcher.suspendEnvelopes(envelopes)

    def resumeEnvelopes(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        """See L{IOperator.resumeEnvelopes}."""
        return self.dispatcher.resumeEnvelopes(envelopes)

    def rematch(self, message: Message, envelopes: Sequence[Envelope], dryRun: bool) -> Deferred[Sequence[Rematched]]:
        """See L{IOperator.rematch}."""
        return Deferred.fromCoroutine(self._rematch(self.config, message, envelopes, dryRun))

    async def _rematch(
        self, config: Config, message: Message, envelopes: Sequence[Envelope], dryRun: bool
    ) -> Sequence[Rematched]:
        found: list[Rematched] = []
        changes: dict[EnvelopeId, tuple[Route | None, str]] = {}
        taken: dict[Route, None] = {}
        for envelope in envelopes:
            if envelope.state.failed:
                continue
            before = envelope.destination
            after, hold = await self._matchAgain(config, before, message.transaction)
            if not hold and after in taken:
                # Several local deliveries of one address that is relayed now: one copy goes.
                hold = f"{before.recipient} goes there already, as another envelope of this message"
            taken[after] = None
            if hold == envelope.state.hold and (hold or after._replace(rule="") == routeOf(before)._replace(rule="")):
                continue
            changes[envelope.id] = (after, hold)
            action, rule = ("", "") if hold else (after.action, after.rule)
            address = str(before.recipient)
            found.append(Rematched(envelope.id, address, before.action, before.rule, action, rule, hold))
        if changes and not dryRun:
            busy = await self.dispatcher.reroute(message.id, changes)
            found = [replace(one, isBusy=one.envelope in busy) for one in found]
        return found

    async def _matchAgain(
        self, config: Config, destination: Destination, transaction: Transaction
    ) -> tuple[Route, str]:
        """Where it goes today, or why it is held. What cannot be told now changes nothing."""

        def deciding(config: Config, path: Path, transaction: Transaction) -> Generator[Ask, Answer, Decision]:
            return rematch(config, destination, transaction)

        router = Router(self._platform, deciding, self.generations.tables, forwards=self._forwards)
        decision = await asDeferred(router.expand(config, destination.recipient, transaction))
        refusal = decision.refusal
        if refusal is None:
            return routeOf(decision.destinations[0]), ""
        return routeOf(destination), "" if refusal.isTemporary else f"rematch: {decision.reason}"

    def explain(
        self, supposed: Supposed, asksDns: bool = True
    ) -> Deferred[tuple[Explanation, Sequence[Mapping[str, object]]]]:
        """See L{IOperator.explain}."""
        return Deferred.fromCoroutine(self._explain(self.config, supposed, asksDns))

    async def _explain(
        self, config: Config, supposed: Supposed, asksDns: bool
    ) -> tuple[Explanation, Sequence[Mapping[str, object]]]:
        # This one tells nobody what it finds.
        router = Router(self._platform, decide, self.generations.tables, forwards=self._forwards)
        explanation = await self.listeners.rehearse(config, supposed, asksDns, router)
        routes: list[Mapping[str, object]] = []
        for destination in explanation.destinations:
            isRemote = destination.agent is Agent.MTA
            routes.append(await self.mta.foresee(config, destination, explanation.path, asksDns) if isRemote else {})
        return explanation, routes

    def tableRows(self) -> Sequence[Mapping[str, object]]:
        """See L{IOperator.tableRows}."""
        return self.keeper.show()

    def updateTable(self, name: str) -> Deferred[TableUpdate]:
        """See L{IOperator.updateTable}."""
        return self.keeper.update(name)

    def setVerbose(self, verbose: bool) -> None:
        """See L{IOperator.setVerbose}."""
        self._settings.setVerbose(verbose)

    def stop(self) -> None:
        """See L{IOperator.stop}."""
        # The answer to whoever asked goes out first.
        self._platform.clock.callLater(0, self._settings.ended, "")
