"""C{listen on}."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from lark import Token

from pysmtpd.config.draft import Draft, Refused, change, parsed, parts, text, valueAt, wordOf
from pysmtpd.config.environment import Environment
from pysmtpd.config.filter import useFilter
from pysmtpd.config.machine import Node
from pysmtpd.config.parser import Directive
from pysmtpd.config.problem import Finding, didYouMean, oneOf
from pysmtpd.config.values import isAddress, isHostName, parsePort
from pysmtpd.model.config import AuthMode, BareNewline, ListenerSpec, ProxySpec, TlsMode
from pysmtpd.model.decision import Where

MAX_TAG = 32
MAX_PKI = 32
# Where programs hand in their users' messages (RFC 6409, RFC 8314).
SUBMISSION_PORTS = (465, 587)

_TLS = {"tls": TlsMode.STARTTLS, "tls_require": TlsMode.REQUIRED, "smtps": TlsMode.IMPLICIT}
_AUTH = {"auth": AuthMode.REQUIRED, "auth_optional": AuthMode.OPTIONAL}
_BARE_NEWLINE = {mode.value: mode for mode in BareNewline} | {"normalize": BareNewline.NORMALISE}
# Groups that OpenBSD makes by itself, and nobody else does.
_GROUPS = {
    "all": 'only OpenBSD has; for all addresses listen on "0.0.0.0" and on "::"',
    "egress": "only OpenBSD has; name the interface, or its addresses",
}
# Words that say something by being there, and the fields they set.
_FLAGS = {
    "lmtp": "lmtp",
    "auth_without_tls": "authWithoutTls",
    "mask_src": "maskSource",
    "no_dsn": "noDsn",
    "received_auth": "receivedAuth",
    "submission": "submission",
    "xclient_login": "xclientLogin",
}
_TEXTS = {"ciphers": "ciphers", "protocols": "protocols"}


def addSocket(draft: Draft, directive: Directive) -> None:
    """C{listen on socket}.

    @raise Refused: it is there already.
    """
    where = directive.where(directive.tree)
    if draft.socket is not None:
        raise Refused(where, f'"listen on socket" is already said at {draft.socket.where}')
    draft.socket = _withOptions(
        draft, directive, ListenerSpec("socket", (), 0, where=where, isSocket=True, submission=True)
    )


def addListener(draft: Draft, directive: Directive) -> None:
    """
    @raise Refused: it cannot be used.
    """
    tree = directive.tree
    where = directive.where(tree)
    interface = text(tree)
    before = draft.trouble
    listener = _withOptions(draft, directive, ListenerSpec(interface, (), 0, where=where))
    places = {str(option.data): directive.where(option) for option in _nodes(directive)}
    families = [int(option.data[-1]) for option in _nodes(directive) if option.data in ("inet4", "inet6")]
    if len(families) > 1 and families[0] != families[1]:
        draft.problems.add(
            places["inet6"], '"inet4" and "inet6" cannot be combined: without either both are listened on'
        )
    port = listener.port or (465 if listener.tls is TlsMode.IMPLICIT else 25)
    listener = replace(
        listener,
        addresses=_addresses(draft, valueAt(directive, tree), interface, families[:1]),
        port=port,
        pki=tuple(dict.fromkeys(listener.pki)),
        submission=listener.submission or port in SUBMISSION_PORTS,
    )
    _check(draft, listener, places)
    if draft.trouble == before:
        _checkShared(draft, listener)
    else:
        # Where it is meant to listen is not known, so it is in nobody's way.
        listener = replace(listener, addresses=())
    draft.listeners.append(listener)


def _nodes(directive: Directive) -> list[Node]:
    return [child for child in directive.tree.children if not isinstance(child, Token)]


def _withOptions(draft: Draft, directive: Directive, listener: ListenerSpec) -> ListenerSpec:
    for option in parts(draft, directive, _nodes(directive), repeatable=("pki_name",)):
        name = str(option.data)
        place = directive.where(option)
        with draft.recovering():
            if name in _FLAGS:
                listener = replace(listener, **change(_FLAGS[name], True))
            elif name in _TEXTS:
                listener = replace(listener, **change(_TEXTS[name], text(option)))
            elif name in _OPTIONS:
                listener = _OPTIONS[name](draft, directive, option, place, listener)
    return listener


def _tls(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    if listener.tls is not TlsMode.NONE:
        raise Refused(place, f'"{wordOf(option)}" cannot be combined with "{listener.tls.value}"')
    return replace(listener, tls=_TLS[str(option.data)], verifyClient=bool(option.children))


def _auth(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    if listener.auth is not AuthMode.NONE:
        raise Refused(place, f'"{wordOf(option)}" cannot be combined with "{listener.auth.value}"')
    table = draft.tableOf(directive, option, True, Finding.CHECK) if option.children else None
    return replace(listener, auth=_AUTH[str(option.data)], authTable=table)


def _pki(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    name = text(option).lower()
    draft.known("pki", name, valueAt(directive, option), draft.pki)
    return replace(listener, pki=(*listener.pki, name))


def _ca(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    name = text(option).lower()
    draft.known("ca", name, valueAt(directive, option), draft.ca)
    return replace(listener, ca=name)


def _port(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    return replace(listener, port=parsed(valueAt(directive, option), parsePort, text(option)))


def _tag(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    tag = text(option)
    place = valueAt(directive, option)
    if len(tag.encode("utf-8", "replace")) > MAX_TAG:
        raise Refused(place, f"a tag has 1 to {MAX_TAG} characters")
    if not tag or not tag.isprintable():
        raise Refused(place, "a tag is not empty, and printable", Finding.CHECK)
    return replace(listener, tag=tag)


def _hostname(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    if not isHostName(text(option)):
        raise Refused(valueAt(directive, option), f'"{text(option)[:80]}" is not a host name', Finding.CHECK)
    return replace(listener, hostname=text(option))


def _hostnames(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    return replace(listener, hostnames=draft.tableOf(directive, option, True))


def _senders(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    return replace(listener, senders=draft.tableOf(directive, option, True), masquerade=len(option.children) > 1)


def _filter(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    return replace(listener, filters=useFilter(draft, directive, option))


def _proxy(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    if listener.proxy is not None:
        raise Refused(place, '"proxy" and "proxy-v2" cannot be combined')
    source = draft.tableOf(directive, option, False) if option.children else None
    if source is None:
        draft.problems.warn(
            place,
            '"proxy-v2" without "from" believes whoever reaches this listener; say who may: proxy-v2 from <proxies>',
        )
    return replace(listener, proxy=ProxySpec(option.data == "proxy", source))


def _xclient(draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec) -> ListenerSpec:
    return replace(listener, xclient=draft.tableOf(directive, option, False))


def _bareNewline(
    draft: Draft, directive: Directive, option: Node, place: Where, listener: ListenerSpec
) -> ListenerSpec:
    word = text(option)
    if word not in _BARE_NEWLINE:
        choices = [f'"{mode.value}"' for mode in BareNewline]
        raise Refused(
            valueAt(directive, option), f'"bare-newline" takes {oneOf(choices)}{didYouMean(word, _BARE_NEWLINE)}'
        )
    return replace(listener, bareNewline=_BARE_NEWLINE[word])


_OPTIONS: dict[str, Callable[[Draft, Directive, Node, Where, ListenerSpec], ListenerSpec]] = {
    "tls": _tls,
    "tls_require": _tls,
    "smtps": _tls,
    "auth": _auth,
    "auth_optional": _auth,
    "pki_name": _pki,
    "ca_name": _ca,
    "port": _port,
    "tag": _tag,
    "hostname": _hostname,
    "hostnames": _hostnames,
    "senders": _senders,
    "use_filter": _filter,
    "proxy": _proxy,
    "proxy_v2": _proxy,
    "xclient": _xclient,
    "bare_newline": _bareNewline,
}


def _check(draft: Draft, listener: ListenerSpec, places: Mapping[str, Where]) -> None:
    """
    @param places: those of the options, by their names in the grammar.
    """
    add = draft.problems.add
    if listener.tls is TlsMode.NONE:
        if listener.pki:
            add(places["pki_name"], '"pki" without "tls", "tls-require" or "smtps"')
        if listener.auth is not AuthMode.NONE and not listener.authWithoutTls:
            add(
                places["auth" if listener.auth is AuthMode.REQUIRED else "auth_optional"],
                f'"{listener.auth.value}" without TLS would send passwords in the clear; '
                'add "tls-require" or "smtps", and "pki" NAME; "auth-without-tls" allows it as it is',
            )
    elif "pki_name" not in places:
        word = next(name for name, mode in _TLS.items() if mode is listener.tls)
        add(places[word], f'"{listener.tls.value}" needs a certificate: "pki" NAME')
    if len(listener.pki) > MAX_PKI:
        add(places["pki_name"], f"a listener takes {MAX_PKI} pki at most")
    if listener.xclientLogin and listener.xclient is None:
        add(places["xclient_login"], '"xclient-login" says what those may do whom "xclient" names, and names nobody')
    if listener.lmtp and listener.port == 25:
        add(places["lmtp"], 'LMTP must not be spoken on port 25 (RFC 2033 5): "port" NUMBER')


def _checkShared(draft: Draft, listener: ListenerSpec) -> None:
    for address in listener.addresses:
        other = draft.listened.setdefault((address, listener.port), listener.where)
        if other is not listener.where:
            draft.problems.add(
                listener.where, f"{address} port {listener.port} is already listened on, at {other}", Finding.CHECK
            )
            return


def _addresses(draft: Draft, where: Where, interface: str, families: list[int]) -> tuple[str, ...]:
    environment = draft.environment
    if interface in environment.interfaces:
        found = tuple(environment.interfaces[interface])
    elif isAddress(interface):
        found = (interface,)
    else:
        found = tuple(environment.resolve(interface)) if isHostName(interface) else ()
        if not found:
            draft.problems.add(where, _nowhere(interface, environment), Finding.ENVIRONMENT)
            return ()
    chosen = tuple(
        dict.fromkeys(address for address in found if not families or (6 if ":" in address else 4) in families)
    )
    if not chosen:
        draft.problems.add(where, f'"{interface}" has no address of the wanted family', Finding.ENVIRONMENT)
    return chosen


def _nowhere(interface: str, environment: Environment) -> str:
    if interface in _GROUPS:
        return f'"{interface}" is a group of interfaces, which {_GROUPS[interface]}'
    name, colon, port = interface.rpartition(":")
    if colon and port.isdigit() and (isAddress(name) or isHostName(name)):
        return f'"{interface[:80]}" is no interface, address or host name; did you mean: {name} port {port}?'
    known = ", ".join(sorted(environment.interfaces)) or "unknown"
    near = didYouMean(interface, environment.interfaces) or f"; the interfaces are {known}"
    return f'"{interface[:80]}" is no interface, address or known host name{near}'
