"""A session without a connection: the real policy and the real protocol core, with nobody at the other end and nothing kept.

C{explain} shows what it finds. There is no second copy of any decision here: whatever a listener would refuse is refused here.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import (
    AddressAnswer,
    IAuthenticator,
    ICertificates,
    IReport,
    IResolver,
    IRouter,
    ISubmission,
    ISubmit,
    Lookup,
    MxAnswer,
    QueueError,
    Ready,
    TextAnswer,
    TlsaAnswer,
)
from pysmtpd.listen.neighbours import Neighbours
from pysmtpd.listen.session import Session
from pysmtpd.listen.suppose import LOCAL, STRANGER, Scene, Senseless
from pysmtpd.listen.verbs import HANDLERS
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import Config, TlsMode
from pysmtpd.model.decision import Decision
from pysmtpd.model.envelope import Destination, Message
from pysmtpd.model.events import CommandFailed, Event
from pysmtpd.model.explanation import Exchange, Explanation
from pysmtpd.model.facts import TlsFacts, Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import CLOSED, NEED_DATA, PAUSED
from pysmtpd.smtp.server import ServerCore

# What a handshake with a client of today gives.
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)

# Longer than any address or name that means something.
MAX_WORD = 1000

_NOBODY = SessionId(0)


class Rehearsal:
    """Plays one supposed session; used once."""

    def __init__(self, near: Neighbours, scene: Scene, asksDns: bool) -> None:
        """
        @param near: the real rooms. Only the router is asked, the tables, and, with C{asksDns}, the resolver.
        """
        supposed = self._supposed = scene.supposed
        profile = self._profile = scene.profile
        self._notes = list(scene.notes)
        self._router = _Witness(near.router)
        self._submit = _Nowhere()
        self._report = _Ear()
        isAsked = supposed.rdns is None and supposed.peer not in (LOCAL, STRANGER) and not isLoopback(supposed.peer)
        if isAsked and not asksDns:
            self._notes.append("The peer's name is not asked for: it is supposed to have none.")
        resolver = near.resolver if isAsked and asksDns else _Names(supposed.rdns or "")
        self._core = ServerCore(profile.settings)
        self._waiter: Deferred[None] | None = None
        self._said = b""
        self._exchanges: list[Exchange] = []
        imagined = replace(
            near,
            router=cast("IRouter", self._router),
            submit=cast("ISubmit", self._submit),
            certificates=cast("ICertificates", _NoCertificates()),
            authenticator=cast("IAuthenticator", _Gullible()),
            resolver=cast("IResolver", resolver),
            filter=None,
            report=cast("IReport", self._report),
        )
        self._session = Session(_NOBODY, profile, imagined, self, _checked(supposed.peer, "peer"), 0)

    async def play(self) -> Explanation:
        """
        @raise Senseless: the supposition holds what no client can say.
        """
        supposed, spec = self._supposed, self._profile.spec
        hello = "LHLO" if spec.lmtp else "EHLO"
        name = _checked(supposed.helo, "helo") or self._name()
        script = [f"{hello} {name}"]
        if supposed.tls and spec.tls is not TlsMode.IMPLICIT:
            script += ["STARTTLS", f"{hello} {name}"]
        if spec.isSocket:
            await self._identify()
        elif supposed.user:
            user = _checked(supposed.user, "auth")
            script.append(f"AUTH PLAIN {b64encode(f'{chr(0)}{user}{chr(0)}-'.encode()).decode()}")
        sender = _checked(supposed.sender, "from")
        recipients = [_checked(recipient, "rcpt") for recipient in supposed.recipients]
        isUtf8 = not (sender + "".join(recipients)).isascii()
        size = f" SIZE={supposed.size}" if supposed.size else ""
        script.append(f"MAIL FROM:<{sender}>{size}{' SMTPUTF8' if isUtf8 else ''}")

        if spec.tls is TlsMode.IMPLICIT:
            self._secured()
        await self._events()
        self._core.output()
        for line in script:
            await self._say(line)
        isBegun = self._session.transaction is not None
        for recipient in recipients:
            command = f"RCPT TO:<{recipient}>"
            if isBegun:
                await self._say(command, recipient)
            else:
                self._exchanges.append(Exchange(command, "", "", recipient))
        if any(exchange.address and not exchange.isRefused for exchange in self._exchanges):
            await self._say("DATA")
        session = self._session
        transaction = session.transaction.facts if session.transaction is not None else None
        session.endTransaction()
        return Explanation(
            self._profile.config,
            spec,
            transaction.session if transaction is not None else session.facts,
            sender,
            transaction.sender if transaction is not None else NULL_PATH,
            tuple(self._exchanges),
            tuple(self._submit.destinations),
            tuple(self._notes),
        )

    async def _identify(self) -> None:
        """Whoever comes by the local socket is known by the system, without AUTH."""
        name, platform = self._supposed.user, self._session.near.platform
        if not name:
            return
        user = await platform.workers.run("users", platform.users.byName, name)
        if user is None:
            self._notes.append(f'There is no user "{name}" on this machine: nobody that is known is supposed.')
        else:
            self._session.uid = user.uid

    def _name(self) -> str:
        session = self._session
        if session.peer == "local":
            return "localhost"
        literal = f"IPv6:{session.peer}" if ":" in session.peer else session.peer
        return session.rdns or f"[{literal}]"

    async def _say(self, line: str, address: str = "") -> None:
        decided = len(self._router.decisions)
        self._report.reason = ""
        self._core.receive(line.encode("utf-8", "surrogateescape") + b"\r\n")
        await self._events()
        said, self._said = self._said + self._core.output(), b""
        reply = said.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r\n")[2]
        decision = self._router.decisions[-1] if len(self._router.decisions) > decided else None
        command = "AUTH PLAIN" if line.startswith("AUTH ") else line
        self._exchanges.append(Exchange(command, reply, self._report.reason, address, decision))

    async def _events(self) -> None:
        """Hand events to their policy until the core wants the next command."""
        while True:
            event = self._core.nextEvent()
            if event is NEED_DATA or event is CLOSED:
                return
            if event is PAUSED:
                waiter = self._waiter = Deferred()
                await waiter
                continue
            try:
                HANDLERS[event.__class__](self._session, event)
            except Exception:
                self._session.failed(Failure())

    def _secured(self) -> None:
        self._session.secured(replace(TLS, verified=self._profile.spec.verifyClient))
        self._core.tlsStarted()

    # --- Wire

    def answer(self, reply: Reply) -> None:
        self._core.answer(reply)
        self._goOn()

    def hold(self, until: Deferred[object]) -> None:
        """No content comes."""

    def offerXclient(self, attributes: tuple[str, ...]) -> None:
        """Nobody takes it."""

    def startTls(self, context: SSL.Context) -> None:
        """The handshake is a success."""
        self._said += self._core.output()
        self._secured()

    def hangup(self, reply: Reply) -> None:
        self._core.hangup(reply)
        self._goOn()

    def finish(self) -> None:
        """The replies say so."""

    def moved(self, address: str) -> Reply | None:
        """Nobody announces anybody here."""
        return None

    def _goOn(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)


def _checked(word: str, what: str) -> str:
    if len(word) > MAX_WORD or any(character in word for character in "\r\n\0"):
        raise Senseless(f"{what}: {word[:80]!r} cannot be said in one command")
    return word


# --- neighbours that keep nothing


@implementer(IRouter)
class _Witness:
    """The real router, and what it has decided."""

    def __init__(self, router: IRouter) -> None:
        self._router = router
        self.decisions: list[Decision] = []

    def expand(self, config: Config, path: Path, transaction: Transaction) -> Ready[Decision]:
        decision = self._router.expand(config, path, transaction)
        return decision.addCallback(self._keep) if isinstance(decision, Deferred) else self._keep(decision)

    def _keep(self, decision: Decision) -> Decision:
        self.decisions.append(decision)
        return decision


@implementer(ISubmit, ISubmission)
class _Nowhere:
    """Takes envelopes and no content, once."""

    id = MessageId(0)

    def __init__(self) -> None:
        self.destinations: list[Destination] = []

    def admit(self, size: int) -> Reply | None:
        return None

    def begin(self, transaction: Transaction, isBounce: bool = False) -> ISubmission:
        return cast("ISubmission", self)

    def recipient(self, destination: Destination) -> EnvelopeId:
        self.destinations.append(destination)
        return EnvelopeId(len(self.destinations))

    def write(self, chunk: bytes) -> Ready[None]:
        return None

    def commit(
        self, prefix: bytes, supersedes: Sequence[EnvelopeId] = (), isTlsOptional: bool = False
    ) -> Deferred[Message]:
        raise QueueError(Reply(451, "This is a rehearsal", "4.3.0"), "a rehearsal keeps nothing")

    def rollback(self) -> Deferred[None]:
        return succeed(None)


@implementer(IReport)
class _Ear:
    """
    @ivar reason: of the latest refusal.
    """

    def __init__(self) -> None:
        self.reason = ""

    def happened(self, event: Event) -> None:
        if isinstance(event, CommandFailed):
            self.reason = event.reason

    def allHappened(self, events: Sequence[Event]) -> None:
        for event in events:
            self.happened(event)


@implementer(ICertificates)
class _NoCertificates:
    """Nobody shakes hands."""

    def serverContext(self, *options: Any, **more: Any) -> SSL.Context:
        return cast("SSL.Context", None)

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        return TLS


@implementer(IAuthenticator)
class _Gullible:
    """Who is supposed to be somebody is."""

    def authenticate(self, *credentials: Any, **more: Any) -> Deferred[bool]:
        return succeed(True)


@implementer(IResolver)
class _Names:
    """Knows the peer's name and nothing else."""

    def __init__(self, name: str) -> None:
        self._name = name

    def mx(self, domain: str) -> Deferred[MxAnswer]:
        return succeed(MxAnswer(Lookup.FAILED, error="not asked"))

    def addresses(self, host: str, family: str = "") -> Deferred[AddressAnswer]:
        return succeed(AddressAnswer(Lookup.FAILED, error="not asked"))

    def ptr(self, address: str) -> Deferred[Sequence[str]]:
        return succeed((self._name,) if self._name else ())

    def confirmedName(self, address: str) -> Deferred[str]:
        return succeed(self._name)

    def tlsa(self, host: str, port: int) -> Deferred[TlsaAnswer]:
        return succeed(TlsaAnswer(Lookup.FAILED, error="not asked"))

    def text(self, name: str) -> Deferred[TextAnswer]:
        return succeed(TextAnswer(Lookup.FAILED, error="not asked"))
