"""C{action}: how mail is delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from lark import Token

from pysmtpd.config.draft import Draft, Refused, notYet, parts, text, wordOf
from pysmtpd.config.parser import Directive, Node
from pysmtpd.config.values import isHostName, parseDelay, parseHalfAddress, parseLmtp, parseRelay
from pysmtpd.model.config import Action, Method, RelayHost, TableRef
from pysmtpd.model.decision import Where
from pysmtpd.model.specifiers import checkFormat

T = TypeVar("T")

_METHODS_NOT_YET = ("mbox", "mda", "forward_only", "expand_only")
_LOCAL_NOT_YET = ("userbase", "wrapper")
_RELAY_NOT_YET = (
    "helo_src",
    "pki_name",
    "ca_name",
    "ciphers",
    "protocols",
    "backup",
    "domain",
    "use_srs",
    "use_filter",
)


def addAction(draft: Draft, directive: Directive) -> None:
    """
    @raise Refused: it cannot be used.
    """
    tree = directive.tree
    where = directive.where(tree)
    name = text(tree)
    if name in draft.actions:
        raise Refused(where, f'action "{name}" is already declared at {draft.actions[name].where}')
    draft.failedActions.add(name)
    before = len(draft.problems)
    build = _relay if tree.data == "action_relay" else _local
    action = build(draft, directive, name)
    if len(draft.problems) == before:
        draft.actions[name] = action
        draft.failedActions.discard(name)


def _local(draft: Draft, directive: Directive, name: str) -> Action:
    tree = directive.tree
    where = directive.where(tree)
    method = tree.children[1]
    assert not isinstance(method, Token)
    action = _method(directive, method, Action(name, Method.MAILDIR, where=where))
    for option in parts(draft, directive, tree.children[2:]):
        place = directive.where(option)
        kind = str(option.data)
        with draft.recovering():
            if kind in _LOCAL_NOT_YET:
                notYet(place, wordOf(option))
            elif kind == "user":
                action = replace(action, user=_user(place, text(option)))
            elif kind == "alias":
                action = replace(action, alias=_table(draft, directive, option, asMap=True))
            elif kind == "virtual":
                action = replace(action, virtual=_table(draft, directive, option, asMap=True))
            elif kind == "ttl":
                action = replace(action, ttl=parsed(place, parseDelay, text(option)))
    if action.alias and action.virtual:
        raise Refused(where, '"alias" and "virtual" cannot be combined')
    return action


def _method(directive: Directive, method: Node, action: Action) -> Action:
    where = directive.where(method)
    kind = str(method.data)
    if kind in _METHODS_NOT_YET:
        notYet(where, wordOf(method))
    if kind == "lmtp":
        host = parsed(where, parseLmtp, text(method))
        return replace(action, method=Method.LMTP, hosts=(host,), lmtpRcptTo=len(method.children) > 1)
    for child in method.children:
        if isinstance(child, Token) and child.type == "JUNK":
            notYet(directive.where(child), "junk")
    path = text(method) if method.children else ""
    if path.startswith("%{user.directory}/"):
        path = "~" + path.removeprefix("%{user.directory}")
    parsed(where, checkFormat, path)
    if path and not path.startswith(("/", "~/")):
        path = f"~/{path}"
    return replace(action, method=Method.MAILDIR, path=path)


def _relay(draft: Draft, directive: Directive, name: str) -> Action:
    tree = directive.tree
    action = Action(name, Method.RELAY, where=directive.where(tree))
    for option in parts(draft, directive, tree.children[1:]):
        place = directive.where(option)
        kind = str(option.data)
        with draft.recovering():
            if kind in _RELAY_NOT_YET:
                notYet(place, wordOf(option))
            elif kind == "helo":
                if not isHostName(text(option)) and not text(option).startswith("["):
                    raise Refused(place, f'"{text(option)[:80]}" is not a host name')
                action = replace(action, helo=text(option))
            elif kind == "src":
                action = replace(action, source=_table(draft, directive, option, asMap=False))
            elif kind == "auth":
                action = replace(action, authTable=_table(draft, directive, option, asMap=True))
            elif kind == "host":
                action = replace(action, hosts=_hosts(draft, directive, option))
            elif kind == "mail_from":
                action = replace(action, mailFrom=parsed(place, parseHalfAddress, text(option)))
            elif kind == "tls":
                action = replace(action, tlsRequired=True, tlsVerify=not option.children)
            elif kind == "ttl":
                action = replace(action, ttl=parsed(place, parseDelay, text(option)))
    for host in action.hosts:
        if host.label and action.authTable is None:
            raise Refused(action.where, f'the credentials "{host.label}" need a table of them: "auth" <table>')
        if action.tlsRequired and host.protocol in ("smtp+notls", "lmtp"):
            raise Refused(action.where, f'"tls" cannot be had over {host.protocol}')
    return action


def _hosts(draft: Draft, directive: Directive, option: Node) -> tuple[RelayHost, ...]:
    where = directive.where(option)
    spec = draft.tables[_table(draft, directive, option, asMap=False).name]
    if spec.backend.name != "static":
        raise Refused(where, f'"host" with a table of the backend "{spec.backend.name}" is not supported yet')
    return tuple(parsed(where, parseRelay, key) for key, _ in spec.entries)


def _table(draft: Draft, directive: Directive, option: Node, asMap: bool) -> TableRef:
    node = option.children[0]
    assert not isinstance(node, Token)
    return draft.table(directive, node, asMap)


def _user(place: Where, name: str) -> str:
    if not name or not name.isprintable() or "/" in name or name[0] in "-.":
        raise Refused(place, f'"{name[:80]}" is not a user')
    if name == "root":
        raise Refused(place, "mail is never delivered as root")
    return name


def parsed(place: Where, parse: Callable[[str], T], written: str) -> T:
    """What C{parse} makes of a value.

    @raise Refused: it is not one.
    """
    try:
        return parse(written)
    except ValueError as error:
        raise Refused(place, str(error)) from error
