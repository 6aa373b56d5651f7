"""What an operator may ask of the daemon, whoever brings the wish: the control socket, a signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd import __version__
from pysmtpd.analysing import Analyst
from pysmtpd.generations import Generations
from pysmtpd.interfaces import IOperator, IPlatform, ReloadDone, ReloadRefused, TableUpdate
from pysmtpd.listen.listeners import Listeners
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Agent, Envelope, Message
from pysmtpd.model.explanation import Explanation, Supposed
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.rematched import Rematched
from pysmtpd.model.schedule import Kind
from pysmtpd.mta.routes import Routes
from pysmtpd.queue.front import QueueFront
from pysmtpd.reloading import Reloader
from pysmtpd.rematching import Rematcher
from pysmtpd.renewing import Renewer
from pysmtpd.router.forwards import HelperForwards, LaneForwards
from pysmtpd.router.router import Router
from pysmtpd.ruleset import decide
from pysmtpd.scheduler.dispatcher import Dispatcher
from pysmtpd.settings import PARTS, Settings
from pysmtpd.table.keeper import Keeper

_AGENTS = {"mta": Kind.MTA, "mda": Kind.MDA}


@implementer(IOperator)
class Operator:
    """See L{IOperator}."""

    _log = Logger()

    def __init__(
        self,
        platform: IPlatform,
        settings: Settings,
        generations: Generations,
        keeper: Keeper,
        queue: QueueFront,
        forwards: HelperForwards | LaneForwards,
        dispatcher: Dispatcher,
        routes: Routes,
        listeners: Listeners,
        analyst: Analyst,
        reloader: Reloader,
        renewer: Renewer,
    ) -> None:
        self._platform = platform
        self._settings = settings
        self._generations = generations
        self._keeper = keeper
        self._queue = queue
        self._forwards = forwards
        self._dispatcher = dispatcher
        self._routes = routes
        self._listeners = listeners
        self._analyst = analyst
        self._reloader = reloader
        self._renewer = renewer
        self._rematcher = Rematcher(platform, generations.tables, forwards, dispatcher)
        self._paused = dict.fromkeys(PARTS, False)
        self._startedAt = platform.clock.seconds()

    @property
    def config(self) -> Config:
        """See L{IOperator.config}."""
        return self._generations.newest.config

    def reload(self) -> Deferred[ReloadDone]:
        """See L{IOperator.reload}."""
        return self._reloader.run()

    def hangUp(self) -> None:
        """SIGHUP: reload, and tell the log how it went."""

        def failed(failure: Failure) -> None:
            if failure.check(ReloadRefused):
                self._log.error("The configuration is not reloaded:\n{why}", why=failure.getErrorMessage())
            else:
                self._log.failure("The configuration is not reloaded", failure=failure)

        self.reload().addErrback(failed)

    def status(self) -> Mapping[str, object]:
        """See L{IOperator.status}."""
        found = self._analyst.found
        return {
            "version": __version__,
            "configuration": self.config.file,
            "uptime": round(self._platform.clock.seconds() - self._startedAt, 1),
            "process": self._platform.processId(),
            "queue": str(self.config.queueBackend),
            "durability": self._queue.durability.value,
            "listeners": list(self._listeners.names),
            "sessions": self._listeners.sessions,
            "paused": [part for part, isPaused in self._paused.items() if isPaused],
            "relaying": str(found.relaying) if found is not None else "",
            "trusted": list(found.relaying.trusted) if found is not None else [],
            "generations": [
                {"number": each.number, "since": round(each.since, 1), "sessions": sessions}
                for each, sessions in self._generations
            ],
            "loading": self._dispatcher.isLoading,
            "loaded": self._dispatcher.loaded,
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
            (self._listeners.pause if off else self._listeners.resume)()
            return
        (self._dispatcher.pause if off else self._dispatcher.resume)(_AGENTS[part])

    def suspendEnvelopes(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        """See L{IOperator.suspendEnvelopes}."""
        return self._dispatcher.suspendEnvelopes(envelopes)

    def resumeEnvelopes(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        """See L{IOperator.resumeEnvelopes}."""
        return self._dispatcher.resumeEnvelopes(envelopes)

    def rematch(self, message: Message, envelopes: Sequence[Envelope], dryRun: bool) -> Deferred[Sequence[Rematched]]:
        """See L{IOperator.rematch}."""
        return Deferred.fromCoroutine(self._rematcher.run(self.config, message, envelopes, dryRun))

    def explain(
        self, supposed: Supposed, asksDns: bool = True
    ) -> Deferred[tuple[Explanation, Sequence[Mapping[str, object]]]]:
        """See L{IOperator.explain}."""
        return Deferred.fromCoroutine(self._explain(self.config, supposed, asksDns))

    async def _explain(
        self, config: Config, supposed: Supposed, asksDns: bool
    ) -> tuple[Explanation, Sequence[Mapping[str, object]]]:
        # This one tells nobody what it finds.
        router = Router(self._platform, decide, self._generations.tables, forwards=self._forwards)
        explanation = await self._listeners.rehearse(config, supposed, asksDns, router)
        routes: list[Mapping[str, object]] = []
        for destination in explanation.destinations:
            isRemote = destination.agent is Agent.MTA
            routes.append(
                await self._routes.foresee(config, destination, explanation.path, asksDns) if isRemote else {}
            )
        return explanation, routes

    def tableRows(self) -> Sequence[Mapping[str, object]]:
        """See L{IOperator.tableRows}."""
        return self._keeper.show()

    def updateTable(self, name: str) -> Deferred[TableUpdate]:
        """See L{IOperator.updateTable}."""
        return self._renewer.run(name)

    def setVerbose(self, verbose: bool) -> None:
        """See L{IOperator.setVerbose}."""
        self._settings.setVerbose(verbose)

    def stop(self) -> None:
        """See L{IOperator.stop}."""
        # The answer to whoever asked goes out first.
        self._platform.clock.callLater(0, self._settings.ended, "")
