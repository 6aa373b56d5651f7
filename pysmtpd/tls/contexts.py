"""Contexts of OpenSSL, made once and never changed after their first connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from cryptography import x509
from OpenSSL import SSL, crypto

from pysmtpd.tls.pki import Pki

CIPHERS = b"HIGH:!aNULL:!eNULL:!MD5:!PSK:!SRP"
_SESSION_ID = b"pysmtpd"
_OP_NO_RENEGOTIATION: int = cast(Any, SSL).OP_NO_RENEGOTIATION  # absent from the published types


def baseContext(method: int) -> SSL.Context:
    """TLS 1.2 and up, no compression, no renegotiation, no ALPN, no buffers kept for idle connections."""
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | _OP_NO_RENEGOTIATION)
    context.set_cipher_list(CIPHERS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


def serverContext(pki: Pki, verifyClient: bool, authorities: tuple[x509.Certificate, ...]) -> SSL.Context:
    """
    @param verifyClient: a client must show a certificate that C{authorities} vouch for.
    @param authorities: empty: the system's.
    """
    context = baseContext(SSL.TLS_SERVER_METHOD)
    # Sessions are resumed by tickets, which cost no memory here. Their keys are the context's.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(_SESSION_ID)
    untyped = cast(Any, context)  # it takes objects of cryptography
    untyped.use_certificate(pki.chain[0])
    for certificate in pki.chain[1:]:
        untyped.add_extra_chain_cert(certificate)
    untyped.use_privatekey(pki.key)
    context.check_privatekey()
    if verifyClient:
        trust(context, authorities)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _asOpenSslSays)
    return context


def chooseByName(context: SSL.Context, choose: Callable[[str], SSL.Context | None]) -> None:
    """Let C{choose} change the context for the server name that a client asks for; None keeps this one."""

    def asked(connection: SSL.Connection) -> None:
        name = connection.get_servername()
        if name is None:
            return
        chosen = choose(name.decode("ascii", "replace").lower().rstrip("."))
        if chosen is not None:
            connection.set_context(chosen)

    context.set_tlsext_servername_callback(asked)


def trust(context: SSL.Context, authorities: tuple[x509.Certificate, ...]) -> None:
    """Let C{authorities} vouch for peers, or the system's where there are none given."""
    if not authorities:
        context.set_default_verify_paths()
        return
    store = context.get_cert_store()
    assert store is not None
    for certificate in authorities:
        store.add_cert(crypto.X509.from_cryptography(certificate))


def _asOpenSslSays(connection: SSL.Connection, certificate: Any, error: int, depth: int, ok: int) -> bool:
    return bool(ok)
