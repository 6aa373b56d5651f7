"""What is known of a session and of a transaction. Everything that a later decision may need is kept with the message."""

from __future__ import annotations

from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.ids import SessionId
from pysmtpd.model.value import value


@value
class TlsFacts:
    """What a TLS handshake established.

    @ivar verified: the peer showed a certificate, and it is valid: towards a host, for C{peerName}.
    @ivar peerName: the name that a host's certificate was verified for; else the first name of the peer's certificate, if any.
    @ivar sni: the server name that the client asked for.
    """

    protocol: str
    cipher: str
    bits: int
    verified: bool = False
    peerName: str = ""
    sni: str = ""


@value
class SessionFacts:
    """One connection to a listener, as far as it is known when the facts are taken.

    @ivar listener: the listener's name for logs and statistics, C{"127.0.0.1:25"} or C{"socket"}.
    @ivar hostname: the name under which we greeted.
    @ivar peer: textual IP address of the peer; C{"local"} for the local socket and for our own bounces.
    @ivar rdns: the peer's confirmed PTR name; empty: none.
    @ivar helo: what the peer called itself; empty: nothing yet.
    @ivar protocol: for Received (RFC 3848): SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, LMTP, ...
    @ivar user: the authenticated user; empty: none.
    @ivar isLocal: the peer counts as C{from local}: the local socket, or an address of this machine.
    @ivar isSocket: the session came by the local socket.
    """

    session: SessionId
    listener: str
    hostname: str
    peer: str
    peerPort: int = 0
    localAddress: str = ""
    localPort: int = 0
    rdns: str = ""
    helo: str = ""
    protocol: str = "SMTP"
    user: str = ""
    tag: str = ""
    tls: TlsFacts | None = None
    isLocal: bool = False
    isSocket: bool = False


@value
class Transaction:
    """What MAIL said, and by whom.

    @ivar sender: the reverse path.
    @ivar size: declared SIZE in octets; 0: not declared.
    @ivar body: C{""} (not declared), C{"7BIT"}, C{"8BITMIME"} or C{"BINARYMIME"}.
    @ivar ret: RFC 3461 RET: C{""}, C{"FULL"} or C{"HDRS"}.
    @ivar envid: RFC 3461 ENVID, decoded from xtext; empty: none.
    @ivar smtputf8: the SMTPUTF8 parameter was given.
    @ivar auth: RFC 4954 AUTH= parameter as it was given, decoded; empty: none.
    @ivar requireTls: the REQUIRETLS parameter was given (RFC 8689).
    """

    session: SessionFacts
    sender: Path = NULL_PATH
    size: int = 0
    body: str = ""
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    auth: str = ""
    requireTls: bool = False
