"""C{listen on}, as the configuration states it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pysmtpd.model.decision import Where
from pysmtpd.model.table import NOWHERE, TableRef


class TlsMode(Enum):
    """What a listener offers."""

    NONE = "none"
    STARTTLS = "tls"
    REQUIRED = "tls-require"
    IMPLICIT = "smtps"


class AuthMode(Enum):
    NONE = "none"
    OPTIONAL = "auth-optional"
    REQUIRED = "auth"


class BareNewline(Enum):
    """What a listener does with CR or LF alone inside a message."""

    REJECT = "reject"
    NORMALISE = "normalise"


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """A header of the PROXY protocol comes first, before TLS, and is believed.

    @ivar v1: the textual form is taken, too; C{proxy-v2} takes the binary one alone.
    @ivar source: who may send it, anybody else is answered 421; None: whoever reaches the listener (C{proxy-v2} alone).
    """

    v1: bool
    source: TableRef | None = None


@dataclass(frozen=True, slots=True)
class ListenerSpec:
    """One C{listen on}. An interface that has several addresses gives several listeners.

    @ivar interface: as it was written: interface name, address or host name; C{"socket"} for the local one.
    @ivar addresses: the addresses that it stands for.
    @ivar verifyClient: a client must show a valid certificate.
    @ivar pki: names of certificates; with several the client's server name (SNI) chooses.
    @ivar ca: name of the C{ca} that client certificates are held against; empty: the system's.
    @ivar ciphers: in OpenSSL's language; empty: those of C{smtp ciphers}, or the default.
    @ivar protocols: as in C{"TLSv1.2,TLSv1.3"}; empty: the default.
    @ivar authTable: credentials; None with an C{auth} that is on: the system's users.
    @ivar senders: which addresses a user may send from (mailaddrmap).
    @ivar masquerade: the From field is set to the sender, too.
    @ivar hostnames: our name by the local address (addrname).
    @ivar maskSource: the Received field does not tell where the client is.
    @ivar receivedAuth: the Received field tells the user.
    @ivar noDsn: RFC 3461 is not offered.
    @ivar xclient: who may say XCLIENT; None: nobody.
    @ivar xclientLogin: and may name a user with it.
    @ivar submission: messages come from their authors' programs: what they lack (Date, Message-ID) is added (RFC 6409 8).
    @ivar filters: names, in order.
    """

    interface: str
    addresses: tuple[str, ...]
    port: int
    tls: TlsMode = TlsMode.NONE
    verifyClient: bool = False
    pki: tuple[str, ...] = ()
    auth: AuthMode = AuthMode.NONE
    authTable: TableRef | None = None
    authWithoutTls: bool = False
    tag: str = ""
    hostname: str = ""
    bareNewline: BareNewline = BareNewline.REJECT
    lmtp: bool = False
    where: Where = NOWHERE
    isSocket: bool = False
    ca: str = ""
    ciphers: str = ""
    protocols: str = ""
    senders: TableRef | None = None
    masquerade: bool = False
    hostnames: TableRef | None = None
    maskSource: bool = False
    receivedAuth: bool = False
    noDsn: bool = False
    proxy: ProxySpec | None = None
    xclient: TableRef | None = None
    xclientLogin: bool = False
    submission: bool = False
    filters: tuple[str, ...] = ()

    @property
    def asksSystem(self) -> bool:
        """Are passwords of the system's users checked?"""
        return self.auth is not AuthMode.NONE and self.authTable is None
