"""C{listen on}."""

from __future__ import annotations

from dataclasses import replace

from lark import Token

from pysmtpd.config.draft import Draft, Refused, notYet, parts, text, wordOf
from pysmtpd.config.parser import Directive
from pysmtpd.config.problem import didYouMean, oneOf
from pysmtpd.config.values import isAddress, isHostName, parsePort
from pysmtpd.model.config import AuthMode, BareNewline, ListenerSpec, TableRef, TlsMode
from pysmtpd.model.decision import Where

MAX_TAG = 32
MAX_PKI = 32

_TLS = {"tls": TlsMode.STARTTLS, "tls_require": TlsMode.REQUIRED, "smtps": TlsMode.IMPLICIT}
_AUTH = {"auth": AuthMode.REQUIRED, "auth_optional": AuthMode.OPTIONAL}
_BARE_NEWLINE = {mode.value: mode for mode in BareNewline} | {"normalize": BareNewline.NORMALISE}
_NOT_YET = (
    "ca_name",
    "ciphers",
    "protocols",
    "use_filter",
    "hostnames",
    "mask_src",
    "no_dsn",
    "proxy_v2",
    "received_auth",
    "senders",
)


def addListener(draft: Draft, directive: Directive) -> None:
    """
    @raise Refused: it cannot be used.
    """
    tree = directive.tree
    where = directive.where(tree)
    interface = text(tree)
    tls = TlsMode.NONE
    auth = AuthMode.NONE
    authTable: TableRef | None = None
    families: list[int] = []
    pki: list[str] = []
    listener = ListenerSpec(interface, (), 0, where=where)
    for option in parts(draft, directive, tree.children, repeatable=("pki_name",)):
        name = str(option.data)
        place = directive.where(option)
        with draft.recovering():
            if name in _NOT_YET:
                notYet(place, wordOf(option))
            elif name in _TLS:
                if tls is not TlsMode.NONE:
                    raise Refused(place, f'"{wordOf(option)}" cannot be combined with "{tls.value}"')
                tls = _TLS[name]
                listener = replace(listener, verifyClient=bool(option.children))
            elif name in _AUTH:
                if auth is not AuthMode.NONE:
                    raise Refused(place, f'"{wordOf(option)}" cannot be combined with "{auth.value}"')
                auth = _AUTH[name]
                if not option.children:
                    raise Refused(place, f'"{auth.value}" without a table (system users) is not supported yet')
                node = option.children[0]
                assert not isinstance(node, Token)
                authTable = draft.table(directive, node, asMap=True)
            elif name in ("inet4", "inet6"):
                families.append(int(name[-1]))
            elif name == "pki_name":
                pki.append(_knownPki(draft, place, text(option)))
            elif name == "port":
                listener = replace(listener, port=_port(place, text(option)))
            elif name == "tag":
                listener = replace(listener, tag=_tag(place, text(option)))
            elif name == "hostname":
                if not isHostName(text(option)):
                    raise Refused(place, f'"{text(option)[:80]}" is not a host name')
                listener = replace(listener, hostname=text(option))
            elif name == "bare_newline":
                listener = replace(listener, bareNewline=_bareNewline(place, text(option)))
            elif name == "lmtp":
                listener = replace(listener, lmtp=True)
            elif name == "auth_without_tls":
                listener = replace(listener, authWithoutTls=True)
    addresses = _addresses(draft, where, interface, families)
    port = listener.port or (465 if tls is TlsMode.IMPLICIT else 25)
    listener = replace(
        listener, addresses=addresses, port=port, tls=tls, auth=auth, authTable=authTable, pki=tuple(dict.fromkeys(pki))
    )
    _check(draft, listener)
    draft.listeners.append(listener)


def _check(draft: Draft, listener: ListenerSpec) -> None:
    where = listener.where
    if listener.tls is TlsMode.NONE:
        if listener.pki:
            draft.problems.add(where, '"pki" without "tls", "tls-require" or "smtps"')
        if listener.auth is not AuthMode.NONE and not listener.authWithoutTls:
            draft.problems.add(
                where,
                f'"{listener.auth.value}" without TLS would send passwords in the clear; "auth-without-tls" allows it',
            )
    elif not listener.pki:
        draft.problems.add(where, f'"{listener.tls.value}" needs a certificate: "pki" NAME')
    if len(listener.pki) > MAX_PKI:
        draft.problems.add(where, f"a listener takes {MAX_PKI} pki at most")
    if listener.lmtp and listener.port == 25:
        draft.problems.add(where, "LMTP must not be spoken on port 25 (RFC 2033 5)")
    for other in draft.listeners:
        shared = [address for address in listener.addresses if address in other.addresses]
        if shared and other.port == listener.port:
            draft.problems.add(where, f"{shared[0]} port {listener.port} is already listened on, at {other.where}")


def _addresses(draft: Draft, where: Where, interface: str, families: list[int]) -> tuple[str, ...]:
    environment = draft.environment
    if interface in environment.interfaces:
        found = tuple(environment.interfaces[interface])
    elif isAddress(interface):
        found = (interface,)
    elif isHostName(interface):
        found = tuple(environment.resolve(interface))
        if not found:
            near = didYouMean(interface, environment.interfaces)
            draft.problems.add(where, f'"{interface}" is no interface, address or known host name{near}')
            return ()
    else:
        draft.problems.add(where, f'"{interface[:80]}" is no interface, address or host name')
        return ()
    chosen = tuple(
        dict.fromkeys(address for address in found if not families or (6 if ":" in address else 4) in families)
    )
    if not chosen:
        draft.problems.add(where, f'"{interface}" has no address of the wanted family')
    return chosen


def _knownPki(draft: Draft, place: Where, name: str) -> str:
    name = name.lower()
    if name not in draft.pki:
        raise Refused(place, f'no pki "{name}" is declared above this line{didYouMean(name, draft.pki)}')
    return name


def _port(place: Where, written: str) -> int:
    try:
        return parsePort(written)
    except ValueError as error:
        raise Refused(place, str(error)) from error


def _tag(place: Where, tag: str) -> str:
    if not 0 < len(tag) < MAX_TAG or not tag.isprintable():
        raise Refused(place, f"a tag has 1 to {MAX_TAG - 1} printable characters")
    return tag


def _bareNewline(place: Where, word: str) -> BareNewline:
    if word not in _BARE_NEWLINE:
        choices = [f'"{mode.value}"' for mode in BareNewline]
        raise Refused(place, f'"bare-newline" takes {oneOf(choices)}{didYouMean(word, _BARE_NEWLINE)}')
    return _BARE_NEWLINE[word]
