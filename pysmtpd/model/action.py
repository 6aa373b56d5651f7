"""C{action}, as the configuration states it: how mail is delivered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pysmtpd.model.address import Path
from pysmtpd.model.decision import Where
from pysmtpd.model.table import NOWHERE, TableRef


@dataclass(frozen=True, slots=True)
class RelayHost:
    """A relay URL: C{smtp://host:port}.

    @ivar protocol: smtp, smtp+tls, smtp+notls, smtps or lmtp.
    @ivar host: name, address, or absolute path of a UNIX socket (lmtp only).
    @ivar label: key of the credentials in the action's table; empty: none.
    """

    protocol: str
    host: str
    port: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run, divided into words once, when it is read.

    @ivar words: the program and its arguments; format specifiers are replaced inside a word and never make another.
    @ivar shell: for C{sh -c}, with the data in the environment alone; C{words} is empty then.
    """

    words: tuple[str, ...]
    shell: str = ""


class Method(Enum):
    """How an action delivers."""

    MAILDIR = "maildir"
    MBOX = "mbox"
    MDA = "mda"
    LMTP = "lmtp"
    FORWARD_ONLY = "forward-only"
    EXPAND_ONLY = "expand-only"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class Action:
    """
    @ivar path: of a maildir, with its format specifiers unexpanded; empty: C{~/Maildir}.
    @ivar junk: of a maildir: what is marked as spam goes to its folder Junk.
    @ivar command: of C{mda}.
    @ivar wrapper: name of the C{mda wrapper} around the command.
    @ivar hosts: a relay's explicit hosts; empty: by MX, unless C{hostTable} or C{domainTable} is set. For C{lmtp} exactly one.
    @ivar hostTable: a table of relay URLs (relayhost), each attempt takes the next.
    @ivar domainTable: from a domain to its relay URL (relayhost).
    @ivar user: run delivery as this user.
    @ivar userbase: where users are looked up (userinfo); None: the system's.
    @ivar helo: name to say to peers; empty: the server's.
    @ivar heloTable: the name by source address (addrname).
    @ivar source: addresses to send from (source), each attempt takes the next.
    @ivar mailFrom: replaces a sender that is not null; an empty half keeps the sender's own.
    @ivar isBackup: only hosts of a better preference than our own are used.
    @ivar backupMx: our name among the hosts; empty: the server's.
    @ivar pki: name of the certificate that we show.
    @ivar ca: name of the C{ca} that hosts' certificates are held against; empty: the system's.
    @ivar srs: senders of forwarded mail are rewritten.
    @ivar tlsRequired: C{tls}: STARTTLS is mandatory. C{tlsVerify} is off with C{tls no-verify}.
    @ivar filters: names, in order: they hear reports.
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
    junk: bool = False
    command: Command | None = None
    wrapper: str = ""
    userbase: TableRef | None = None
    hostTable: TableRef | None = None
    domainTable: TableRef | None = None
    heloTable: TableRef | None = None
    isBackup: bool = False
    backupMx: str = ""
    pki: str = ""
    ca: str = ""
    ciphers: str = ""
    protocols: str = ""
    srs: bool = False
    filters: tuple[str, ...] = ()
