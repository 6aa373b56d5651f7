"""The room's front: all listeners, started, paused and stopped together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from twisted.internet.defer import Deferred, gatherResults
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
from pysmtpd.listen.damping import Damping
from pysmtpd.listen.limits import Limits
from pysmtpd.listen.listener import SOCKET, Listener
from pysmtpd.listen.neighbours import Neighbours
from pysmtpd.listen.timeouts import Timeouts
from pysmtpd.listen.transport import ServerTransport
from pysmtpd.model.config import Config, ListenerSpec
from pysmtpd.model.reply import Reply

STOPPING = Reply(421, "Service is shutting down", "4.3.2")
RETIRED = Reply(421, "The configuration has changed, connect again", "4.3.2")
# Seconds that peers have for taking our last words at the end of the grace period.
LAST_WORDS = 2.0


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
    ) -> None:
        """
        @param config: tells the newest generation of the configuration; a session keeps the one it started with.
        @param filter: asked at each phase; None costs nothing.
        @param maxSessions: in all, as the process's descriptors allow; the configuration may say less.
        @param descriptors: descriptors with this number and above are kept for others than sessions: accepting pauses when a
            connection gets one. 0: not watched.
        @param tables: those of a generation, by name.
        @param socketPath: where the local socket is; empty: there is none.
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
        )
        self._socketPath = socketPath
        self._limits = Limits(maxSessions)
        self._descriptors = descriptors
        self._listeners: list[Listener] = []
        self._stopped: Deferred[None] | None = None
        self._paused = False

    def start(self) -> None:
        """Listen on every configured address.

        @raise twisted.internet.error.CannotListenError: one of them cannot be had; then none is open.
        """
        config = self._config()
        wanted = [(spec, address) for spec in config.listeners for address in spec.addresses]
        if self._socketPath:
            wanted.append((config.socket or ListenerSpec(SOCKET, (), 0, isSocket=True), self._socketPath))
        for spec, address in wanted:
            listener = Listener(spec, address, self._config, self._near, self._limits, self._descriptors)
            try:
                listener.open()
            except BaseException:
                self._close().addErrback(self._complain)
                raise
            self._listeners.append(listener)
        if self._paused:
            self.pause()

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
            for listener in self._listeners:
                listener.whenEmpty(check)
            for wire in list(self._wires()):
                wire.drain(STOPPING)
            check()

        self._close().addErrback(self._complain).addCallback(closed)
        return stopped

    def _wires(self) -> Iterator[ServerTransport]:
        for listener in self._listeners:
            yield from listener.sessions

    def _expel(self) -> None:
        for wire in list(self._wires()):
            wire.expel(STOPPING)

    def _close(self) -> Deferred[list[object]]:
        return gatherResults([listener.close() for listener in self._listeners])

    def _complain(self, failure: object) -> None:
        self._log.error("closing a listener: {failure}", failure=failure)
