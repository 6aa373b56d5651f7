"""TLS, on both sides of a connection. What a handshake established is told by whoever made its context."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import Attribute, Interface

from pysmtpd.model.clienttls import USUAL, ClientKind
from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.tlsa import Presented


class ICertificates(Interface):
    """TLS contexts by pki name."""

    def serverContext(
        names: Sequence[str], verifyClient: bool = False, ca: str = "", ciphers: str = "", protocols: str = ""
    ) -> SSL.Context:
        """One context that chooses a certificate by SNI among C{names}; the first is the default. It never changes; once certificates
        were read again, there is another.

        @param verifyClient: the handshake fails without a valid certificate of the client.
        @param ca: name of the C{ca} that such certificates are held against; empty: the system's.
        @param ciphers: in OpenSSL's language, or one of libtls's words; empty: the default.
        @param protocols: as in C{"TLSv1.2,TLSv1.3"}; empty: the default.
        @raise LookupError: no such pki or ca, or it cannot be used as it is said; the text says why.
        """

    def facts(connection: SSL.Connection) -> TlsFacts:
        """
        @param connection: of one of these contexts; its handshake is complete.
        """


class IClientHandshake(IOpenSSLClientConnectionCreator):
    """What C{transport.startTLS} takes; for one connection."""

    error: str = Attribute("Why the certificate is not valid, for people; empty: it is.")
    offersTicket: bool = Attribute("It would go on from an earlier session; if that fails, the next one begins anew.")

    def facts(connection: SSL.Connection) -> TlsFacts:
        """
        @param connection: what C{transport.getHandle()} gives once the handshake is complete.
        """

    def presented(connection: SSL.Connection) -> tuple[tuple[Presented, ...], tuple[str, ...]]:
        """What the host showed, its own certificate first, and the names that it is for, in lower case: what DANE asks for.

        @param connection: as for C{facts}.
        """

    def keep(connection: SSL.Connection) -> None:
        """The session goes well and is about to end: a later one may go on from it. C{facts}, and C{presented} if that counts, come first.

        @param connection: as for C{facts}.
        """


class IClientCertificates(Interface):
    """What we show to other hosts, and hold against them."""

    def clientContext(kind: ClientKind, authorities: tuple[x509.Certificate, ...]) -> SSL.Context:
        """For connections to other hosts; equal kinds get the same one until certificates were read again. Who verifies, sets a
        callback on each connection.

        @param authorities: those that vouch for hosts where C{kind} names no ca; always the same; empty: the system's.
        @raise LookupError: no such pki or ca, or it cannot be used as it is said; the text says why.
        """


class IClientTls(Interface):
    """TLS towards other hosts."""

    def check(kind: ClientKind) -> None:
        """
        @raise LookupError: connections of this kind cannot be had; the text says why.
        """

    def handshake(
        host: str, verify: bool, names: Sequence[str] = (), kind: ClientKind = USUAL, place: Hashable = None
    ) -> IClientHandshake:
        """
        @param host: name of the host, in A-labels, for SNI; an address: no SNI is sent (RFC 6066 3).
        @param verify: the handshake fails where the certificate is not valid; else that is only found out.
        @param names: the certificate may be for any of these; empty: for C{host}.
        @param kind: what we show, and hold against the host.
        @param place: sessions of one place may be resumed there, for the same host and names: they have the verdict of their first
            handshake, and nothing better. None: never.
        @raise LookupError: as C{check}.
        """
