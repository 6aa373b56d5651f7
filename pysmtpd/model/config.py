"""The configuration as values: what smtpd.conf(5) says, checked and frozen.

A session, a transaction and an attempt hold the C{Config} (the generation) that they started with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from pysmtpd.model.address import Path
from pysmtpd.model.decision import Where

NOWHERE = Where("built-in", 0)


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
class SmtpLimits:
    """Bounds of the SMTP server; each with its precedent. Zero never means unlimited.

    @ivar maxMails: messages per session.
    @ivar maxRcpt: recipients per transaction (RFC 5321 4.5.3.1.8: at least 100).
    @ivar maxMessageSize: octets.
    @ivar maxSessions: in all; 0 is replaced at start by what the descriptors allow.
    @ivar maxSessionsPerPeer: per address, or per /64 of IPv6; not applied to loopback.
    @ivar maxErrors: refused commands before the session ends with 421.
    @ivar maxCommands: commands that lead nowhere (NOOP, RSET, VRFY, ...) before the session ends with 421.
    @ivar maxLineLength: octets of a command line with its CRLF (RFC 5321 4.5.3.1.4 and its extensions).
    @ivar maxTextLine: octets of a line of the message; longer ones are refused at the end of data, never cut.
    @ivar maxReceived: Received fields (RFC 5321 6.3).
    @ivar commandTimeout: seconds without a command (RFC 5321 4.5.3.2.7).
    @ivar dataTimeout: seconds without an octet of a message (4.5.3.2.5).
    @ivar authTimeout: seconds for an answer to an AUTH challenge, and for a TLS handshake.
    @ivar sessionTimeout: seconds for a whole transaction's data phase; slow drips end here.
    """

    maxMails: int = 1000
    maxRcpt: int = 1000
    maxMessageSize: int = 36_700_160
    maxSessions: int = 0
    maxSessionsPerPeer: int = 100
    maxErrors: int = 20
    maxCommands: int = 100
    maxLineLength: int = 2048
    maxTextLine: int = 65_536
    maxReceived: int = 100
    commandTimeout: float = 300.0
    dataTimeout: float = 180.0
    authTimeout: float = 60.0
    sessionTimeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class MtaLimits:
    """Bounds of remote delivery, in OpenSMTPD's words. Delays are seconds; the C{*Delay} ones count only after a 421 or 4.7.x.

    @ivar gather: how long the first transaction of a message waits for outstanding DNS answers.
    @ivar taskHiwat: messages waiting on a relay before the scheduler is asked to hold the rest.
    """

    maxConnPerHost: int = 20
    maxConnPerRoute: int = 20
    maxConnPerSource: int = 100
    maxConnPerConnector: int = 20
    maxConnPerRelay: int = 100
    maxConnPerDomain: int = 100
    connDelayHost: float = 0.0
    connDelayRoute: float = 0.0
    connDelaySource: float = 0.0
    connDelayConnector: float = 0.0
    connDelayRelay: float = 0.0
    connDelayDomain: float = 0.0
    reconnDelayRoute: float = 0.0
    sessionMailMax: int = 1000
    sessionTransactionDelay: float = 0.0
    sessionKeepalive: float = 10.0
    maxFailuresPerSession: int = 25
    family: str = ""
    taskHiwat: int = 200
    taskLowat: int = 100
    taskRelease: int = 100
    gather: float = 0.2


@dataclass(frozen=True, slots=True)
class MdaLimits:
    """Bounds of local delivery, in OpenSMTPD's words.

    @ivar maxSessionPerUser: batches of letters under way for one user.
    @ivar batch: letters of a batch. Up to 16 that wait together share the sync of their directory.
    """

    maxSession: int = 50
    maxSessionPerUser: int = 7
    batch: int = 16
    taskHiwat: int = 500
    taskLowat: int = 250
    taskRelease: int = 250


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """
    @ivar maxInflight: envelopes handed out at one time.
    @ivar maxBatch: envelopes per call of C{batch}.
    """

    maxInflight: int = 5000
    maxBatch: int = 256


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """
    @ivar ttl: seconds until an envelope expires.
    @ivar fileThreshold: content of more octets than this lies in a file of its own.
    @ivar minFreeSpace: share of the file system's blocks that must stay free, or MAIL is answered 452.
    @ivar minFreeInodes: the same for inodes.
    """

    ttl: float = 4 * 86400.0
    fileThreshold: int = 262_144
    minFreeSpace: float = 0.05
    minFreeInodes: float = 0.05


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A backend as it is written: C{"name:argument"}."""

    name: str
    argument: str = ""
    where: Where = NOWHERE

    def __str__(self) -> str:
        return f"{self.name}:{self.argument}"


@dataclass(frozen=True, slots=True)
class PkiSpec:
    name: str
    cert: str
    key: str
    where: Where = NOWHERE


@dataclass(frozen=True, slots=True)
class TableSpec:
    """
    @ivar entries: of an inline table: C{(key, value)}; the value is empty in a list.
    @ivar isMap: an inline table of C{key = value}.
    """

    name: str
    backend: BackendSpec
    entries: tuple[tuple[str, str], ...] = ()
    isMap: bool = False
    where: Where = NOWHERE


@dataclass(frozen=True, slots=True)
class TableRef:
    """Where the language takes a table: its name. Inline ones get the name C{<dynamic:N>}."""

    name: str
    regex: bool = False


@dataclass(frozen=True, slots=True)
class ListenerSpec:
    """One C{listen on}. An interface that has several addresses gives several listeners.

    @ivar interface: as it was written: interface name, address or host name.
    @ivar addresses: the addresses that it stands for.
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


@dataclass(frozen=True, slots=True)
class RelayHost:
    """A relay URL: C{smtp://host:port}.

    @ivar protocol: smtp, smtp+tls, smtp+notls, smtps or lmtp.
    @ivar host: name, address, or absolute path of a UNIX socket (lmtp only).
    """

    protocol: str
    host: str
    port: int
    label: str = ""


class Method(Enum):
    """How an action delivers."""

    MAILDIR = "maildir"
    LMTP = "lmtp"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class Action:
    """
    @ivar path: of a maildir, with its format specifiers unexpanded; empty: C{~/Maildir}.
    @ivar hosts: a relay's explicit hosts; empty: by MX. For C{lmtp} exactly one.
    @ivar user: run delivery as this user.
    @ivar helo: name to say to peers; empty: the server's.
    @ivar tlsRequired: C{tls}: STARTTLS is mandatory. C{tlsVerify} is off with C{tls no-verify}.
    """

    name: str
    method: Method
    path: str = ""
    hosts: tuple[RelayHost, ...] = ()
    alias: TableRef | None = None
    virtual: TableRef | None = None
    user: str = ""
    lmtpRcptTo: bool = False
    ttl: float | None = None
    helo: str = ""
    source: TableRef | None = None
    authTable: TableRef | None = None
    mailFrom: Path | None = None
    tlsRequired: bool = False
    tlsVerify: bool = True
    where: Where = NOWHERE


class Predicate(Enum):
    """What a rule compares; in the order in which they are evaluated."""

    TAG = "tag"
    FROM_ANY = "from any"
    FROM_LOCAL = "from local"
    FROM_SOCKET = "from socket"
    FROM_SRC = "from src"
    FROM_RDNS = "from rdns"
    FOR_ANY = "for any"
    FOR_LOCAL = "for local"
    FOR_DOMAIN = "for domain"
    HELO = "helo"
    AUTH = "auth"
    TLS = "tls"
    MAIL_FROM = "mail-from"
    RCPT_TO = "rcpt-to"


@dataclass(frozen=True, slots=True)
class Condition:
    """
    @ivar table: what to look in, where the predicate takes a table.
    """

    predicate: Predicate
    table: TableRef | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """
    @ivar conditions: in the order of evaluation, the implied C{from local} and C{for local} included.
    @ivar action: the action's name, or None for C{reject}.
    @ivar text: the rule as it is shown to people.
    """

    conditions: tuple[Condition, ...]
    action: str | None
    text: str
    where: Where = NOWHERE


@dataclass(frozen=True, slots=True)
class ResolverSpec:
    address: str
    port: int = 53


@dataclass(frozen=True, slots=True)
class Config:
    """One generation of the configuration.

    @ivar file: the path that it was read from.
    @ivar serverName: our own name (mailname, or the host's).
    @ivar localAddresses: addresses of this machine, as they were when the file was read.
    @ivar tables: by name, the implicit ones included: C{<localnames>}, C{<localhost>}, C{<anyhost>}, C{<anydestination>}.
    @ivar resolver: None: the system's.
    @ivar allowLocalMx: MX records may name loopback addresses (C{mta allow-local-mx}).
    """

    file: str
    serverName: str
    localAddresses: tuple[str, ...] = ()
    listeners: tuple[ListenerSpec, ...] = ()
    pki: Mapping[str, PkiSpec] = field(default_factory=dict)
    tables: Mapping[str, TableSpec] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    smtp: SmtpLimits = SmtpLimits()
    mta: MtaLimits = MtaLimits()
    mda: MdaLimits = MdaLimits()
    scheduler: SchedulerLimits = SchedulerLimits()
    queue: QueueLimits = QueueLimits()
    queueBackend: BackendSpec = BackendSpec("sqlite")
    schedulerBackend: BackendSpec = BackendSpec("ram")
    statBackend: BackendSpec = BackendSpec("ram")
    resolver: ResolverSpec | None = None
    allowLocalMx: bool = False
    subAddressDelimiter: str = "+"
    warnings: tuple[str, ...] = ()
