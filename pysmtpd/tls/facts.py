"""What a handshake established."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from pysmtpd.model.facts import TlsFacts
from pysmtpd.tls.names import certificateNames


def establishedFacts(connection: SSL.Connection, sni: str, verified: bool = True, matched: str = "") -> TlsFacts:
    """
    @param connection: its handshake is complete.
    @param sni: the name that the client asked for.
    @param verified: a certificate that the peer showed is valid.
    @param matched: the name that it is valid for; empty: its first one is told.
    """
    untyped: Any = connection
    certificate = untyped.get_peer_certificate(as_cryptography=True)
    return TlsFacts(
        protocol=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        bits=connection.get_cipher_bits() or 0,
        verified=verified and certificate is not None,
        peerName=matched or (_firstName(certificate) if certificate is not None else ""),
        sni=sni,
    )


def _firstName(certificate: Any) -> str:
    try:
        names = certificateNames(certificate)
    except ValueError:
        # A peer's certificate may hold anything; that its names cannot be read is no news worth a connection.
        return ""
    return names[0] if names else ""
