"""One address that we listen on: its port, who is let in, and the sessions that it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Protocol, ServerFactory

from pysmtpd.interfaces import Ready, Service, direct
from pysmtpd.listen.limits import Limits
from pysmtpd.listen.lobby import Door, Lobby
from pysmtpd.listen.neighbours import Neighbours
from pysmtpd.listen.profile import Profile, listenerName, makeProfile
from pysmtpd.listen.proxy import ProxyHeader
from pysmtpd.listen.session import Session, findTable, patient
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


SOCKET = "socket"
# The address of who comes by the local socket.
LOCAL = "local"


def _handOver(transport: Any, protocol: Any, rest: bytes) -> None:
    """Put another protocol in the place of the one that the connection began with."""
    transport.protocol = protocol
    protocol.makeConnection(transport)
    if rest and not transport.disconnecting:
        # TLS may have put itself in between.
        transport.protocol.dataReceived(rest)


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
    """Makes sessions for one port, or for the local socket.

    @ivar name: C{127.0.0.1:25}, or C{socket}; known once it is open.
    @ivar sessions: those that are connected, oldest first.
    @ivar lobbies: connections whose balancer has not said yet whom it brings.
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
        @param address: an IP address; the absolute path of the local socket.
        @param config: tells the newest generation of the configuration.
        @param descriptors: file descriptors that connections may have; when they run short, accepting pauses. 0: not watched.
        """
        self.spec = spec
        self.address = address
        self.name = self._nameOf(spec.port)
        self.sessions: dict[ServerTransport, None] = {}
        self.lobbies: dict[Lobby, None] = {}
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
        network = self._near.platform.network
        port: IListeningPort
        if self.spec.isSocket:
            # Every user of the machine may send mail. wantPID: a lock tells a socket that a dead daemon left behind from a live one.
            port = network.listenUNIX(self.address, self, backlog=BACKLOG, mode=0o666, wantPID=True)
        else:
            port = network.listenTCP(self.spec.port, self, backlog=BACKLOG, interface=self.address)
        self._port = port
        self._portNumber = getattr(port.getHost(), "port", self.spec.port)
        self.name = self._nameOf(self._portNumber)
        self._profile = None
        self._near.report.happened(ListenerOpened(self.name))

    def close(self) -> Deferred[object]:
        """Accept no more connections; sessions that are there stay."""
        for lobby in list(self.lobbies):
            lobby.abort()
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
            spec = self._specIn(config)
            address = "" if spec.isSocket else self.address
            profile = self._profile = makeProfile(config, spec, self.name, address, self._portNumber)
        return profile

    def _specIn(self, config: Config) -> ListenerSpec:
        spec = self.spec
        if spec.isSocket:
            return config.socket or spec
        if spec not in config.listeners:
            for other in config.listeners:
                if other.port == spec.port and self.address in other.addresses:
                    return other
        return spec

    def _nameOf(self, port: int) -> str:
        return SOCKET if self.spec.isSocket else listenerName(self.address, port)

    def buildProtocol(self, address: IAddress | None) -> Any:
        host: str = getattr(address, "host", "local")
        if host.startswith("::ffff:") and "." in host:
            # IPv4 on a socket of both families: one peer has one name.
            host = host[7:]
        profile = self.profile()
        if profile.spec.isSocket:
            return Door(self, profile)
        if profile.spec.proxy is None:
            return self._enter(profile, host, getattr(address, "port", 0), host)
        reply = self.admit(profile, host, trusted=True)
        return self._refuse(profile, host, reply) if reply is not None else Lobby(self, profile, host)

    def admit(self, profile: Profile, counted: str, trusted: bool = False) -> Reply | None:
        """Count a connection in, as one of C{counted}'s, or say why not.

        @param trusted: it may bring as many as there is room for.
        """
        if self._paused:
            return PAUSED
        limits = profile.limits
        return self._limits.admit(
            counted, limits.maxSessions, limits.maxSessions or 1 << 30 if trusted else limits.maxSessionsPerPeer
        )

    def leave(self, counted: str) -> None:
        """A connection that was admitted, and has no session, is over."""
        self._limits.leave(counted)

    def _refuse(self, profile: Profile, host: str, reply: Reply) -> Any:
        self._near.report.happened(SessionRefused(host, self.name, reply.text))
        return _Refusal(reply if profile.spec.tls is not TlsMode.IMPLICIT else None)

    def _enter(self, profile: Profile, host: str, port: int, counted: str) -> Any:
        """A new session's transport, or who refuses it."""
        reply = self.admit(profile, counted)
        if reply is not None:
            return self._refuse(profile, host, reply)
        wire = ServerTransport(self, ServerCore(profile.settings))
        self._count += 1
        sessionId = SessionId((self._count & 0x7FFFFFFF) << 32 | self._random.getrandbits(32))
        session = wire.session = Session(sessionId, profile, self._near, wire, host, port)
        session.counted = counted
        return wire

    # --- connections that must tell more before they are a session

    def local(self, transport: Any, profile: Profile) -> None:
        """By the local socket. Sessions are counted by user: none of them can take the places of the others."""
        uid = direct.peerUser(transport)
        made = self._enter(profile, LOCAL, 0, f"{LOCAL}:{uid}")
        if isinstance(made, ServerTransport):
            made.session.uid = uid
        _handOver(transport, made, b"")

    def announced(self, lobby: Lobby, header: ProxyHeader, rest: bytes) -> None:
        """A balancer has told whom it brings. It is the balancer itself where it tells of nobody; that is not local, either."""
        balancer, profile = lobby.host, lobby.profile
        made = self._enter(profile, header.source or balancer, header.sourcePort, header.source or balancer)
        if isinstance(made, ServerTransport):
            session = made.session
            session.via = balancer
            if header.destination:
                session.localAddress, session.localPort = header.destination, header.destinationPort
        _handOver(lobby.transport, made, rest)

    def turnAway(self, lobby: Lobby, reply: Reply, reason: str) -> None:
        """No session comes of this connection."""
        self._near.report.happened(SessionRefused(lobby.host, self.name, reason))
        _handOver(lobby.transport, _Refusal(reply if lobby.profile.spec.tls is not TlsMode.IMPLICIT else None), b"")

    def mayAnnounce(self, lobby: Lobby) -> Ready[bool]:
        """
        @raise TableError: (or a Deferred that fails with it)
        """
        spec = lobby.profile.spec.proxy
        if spec is None or spec.source is None:
            return True
        table = findTable(self._near, lobby.profile.config, spec.source)
        return patient(self._near, table.match(Service.NETADDR, lobby.host))

    def moved(self, wire: ServerTransport, address: str) -> Reply | None:
        """The peer of a session is another from now on, with other bounds.

        @return: why that cannot be; the session has to end then.
        """
        session = wire.session
        self._limits.leave(session.counted)
        limits = session.profile.limits
        reply = self._limits.admit(address, limits.maxSessions, limits.maxSessionsPerPeer)
        if reply is not None:
            # It will leave as what it was.
            self._limits.admit(session.counted, 0, 1 << 30)
            return reply
        session.counted = address
        return None

    def opened(self, wire: ServerTransport) -> None:
        """A transport was connected: begin its session."""
        self.sessions[wire] = None
        session = wire.session
        profile = session.profile
        self._near.census.came(profile.config)
        if not session.localAddress:
            session.localAddress = getattr(wire.transport.getHost(), "host", "")
        if self._descriptors and direct.descriptor(wire.transport) >= self._descriptors:
            self._breathe()
        if profile.spec.tls is not TlsMode.IMPLICIT:
            wire.begin()
            return
        try:
            context = session.tlsContext()
        except LookupError as error:
            session.reason = f"no TLS: {error}"
            wire.transport.abortConnection()
            return
        wire.startTls(context)

    def closed(self, wire: ServerTransport) -> None:
        """Its connection is gone."""
        self.timeouts.disarm(wire)
        if wire in self.sessions:
            del self.sessions[wire]
            self._near.census.went(wire.session.profile.config)
        self._limits.leave(wire.session.counted)
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
