"""What a handshake established."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto

from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.tlsa import Presented
from pysmtpd.tls.names import certificateNames

# Certificates of a chain that are looked at; each costs a signature.
MOST_CERTIFICATES = 8


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


def presented(connection: SSL.Connection) -> tuple[tuple[Presented, ...], tuple[str, ...]]:
    """What the peer showed, its own certificate first, and the names that this one is for; for DANE (RFC 7672)."""
    untyped: Any = connection
    chain: list[x509.Certificate] = (untyped.get_peer_cert_chain(as_cryptography=True) or [])[:MOST_CERTIFICATES]
    if not chain:
        return (), ()
    shown = tuple(
        Presented(
            certificate.public_bytes(Encoding.DER),
            certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            depth == 0 or _vouches(chain, depth),
        )
        for depth, certificate in enumerate(chain)
    )
    try:
        names = certificateNames(chain[0])
    except ValueError:
        names = ()
    return shown, names


def _vouches(chain: list[x509.Certificate], depth: int) -> bool:
    """Is the first certificate good today, if the one at C{depth} is to be trusted?"""
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.add_cert(crypto.X509.from_cryptography(chain[depth]))
    between = [crypto.X509.from_cryptography(certificate) for certificate in chain[1:depth]]
    try:
        crypto.X509StoreContext(store, crypto.X509.from_cryptography(chain[0]), between).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True


def _firstName(certificate: Any) -> str:
    try:
        names = certificateNames(certificate)
    except ValueError:
        # A peer's certificate may hold anything; that its names cannot be read is no news worth a connection.
        return ""
    return names[0] if names else ""
