"""What operators see of the mta, and do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces.delivery import IRoutes
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import IResolver, ITable
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Destination
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.mta.board import Board
from pysmtpd.mta.directory import Directory
from pysmtpd.mta.foresight import foresee
from pysmtpd.mta.hoststats import HostStats
from pysmtpd.mta.policy import Foreseen, IPolicies
from pysmtpd.mta.probe import Probe
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.shown import MAX_SHOWN, Shown
from pysmtpd.mta.sources import Sources
from pysmtpd.mta.task import Part
from pysmtpd.mta.turnstile import Turnstile


@implementer(IRoutes)
class Routes:
    """Looks at what the mta works with. Nothing here is asked for by deliveries."""

    def __init__(
        self,
        platform: IPlatform,
        config: Callable[[], Config],
        tables: Callable[[], Mapping[str, ITable]],
        resolver: IResolver,
        policies: IPolicies,
        directory: Directory,
        sources: Sources,
        shaper: Shaper,
        board: Board,
        turnstile: Turnstile,
        hostStats: HostStats,
        gathering: Callable[[], Sequence[Part]],
        isPaused: Callable[[], bool],
    ) -> None:
        """
        @param gathering: gives the parts of messages that wait for DNS.
        """
        self._platform = platform
        self._clock = platform.clock
        self._config = config
        self._tables = tables
        self._resolver = resolver
        self._policies = policies
        self._directory = directory
        self._sources = sources
        self._shaper = shaper
        self._board = board
        self._turnstile = turnstile
        self._hostStats = hostStats
        self._gathering = gathering
        self._isPaused = isPaused

    def forgive(self, name: str = "") -> int:
        """See L{IRoutes.forgive}."""
        count = 0
        for pool in self._board.hosts.pools:
            if (not name or name in (pool.key.address, pool.route.host.names)) and pool.forgive():
                count += 1
                if name:
                    self._shaper.forgive(pool.route.host.names)
        for relay in self._directory.relays.values():
            relay.down = None
            if not name:
                relay.forgiveSources()
        if not name:
            self._sources.lacking.clear()
        return count

    def probe(self, name: str) -> Deferred[Mapping[str, object]]:
        """See L{IRoutes.probe}."""
        own = self._platform.localAddresses()
        probe = Probe(self._board, self._config(), own, self._resolver, Foreseen(self._policies, mayFetch=True))
        return Deferred.fromCoroutine(probe.run(name))

    def showTls(self, domain: str) -> Sequence[Mapping[str, object]]:
        """See L{IRoutes.showTls}."""
        now = self._clock.seconds()
        rows = list(self._policies.show(domain))
        for relay in self._directory.of(domain):
            for target in relay.targets(MAX_SHOWN):
                problem = target.barred or self._board.hosts.problem(target, now)
                rows.append({"what": "host", "host": target.label, "asks": target.verdict, "problem": problem})
        return rows

    def forgetTls(self, domain: str) -> int:
        """See L{IRoutes.forgetTls}."""
        for relay in self._directory.of(domain):
            relay.resolution = relay.down = None
        return self._policies.forget(domain)

    def foresee(
        self, config: Config, destination: Destination, sender: Path, asksDns: bool
    ) -> Deferred[Mapping[str, object]]:
        """See L{IRoutes.foresee}."""
        resolver = self._resolver if asksDns else None
        own = self._platform.localAddresses()
        return Deferred.fromCoroutine(
            foresee(
                config,
                destination,
                sender,
                resolver,
                own,
                self._clock,
                self._platform.wallTime(),
                self._tables(),
                Foreseen(self._policies),
            )
        )

    def suspendDestination(self, name: str) -> Deferred[bool]:
        """See L{IRoutes.suspendDestination}."""
        return self._shaper.suspend(name)

    def resumeDestination(self, name: str) -> Deferred[bool]:
        """See L{IRoutes.resumeDestination}."""
        return self._shaper.resume(name)

    def showLimits(self) -> Sequence[Mapping[str, object]]:
        return self._shaper.show()

    def _shown(self) -> Shown:
        relays = list(self._directory.relays.values())
        isPaused = self._isPaused()
        return Shown(self._platform, self._board, relays, self._turnstile, self._gathering(), isPaused)

    def showRelays(self) -> Sequence[Mapping[str, object]]:
        return self._shown().relays()

    def showRoutes(self) -> Sequence[Mapping[str, object]]:
        return self._shown().routes()

    def showHosts(self) -> Sequence[Mapping[str, object]]:
        return self._shown().hosts()

    def showConnections(self) -> Sequence[Mapping[str, object]]:
        return self._shown().connections()

    def underWay(self) -> Mapping[EnvelopeId, str]:
        """See L{IRoutes.underWay}."""
        return self._shown().underWay()

    def showHostStats(self) -> Sequence[Mapping[str, object]]:
        return self._shown().hostStats(self._hostStats.show(self._platform.wallTime()))
