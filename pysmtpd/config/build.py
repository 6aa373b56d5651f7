"""Parsed directives into a draft: one handler for each, by the name of its node in grammar.lark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lark import Token

from pysmtpd.config.action import addAction, parsed
from pysmtpd.config.draft import Draft, Refused, inlineEntries, notYet, parts, text
from pysmtpd.config.limits import withLimits
from pysmtpd.config.listener import addListener
from pysmtpd.config.parser import Directive
from pysmtpd.config.rule import addRule
from pysmtpd.config.values import isAddress, isHostName, parseDelay, parsePort, parseSize
from pysmtpd.model.config import BackendSpec, PkiSpec, ResolverSpec, TableSpec

# Directives of smtpd.conf(5) that are parsed, and refused by name.
NOT_YET = {
    "admd": "admd",
    "bounce": "bounce",
    "ca": "ca",
    "filter_proc": "filter",
    "filter_proc_exec": "filter",
    "filter_phase": "filter",
    "filter_chain": "filter",
    "listen_socket": "listen on socket",
    "mda_wrapper": "mda wrapper",
    "mta_max_deferred": "mta max-deferred",
    "proc": "proc",
    "queue_compression": "queue compression",
    "queue_encryption": "queue encryption",
    "smtp_ciphers": "smtp ciphers",
    "srs_key": "srs",
    "srs_key_backup": "srs",
    "srs_ttl": "srs",
}


def build(draft: Draft, directive: Directive) -> None:
    """Add what a directive says; what is wrong with it is told."""
    name = str(directive.tree.data)
    with draft.recovering():
        if name in NOT_YET:
            notYet(directive.where(directive.tree), NOT_YET[name])
        _HANDLERS[name](draft, directive)


def _pki(draft: Draft, directive: Directive) -> None:
    tree = directive.tree
    name = text(tree).lower()
    if name != "*" and not isHostName(name):
        raise Refused(directive.where(tree), f'the name of a pki is a host name or "*", not "{name[:80]}"')
    spec = draft.pki.get(name, PkiSpec(name, "", "", directive.where(tree)))
    for option in parts(draft, directive, tree.children):
        place = directive.where(option)
        with draft.recovering():
            if option.data == "pki_dhe":
                notYet(place, "dhe")
            elif option.data == "pki_cert":
                if spec.cert:
                    raise Refused(place, f'pki "{name}" has a certificate already')
                spec = replace(spec, cert=text(option))
            else:
                if spec.key:
                    raise Refused(place, f'pki "{name}" has a key already')
                spec = replace(spec, key=text(option))
    draft.pki[name] = spec


def _table(draft: Draft, directive: Directive) -> None:
    tree = directive.tree
    where = directive.where(tree)
    name = text(tree)
    if name in draft.tables:
        raise Refused(where, f'table "{name}" is already declared at {draft.tables[name].where}')
    if not name or "<" in name or ">" in name or not name.isprintable():
        raise Refused(where, "the name of a table is printable and holds no angle brackets")
    draft.failedTables.add(name)
    content = tree.children[1]
    if not isinstance(content, Token):
        entries, isMap = inlineEntries(content)
        spec = TableSpec(name, BackendSpec("static", where=where), entries, isMap, where)
    else:
        spec = TableSpec(name, _tableBackend(directive, content), where=where)
    draft.tables[name] = spec
    draft.failedTables.discard(name)


def _tableBackend(directive: Directive, token: Token) -> BackendSpec:
    written = str(token)
    where = directive.where(token)
    backend, colon, argument = ("file", ":", written) if written.startswith("/") else written.partition(":")
    if not backend:
        raise Refused(where, 'a backend must stand here: file:/path, or "name:argument"')
    if backend == "static" and colon:
        backend = "file"
    if backend in ("file", "db") and not argument.startswith("/"):
        raise Refused(where, f"the path of a table is absolute: {backend}:/path")
    if backend == "static":
        raise Refused(where, "a static table is written in braces, or needs a path: static:/path")
    return BackendSpec(backend, argument, where)


def _backend(draft: Draft, directive: Directive) -> None:
    tree = directive.tree
    kind = str(tree.data).removesuffix("_backend")
    where = directive.where(tree)
    draft.once(where, f"{kind} backend")
    name, _, argument = text(tree).partition(":")
    if not name:
        raise Refused(where, 'a backend is written "name:argument"')
    draft.backends[kind] = BackendSpec(name, argument, where)


def _resolver(draft: Draft, directive: Directive) -> None:
    tree = directive.tree
    where = directive.where(tree)
    draft.once(where, "resolver")
    address, *port = (str(child) for child in tree.children)
    if not isAddress(address):
        raise Refused(where, f'"{address[:80]}" is not an IP address')
    draft.resolver = ResolverSpec(address, parsed(where, parsePort, port[0]) if port else 53)


def _queueTtl(draft: Draft, directive: Directive) -> None:
    draft.queue = replace(draft.queue, ttl=parsed(directive.where(directive.tree), parseDelay, text(directive.tree)))


def _queueLimit(draft: Draft, directive: Directive) -> None:
    draft.queue = withLimits(draft, directive, draft.queue, directive.tree.children)


def _smtpLimit(draft: Draft, directive: Directive) -> None:
    draft.smtp = withLimits(draft, directive, draft.smtp, directive.tree.children)


def _mdaLimit(draft: Draft, directive: Directive) -> None:
    draft.mda = withLimits(draft, directive, draft.mda, directive.tree.children)


def _schedulerLimit(draft: Draft, directive: Directive) -> None:
    draft.scheduler = withLimits(draft, directive, draft.scheduler, directive.tree.children)


def _mtaLimit(draft: Draft, directive: Directive) -> None:
    for node in directive.tree.children:
        if isinstance(node, Token):
            continue
        if node.data == "limit_domain":
            notYet(directive.where(node), "mta limit for domain")
        if node.data in ("family_inet4", "family_inet6"):
            draft.mta = replace(draft.mta, family=str(node.data).removeprefix("family_"))
    draft.mta = withLimits(draft, directive, draft.mta, directive.tree.children)


def _allowLocalMx(draft: Draft, directive: Directive) -> None:
    draft.allowLocalMx = True


def _maxMessageSize(draft: Draft, directive: Directive) -> None:
    where = directive.where(directive.tree)
    draft.smtp = replace(draft.smtp, maxMessageSize=parsed(where, parseSize, text(directive.tree)))


def _subAddressDelimiter(draft: Draft, directive: Directive) -> None:
    where = directive.where(directive.tree)
    draft.once(where, "smtp sub-addr-delim")
    delimiter = text(directive.tree)
    if len(delimiter) != 1 or not delimiter.isascii() or not delimiter.isprintable() or delimiter in " @":
        raise Refused(where, "the delimiter is one printable character, and neither a space nor @")
    draft.subAddressDelimiter = delimiter


_HANDLERS: dict[str, Callable[[Draft, Directive], None]] = {
    "listen": addListener,
    "action_local": addAction,
    "action_relay": addAction,
    "match_action": addRule,
    "match_reject": addRule,
    "pki": _pki,
    "table_inline": _table,
    "table_backend": _table,
    "queue_backend": _backend,
    "scheduler_backend": _backend,
    "stat_backend": _backend,
    "resolver": _resolver,
    "queue_ttl": _queueTtl,
    "queue_limit": _queueLimit,
    "smtp_limit": _smtpLimit,
    "mda_limit": _mdaLimit,
    "scheduler_limit": _schedulerLimit,
    "mta_limit": _mtaLimit,
    "mta_allow_local_mx": _allowLocalMx,
    "smtp_max_message_size": _maxMessageSize,
    "smtp_sub_addr_delim": _subAddressDelimiter,
}
