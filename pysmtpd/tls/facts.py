"""What a handshake established."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from pysmtpd.model.facts import TlsFacts
from pysmtpd.tls.names import certificateNames


def establishedFacts(connection: SSL.Connection, verified: bool | None = None, sni: str = "") -> TlsFacts:
    """
    @param connection: what C{transport.getHandle()} gives once the handshake is complete.
    @param verified: for a client, what its creator found out; None for a server: a client's certificate was verified if it
        was asked for, else there were no handshake.
    @param sni: for a client, the name that it asked for; a server knows what it was asked.
    """
    untyped: Any = connection
    certificate = untyped.get_peer_certificate(as_cryptography=True)
    if verified is None:
        verified = certificate is not None
        sni = (connection.get_servername() or b"").decode("ascii", "replace")
    return TlsFacts(
        protocol=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        bits=connection.get_cipher_bits() or 0,
        verified=verified,
        peerName=_peerName(certificate) if certificate is not None else "",
        sni=sni,
    )


def _peerName(certificate: Any) -> str:
    try:
        names = certificateNames(certificate)
    except ValueError:
        # A peer's certificate may hold anything; that its names cannot be read is no news worth a connection.
        return ""
    return names[0] if names else ""
