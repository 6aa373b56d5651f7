"""Contexts of OpenSSL, made once and never changed after their first connection."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, cast

from cryptography import x509
from OpenSSL import SSL, crypto

from pysmtpd.tls.pki import Pki

CIPHERS = "HIGH:!aNULL:!eNULL:!MD5:!PSK:!SRP"

_AEAD: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"
# The words of libtls, which smtpd.conf(5) takes in place of a list in OpenSSL's language.
_WORDS: Final = {
    "default": _AEAD,
    "secure": _AEAD,
    "compat": "HIGH:!aNULL",
    "legacy": "HIGH:MEDIUM:!aNULL",
    "all": "ALL:!aNULL:!eNULL",
    "insecure": "ALL:!aNULL:!eNULL",
}
_TLS12, _TLS13 = "tlsv1.2", "tlsv1.3"
_MODERN: Final = frozenset((_TLS12, _TLS13))
_PROTOCOLS: Final = {
    **dict.fromkeys(("all", "legacy", "default", "secure", "tlsv1"), _MODERN),
    # Known, and spoken by nobody here (RFC 8996).
    **dict.fromkeys(("tlsv1.0", "tlsv1.1"), frozenset[str]()),
    _TLS12: frozenset((_TLS12,)),
    _TLS13: frozenset((_TLS13,)),
}
_SESSION_ID = b"pysmtpd"
# The group ffdhe2048 (RFC 7919 A.1), of which OpenSSL takes a file only.
_GROUP = __file__.replace("contexts.py", "ffdhe2048.pem")
_OP_NO_RENEGOTIATION: int = cast(Any, SSL).OP_NO_RENEGOTIATION  # absent from the published types


def baseContext(method: int) -> SSL.Context:
    """TLS 1.2 and up, no compression, no renegotiation, no ALPN, no buffers kept for idle connections."""
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | _OP_NO_RENEGOTIATION)
    context.set_cipher_list(CIPHERS.encode("ascii"))
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


def serverContext(
    pki: Pki,
    verifyClient: bool,
    authorities: tuple[x509.Certificate, ...],
    ciphers: str = "",
    protocols: str = "",
) -> SSL.Context:
    """
    @param verifyClient: a client must show a certificate that C{authorities} vouch for.
    @param authorities: empty: the system's.
    @raise ValueError: C{ciphers} or C{protocols} leave nothing.
    """
    context = baseContext(SSL.TLS_SERVER_METHOD)
    isDhe = pki.spec.dhe != "none"
    if protocols:
        chooseProtocols(context, protocols)
    chooseCiphers(context, ciphers or CIPHERS, isDhe)
    if isDhe:
        context.load_tmp_dh(_GROUP)
    # Sessions are resumed by tickets, which cost no memory here. Their keys are the context's.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(_SESSION_ID)
    _show(context, pki)
    if verifyClient:
        trust(context, authorities)
        if authorities:
            # A client that has several certificates learns which one is wanted.
            for authority in authorities:
                cast(Any, context).add_client_ca(authority)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _asOpenSslSays)
    return context


def clientContext(
    pki: Pki | None, authorities: tuple[x509.Certificate, ...], ciphers: str, protocols: str
) -> SSL.Context:
    """
    @param pki: what we show, if a host asks for it.
    @param authorities: those that vouch for hosts; empty: the system's.
    @raise ValueError: C{ciphers} or C{protocols} leave nothing.
    """
    context = baseContext(SSL.TLS_CLIENT_METHOD)
    if protocols:
        chooseProtocols(context, protocols)
    if ciphers:
        chooseCiphers(context, ciphers)
    trust(context, authorities)
    if pki is not None:
        _show(context, pki)
    return context


def _show(context: SSL.Context, pki: Pki) -> None:
    untyped = cast(Any, context)  # it takes objects of cryptography
    untyped.use_certificate(pki.chain[0])
    for certificate in pki.chain[1:]:
        untyped.add_extra_chain_cert(certificate)
    untyped.use_privatekey(pki.key)
    context.check_privatekey()


def chooseCiphers(context: SSL.Context, text: str, isDhe: bool = True) -> None:
    """
    @param isDhe: keys may be agreed on over finite fields. Releases of OpenSSL differ in whether they do so unasked.
    @param text: ciphers in OpenSSL's language, or a word of libtls's. Names of TLS 1.3 (C{TLS_...}) may stand among them.
    @raise ValueError: nothing is left.
    """
    names = _WORDS.get(text.lower(), text).split(":")
    modern = [name for name in names if name.startswith("TLS_")]
    others = [name for name in names if name not in modern]
    try:
        if modern:
            cast(Any, context).set_tls13_ciphersuites(":".join(modern).encode("ascii"))
        if others:
            context.set_cipher_list(":".join([*others, *([] if isDhe else ["!kDHE"])]).encode("ascii"))
        else:
            context.set_min_proto_version(SSL.TLS1_3_VERSION)
    except (SSL.Error, UnicodeError):
        hint = "" if isDhe else '; those of DHE are there where the pki says "dhe auto"'
        raise ValueError(f"there are no ciphers {text!r}{hint if 'DHE' in text else ''}") from None


def chooseProtocols(context: SSL.Context, text: str) -> None:
    """
    @param text: as libtls has it: C{TLSv1.2,TLSv1.3}, C{secure}, C{all,!TLSv1.2}.
    @raise ValueError: nothing is left, or a word is none.
    """
    chosen: frozenset[str] = frozenset()
    for index, word in enumerate(re.split("[,:]", text.lower())):
        name = word.strip()
        protocols = _PROTOCOLS.get(name.removeprefix("!"))
        if protocols is None:
            raise ValueError(f"there is no protocol {word.strip()!r}; there are TLSv1.2 and TLSv1.3")
        if name.startswith("!"):
            chosen = (chosen if index else _MODERN) - protocols
        else:
            chosen |= protocols
    if not chosen:
        raise ValueError(f"no protocol is left of {text!r}; there are TLSv1.2 and TLSv1.3")
    context.set_min_proto_version(SSL.TLS1_2_VERSION if _TLS12 in chosen else SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION if _TLS13 in chosen else SSL.TLS1_2_VERSION)


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
