"""What a handshake established."""

from __future__ import annotations

from OpenSSL import SSL

from pysmtpd.model.facts import TlsFacts


def tlsFacts(connection: SSL.Connection) -> TlsFacts:
    """
    @param connection: its handshake is complete. A client certificate that it shows was verified: else there were no handshake.
    """
    certificate = connection.get_peer_certificate()
    name = certificate.get_subject().CN or "" if certificate is not None else ""
    server = connection.get_servername()
    return TlsFacts(
        connection.get_protocol_version_name(),
        connection.get_cipher_name() or "",
        connection.get_cipher_bits() or 0,
        certificate is not None,
        name,
        server.decode("ascii", "replace") if server else "",
    )
