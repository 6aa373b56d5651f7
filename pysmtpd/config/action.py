"""C{action}: how mail is delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lark import Token

from pysmtpd.config.command import parseCommand, parseShell
from pysmtpd.config.draft import Draft, Refused, change, parsed, parts, text, valueAt, wordOf
from pysmtpd.config.filter import useFilter
from pysmtpd.config.machine import Node
from pysmtpd.config.parser import Directive
from pysmtpd.config.problem import Finding
from pysmtpd.config.values import isHostName, parseDelay, parseHalfAddress, parseLmtp, parseRelay
from pysmtpd.model.config import Action, Method, RelayHost
from pysmtpd.model.decision import Where
from pysmtpd.model.specifiers import checkPath

_METHODS = {
    "mbox": Method.MBOX,
    "maildir": Method.MAILDIR,
    "lmtp": Method.LMTP,
    "mda": Method.MDA,
    "mda_shell": Method.MDA,
    "forward_only": Method.FORWARD_ONLY,
    "expand_only": Method.EXPAND_ONLY,
}
# Nothing is run for these, or the mail system's own program: "user" has no meaning.
_WITHOUT_USER = (Method.MBOX, Method.FORWARD_ONLY, Method.EXPAND_ONLY)
# Options that are a table: their fields, and whether it must be a map.
_TABLES: dict[str, tuple[str, bool | None]] = {
    "alias": ("alias", True),
    "virtual": ("virtual", True),
    "userbase": ("userbase", True),
    "helo_src": ("heloTable", True),
    "src": ("source", None),
    "domain": ("domainTable", True),
    "auth": ("authTable", True),
}
_TEXTS = {"ciphers": "ciphers", "protocols": "protocols"}


def addAction(draft: Draft, directive: Directive) -> None:
    """
    @raise Refused: it cannot be used.
    """
    tree = directive.tree
    where = directive.where(tree)
    name = text(tree)
    draft.declare("action", name, where, draft.actions, lambda action: action.where)
    draft.failed.add(("action", name))
    before = draft.trouble
    action = (_relay if tree.data == "action_relay" else _local)(draft, directive, name)
    if draft.trouble == before:
        draft.actions[name] = action
        draft.failed.discard(("action", name))


def _local(draft: Draft, directive: Directive, name: str) -> Action:
    tree = directive.tree
    method = tree.children[1]
    assert not isinstance(method, Token)
    action = Action(name, _METHODS[str(method.data)], where=directive.where(tree))
    with draft.recovering():
        action = _method(directive, method, action)
    for option in parts(draft, directive, tree.children[2:]):
        place = directive.where(option)
        kind = str(option.data)
        with draft.recovering():
            if kind in _TABLES:
                action = _table(draft, directive, option, action)
            elif kind == "user":
                if action.method in _WITHOUT_USER:
                    raise Refused(place, f'"user" cannot be combined with "{wordOf(method)}"')
                action = replace(action, user=_user(valueAt(directive, option), text(option)))
            elif kind == "wrapper":
                draft.known("mda wrapper", text(option), valueAt(directive, option), draft.wrappers)
                action = replace(action, wrapper=text(option))
            elif kind == "ttl":
                action = replace(action, ttl=parsed(valueAt(directive, option), parseDelay, text(option)))
            if kind in ("alias", "virtual") and action.alias and action.virtual:
                raise Refused(place, '"alias" and "virtual" cannot be combined')
    return action


def _method(directive: Directive, method: Node, action: Action) -> Action:
    where = valueAt(directive, method) if method.children else directive.where(method)
    match str(method.data):
        case "lmtp":
            host = parsed(where, parseLmtp, text(method), Finding.CHECK)
            return replace(action, hosts=(host,), lmtpRcptTo=len(method.children) > 1)
        case "mda":
            return replace(action, command=parsed(where, parseCommand, text(method), Finding.CHECK))
        case "mda_shell":
            return replace(action, command=parsed(where, parseShell, text(method), Finding.CHECK))
        case "maildir":
            tokens = [child for child in method.children if isinstance(child, Token)]
            path = next((str(token) for token in tokens if token.type != "JUNK"), "")
            isJunk = any(token.type == "JUNK" for token in tokens)
            return replace(action, path=_maildirPath(where, path), junk=isJunk)
    return action


def _maildirPath(where: Where, path: str) -> str:
    if path.lower().startswith("%{user.directory}/"):
        path = "~" + path[len("%{user.directory}") :]
    parsed(where, checkPath, path, Finding.CHECK)
    if path and not path.startswith(("/", "~/")):
        path = f"~/{path}"
    return path


def _relay(draft: Draft, directive: Directive, name: str) -> Action:
    tree = directive.tree
    action = Action(name, Method.RELAY, where=directive.where(tree))
    before = draft.trouble
    hostPlace = action.where
    for option in parts(draft, directive, tree.children[1:]):
        place = directive.where(option)
        kind = str(option.data)
        with draft.recovering():
            if kind == "auth" and not _hasHost(action):
                raise Refused(place, '"auth" comes behind the "host" or "domain" that it is for')
            if kind in ("host", "domain") and action.isBackup:
                raise Refused(place, f'"{kind}" and "backup" cannot be combined')
            if kind in ("host", "domain") and _hasHost(action):
                raise Refused(place, '"host" and "domain" cannot be combined')
            if kind in _TABLES:
                action = _table(draft, directive, option, action)
            elif kind in _TEXTS:
                action = replace(action, **change(_TEXTS[kind], text(option)))
            elif kind in _RELAY:
                action = _RELAY[kind](draft, directive, option, place, action)
                hostPlace = place if kind == "host" else hostPlace
    if draft.trouble == before:
        _checkHosts(draft, action, hostPlace)
    return action


def _checkHosts(draft: Draft, action: Action, place: Where) -> None:
    """
    @raise Refused: what is said of hosts contradicts itself.
    """
    for host in action.hosts:
        if host.label and action.authTable is None:
            raise Refused(place, f'the credentials "{host.label}" need a table of them: "auth" <table>', Finding.CHECK)
        if action.tlsRequired and host.protocol in ("smtp+notls", "lmtp"):
            raise Refused(place, f'"tls" cannot be had over {host.protocol}', Finding.CHECK)
    if action.hosts and action.authTable is not None and not any(host.label for host in action.hosts):
        host = action.hosts[0]
        draft.problems.warn(
            place,
            f"no credentials are used, as no URL names any: {host.protocol}://LABEL@{host.host}, where LABEL is a key of the table",
        )


def _hasHost(action: Action) -> bool:
    return bool(action.hosts or action.hostTable or action.domainTable)


def _table(draft: Draft, directive: Directive, option: Node, action: Action) -> Action:
    field, asMap = _TABLES[str(option.data)]
    return replace(action, **change(field, draft.tableOf(directive, option, asMap)))


def _helo(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    if not isHostName(text(option)) and not text(option).startswith("["):
        raise Refused(valueAt(directive, option), f'"{text(option)[:80]}" is not a host name', Finding.CHECK)
    return replace(action, helo=text(option))


def _pki(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    draft.known("pki", text(option).lower(), valueAt(directive, option), draft.pki, Finding.CHECK)
    return replace(action, pki=text(option).lower())


def _ca(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    draft.known("ca", text(option).lower(), valueAt(directive, option), draft.ca, Finding.CHECK)
    return replace(action, ca=text(option).lower())


def _mailFrom(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    return replace(action, mailFrom=parsed(valueAt(directive, option), parseHalfAddress, text(option), Finding.CHECK))


def _backup(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    if _hasHost(action):
        raise Refused(place, f'"backup" and "{"domain" if action.domainTable else "host"}" cannot be combined')
    name = text(option) if option.children else ""
    if name and not isHostName(name):
        raise Refused(valueAt(directive, option), f'"{name[:80]}" is not a host name', Finding.CHECK)
    return replace(action, isBackup=True, backupMx=name)


def _host(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    ref = draft.tableOf(directive, option, False)
    spec = draft.tables[ref.name]
    if spec.backend.name != "static":
        return replace(action, hostTable=ref)
    # It never changes while this configuration is in force, so its URLs are read now.
    node = option.children[0]
    assert not isinstance(node, Token)
    places = [directive.where(child if node.data != "reference" else node) for child in node.children]
    hosts: list[RelayHost] = []
    for number, (key, _) in enumerate(spec.entries):
        with draft.recovering():
            hosts.append(parsed(places[number if node.data != "reference" else 0], parseRelay, key, Finding.CHECK))
    if len(hosts) < len(spec.entries):
        return replace(action, hostTable=ref)
    return replace(action, hosts=tuple(hosts))


def _tls(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    return replace(action, tlsRequired=True, tlsVerify=not option.children)


def _srs(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    if not draft.srs.key:
        raise Refused(place, '"srs" needs a key above this line: srs key "..."')
    return replace(action, srs=True)


def _filter(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    return replace(action, filters=useFilter(draft, directive, option))


def _ttl(draft: Draft, directive: Directive, option: Node, place: Where, action: Action) -> Action:
    return replace(action, ttl=parsed(valueAt(directive, option), parseDelay, text(option)))


_RELAY: dict[str, Callable[[Draft, Directive, Node, Where, Action], Action]] = {
    "helo": _helo,
    "pki_name": _pki,
    "ca_name": _ca,
    "mail_from": _mailFrom,
    "backup": _backup,
    "host": _host,
    "tls": _tls,
    "use_srs": _srs,
    "use_filter": _filter,
    "ttl": _ttl,
}


def _user(place: Where, name: str) -> str:
    if not name or not name.isprintable() or "/" in name or name[0] in "-.":
        raise Refused(place, f'"{name[:80]}" is not a user', Finding.CHECK)
    if name == "root":
        raise Refused(place, "mail is never delivered as root", Finding.CHECK)
    return name
