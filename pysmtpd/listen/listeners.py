"""The room's front: all listeners, started, paused and stopped together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from pysmtpd.interfaces import (
    IAuthenticator,
    ICertificates,
    IFilter,
    IPlatform,
    IReport,
    IResolver,
    IRouter,
    ISubmit,
    ITable,
)
from pysmtpd.listen.census import Census
from pysmtpd.listen.damping import Damping
from pysmtpd.listen.limits import Limits
from pysmtpd.listen.listener import SOCKET, Listener
from pysmtpd.listen.neighbours import Neighbours
from pysmtpd.listen.rehearsal import Rehearsal
from pysmtpd.listen.suppose import setScene
from pysmtpd.listen.timeouts import Timeouts
from pysmtpd.listen.transport import ServerTransport
from pysmtpd.model.config import Config, ListenerSpec
from pysmtpd.model.explanation import Explanation, Supposed
from pysmtpd.model.reply import Reply

STOPPING = Reply(421, "Service is shutting down", "4.3.2")
RETIRED = Reply(421, "The configuration has changed, connect again", "4.3.2")
# Seconds that peers have for taking our last words at the end of the grace period.
LAST_WORDS = 2.0


class CannotAdopt(Exception):
    """An address of a new generation cannot be listened on.

    @ivar spec: what asks for it.
    @ivar name: of the listener.
    @ivar reason: the system's words.
    """

    def __init__(self, spec: ListenerSpec, name: str, reason: str) -> None:
        super().__init__(f"cannot listen on {name}: {reason}")
        self.spec = spec
        self.name = name
        self.reason = reason


class Listeners:
    """Accepts mail by SMTP and LMTP on every address of C{listen on}."""

    _log = Logger()

    def __init__(
        self,
        platform: IPlatform,
        config: Callable[[], Config],
        router: IRouter,
        submit: ISubmit,
        certificates: ICertificates,
        authenticator: IAuthenticator,
        resolver: IResolver,
        filter: IFilter | None,
        report: IReport,
        maxSessions: int,
        descriptors: int = 0,
        tables: Callable[[Config], Mapping[str, ITable]] = lambda config: {},
        socketPath: str = "",
        empty: Callable[[], object] = lambda: None,
    ) -> None:
        """
        @param config: tells the newest generation of the configuration; a session keeps the one it started with.
        @param filter: asked at each phase; None costs nothing.
        @param maxSessions: in all, as the process's descriptors allow; the configuration may say less.
        @param descriptors: descriptors with this number and above are kept for others than sessions: accepting pauses when a
            connection gets one. 0: not watched.
        @param tables: those of a generation, by name.
        @param socketPath: where the local socket is; empty: there is none.
        @param empty: called when the last session of a generation has gone.
        """
        self._platform = platform
        self._config = config
        self._timeouts = Timeouts(platform.clock)
        self._near = Neighbours(
            platform,
            router,
            submit,
            certificates,
            authenticator,
            resolver,
            filter,
            report,
            self._timeouts,
            tables,
            Damping(),
            Census(empty),
        )
        self._socketPath = socketPath
        self._limits = Limits(maxSessions)
        self._descriptors = descriptors
        self._listeners: list[Listener] = []
        # Those that the configuration has no more, as long as they have sessions.
        self._left: list[Listener] = []
        self._stopped: Deferred[None] | None = None
        self._paused = False

    def start(self) -> None:
        """Listen on every configured address.

        @raise twisted.internet.error.CannotListenError: one of them cannot be had; then none is open.
        """
        for spec, address in self._wanted(self._config()):
            listener = self._make(spec, address)
            try:
                listener.open()
            except BaseException:
                self._close().addErrback(self._complain)
                raise
            self._listeners.append(listener)
        if self._paused:
            self.pause()

    def _wanted(self, config: Config) -> list[tuple[ListenerSpec, str]]:
        wanted = [(spec, address) for spec in config.listeners for address in spec.addresses]
        if self._socketPath:
            wanted.append((config.socket or ListenerSpec(SOCKET, (), 0, isSocket=True), self._socketPath))
        return wanted

    def _make(self, spec: ListenerSpec, address: str) -> Listener:
        return Listener(spec, address, self._config, self._near, self._limits, self._descriptors)

    async def adopt(self, config: Config) -> None:
        """Listen where this generation wants it: new addresses are opened first, then those that it has no more are closed. Sessions stay.

        @raise CannotAdopt: an address cannot be had; then all is as it was.
        """
        have = {(listener.address, listener.spec.port): listener for listener in self._listeners}
        wanted = {(address, spec.port): spec for spec, address in self._wanted(config)}
        leaving = [listener for place, listener in have.items() if place not in wanted]
        closed: list[Listener] = []
        opened: dict[tuple[str, int], Listener] = {}
        try:
            for place, spec in wanted.items():
                if place not in have:
                    opened[place] = await self._openBeside(spec, place[0], leaving, closed)
        except CannotAdopt:
            await gatherResults([listener.close() for listener in opened.values()])
            for listener in closed:
                listener.open()
            raise
        await gatherResults([listener.close() for listener in leaving if listener not in closed])
        self._listeners = [have.get(place) or opened[place] for place in wanted]
        self._left = [listener for listener in (*self._left, *leaving) if listener.sessions]
        if self._paused:
            self.pause()

    async def _openBeside(
        self, spec: ListenerSpec, address: str, leaving: list[Listener], closed: list[Listener]
    ) -> Listener:
        """Open a listener. One that is leaving may be in its way, on all addresses of a port; then that goes first."""
        listener = self._make(spec, address)
        try:
            listener.open()
            return listener
        except CannotListenError as error:
            inTheWay = [other for other in leaving if other.spec.port == spec.port and other not in closed]
            if not inTheWay:
                raise CannotAdopt(spec, listener.name, str(error.socketError)) from error
        for other in inTheWay:
            closed.append(other)
            await other.close()
        try:
            listener.open()
        except CannotListenError as error:
            raise CannotAdopt(spec, listener.name, str(error.socketError)) from error
        return listener

    def sessionsOf(self, config: Config) -> int:
        """How many sessions began under this generation and are still there."""
        return self._near.census.of(config)

    @property
    def names(self) -> tuple[str, ...]:
        """What is listened on, in the order of the configuration."""
        return tuple(listener.name for listener in self._listeners)

    @property
    def sessions(self) -> int:
        """How many there are now."""
        return self._limits.sessions

    def pause(self) -> None:
        """Accept no new sessions; those that are there go on."""
        self._paused = True
        for listener in self._listeners:
            listener.pause()

    def resume(self) -> None:
        self._paused = False
        for listener in self._listeners:
            listener.resume()

    def rehearse(self, config: Config, supposed: Supposed, asksDns: bool, router: IRouter) -> Deferred[Explanation]:
        """What would be said to a supposed peer, and decided about its mail, without effect.

        @param asksDns: DNS may be asked for the peer's name.
        @param router: decides, in place of the one that sessions use.
        @raise Senseless: (or a Deferred that fails with it) this cannot be supposed.
        """
        return Deferred.fromCoroutine(
            Rehearsal(replace(self._near, router=router), setScene(config, supposed), asksDns).play()
        )

    def retire(self, config: Config) -> None:
        """End the sessions that began under this generation: idle ones at once, the others after their transaction."""
        for wire in list(self._wires()):
            if wire.session.profile.config is config:
                wire.drain(RETIRED)

    def stop(self, grace: float) -> Deferred[None]:
        """An orderly end: no new sessions, idle ones are told 421 at once, running transactions may end within the grace period.

        @param grace: seconds; then the rest is told 421, too.
        @return: fires when the last connection is gone.
        """
        if self._stopped is not None:
            return self._stopped
        stopped = self._stopped = Deferred()
        clock = self._platform.clock
        calls = [clock.callLater(grace, self._expel), clock.callLater(grace + LAST_WORDS, self._expel)]

        def check(result: object = None) -> None:
            if any(True for wire in self._wires()):
                return
            for call in calls:
                if call.active():
                    call.cancel()
            self._timeouts.close()
            if not stopped.called:
                stopped.callback(None)

        def closed(result: object) -> None:
            for listener in (*self._listeners, *self._left):
                listener.whenEmpty(check)
            for wire in list(self._wires()):
                wire.drain(STOPPING)
            check()

        self._close().addErrback(self._complain).addCallback(closed)
        return stopped

    def _wires(self) -> Iterator[ServerTransport]:
        for listener in (*self._listeners, *self._left):
            yield from listener.sessions

    def _expel(self) -> None:
        for wire in list(self._wires()):
            wire.expel(STOPPING)

    def _close(self) -> Deferred[list[object]]:
        return gatherResults([listener.close() for listener in self._listeners])

    def _complain(self, failure: object) -> None:
        self._log.error("closing a listener: {failure}", failure=failure)
