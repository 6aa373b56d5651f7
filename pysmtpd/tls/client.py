"""TLS towards other hosts: opportunistic (RFC 7435), or only with a certificate that is valid for the host's name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

from cryptography import x509
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.logger import Logger
from zope.interface import implementer

from pysmtpd.interfaces.tls import IClientCertificates, IClientHandshake, IClientTls
from pysmtpd.model.clienttls import USUAL, ClientKind
from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.netaddr import parseIp
from pysmtpd.model.tlsa import Presented
from pysmtpd.tls.contexts import baseContext, trust
from pysmtpd.tls.facts import establishedFacts, presented

Shown: TypeAlias = "tuple[tuple[Presented, ...], tuple[str, ...]]"

# X509_V_ERR_*, in the words of OpenSSL.
_ERRORS = {
    9: "the certificate is not yet valid",
    10: "the certificate has expired",
    18: "a self-signed certificate",
    19: "a self-signed certificate in the chain",
    20: "an unknown issuer",
    21: "an incomplete chain",
    23: "the certificate was revoked",
}


MOST_TICKETS = 1000

TICKET_SECONDS = 3600.0
"""For so long a verdict about a host's certificate serves later sessions; resuming a session does not make it younger."""


class Ticket(NamedTuple):
    """What a later session may go on from. It proves to be the same host that it was, and nothing else: what was found out about its
    certificate then is all that is known of it.

    @ivar context: it was made with: the same trust anchors, ciphers and certificate of our own.
    @ivar matched: the name that the certificate was for; C{error}: why it was not valid.
    @ivar shown: the certificates, where DANE has asked for them.
    @ivar until: monotonic seconds.
    """

    session: SSL.Session
    context: SSL.Context
    matched: str
    error: str
    shown: Shown
    until: float


@implementer(IClientTls)
class ClientContexts:
    """All connections of one kind share one context."""

    def __init__(
        self,
        authorities: bytes = b"",
        certificates: IClientCertificates | None = None,
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """
        @param seconds: the monotonic clock.
        @param certificates: of our configuration; None: there are none.
        @param authorities: certificates in PEM form that vouch for hosts; empty: the system's.
        @raise ValueError: C{authorities} cannot be read.
        """
        self._authorities = tuple(x509.load_pem_x509_certificates(authorities)) if authorities else ()
        self._context: SSL.Context | None = None
        self._certificates = certificates
        self.seconds = seconds
        self._tickets: dict[Hashable, Ticket] = {}

    def check(self, kind: ClientKind) -> None:
        """See L{IClientTls.check}."""
        if kind != USUAL:
            self._contextOf(kind)

    def _contextOf(self, kind: ClientKind) -> SSL.Context:
        if self._certificates is None:
            raise LookupError("there are no certificates of our own")
        return self._certificates.clientContext(kind, self._authorities)

    def handshake(
        self,
        host: str,
        verify: bool,
        names: Sequence[str] = (),
        kind: ClientKind = USUAL,
        place: Hashable = None,
    ) -> ClientHandshake:
        """See L{IClientTls.handshake}."""
        wanted = tuple(names) or (host,)
        context = self._usual() if kind == USUAL else self._contextOf(kind)
        if place is None:
            return ClientHandshake(context, host, verify, wanted)
        key = (place, host, verify, wanted)
        # Each serves once (RFC 8446 C.4): who cannot go on from it is not asked to again.
        ticket = self._tickets.pop(key, None)
        if ticket is not None and (ticket.context is not context or ticket.until <= self.seconds()):
            ticket = None
        return ClientHandshake(context, host, verify, wanted, ticket, lambda kept: self._keep(key, kept))

    def _usual(self) -> SSL.Context:
        if self._context is None:
            # Reading the system's authorities takes milliseconds; do it once, when first needed.
            self._context = baseContext(SSL.TLS_CLIENT_METHOD)
            trust(self._context, self._authorities)
        return self._context

    def _keep(self, key: Hashable, ticket: Ticket) -> None:
        until = ticket.until or self.seconds() + TICKET_SECONDS
        while len(self._tickets) >= MOST_TICKETS:
            del self._tickets[next(iter(self._tickets))]
        self._tickets[key] = ticket._replace(until=until)


@implementer(IClientHandshake)
class ClientHandshake:
    """See L{IClientHandshake}.

    @ivar verified: once the handshake is complete: the certificate is valid, and for one of the names.
    """

    _log = Logger()

    def __init__(
        self,
        context: SSL.Context,
        host: str,
        verify: bool,
        names: tuple[str, ...],
        ticket: Ticket | None = None,
        keep: Callable[[Ticket], None] | None = None,
    ) -> None:
        """
        @param ticket: to go on from, if the host agrees.
        @param keep: takes what a later session may go on from.
        """
        self._ticket = ticket
        self._keep = keep
        self._isJudged = False
        self._shown: Shown = ((), ())
        self._context = context
        self._verify = verify
        self._names = names
        self._matched = ""
        self.sni = "" if parseIp(host) is not None else host
        self.error = "no certificate"

    @property
    def verified(self) -> bool:
        """See the class."""
        return bool(self._matched) and not self.error

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """What Twisted asks for."""
        connection = SSL.Connection(self._context, None)
        if self.sni:
            connection.set_tlsext_host_name(self.sni.encode("ascii", "ignore"))
        untyped: Any = connection
        untyped.set_verify(SSL.VERIFY_PEER, self._judge)
        if self._ticket is not None:
            connection.set_session(self._ticket.session)
        self.error = ""
        return connection

    @property
    def offersTicket(self) -> bool:
        """See L{IClientHandshake}."""
        return self._ticket is not None

    @property
    def isResumed(self) -> bool:
        """Once the handshake is complete: no certificate was shown, for the host has proved to be the one of the ticket."""
        return self._ticket is not None and not self._isJudged

    def keep(self, connection: SSL.Connection) -> None:
        """See L{IClientHandshake.keep}."""
        session = connection.get_session()
        if self._keep is not None and session is not None:
            until = self._ticket.until if self._ticket is not None and self.isResumed else 0.0
            self._keep(Ticket(session, self._context, self._matched, self.error, self._shown, until))

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        """See L{IClientHandshake.facts}."""
        if self._ticket is not None and self.isResumed:
            self._matched, self.error, self._shown = self._ticket.matched, self._ticket.error, self._ticket.shown
        return establishedFacts(connection, self.sni, self.verified, self._matched)

    def presented(self, connection: SSL.Connection) -> tuple[tuple[Presented, ...], tuple[str, ...]]:
        """See L{IClientHandshake.presented}."""
        if not self.isResumed:
            self._shown = presented(connection)
        return self._shown

    def _judge(self, connection: SSL.Connection, certificate: Any, error: int, depth: int, ok: int) -> bool:
        """Called for each certificate of the chain, and for each error; the peer's own comes last, at depth 0."""
        self._isJudged = True
        try:
            if not ok:
                self.error = self.error or _ERRORS.get(error, f"certificate error {error}")
            elif depth == 0:
                self._matched = self._match(certificate)
                if not self._matched:
                    self.error = self.error or f"the certificate is not for {' or '.join(self._names)}"
        except Exception:
            # What is raised inside OpenSSL's callback would be lost.
            self.error = "a certificate that cannot be read"
            self._log.failure("while verifying a certificate")
        return not self._verify or not self.error

    def _match(self, certificate: Any) -> str:
        """The name that it is for; empty: none of ours."""
        try:
            patterns = extract_patterns(certificate)
        except (CertificateError, ValueError):
            return ""
        for name in self._names:
            try:
                wanted = IPAddress_ID(name) if parseIp(name) is not None else DNS_ID(name)
                verify_service_identity(patterns, [wanted], [])
            except (VerificationError, CertificateError, ValueError):
                continue
            return name
        return ""
