"""Parsed directives into a draft: one handler for each, by the name of its node in grammar.lark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from lark import Token

from pysmtpd.config.action import addAction
from pysmtpd.config.command import parseWrapper
from pysmtpd.config.draft import Draft, Refused, inlineEntries, parsed, text, valueAt
from pysmtpd.config.filter import addFilter, addProc
from pysmtpd.config.limits import withLimits
from pysmtpd.config.listener import addListener, addSocket
from pysmtpd.config.parser import Directive
from pysmtpd.config.problem import Finding
from pysmtpd.config.rate import addProvider, addRate
from pysmtpd.config.rule import addRule
from pysmtpd.config.values import isAddress, isPkiName, parseDelay, parsePort, parseSize
from pysmtpd.model.config import BackendSpec, CaSpec, PkiSpec, ResolverSpec, TableSpec
from pysmtpd.model.decision import Where
from pysmtpd.model.queuekey import STDIN, keyOctets

# OpenSMTPD takes four and leaves out more without a word.
MAX_WARNINGS = 4
DAY = 86400.0

_DHE = ("none", "auto", "legacy")
# Table backends whose argument is the path of a file, and cannot be missing.
_WITH_PATH = ("file", "db", "sqlite", "proc")


def build(draft: Draft, directive: Directive) -> None:
    """Add what a directive says; what is wrong with it is told."""
    name = str(directive.tree.data)
    with draft.recovering():
        _HANDLERS[name](draft, directive)
        if name in _PLACES:
            draft.places[_PLACES[name]] = directive.where(directive.tree)


# Settings whose values have no place of their own.
_PLACES = {
    "admd": "admd",
    "bounce": "bounce warn-interval",
    "mta_max_deferred": "mta max-deferred",
    "queue_compression": "queue compression",
    "queue_encryption": "queue encryption",
    "queue_encryption_backup": "queue encryption backup",
    "resolver": "resolver",
    "scheduler_limit": "scheduler limit",
    "smtp_ciphers": "smtp ciphers",
}


def _pkiName(directive: Directive, what: str) -> str:
    name = text(directive.tree).lower()
    if not isPkiName(name):
        raise Refused(
            valueAt(directive, directive.tree),
            f'the name of a {what} is a host name or "*", not "{name[:80]}"',
            # OpenSMTPD takes none, and backslashes as those of a zone file.
            Finding.LANGUAGE if name and not isPkiName(name.replace("\\", "")) else Finding.CHECK,
        )
    return name


def _pki(draft: Draft, directive: Directive) -> None:
    tree = directive.tree
    name = _pkiName(directive, "pki")
    draft.declared("pki", name, directive.where(tree))
    spec = draft.pki.get(name, PkiSpec(name, "", "", directive.where(tree)))
    for option in tree.children:
        if isinstance(option, Token):
            continue
        place = valueAt(directive, option)
        with draft.recovering():
            if option.data == "pki_dhe":
                if text(option).lower() not in _DHE:
                    raise Refused(place, f'"dhe" takes none, auto or legacy, not "{text(option)[:80]}"')
                spec = replace(spec, dhe=text(option).lower())
            elif option.data == "pki_cert":
                if spec.cert and spec.cert != text(option):
                    draft.problems.warn(place, f'pki "{name}" had another certificate above')
                spec = replace(spec, cert=text(option))
            else:
                if spec.key and spec.key != text(option):
                    draft.problems.warn(place, f'pki "{name}" had another key above')
                spec = replace(spec, key=text(option))
    draft.pki[name] = spec


def _ca(draft: Draft, directive: Directive) -> None:
    name = _pkiName(directive, "ca")
    draft.declared("ca", name, directive.where(directive.tree))
    draft.ca[name] = CaSpec(name, str(directive.tree.children[1]), directive.where(directive.tree))


def _table(draft: Draft, directive: Directive) -> None:
    tree = directive.tree
    where = directive.where(tree)
    name = text(tree)
    draft.declare("table", name, where, draft.tables, lambda spec: spec.where)
    draft.failed.add(("table", name))
    if not name or "<" in name or ">" in name or not name.isprintable():
        raise Refused(
            valueAt(directive, tree), "the name of a table is printable and holds no angle brackets", Finding.CHECK
        )
    content = tree.children[1]
    if not isinstance(content, Token):
        entries, isMap = inlineEntries(content)
        if not isMap and any(entry.endswith(":") for entry, _ in entries):
            draft.problems.warn(where, f'table "{name}" is a list; a map is written {{ key = value }}')
        if any(entry.endswith(";") for entry, _ in entries):
            draft.problems.warn(where, f'an entry of table "{name}" ends with ";": commas stand between entries')
        spec = TableSpec(name, BackendSpec("static", where=where), entries, isMap, where)
    else:
        spec = TableSpec(name, _tableBackend(directive, content), where=where, allowCommands=len(tree.children) > 2)
    draft.tables[name] = spec
    draft.failed.discard(("table", name))


def _tableBackend(directive: Directive, token: Token) -> BackendSpec:
    written = str(token)
    where = directive.where(token)
    backend, colon, argument = ("file", ":", written) if written.startswith("/") else written.partition(":")
    if not backend:
        raise Refused(where, 'a backend must stand here: file:/path, or "name:argument"')
    if "/" in backend:
        raise Refused(where, f'"{backend[:80]}" is no backend, and the path of a file is absolute')
    if backend == "static" and colon:
        backend = "file"
    if backend in _WITH_PATH and not argument.startswith("/"):
        finding = Finding.CHECK if written == "file" else Finding.LANGUAGE
        raise Refused(where, f"the path of a table is absolute: {backend}:/path", finding)
    if backend == "static":
        raise Refused(where, "a static table is written in braces, or needs a path: static:/path", Finding.CHECK)
    if backend == "getpwnam" and colon:
        raise Refused(where, '"getpwnam" takes no argument')
    return BackendSpec(backend, argument, where)


def _backend(draft: Draft, directive: Directive) -> None:
    tree = directive.tree
    kind = str(tree.data).removesuffix("_backend")
    where = directive.where(tree)
    draft.once(where, f"{kind} backend")
    name, _, argument = text(tree).partition(":")
    if not name:
        raise Refused(valueAt(directive, tree), 'a backend is written "name:argument"')
    draft.backends[kind] = BackendSpec(name, argument, valueAt(directive, tree))


def _resolver(draft: Draft, directive: Directive) -> None:
    tree = directive.tree
    where = directive.where(tree)
    draft.once(where, "resolver")
    address, *port = tree.children
    if not isAddress(str(address)):
        raise Refused(directive.where(address), f'"{str(address)[:80]}" is not an IP address')
    draft.resolver = ResolverSpec(
        str(address), parsed(directive.where(port[0]), parsePort, str(port[0])) if port else 53
    )


def _admd(draft: Draft, directive: Directive) -> None:
    name = text(directive.tree)
    if not (name.isascii() and name.isprintable()):
        raise Refused(valueAt(directive, directive.tree), "the name of an administrative domain is printable")
    draft.admd = name


def _bounce(draft: Draft, directive: Directive) -> None:
    where = directive.where(directive.tree)
    delays = [parsed(directive.where(token), parseDelay, str(token)) for token in directive.tree.children]
    if len(delays) > MAX_WARNINGS:
        draft.problems.warn(where, f"only the first {MAX_WARNINGS} of these times count")
        delays = delays[:MAX_WARNINGS]
    if any(first >= second for first, second in pairwise(delays)):
        raise Refused(where, "these times ascend, shorter before longer", Finding.CHECK)
    draft.bounceWarn = tuple(delays)


def _wrapper(draft: Draft, directive: Directive) -> None:
    tree = directive.tree
    where = directive.where(tree)
    name, command = str(tree.children[0]), str(tree.children[1])
    draft.declare("mda wrapper", name, where, draft.wrappers, lambda _: draft.places[f"mda wrapper {name}"])
    draft.failed.add(("mda wrapper", name))
    draft.places[f"mda wrapper {name}"] = where
    draft.wrappers[name] = parsed(directive.where(tree.children[1]), parseWrapper, command, Finding.CHECK)
    draft.failed.discard(("mda wrapper", name))


def _maxDeferred(draft: Draft, directive: Directive) -> None:
    number = int(text(directive.tree))
    if number < 1:
        raise Refused(valueAt(directive, directive.tree), "at least one must be kept", Finding.CHECK)
    draft.maxDeferred = number


def _compression(draft: Draft, directive: Directive) -> None:
    draft.queueCompression = True


def _encryption(draft: Draft, directive: Directive) -> None:
    key = text(directive.tree) if directive.tree.children else STDIN
    if key.lower() in (STDIN, "-"):
        key = STDIN
    else:
        parsed(valueAt(directive, directive.tree), keyOctets, key)
    draft.queueEncryption = key


def _backupKey(draft: Draft, directive: Directive) -> None:
    draft.once(directive.where(directive.tree), "queue encryption backup")
    draft.queueBackupKey = text(directive.tree)
    parsed(valueAt(directive, directive.tree), keyOctets, draft.queueBackupKey)


def _srsKey(draft: Draft, directive: Directive) -> None:
    where = directive.where(directive.tree)
    draft.srs = replace(draft.srs, key=_secret(where, text(directive.tree)), where=where)


def _srsBackupKey(draft: Draft, directive: Directive) -> None:
    where = directive.where(directive.tree)
    draft.srs = replace(draft.srs, backupKey=_secret(where, text(directive.tree)))
    draft.places["srs"] = where


def _secret(where: Where, key: str) -> str:
    if not key:
        raise Refused(where, "an empty key keeps no secret", Finding.CHECK)
    return key


def _srsTtl(draft: Draft, directive: Directive) -> None:
    where = valueAt(directive, directive.tree)
    seconds = parsed(where, parseDelay, text(directive.tree))
    if seconds < DAY:
        raise Refused(where, "the time is counted in days, so it must be a day at least")
    draft.srs = replace(draft.srs, ttl=seconds // DAY * DAY)
    draft.places["srs"] = directive.where(directive.tree)


def _srsDomain(draft: Draft, directive: Directive) -> None:
    draft.srs = replace(draft.srs, domains=draft.tableOf(directive, directive.tree, False))
    draft.places["srs"] = directive.where(directive.tree)


def _queueTtl(draft: Draft, directive: Directive) -> None:
    draft.queue = replace(draft.queue, ttl=parsed(valueAt(directive, directive.tree), parseDelay, text(directive.tree)))


def _queueLimit(draft: Draft, directive: Directive) -> None:
    draft.queue = withLimits(draft, directive, draft.queue, directive.tree.children)


def _smtpLimit(draft: Draft, directive: Directive) -> None:
    draft.smtp = withLimits(draft, directive, draft.smtp, directive.tree.children)


def _mdaLimit(draft: Draft, directive: Directive) -> None:
    draft.mda = withLimits(draft, directive, draft.mda, directive.tree.children)


def _schedulerLimit(draft: Draft, directive: Directive) -> None:
    draft.scheduler = withLimits(draft, directive, draft.scheduler, directive.tree.children)


def _mtaLimit(draft: Draft, directive: Directive) -> None:
    domain = ""
    limits = draft.mta
    for node in directive.tree.children:
        if isinstance(node, Token):
            continue
        if node.data == "limit_domain":
            # They begin as the bounds for all domains are by then.
            domain = text(node).lower()
            limits = draft.mtaDomains.get(domain, draft.mta)
            draft.places[f"mta limit for domain {domain}"] = directive.where(node)
        elif node.data in ("family_inet4", "family_inet6"):
            limits = replace(limits, family=str(node.data).removeprefix("family_"))
    limits = withLimits(draft, directive, limits, directive.tree.children)
    if domain:
        draft.mtaDomains[domain] = limits
    else:
        draft.mta = limits


def _allowLocalMx(draft: Draft, directive: Directive) -> None:
    draft.allowLocalMx = True


def _bounceSigned8bit(draft: Draft, directive: Directive) -> None:
    draft.bounceSigned8bit = True


def _ciphers(draft: Draft, directive: Directive) -> None:
    draft.ciphers = text(directive.tree)


def _maxMessageSize(draft: Draft, directive: Directive) -> None:
    where = valueAt(directive, directive.tree)
    written = text(directive.tree)
    size = parsed(where, parseSize, written)
    if not size:
        what = "no message is that small" if "0" in written else f'"{written}" has no number in front'
        raise Refused(where, what, Finding.CHECK)
    draft.smtp = replace(draft.smtp, maxMessageSize=size)


def _subAddressDelimiter(draft: Draft, directive: Directive) -> None:
    where = valueAt(directive, directive.tree)
    delimiter = text(directive.tree)
    if len(delimiter) != 1 or not delimiter.isascii() or not delimiter.isprintable() or delimiter in " @":
        raise Refused(where, "the delimiter is one printable character, and neither a space nor @")
    draft.subAddressDelimiter = delimiter


_HANDLERS: dict[str, Callable[[Draft, Directive], None]] = {
    "action_local": addAction,
    "action_relay": addAction,
    "admd": _admd,
    "bounce": _bounce,
    "ca": _ca,
    "filter_proc": addFilter,
    "filter_proc_exec": addFilter,
    "filter_phase": addFilter,
    "filter_chain": addFilter,
    "listen": addListener,
    "listen_socket": addSocket,
    "match_action": addRule,
    "match_reject": addRule,
    "mda_limit": _mdaLimit,
    "mda_wrapper": _wrapper,
    "mta_allow_local_mx": _allowLocalMx,
    "mta_bounce_signed_8bit": _bounceSigned8bit,
    "mta_limit": _mtaLimit,
    "mta_max_deferred": _maxDeferred,
    "mta_provider": addProvider,
    "mta_rate": addRate,
    "pki": _pki,
    "proc": addProc,
    "queue_backend": _backend,
    "queue_compression": _compression,
    "queue_encryption": _encryption,
    "queue_encryption_backup": _backupKey,
    "queue_limit": _queueLimit,
    "queue_ttl": _queueTtl,
    "resolver": _resolver,
    "scheduler_backend": _backend,
    "scheduler_limit": _schedulerLimit,
    "smtp_ciphers": _ciphers,
    "smtp_limit": _smtpLimit,
    "smtp_max_message_size": _maxMessageSize,
    "smtp_sub_addr_delim": _subAddressDelimiter,
    "srs_domain": _srsDomain,
    "srs_key": _srsKey,
    "srs_key_backup": _srsBackupKey,
    "srs_ttl": _srsTtl,
    "stat_backend": _backend,
    "table_backend": _table,
    "table_inline": _table,
}
