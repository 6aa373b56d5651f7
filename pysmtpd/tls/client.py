"""TLS towards other hosts: opportunistic (RFC 7435), or only with a certificate that is valid for the host's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


@implementer(IClientTls)
class ClientContexts:
    """All connections of one kind share one context."""

    def __init__(self, authorities: bytes = b"", certificates: IClientCertificates | None = None) -> None:
        """
        @param certificates: of our configuration; None: there are none.
        @param authorities: certificates in PEM form that vouch for hosts; empty: the system's.
        @raise ValueError: C{authorities} cannot be read.
        """
        self._authorities = tuple(x509.load_pem_x509_certificates(authorities)) if authorities else ()
        self._context: SSL.Context | None = None
        self._certificates = certificates

    def check(self, kind: ClientKind) -> None:
        """See L{IClientTls.check}."""
        if kind != USUAL:
            self._contextOf(kind)

    def _contextOf(self, kind: ClientKind) -> SSL.Context:
        if self._certificates is None:
            raise LookupError("there are no certificates of our own")
        return self._certificates.clientContext(kind, self._authorities)

    def handshake(
        self, host: str, verify: bool, names: Sequence[str] = (), kind: ClientKind = USUAL
    ) -> ClientHandshake:
        """See L{IClientTls.handshake}."""
        if kind != USUAL:
            return ClientHandshake(self._contextOf(kind), host, verify, tuple(names) or (host,))
        if self._context is None:
            # Reading the system's authorities takes milliseconds; do it once, when first needed.
            self._context = baseContext(SSL.TLS_CLIENT_METHOD)
            trust(self._context, self._authorities)
        return ClientHandshake(self._context, host, verify, tuple(names) or (host,))


@implementer(IClientHandshake)
class ClientHandshake:
    """See L{IClientHandshake}.

    @ivar verified: once the handshake is complete: the certificate is valid, and for one of the names.
    """

    _log = Logger()

    def __init__(self, context: SSL.Context, host: str, verify: bool, names: tuple[str, ...]) -> None:
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
        self.error = ""
        return connection

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        """See L{IClientHandshake.facts}."""
        return establishedFacts(connection, self.sni, self.verified, self._matched)

    def presented(self, connection: SSL.Connection) -> tuple[tuple[Presented, ...], tuple[str, ...]]:
        """See L{IClientHandshake.presented}."""
        return presented(connection)

    def _judge(self, connection: SSL.Connection, certificate: Any, error: int, depth: int, ok: int) -> bool:
        """Called for each certificate of the chain, and for each error; the peer's own comes last, at depth 0."""
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
