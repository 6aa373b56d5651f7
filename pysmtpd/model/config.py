"""The configuration as values: what smtpd.conf(5) says, checked and frozen.

A session, a transaction and an attempt hold the C{Config} (the generation) that they started with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pysmtpd.model.action import Action, Command, Method, RelayHost
from pysmtpd.model.decision import Where
from pysmtpd.model.filters import FilterKind, FilterSpec, ProcSpec
from pysmtpd.model.limits import MdaLimits, MtaLimits, QueueLimits, SchedulerLimits, SmtpLimits
from pysmtpd.model.listener import AuthMode, BareNewline, ListenerSpec, ProxySpec, TlsMode
from pysmtpd.model.rule import Condition, Predicate, Rule
from pysmtpd.model.shaping import RateRule
from pysmtpd.model.table import NOWHERE, BackendSpec, TableRef, TableSpec

__all__ = [
    "NOWHERE",
    "Action",
    "AuthMode",
    "BackendSpec",
    "BareNewline",
    "CaSpec",
    "Command",
    "Condition",
    "Config",
    "FilterKind",
    "FilterSpec",
    "ListenerSpec",
    "MdaLimits",
    "Method",
    "MtaLimits",
    "PkiSpec",
    "Predicate",
    "ProcSpec",
    "ProxySpec",
    "QueueLimits",
    "RateRule",
    "RelayHost",
    "ResolverSpec",
    "Rule",
    "SchedulerLimits",
    "SmtpLimits",
    "SrsSpec",
    "TableRef",
    "TableSpec",
    "TlsMode",
]


@dataclass(frozen=True, slots=True)
class PkiSpec:
    """A certificate with its key.

    @ivar cert: path; likewise C{key}.
    @ivar dhe: none, auto or legacy.
    """

    name: str
    cert: str
    key: str
    where: Where = NOWHERE
    dhe: str = "none"


@dataclass(frozen=True, slots=True)
class CaSpec:
    """
    @ivar cert: path of the trusted certificates.
    """

    name: str
    cert: str
    where: Where = NOWHERE


@dataclass(frozen=True, slots=True)
class ResolverSpec:
    address: str
    port: int = 53


@dataclass(frozen=True, slots=True)
class SrsSpec:
    """Rewriting of senders.

    @ivar key: new addresses are made with it.
    @ivar backupKey: the one before it: its addresses are still taken; empty: none.
    @ivar ttl: seconds for which an address is good; whole days.
    @ivar domains: where such addresses live, and may come back to; None: the server's name alone.
    """

    key: str
    backupKey: str = ""
    ttl: float = 4 * 86400.0
    domains: TableRef | None = None
    where: Where = NOWHERE


@dataclass(frozen=True, slots=True)
class Config:
    """One generation of the configuration.

    @ivar file: the path that it was read from.
    @ivar serverName: our own name (mailname, or the host's).
    @ivar localAddresses: addresses of this machine, as they were when the file was read.
    @ivar tables: by name, the implicit ones included: C{<localnames>}, C{<localhost>}, C{<anyhost>}, C{<anydestination>}.
    @ivar resolver: None: the system's.
    @ivar bounceSigned8bit: signed content with octets above 127 bounces where it would have to be converted; else it goes as it is.
    @ivar allowLocalMx: MX records may name loopback addresses (C{mta allow-local-mx}).
    @ivar socket: what C{listen on socket} says; None: nothing, it is there with the defaults.
    @ivar wrappers: commands around C{mda} commands, by name.
    @ivar srs: None: senders are not rewritten.
    @ivar bounceWarn: seconds after which a sender is told that a message is late, ascending.
    @ivar admd: our administrative domain; empty: the server's name.
    @ivar ciphers: default of listeners and relays; empty: the library's.
    @ivar mtaDomains: C{mta limit for domain}: the bounds towards one domain.
    @ivar mtaRates: C{mta rate}, in their order; C{mtaProviders}: patterns of mail hosts by the provider's name.
    @ivar maxDeferred: envelopes that are kept at hand for a host that does not answer.
    @ivar queueCompression: content is stored compressed.
    @ivar places: where settings were said that have no C{where} of their own, by their words.
    @ivar queueEncryption: key of the queue's encryption, or C{"stdin"}; empty: it is not encrypted. C{queueBackupKey} opens
        what was stored before that key.
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
    socket: ListenerSpec | None = None
    ca: Mapping[str, CaSpec] = field(default_factory=dict)
    wrappers: Mapping[str, Command] = field(default_factory=dict)
    srs: SrsSpec | None = None
    bounceWarn: tuple[float, ...] = (4 * 3600.0,)
    admd: str = ""
    ciphers: str = ""
    mtaDomains: Mapping[str, MtaLimits] = field(default_factory=dict)
    maxDeferred: int = 100
    queueCompression: bool = False
    queueEncryption: str = ""
    queueBackupKey: str = ""
    procs: Mapping[str, ProcSpec] = field(default_factory=dict)
    filters: Mapping[str, FilterSpec] = field(default_factory=dict)
    mtaRates: tuple[RateRule, ...] = ()
    mtaProviders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounceSigned8bit: bool = False
    places: Mapping[str, Where] = field(default_factory=dict, compare=False)
