"""The composition root: builds the rooms, wires them, orders start and stop. The only file that knows all rooms."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd import __version__
from pysmtpd.analysing import Analyst
from pysmtpd.backends import makeBackend
from pysmtpd.bounce.service import Bouncer
from pysmtpd.control.commands import Control
from pysmtpd.control.server import ControlServer
from pysmtpd.dns.hosts import parseHosts
from pysmtpd.dns.resolver import Resolver
from pysmtpd.exitcodes import sentence
from pysmtpd.generations import Generations, readTables
from pysmtpd.interfaces import (
    IAgent,
    IDeliveryHosts,
    IPlatform,
    IQueueBackend,
    IScheduler,
    IStat,
    ITable,
    ResolverSettings,
    SpoolError,
    TableError,
)
from pysmtpd.listen.listeners import Listeners
from pysmtpd.mda.agent import MdaAgent
from pysmtpd.mda.helperhosts import HelperHosts
from pysmtpd.mda.hosts import LaneHosts
from pysmtpd.model.config import Config
from pysmtpd.model.events import (
    DaemonStarted,
    DaemonStopped,
)
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.model.schedule import Kind
from pysmtpd.mta.agent import MtaAgent
from pysmtpd.mta.policy.https import PolicyFetcher, ReportPoster
from pysmtpd.mta.policy.known import StsPolicies
from pysmtpd.mta.policy.policies import Policies
from pysmtpd.mta.policy.reports import TlsReports
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.operating import Operator
from pysmtpd.queue.codec import contentCodec
from pysmtpd.queue.front import QueueFront
from pysmtpd.reloading import Reloader
from pysmtpd.renewing import Renewer
from pysmtpd.report.bus import Bus
from pysmtpd.report.counting import Counting
from pysmtpd.router.auth import Authenticator
from pysmtpd.router.forwards import HelperForwards, LaneForwards
from pysmtpd.router.router import Router
from pysmtpd.ruleset import decide
from pysmtpd.scheduler.dispatcher import Dispatcher
from pysmtpd.scheduler.gate import ActionGate
from pysmtpd.settings import Settings
from pysmtpd.stopping import QUEUE, Ending, Stage
from pysmtpd.table.keeper import Keeper
from pysmtpd.tls.certificates import Certificates
from pysmtpd.tls.client import ClientContexts
from pysmtpd.tls.generations import CertificateGenerations
from pysmtpd.tls.renewal import Renewal

# Why a daemon may not start though it is in order.
_EXPECTED = (SpoolError, TableError, CannotListenError, OSError)

CONTROL_SOCKET = "control.sock"
LOCAL_SOCKET = "smtp.sock"


def build(platform: IPlatform, config: Config, settings: Settings) -> Daemon:
    """Make every room and wire it. Nothing is opened yet: L{Daemon.startService} does that.

    @raise NoSuchBackend: the configuration names a backend that there is not.
    """
    return Daemon(platform, config, settings)


class Daemon(Service):
    """The whole daemon as one service.

    @ivar trouble: what kept it from starting.
    """

    _log = Logger()

    def __init__(self, platform: IPlatform, config: Config, settings: Settings) -> None:
        self._platform = platform
        self._settings = settings
        self._starting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None
        self._ready = False
        self.trouble: BaseException | None = None

        self.report = Bus(platform.wallTime)
        for observer in settings.observers:
            self.report.subscribe(observer)
        self.stat: IStat = makeBackend("stat", config.statBackend, platform, {})
        self.report.subscribe(Counting(self.stat))

        self.generations = Generations(
            platform,
            config,
            lambda config: self.listeners.sessionsOf(config),
            lambda config: self.listeners.retire(config),
        )
        self.keeper = Keeper(platform)
        self.keeper.take(config.tables, self.tables)
        self.scheduler: IScheduler = makeBackend(
            "scheduler", config.schedulerBackend, platform, {"limits": config.scheduler}
        )
        backend: IQueueBackend = makeBackend(
            "queue", config.queueBackend, platform, {"spool": settings.spool, "limits": config.queue}
        )
        codec = settings.codec or contentCodec(config, settings.queueKey, platform.secret)
        self.queue = QueueFront(backend, self.scheduler, platform, self.report, config.queue, codec)

        self.resolver = Resolver(platform, self._resolverSettings(), parseHosts(settings.hosts))
        forwards = HelperForwards(platform, settings.helper) if settings.helper is not None else LaneForwards(platform)
        self.router = Router(
            platform,
            decide,
            self.generations.tables,
            forwards=forwards,
            report=self.report,
            screen=self.generations.screen,
        )
        self.certificates = CertificateGenerations(self._makeCertificates(config))
        self.renewal = Renewal(platform, lambda: self.certificates.newest, settings.readFile, self.report)

        self.bouncer = Bouncer(platform, self.queue, self.queue, self.router, self._config, self.report)
        agents: dict[Kind, IAgent] = {}
        self.dispatcher = Dispatcher(
            platform,
            self.scheduler,
            self.queue,
            agents,
            self.bouncer,
            self.report,
            warnAfter=lambda: self.config.bounceWarn,
        )
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
        self.shaper = Shaper(platform, self._config, self.dispatcher, f"{settings.spool}/mta-limits.json")
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
            steps=self.report.steps,
            shaper=self.shaper,
            connections=settings.connections,
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
            self.generations.forget,
        )
        self.analyst = Analyst(platform, self.generations, forwards, self.certificates, self.report)
        publishing = DeferredLock()
        self.reloader = Reloader(
            platform,
            settings.load,
            lambda: self._ready and self._stopping is None,
            settings.helper is not None,
            self._makeCertificates,
            self.generations,
            self.analyst,
            self.keeper,
            self.certificates,
            self.queue,
            self.listeners,
            self.dispatcher,
            self.report,
            publishing,
        )
        self.renewer = Renewer(self.generations, self.keeper, self.analyst, self.report, publishing)
        self.operator = Operator(
            platform,
            settings,
            self.generations,
            self.keeper,
            self.queue,
            forwards,
            self.dispatcher,
            self.mta.routes,
            self.listeners,
            self.analyst,
            self.reloader,
            self.renewer,
        )
        self.control = Control(self.operator, self.queue, self.scheduler, self.mta.routes, self.stat, self.report)
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
            if not self.running and failure.check(CancelledError):
                # It was told to stop meanwhile.
                return
            self.trouble = failure.value
            if not failure.check(*_EXPECTED):
                # A fault of ours: where it is helps. What an operator can mend is said in one sentence.
                self._log.failure("The daemon cannot start", failure=failure)
            self._settings.ended(sentence(failure.value))

        return Deferred.fromCoroutine(work).addErrback(failed)

    async def _start(self) -> None:
        tables, updates, errors = await readTables(self.tables)
        if errors:
            who = f" (the daemon runs as {self._platform.users.me().name})" if self._platform.isPrivileged else ""
            raise TableError("\n".join(f"table {name}: {error}{who}" for name, error in errors.items()))
        self.generations.begin(tables, await self.generations.look(self.config, tables))
        self.keeper.take(self.config.tables, tables, updates)
        await self.queue.start()
        self.report.happened(DaemonStarted(__version__, str(self.config.queueBackend), self.queue.durability.value))
        for part in self._settings.paused:
            self.operator.pause(part)
        self.policies.start()
        limits = self.shaper.load()
        self.listeners.start()
        self.renewal.start()
        self.controlServer.start()
        self._settings.opened()
        self._ready = True
        # What is suspended must not leave meanwhile.
        await limits
        self.dispatcher.start()
        # Nobody waits for it.
        Deferred.fromCoroutine(self._examine()).addErrback(
            lambda failure: self._log.failure("While looking at the rules as a whole", failure=failure)
        )
        await self.dispatcher.load()

    async def _examine(self) -> None:
        config = self.config
        await self.analyst.look(config)
        if config is self.config:
            self.analyst.warn()

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
        left = await Ending(self._platform.clock, self._settings.grace).run(self._stages())
        self.report.happened(DaemonStopped(f"stopped without {', '.join(left)}" if left else "stopped"))

    def _stages(self) -> Sequence[Stage]:
        """What ends, one after the other; the parts of each together."""
        return (
            {
                "sessions": lambda: self.listeners.stop(self._settings.grace),
                "deliveries": self.dispatcher.stop,
                "the mta": self.mta.stop,
                "the mda": self.mda.stop,
            },
            {"limits": self.shaper.stop, "delivery hosts": self.hosts.close, "control socket": self.controlServer.stop},
            {
                "certificates": self.renewal.stop,
                "TLS policies": lambda: Deferred.fromCoroutine(self.policies.stop()),
                QUEUE: self.queue.stop,
                "resolver": self.resolver.close,
            },
        )
