"""One address that we listen on: its port, who is let in, and the sessions that it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Protocol, ServerFactory

from pysmtpd.interfaces import direct
from pysmtpd.listen.limits import Limits
from pysmtpd.listen.neighbours import Neighbours
from pysmtpd.listen.profile import Profile, listenerName, makeProfile
from pysmtpd.listen.session import Session
from pysmtpd.listen.transport import ServerTransport
from pysmtpd.model.config import Config, ListenerSpec, TlsMode
from pysmtpd.model.events import ListenerOpened, SessionRefused
from pysmtpd.model.ids import SessionId
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.server import ServerCore

BACKLOG = 1024
# Seconds until accepting is tried again after descriptors ran short.
BREATHE = 1.0

PAUSED = Reply(421, "Not accepting mail now, try again later", "4.3.2")


class _Refusal(Protocol):
    """A connection that is told 421 in place of a greeting, and closed."""

    def __init__(self, reply: Reply | None) -> None:
        """
        @param reply: None where nothing can be said: before a TLS handshake.
        """
        self._reply = reply

    def connectionMade(self) -> None:
        assert self.transport is not None
        if self._reply is not None:
            self.transport.write(self._reply.toBytes())
        self.transport.loseConnection()


class Listener(ServerFactory):
    """Makes sessions for one port.

    @ivar name: C{127.0.0.1:25}; known once it is open.
    @ivar sessions: those that are connected, oldest first.
    """

    noisy = False

    def __init__(
        self,
        spec: ListenerSpec,
        address: str,
        config: Callable[[], Config],
        near: Neighbours,
        limits: Limits,
        descriptors: int,
    ) -> None:
        """
        @param config: tells the newest generation of the configuration.
        @param descriptors: file descriptors that connections may have; when they run short, accepting pauses. 0: not watched.
        """
        self.spec = spec
        self.address = address
        self.name = listenerName(address, spec.port)
        self.sessions: dict[ServerTransport, None] = {}
        self.clock = near.platform.clock
        self.timeouts = near.timeouts
        self._port: Any = None
        self._config = config
        self._near = near
        self._limits = limits
        self._descriptors = descriptors
        self._profile: Profile | None = None
        self._portNumber = spec.port
        self._paused = False
        self._short = False
        self._random = near.platform.random
        self._count = 0
        self._empty: Callable[[], object] | None = None

    # --- the port

    def open(self) -> None:
        """Listen.

        @raise twisted.internet.error.CannotListenError: the address cannot be had.
        """
        port: IListeningPort = self._near.platform.network.listenTCP(
            self.spec.port, self, backlog=BACKLOG, interface=self.address
        )
        self._port = port
        self._portNumber = getattr(port.getHost(), "port", self.spec.port)
        self.name = listenerName(self.address, self._portNumber)
        self._profile = None
        self._near.report.happened(ListenerOpened(self.name))

    def close(self) -> Deferred[object]:
        """Accept no more connections; those that are there stay."""
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening) if port is not None else succeed(None)

    def pause(self) -> None:
        """Leave new connections waiting where the port can do that; else they are told 421."""
        self._paused = True
        self._reading()

    def resume(self) -> None:
        self._paused = False
        self._reading()

    def _reading(self) -> None:
        port = self._port
        act = getattr(port, "stopReading" if self._paused or self._short else "startReading", None)
        if act is not None:
            act()

    # --- sessions

    def profile(self) -> Profile:
        """This listener under the newest generation of the configuration."""
        config = self._config()
        profile = self._profile
        if profile is None or profile.config is not config:
            spec = self.spec
            if spec not in config.listeners:
                for other in config.listeners:
                    if other.port == spec.port and self.address in other.addresses:
                        spec = other
                        break
            profile = self._profile = makeProfile(config, spec, self.name, self.address, self._portNumber)
        return profile

    def buildProtocol(self, address: IAddress | None) -> Any:
        host: str = getattr(address, "host", "local")
        if host.startswith("::ffff:") and "." in host:
            # IPv4 on a socket of both families: one peer has one name.
            host = host[7:]
        profile = self.profile()
        if self._paused:
            reply: Reply | None = PAUSED
        else:
            limits = profile.limits
            reply = self._limits.admit(host, limits.maxSessions, limits.maxSessionsPerPeer)
        if reply is not None:
            self._near.report.happened(SessionRefused(host, self.name, reply.text))
            return _Refusal(reply if profile.spec.tls is not TlsMode.IMPLICIT else None)
        wire = ServerTransport(self, ServerCore(profile.settings))
        self._count += 1
        sessionId = SessionId((self._count & 0x7FFFFFFF) << 32 | self._random.getrandbits(32))
        wire.session = Session(sessionId, profile, self._near, wire, host, getattr(address, "port", 0))
        return wire

    def opened(self, wire: ServerTransport) -> None:
        """A transport was connected: begin its session."""
        self.sessions[wire] = None
        session = wire.session
        near = self._near
        profile = session.profile
        if not profile.address:
            session.localAddress = getattr(wire.transport.getHost(), "host", "")
        if self._descriptors and direct.descriptor(wire.transport) >= self._descriptors:
            self._breathe()
        if profile.spec.tls is not TlsMode.IMPLICIT:
            wire.begin()
            return
        try:
            context = near.certificates.serverContext(profile.spec.pki, profile.spec.verifyClient)
        except LookupError as error:
            session.reason = f"no TLS: {error}"
            wire.transport.abortConnection()
            return
        wire.startTls(context)

    def closed(self, wire: ServerTransport) -> None:
        """Its connection is gone."""
        self.timeouts.disarm(wire)
        self.sessions.pop(wire, None)
        self._limits.leave(wire.session.peer)
        if self._empty is not None and not self.sessions:
            self._empty()

    def whenEmpty(self, call: Callable[[], object]) -> None:
        """Call it whenever the last session has gone."""
        self._empty = call

    def _breathe(self) -> None:
        """Descriptors run short: leave new connections in the backlog for a moment rather than drop them."""
        if not self._short:
            self._short = True
            self._reading()
            self.clock.callLater(BREATHE, self._goOn)

    def _goOn(self) -> None:
        self._short = False
        self._reading()
