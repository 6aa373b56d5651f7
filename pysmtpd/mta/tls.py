"""TLS towards hosts: one context for those that are verified, one for those that are not (RFC 7435)."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from pysmtpd.model.facts import TlsFacts
from pysmtpd.mta.mx import normalise


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Makes the one connection it was made for."""

    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._name and not normalise(self._name):
            connection.set_tlsext_host_name(self._name.encode("ascii", "ignore"))
        return connection


class TlsContexts:
    """Contexts are made when first needed and kept: reading the trust anchors takes milliseconds.

    @param trustAnchors: path of a file of certificates; empty: the system's.
    """

    def __init__(self, trustAnchors: str = "") -> None:
        self._trustAnchors = trustAnchors
        self._contexts: dict[bool, SSL.Context] = {}

    def creator(self, name: str, verify: bool) -> IOpenSSLClientConnectionCreator:
        """
        @param name: for SNI; nothing is said there for an address.
        @param verify: the handshake fails for a certificate that no trust anchor vouches for.
        """
        context = self._contexts.get(verify)
        if context is None:
            context = self._contexts[verify] = self._make(verify)
        return _Creator(context, name)

    def _make(self, verify: bool) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION)
        if verify:
            if self._trustAnchors:
                context.load_verify_locations(self._trustAnchors)
            else:
                context.set_default_verify_paths()
            context.set_verify(SSL.VERIFY_PEER, lambda connection, certificate, error, depth, ok: bool(ok))
        else:
            context.set_verify(SSL.VERIFY_NONE, lambda connection, certificate, error, depth, ok: True)
        return context


def establishedFacts(connection: Any, name: str, verify: bool) -> TlsFacts:
    """What a finished handshake established.

    @raise ValueError: the certificate is not for C{name}, and C{verify} asks for that.
    """
    if verify:
        try:
            if normalise(name):
                verify_ip_address(connection, normalise(name))
            else:
                verify_hostname(connection, name)
        except VerificationError as error:
            raise ValueError(f"the certificate is not for {name}") from error
    certificate = connection.get_peer_certificate()
    subject = (certificate.get_subject().CN or "") if certificate is not None else ""
    return TlsFacts(
        connection.get_protocol_version_name(),
        connection.get_cipher_name() or "",
        connection.get_cipher_bits() or 0,
        verify,
        name if verify else subject.encode("ascii", "replace").decode("ascii"),
        name,
    )
