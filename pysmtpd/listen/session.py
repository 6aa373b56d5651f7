"""One connection, as far as policy is concerned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces import ITable, Phase, Ready, Service, TableError, Verdict
from pysmtpd.listen.neighbours import Neighbours
from pysmtpd.listen.profile import Profile
from pysmtpd.listen.trace import protocolName
from pysmtpd.listen.transaction import OpenTransaction
from pysmtpd.model.config import Config, TableRef
from pysmtpd.model.events import CommandFailed, InternalError, SessionAnnounced, SessionConnected, SessionDisconnected
from pysmtpd.model.facts import SessionFacts, TlsFacts
from pysmtpd.model.ids import SessionId
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.model.reply import Reply

T = TypeVar("T")

TROUBLE = Reply(421, "Temporary failure, closing the connection", "4.3.0")
REJECTED = Reply(421, "Closing the connection", "4.7.0")

# Seconds that a table may take.
PATIENCE = 30.0

_log = Logger(namespace="pysmtpd.listen")


class Wire(Protocol):
    """What a session may do to its connection."""

    def answer(self, reply: Reply) -> None:
        """Answer the event that asks."""

    def hold(self, until: Deferred[object]) -> None:
        """Take no more events before this has fired."""

    def offerXclient(self, attributes: tuple[str, ...]) -> None:
        """This peer may say XCLIENT, with these attributes."""

    def moved(self, address: str) -> Reply | None:
        """The session is the session of another peer from now on. A reply: it must not be, there are too many of them."""

    def startTls(self, context: SSL.Context) -> None:
        """The answer to STARTTLS was given: begin the handshake."""

    def hangup(self, reply: Reply) -> None:
        """Say this and end."""

    def finish(self) -> None:
        """Close once everything is written."""


class _Lost:
    """The wire of a session whose connection is gone: answers that come late reach nobody."""

    def answer(self, reply: Reply) -> None: ...

    def hold(self, until: Deferred[object]) -> None: ...

    def offerXclient(self, attributes: tuple[str, ...]) -> None: ...

    def moved(self, address: str) -> Reply | None: ...

    def startTls(self, context: SSL.Context) -> None: ...

    def hangup(self, reply: Reply) -> None: ...

    def finish(self) -> None: ...


LOST = _Lost()


QUIT = "quit"
"""Why a session ends whose peer has asked for it."""


class Session:
    """The facts of one connection, and the transaction it is in, if it is in one.

    @ivar profile: the listener under the configuration generation that this session started with.
    @ivar near: the rooms to speak with.
    @ivar verb: HELO, EHLO or LHLO, as the peer greeted last; empty: not yet.
    @ivar messages: accepted so far.
    @ivar failures: of AUTH, so far.
    @ivar reason: why it ends, for the log; empty: the peer just closed.
    @ivar hostname: the name that we greet with.
    @ivar via: address of the balancer or proxy that has announced C{peer}; empty: the peer is whom we are connected to.
        What is announced is believed, but never counts as local.
    @ivar counted: what it counts as among its peer's sessions.
    @ivar uid: of the program at the other end of the local socket; -1: unknown.
    """

    __slots__ = (
        "_facts",
        "counted",
        "failures",
        "helo",
        "hostname",
        "id",
        "isTold",
        "localAddress",
        "localPort",
        "messages",
        "near",
        "peer",
        "peerPort",
        "profile",
        "rdns",
        "reason",
        "started",
        "tls",
        "transaction",
        "uid",
        "user",
        "verb",
        "via",
        "wire",
    )

    def __init__(
        self, sessionId: SessionId, profile: Profile, near: Neighbours, wire: Wire, peer: str, peerPort: int
    ) -> None:
        self.id = sessionId
        self.profile = profile
        self.near = near
        self.wire = wire
        self.peer = self.counted = peer
        self.peerPort = peerPort
        self.hostname = profile.hostname
        self.via = ""
        self.uid = -1
        self.localAddress = profile.address
        self.localPort = profile.port
        self.rdns = ""
        self.helo = ""
        self.verb = ""
        self.user = ""
        self.tls: TlsFacts | None = None
        self.transaction: OpenTransaction | None = None
        self.started = near.platform.clock.seconds()
        self.messages = 0
        self.failures = 0
        self.isTold = False
        self.reason = ""
        self._facts: SessionFacts | None = None

    @property
    def facts(self) -> SessionFacts:
        """As they are now; the same object until something changes."""
        facts = self._facts
        if facts is None:
            profile = self.profile
            peer = self.peer
            isSocket = profile.spec.isSocket
            facts = self._facts = SessionFacts(
                self.id,
                profile.name,
                self.hostname,
                peer,
                self.peerPort,
                self.localAddress,
                self.localPort,
                self.rdns,
                self.helo,
                protocolName(self.verb, self.tls is not None, bool(self.user) and not isSocket),
                self.user,
                profile.spec.tag,
                self.tls,
                isSocket
                or (
                    not self.via
                    and (isLoopback(peer) or peer == self.localAddress or peer in profile.config.localAddresses)
                ),
                isSocket,
            )
        return facts

    def changed(self) -> None:
        """Something that the facts show is different now."""
        self._facts = None

    def secured(self, tls: TlsFacts) -> None:
        """TLS is on. All that was said before is forgotten (RFC 3207 4.2)."""
        self.tls = tls
        self.verb = self.helo = self.user = ""
        self.changed()
        self.endTransaction()

    # --- asking tables

    def match(self, ref: TableRef, service: Service, key: str) -> Ready[bool]:
        """Does an entry of a table match?

        @raise TableError: (or a Deferred that fails with it) it cannot be told now.
        """
        return self._patient(self._table(ref).match(Service.REGEX if ref.regex else service, key))

    def lookup(self, ref: TableRef, service: Service, key: str) -> Ready[str | None]:
        """The value of a map.

        @raise TableError: as C{match}.
        """
        return self._patient(self._table(ref).lookup(service, key))

    def _table(self, ref: TableRef) -> ITable:
        return findTable(self.near, self.profile.config, ref)

    def _patient(self, answer: Ready[T]) -> Ready[T]:
        return patient(self.near, answer)

    # --- going on

    def then(self, answer: Ready[T], go: Callable[[T], object]) -> None:
        """Go on with the answer, at once if it is there. A failure, also one of C{go}, costs this session."""
        if isinstance(answer, Deferred):
            self.later(answer, go)
        else:
            go(answer)

    def later(self, answer: Deferred[T], go: Callable[[T], object]) -> None:
        """Go on with the answer when it comes, if there still is a connection then."""
        answer.addCallback(self._goOn, go).addErrback(self.failed)

    def _goOn(self, answer: T, go: Callable[[T], object]) -> None:
        if self.wire is not LOST:
            go(answer)

    def consult(
        self,
        phase: Phase,
        value: str,
        command: str,
        go: Callable[[str], object],
        refuse: Callable[[Reply, str], object] | None = None,
    ) -> None:
        """Ask the filters, if there are any; go on with C{value}, or with what they put in its place.

        @param refuse: called with the reply and the reason when they refuse, in place of L{refuse}.
        """
        asked = self.near.filter
        if asked is None:
            go(value)
            return

        def decided(verdict: Verdict) -> None:
            reply = verdict.reply
            if reply is None and verdict.disconnect:
                reply = REJECTED
            if reply is not None:
                reason = f"filter at {phase.value}"
                if refuse is not None:
                    refuse(reply, reason)
                else:
                    self.refuse(command, reply, reason)
                if verdict.disconnect:
                    self.wire.finish()
            else:
                go(value if verdict.rewritten is None else verdict.rewritten)

        transaction = self.transaction.facts if self.transaction is not None else None
        self.then(asked.ask(phase, value, self.facts, transaction), decided)

    def tlsContext(self) -> SSL.Context:
        """For this listener's handshakes.

        @raise LookupError: there is none.
        """
        profile = self.profile
        spec = profile.spec
        return self.near.certificates.serverContext(
            spec.pki, spec.verifyClient, spec.ca, spec.ciphers or profile.config.ciphers, spec.protocols
        )

    # --- answering

    def refuse(self, command: str, reply: Reply, reason: str = "") -> None:
        """Answer with a refusal, and log it with its reason, which the peer does not see."""
        self.near.report.happened(CommandFailed(self.id, command, str(reply), reason))
        self.wire.answer(reply)

    def failed(self, failure: Failure) -> None:
        """A fault of ours, or of a filter: it costs this session and nothing else."""
        self.reason = "internal error"
        self.complain(failure)
        self.endTransaction()
        self.wire.hangup(TROUBLE)

    def note(self, text: str) -> None:
        """Tell the daemon's log of what went wrong and cost nobody anything."""
        _log.warn("session {session:016x} of {peer}: {text}", session=self.id, peer=self.peer, text=text)

    def complain(self, failure: Failure) -> None:
        """Log a fault that nobody waits for."""
        _log.failure("session {session:016x} of {peer}", failure, session=self.id, peer=self.peer)
        self.near.report.happened(InternalError(f"session {self.id:016x}", repr(failure.value)))

    # --- ending

    def endTransaction(self) -> None:
        """Forget the transaction, with what it has written."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.rollback()

    @property
    def isOver(self) -> bool:
        """The connection is gone; whoever still has an answer for it keeps it."""
        return self.wire is LOST

    def tellConnected(self) -> None:
        """Each session is told of once when it begins and once when it ends."""
        self.isTold = True
        self.near.report.happened(SessionConnected(self.id, self.peer, self.rdns, self.profile.name))
        if self.via:
            self.tellAnnounced("proxy")

    def tellAnnounced(self, how: str) -> None:
        """Somebody whom we believe has told who the peer is."""
        self.near.report.happened(SessionAnnounced(self.id, how, self.via, self.peer, self.rdns, self.user))

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        if not self.isTold:
            self.tellConnected()
        self.wire = LOST
        self.endTransaction()
        near = self.near
        seconds = near.platform.clock.seconds() - self.started
        near.report.happened(SessionDisconnected(self.id, self.reason or reason, self.messages, seconds))


def findTable(near: Neighbours, config: Config, ref: TableRef) -> ITable:
    """
    @raise TableError: there is none.
    """
    table = near.tables(config).get(ref.name)
    if table is None:
        raise TableError(f'there is no table "{ref.name}"')
    return table


def patient(near: Neighbours, answer: Ready[T]) -> Ready[T]:
    """The same answer, or a L{TableError} when it takes longer than L{PATIENCE}."""
    if not isinstance(answer, Deferred):
        return answer

    def late(outcome: object, seconds: float) -> T:
        raise TableError(f"no answer within {seconds:g} seconds")

    return answer.addTimeout(PATIENCE, near.platform.clock, late)
