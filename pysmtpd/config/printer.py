"""A configuration back to text: what was understood, in one order, with every macro, include and default resolved.

Read again, on the same machine, it is the same configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pysmtpd.config.limits import limitNames
from pysmtpd.config.values import isAddress
from pysmtpd.model.command import joinCommand
from pysmtpd.model.config import (
    NOWHERE,
    Action,
    AuthMode,
    BackendSpec,
    BareNewline,
    Condition,
    Config,
    FilterKind,
    FilterSpec,
    ListenerSpec,
    MdaLimits,
    Method,
    MtaLimits,
    Predicate,
    ProcSpec,
    QueueLimits,
    RateRule,
    RelayHost,
    SchedulerLimits,
    SmtpLimits,
    TableRef,
    TableSpec,
    TlsMode,
)
from pysmtpd.model.question import INLINE

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))

Limits = SmtpLimits | MtaLimits | MdaLimits | SchedulerLimits | QueueLimits


def printed(config: Config) -> str:
    """The text of a configuration, in an order in which everything is declared before it is used."""
    return "".join(f"{line}\n" for line in _Printer(config).lines())


class _Printer:
    def __init__(self, config: Config) -> None:
        self._config = config

    def lines(self) -> Iterator[str]:
        config = self._config
        yield from self._settings()
        for authority in config.ca.values():
            yield f"ca {quoted(authority.name)} cert {quoted(authority.cert)}"
        for pki in config.pki.values():
            yield f"pki {quoted(pki.name)} cert {quoted(pki.cert)} key {quoted(pki.key)} dhe {pki.dhe}"
        for table in config.tables.values():
            if table.where is not NOWHERE and not table.name.startswith("<"):
                yield _table(table)
        yield from self._srs()
        for name, wrapper in config.wrappers.items():
            yield f"mda wrapper {quoted(name)} {quoted(joinCommand(wrapper.words))}"
        yield from self._filters()
        if config.socket is not None:
            yield _joined("listen on socket", self._listenerOptions(config.socket))
        for listener in config.listeners:
            yield self._listener(listener)
        for action in config.actions.values():
            yield self._action(action)
        for rule in config.rules:
            words = (word for condition in rule.conditions for word in self._condition(condition))
            yield _joined("match", words, ["reject" if rule.action is None else f"action {quoted(rule.action)}"])

    # --- settings

    def _settings(self) -> Iterator[str]:
        config = self._config
        if config.admd:
            yield f"admd {quoted(config.admd)}"
        if config.bounceWarn:
            yield f"bounce warn-interval {', '.join(_delay(seconds) for seconds in config.bounceWarn)}"
        yield f"smtp max-message-size {config.smtp.maxMessageSize}"
        yield f"smtp sub-addr-delim {quoted(config.subAddressDelimiter)}"
        if config.ciphers:
            yield f"smtp ciphers {quoted(config.ciphers)}"
        yield from _limits("smtp limit", config.smtp, None)
        # Bounds of a domain begin with those for all, so they come first.
        for domain, bounds in config.mtaDomains.items():
            yield from _limits(f"mta limit for domain {quoted(domain)}", bounds, MtaLimits())
        yield from _limits("mta limit", config.mta, None)
        for name, patterns in config.mtaProviders.items():
            yield f"mta provider {quoted(name)} {_braces(quoted(pattern) for pattern in patterns)}"
        for rule in config.mtaRates:
            yield _rate(rule)
        yield f"mta max-deferred {config.maxDeferred}"
        if config.allowLocalMx:
            yield "mta allow-local-mx"
        if config.bounceSigned8bit:
            yield "mta bounce-signed-8bit"
        yield from _limits("mda limit", config.mda, None)
        yield from _limits("scheduler limit", config.scheduler, None)
        yield f"queue ttl {_delay(config.queue.ttl)}"
        yield from _limits("queue limit", config.queue, None)
        if config.queueCompression:
            yield "queue compression"
        if config.queueEncryption:
            yield f"queue encryption {quoted(config.queueEncryption)}"
        if config.queueBackupKey:
            yield f"queue encryption backup {quoted(config.queueBackupKey)}"
        yield f"queue backend {quoted(str(config.queueBackend))}"
        yield f"scheduler backend {quoted(str(config.schedulerBackend))}"
        yield f"stat backend {quoted(str(config.statBackend))}"
        if config.resolver is not None:
            yield f"resolver {quoted(config.resolver.address)} port {config.resolver.port}"

    def _srs(self) -> Iterator[str]:
        srs = self._config.srs
        if srs is None:
            return
        yield f"srs key {quoted(srs.key)}"
        if srs.backupKey:
            yield f"srs key backup {quoted(srs.backupKey)}"
        yield f"srs ttl {_delay(srs.ttl)}"
        if srs.domains is not None:
            yield f"srs domain {self._ref(srs.domains)}"

    # --- filters

    def _filters(self) -> Iterator[str]:
        config = self._config
        own = {spec.proc for spec in config.filters.values() if spec.kind is FilterKind.PROC_EXEC}
        for proc in config.procs.values():
            if proc.name not in own:
                yield f"proc {quoted(proc.name)} {_process(proc)}"
        for spec in config.filters.values():
            yield f"filter {quoted(spec.name)} {self._filter(spec)}"

    def _filter(self, spec: FilterSpec) -> str:
        match spec.kind:
            case FilterKind.PROC:
                return f"proc {quoted(spec.proc)}"
            case FilterKind.PROC_EXEC:
                return f"proc-exec {_process(self._config.procs[spec.proc])}"
            case FilterKind.CHAIN:
                return f"chain {_braces(quoted(name) for name in spec.members)}"
        table = [self._ref(spec.table)] if spec.table else []
        return _joined(
            f"phase {spec.phase} match",
            ["!"] * spec.negated,
            [spec.condition, *table, spec.decision],
            [quoted(spec.text)] if spec.decision not in ("junk", "bypass") else [],
        )

    # --- listeners

    def _listener(self, listener: ListenerSpec) -> str:
        families = {6 if ":" in address else 4 for address in listener.addresses}
        family = [f"inet{max(families)}"] if len(families) == 1 and not isAddress(listener.interface) else []
        return _joined(f"listen on {quoted(listener.interface)}", family, self._listenerOptions(listener))

    def _listenerOptions(self, listener: ListenerSpec) -> Iterator[str]:
        if not listener.isSocket:
            yield f"port {listener.port}"
        if listener.tls is not TlsMode.NONE:
            yield listener.tls.value
            if listener.verifyClient:
                yield "verify"
        for name in listener.pki:
            yield f"pki {quoted(name)}"
        if listener.auth is not AuthMode.NONE:
            yield listener.auth.value
            if listener.authTable:
                yield self._ref(listener.authTable)
        for word, text in (
            ("ca", listener.ca),
            ("ciphers", listener.ciphers),
            ("protocols", listener.protocols),
            ("tag", listener.tag),
            ("hostname", listener.hostname),
        ):
            if text:
                yield f"{word} {quoted(text)}"
        if listener.filters:
            yield self._filterNames(listener.filters)
        if listener.hostnames:
            yield f"hostnames {self._ref(listener.hostnames)}"
        if listener.senders:
            yield f"senders {self._ref(listener.senders)}"
            if listener.masquerade:
                yield "masquerade"
        if listener.proxy:
            yield "proxy" if listener.proxy.v1 else "proxy-v2"
            if listener.proxy.source:
                yield f"from {self._ref(listener.proxy.source)}"
        if listener.xclient:
            yield f"xclient {self._ref(listener.xclient)}"
        if listener.bareNewline is not BareNewline.REJECT:
            yield f"bare-newline {listener.bareNewline.value}"
        for word, isSaid in (
            ("mask-src", listener.maskSource),
            ("no-dsn", listener.noDsn),
            ("received-auth", listener.receivedAuth),
            ("lmtp", listener.lmtp),
            ("auth-without-tls", listener.authWithoutTls),
            ("xclient-login", listener.xclientLogin),
            ("submission", listener.submission and not listener.isSocket),
        ):
            if isSaid:
                yield word

    # --- actions

    def _action(self, action: Action) -> str:
        options = self._relayOptions(action) if action.method is Method.RELAY else self._localOptions(action)
        ttl = [] if action.ttl is None else [f"ttl {_delay(action.ttl)}"]
        return _joined(f"action {quoted(action.name)}", [_method(action)], options, ttl)

    def _localOptions(self, action: Action) -> Iterator[str]:
        if action.user:
            yield f"user {quoted(action.user)}"
        if action.wrapper:
            yield f"wrapper {quoted(action.wrapper)}"
        for word, ref in (("alias", action.alias), ("virtual", action.virtual), ("userbase", action.userbase)):
            if ref:
                yield f"{word} {self._ref(ref)}"

    def _relayOptions(self, action: Action) -> Iterator[str]:
        if action.hosts:
            yield f"host {_braces(quoted(_url(host)) for host in action.hosts)}"
        for word, ref in (
            ("host", action.hostTable),
            ("domain", action.domainTable),
            ("auth", action.authTable),
            ("helo-src", action.heloTable),
            ("src", action.source),
        ):
            if ref:
                yield f"{word} {self._ref(ref)}"
        for word, text in (
            ("helo", action.helo),
            ("pki", action.pki),
            ("ca", action.ca),
            ("ciphers", action.ciphers),
            ("protocols", action.protocols),
        ):
            if text:
                yield f"{word} {quoted(text)}"
        if action.mailFrom is not None:
            yield f"mail-from {quoted(f'{action.mailFrom.local}@{action.mailFrom.domain}')}"
        if action.isBackup:
            yield f"backup mx {quoted(action.backupMx)}" if action.backupMx else "backup"
        if action.tlsRequired:
            yield "tls" if action.tlsVerify else "tls no-verify"
        if action.srs:
            yield "srs"
        if action.filters:
            yield self._filterNames(action.filters)

    # --- what several have

    def _condition(self, condition: Condition) -> Iterator[str]:
        if condition.negated:
            yield "!"
        yield condition.predicate.value
        if condition.table and condition.predicate is not Predicate.FOR_LOCAL:
            yield self._ref(condition.table)

    def _ref(self, ref: TableRef) -> str:
        spec = self._config.tables[ref.name]
        regex = "regex " if ref.regex else ""
        if spec.name.startswith(INLINE):
            return regex + _entries(spec)
        return f"{regex}<{quoted(spec.name)}>"

    def _filterNames(self, names: Sequence[str]) -> str:
        """A chain is named without braces, as it may not stand in another."""
        if len(names) == 1:
            return f"filter {quoted(names[0])}"
        return f"filter {_braces(quoted(name) for name in names)}"


def quoted(text: str) -> str:
    """A text as a string of smtpd.conf(5), always in quotes."""
    inside = ""
    before = ""
    for character in text:
        # A backslash is itself, unless one of these follows.
        if character == '"' or (character in " \t" and before == "\\"):
            inside += "\\"
        inside += character
        before = character
    # At the end it would escape the quote; the end of a line in quotes is nothing.
    return f'"{inside}\\\n"' if text.endswith("\\") else f'"{inside}"'


def _joined(first: str, *parts: Iterable[str]) -> str:
    return " ".join((first, *(word for part in parts for word in part)))


def _braces(words: Iterable[str]) -> str:
    return "{ " + ", ".join(words) + " }"


def _entries(spec: TableSpec) -> str:
    if spec.isMap:
        return _braces(f"{quoted(key)} = {quoted(value)}" for key, value in spec.entries)
    return _braces(quoted(key) for key, _ in spec.entries)


def _table(spec: TableSpec) -> str:
    if spec.backend.name == "static":
        return f"table {quoted(spec.name)} {_entries(spec)}"
    return _joined(
        f"table {quoted(spec.name)}", [quoted(_backend(spec.backend))], ["allow-commands"] * spec.allowCommands
    )


def _backend(spec: BackendSpec) -> str:
    return str(spec) if spec.argument else spec.name


def _process(spec: ProcSpec) -> str:
    options = (("user", spec.user), ("group", spec.group), ("chroot", spec.chroot))
    return _joined(quoted(spec.command), (f"{word} {quoted(text)}" for word, text in options if text))


def _method(action: Action) -> str:
    match action.method:
        case Method.MAILDIR:
            return _joined("maildir", [quoted(action.path)] * bool(action.path), ["junk"] * action.junk)
        case Method.LMTP:
            host = action.hosts[0]
            where = host.host if host.host.startswith("/") else f"{_bracketed(host.host)}:{host.port}"
            return _joined("lmtp", [quoted(where)], ["rcpt-to"] * action.lmtpRcptTo)
        case Method.MDA:
            assert action.command is not None
            shell = action.command.shell
            return f"mda shell {quoted(shell)}" if shell else f"mda {quoted(joinCommand(action.command.words))}"
    return action.method.value


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _url(host: RelayHost) -> str:
    label = f"{host.label}@" if host.label else ""
    if host.host.startswith("/"):
        return f"{host.protocol}://{host.host}"
    return f"{host.protocol}://{label}{_bracketed(host.host)}:{host.port}"


def _delay(seconds: float) -> str:
    whole = round(seconds)
    size, unit = next((size, unit) for size, unit in _UNITS if whole % size == 0)
    return f"{whole // size}{unit}"


def _rate(rule: RateRule) -> str:
    key = [f"for {rule.kind} {quoted(rule.name)}"] if rule.kind else []
    return _joined("mta rate", key, map(str, rule.rates) if rule.rates else ["unlimited"])


def _limits(words: str, limits: Limits, default: Limits | None) -> Iterator[str]:
    """One directive for all bounds; or for those that are not as in C{default}."""
    known = limitNames(limits)
    said = [
        f"{word} {_limit(field, getattr(limits, field))}"
        for word, field in known.items()
        if default is None or getattr(limits, field) != getattr(default, field)
    ]
    if isinstance(limits, SmtpLimits) and not limits.maxSessions:
        said = [setting for setting in said if not setting.startswith("max-sessions 0")]
    if isinstance(limits, MtaLimits) and limits.family:
        said.insert(0, limits.family)
    if said or default is not None:
        yield f"{words} {' '.join(said)}".rstrip()


def _limit(field: str, value: float | int) -> str:
    if field in ("minFreeSpace", "minFreeInodes"):
        return f"{round(value * 100)}%"
    if isinstance(value, float) and not value.is_integer():
        return f"{round(value * 1000)}ms"
    return str(int(value))
