"""One connection, as far as policy is concerned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces import Phase, Ready, Verdict
from pysmtpd.listen.neighbours import Neighbours
from pysmtpd.listen.profile import Profile
from pysmtpd.listen.trace import protocolName
from pysmtpd.listen.transaction import OpenTransaction
from pysmtpd.model.events import CommandFailed, InternalError, SessionConnected, SessionDisconnected
from pysmtpd.model.facts import SessionFacts, TlsFacts
from pysmtpd.model.ids import SessionId
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.model.reply import Reply

T = TypeVar("T")

TROUBLE = Reply(421, "Temporary failure, closing the connection", "4.3.0")
REJECTED = Reply(421, "Closing the connection", "4.7.0")

_log = Logger(namespace="pysmtpd.listen")


class Wire(Protocol):
    """What a session may do to its connection."""

    def answer(self, reply: Reply) -> None:
        """Answer the event that asks."""

    def hold(self, until: Deferred[object]) -> None:
        """Take no more events before this has fired."""

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

    def startTls(self, context: SSL.Context) -> None: ...

    def hangup(self, reply: Reply) -> None: ...

    def finish(self) -> None: ...


LOST = _Lost()


class Session:
    """The facts of one connection, and the transaction it is in, if it is in one.

    @ivar profile: the listener under the configuration generation that this session started with.
    @ivar near: the rooms to speak with.
    @ivar verb: HELO, EHLO or LHLO, as the peer greeted last; empty: not yet.
    @ivar messages: accepted so far.
    @ivar failures: of AUTH, so far.
    @ivar reason: why it ends, for the log; empty: the peer just closed.
    """

    __slots__ = (
        "_facts",
        "failures",
        "helo",
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
        "user",
        "verb",
        "wire",
    )

    def __init__(
        self, sessionId: SessionId, profile: Profile, near: Neighbours, wire: Wire, peer: str, peerPort: int
    ) -> None:
        self.id = sessionId
        self.profile = profile
        self.near = near
        self.wire = wire
        self.peer = peer
        self.peerPort = peerPort
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
            facts = self._facts = SessionFacts(
                self.id,
                profile.name,
                profile.hostname,
                peer,
                self.peerPort,
                self.localAddress,
                self.localPort,
                self.rdns,
                self.helo,
                protocolName(self.verb, self.tls is not None, bool(self.user)),
                self.user,
                profile.spec.tag,
                self.tls,
                isLoopback(peer) or peer == self.localAddress or peer in profile.config.localAddresses,
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

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        if not self.isTold:
            self.tellConnected()
        self.wire = LOST
        self.endTransaction()
        near = self.near
        seconds = near.platform.clock.seconds() - self.started
        near.report.happened(SessionDisconnected(self.id, self.reason or reason, self.messages, seconds))
