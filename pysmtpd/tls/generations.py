"""Certificates over reloads: a session that began before a reload may still ask for a name that the newest generation does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from zope.interface import implementer

from pysmtpd.interfaces.tls import ICertificates, IClientCertificates
from pysmtpd.model.clienttls import ClientKind
from pysmtpd.model.facts import TlsFacts
from pysmtpd.tls.certificates import Certificates

# As many as there are generations of the configuration.
MOST = 4


@implementer(ICertificates, IClientCertificates)
class CertificateGenerations:
    """Asks the newest certificates first, then those before."""

    def __init__(self, certificates: Certificates) -> None:
        self._generations = [certificates]

    @property
    def newest(self) -> Certificates:
        """Those that are asked first."""
        return self._generations[0]

    def adopt(self, certificates: Certificates) -> None:
        """These are the newest from now on."""
        self._generations = [certificates, *self._generations][:MOST]

    def serverContext(self, *arguments: Any, **more: Any) -> SSL.Context:
        """See L{ICertificates.serverContext}."""
        first, *older = self._generations
        try:
            return first.serverContext(*arguments, **more)
        except LookupError:
            for each in older:
                try:
                    return each.serverContext(*arguments, **more)
                except LookupError:
                    continue
            raise

    def clientContext(self, kind: ClientKind, authorities: tuple[x509.Certificate, ...]) -> SSL.Context:
        """See L{IClientCertificates.clientContext}."""
        first, *older = self._generations
        try:
            return first.clientContext(kind, authorities)
        except LookupError:
            for each in older:
                try:
                    return each.clientContext(kind, authorities)
                except LookupError:
                    continue
            raise

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        """See L{ICertificates.facts}."""
        return self._generations[0].facts(connection)

    @property
    def faults(self) -> Sequence[str]:
        """Of the newest."""
        return self._generations[0].faults

    def check(self) -> Sequence[str]:
        """Of the newest: what an operator should know."""
        return self._generations[0].check()
