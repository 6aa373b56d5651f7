"""The agent: takes deliveries, and gives every envelope exactly one outcome. Here its parts are put together, started and stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from pysmtpd.interfaces.delivery import IAgent, IOutcomes, IRelease
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IQueue
from pysmtpd.interfaces.reporting import IReport, IStat
from pysmtpd.interfaces.routing import IResolver, ITable
from pysmtpd.interfaces.tls import IClientTls
from pysmtpd.model.config import Config
from pysmtpd.model.outcome import Outcome
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery
from pysmtpd.mta.board import Board, Steps
from pysmtpd.mta.directory import Directory
from pysmtpd.mta.faults import Faults
from pysmtpd.mta.foregone import Foregone
from pysmtpd.mta.intake import Intake
from pysmtpd.mta.lanes import Places
from pysmtpd.mta.ledger import Ledger
from pysmtpd.mta.nohost import NoHost
from pysmtpd.mta.policy import IPolicies, NoPolicies
from pysmtpd.mta.routes import Routes
from pysmtpd.mta.routing import Routing
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.sources import Sources
from pysmtpd.mta.timings import Timings
from pysmtpd.mta.turnstile import Turnstile

GRACE = 10.0
"""Seconds that transactions under way get to end when we stop."""

STOPPING = Reply(421, "Shutting down", "4.3.2")


@implementer(IAgent)
class MtaAgent:
    """Remote delivery by SMTP and LMTP.

    @ivar routes: for operators.
    """

    def __init__(
        self,
        platform: IPlatform,
        resolver: IResolver,
        queue: IQueue,
        config: Callable[[], Config],
        tables: Callable[[], Mapping[str, ITable]],
        report: IReport,
        stat: IStat,
        release: IRelease,
        tls: IClientTls,
        grace: float = GRACE,
        policies: IPolicies | None = None,
        shaper: Shaper | None = None,
        steps: Callable[[], Steps | None] = lambda: None,
        connections: int = 0,
    ) -> None:
        """
        @param steps: gives who wants to hear of each command of outgoing sessions; None: nobody does.
        @param connections: how many there may be in all, as the process's descriptors allow; 0: no bound.
        """
        self._clock = platform.clock
        self._grace = grace
        self._paused = False
        self._stopped: Deferred[None] | None = None
        self._graceTimer: IDelayedCall | None = None
        shaper = shaper or Shaper(platform, config, release)
        policies = policies or NoPolicies()
        fault = Faults(report).met
        timings = Timings(stat)
        sources = Sources(platform, tables)
        places = Places()
        self._turnstile = turnstile = Turnstile(platform.clock, config, release, places)
        self._ledger = ledger = Ledger(platform, config, shaper, timings, turnstile, release, fault)
        self._board = board = Board(
            platform,
            queue,
            config,
            tables,
            report,
            tls,
            shaper,
            ledger.decided,
            lambda tasks: self._routing.homeless(tasks),
            self._checkStopped,
            lambda *told: self._routing.moved(*told),
            sources.lacks,
            fault,
            lambda tasks: self._routing.displaced(tasks),
            policies.met,
            timings.connected,
            steps,
            connections,
        )
        self._directory = directory = Directory(platform, resolver, policies, tables, turnstile.left, places, fault)
        noHost = NoHost(platform, board, ledger, policies, release)
        self._routing = Routing(platform, config, directory, sources, shaper, board, ledger, turnstile, noHost)
        self._intake = Intake(platform, config, directory, shaper, board, ledger, turnstile, self._routing)
        self._foregone = Foregone(platform, config, directory, shaper, ledger)
        self.routes = Routes(
            platform,
            config,
            tables,
            resolver,
            policies,
            directory,
            sources,
            shaper,
            board,
            turnstile,
            ledger.hostStats,
            lambda: self._routing.gathering,
            lambda: self._paused and not board.stopping,
        )

    def capacity(self) -> int:
        return 0 if self._paused else self._intake.room

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = self._board.stopping

    def deliver(self, delivery: Delivery, outcomes: IOutcomes) -> None:
        self._intake.deliver(delivery, outcomes)

    def foregone(self, deliveries: Sequence[Delivery]) -> Sequence[tuple[Outcome, Sequence[Delivery]]]:
        return () if self._board.stopping else self._foregone.of(deliveries)

    def stop(self) -> Deferred[None]:
        self._paused = True
        stopped: Deferred[None] = Deferred()
        if self._stopped is not None:
            self._stopped.chainDeferred(stopped)
            return stopped
        self._stopped = stopped
        self._ledger.settled = self._checkStopped
        self._board.stopping = True
        self._graceTimer = self._clock.callLater(self._grace, self._graceOver)
        # What only waits for DNS or a table has not begun.
        self._turnstile.stop()
        self._directory.stop()
        self._abandon()
        for pool in list(self._board.hosts.pools):
            while pool.waiting:
                self._ledger.giveBack(pool.waiting.pop(0).parts)
            for connection in list(pool.idle):
                pool.quit(connection)
            for connection in list(pool.connections):
                if connection.facts is None:
                    connection.giveUp(STOPPING)
        self._checkStopped()
        return stopped

    def _graceOver(self) -> None:
        self._graceTimer = None
        for pool in list(self._board.hosts.pools):
            while pool.waiting:
                self._ledger.giveBack(pool.waiting.pop(0).parts)
        self._abandon()
        for connection in list(self._board.connections):
            connection.giveUp(STOPPING)
        self._checkStopped()

    def _checkStopped(self) -> None:
        stopped = self._stopped
        if stopped is None or stopped.called or self._ledger.envelopes:
            return
        if self._board.connections and self._graceTimer is not None:
            return
        if self._graceTimer is not None:
            self._graceTimer.cancel()
            self._graceTimer = None
        for connection in list(self._board.connections):
            connection.giveUp(STOPPING)
        self._board.end()
        stopped.callback(None)

    def _abandon(self) -> None:
        """Give back what only waits for DNS or a table: it has not begun."""
        self._routing.abandon()
        self._intake.abandon()
