"""Which listener a supposed session would come to, and as whom. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pysmtpd.listen.profile import Profile, listenerName, makeProfile
from pysmtpd.model.config import AuthMode, Config, ListenerSpec, TlsMode
from pysmtpd.model.explanation import Supposed
from pysmtpd.model.netaddr import canonicalIp

# An address of documentation (RFC 5737): nobody's.
STRANGER = "203.0.113.1"
LOCAL = "local"
SOCKET = "socket"


class Senseless(ValueError):
    """This cannot be supposed; the text says why."""


class Scene(NamedTuple):
    """
    @ivar supposed: with all that was left open filled in.
    @ivar notes: what was filled in, one sentence each.
    """

    profile: Profile
    supposed: Supposed
    notes: tuple[str, ...]


def setScene(config: Config, supposed: Supposed) -> Scene:
    """
    @raise Senseless: there is no such listener, or the peer is no address.
    """
    notes: list[str] = []
    isSocket = supposed.peer == LOCAL or supposed.listener == SOCKET
    if isSocket:
        peer = LOCAL
        spec = config.socket or ListenerSpec(SOCKET, (), 0, isSocket=True)
    else:
        peer = canonicalIp(supposed.peer)
        if supposed.peer and not peer:
            raise Senseless(f'"{supposed.peer[:80]}" is neither an IP address nor "{LOCAL}"')
        if not peer:
            peer = STRANGER
            notes.append(f"No peer is named: a stranger at {STRANGER} is supposed.")
        spec = _listener(config, supposed, notes)
    isSecured = spec.tls is TlsMode.IMPLICIT
    if supposed.user and not (supposed.tls or isSecured or spec.authWithoutTls) and spec.tls is not TlsMode.NONE:
        notes.append("This listener offers AUTH under TLS only: STARTTLS is supposed.")
        supposed = replace(supposed, tls=True)
    if supposed.tag and supposed.tag.lower() != spec.tag.lower():
        notes.append(f'No listener that fits has the tag "{supposed.tag}": it is supposed that this one has.')
        spec = replace(spec, tag=supposed.tag)
    address = spec.addresses[0] if spec.addresses else ""
    name = SOCKET if isSocket else listenerName(address, spec.port)
    profile = makeProfile(config, spec, name, address, spec.port)
    return Scene(profile, replace(supposed, peer=peer), tuple(notes))


def _listener(config: Config, supposed: Supposed, notes: list[str]) -> ListenerSpec:
    """The first one that fits what is said of it."""
    named = [spec for spec in config.listeners if not supposed.listener or _isCalled(spec, supposed.listener)]
    if supposed.listener and not named:
        known = ", ".join(_names(config.listeners)) or "none"
        raise Senseless(f'there is no listener "{supposed.listener[:80]}"; there are: {known}')
    if not named:
        notes.append("The configuration listens nowhere: a plain listener on port 25 is supposed.")
        return ListenerSpec("", (), 25)
    wishes = (
        lambda spec: not supposed.tag or spec.tag.lower() == supposed.tag.lower(),
        lambda spec: not supposed.user or spec.auth is not AuthMode.NONE,
        lambda spec: bool(supposed.user) or spec.auth is not AuthMode.REQUIRED,
        lambda spec: not supposed.tls or spec.tls is not TlsMode.NONE,
        lambda spec: supposed.tls or spec.tls in (TlsMode.NONE, TlsMode.STARTTLS),
    )
    best = named
    for wish in wishes:
        best = [spec for spec in best if wish(spec)] or best
    spec = best[0]
    if spec.addresses:
        chosen = _address(spec, supposed.listener)
        spec = replace(spec, addresses=(chosen,))
    return spec


def _address(spec: ListenerSpec, called: str) -> str:
    for address in spec.addresses:
        if called in (address, listenerName(address, spec.port)):
            return address
    return spec.addresses[0]


def _isCalled(spec: ListenerSpec, called: str) -> bool:
    names = {spec.interface, str(spec.port), *spec.addresses, f"{spec.interface}:{spec.port}"}
    return called in names or called in (listenerName(address, spec.port) for address in spec.addresses)


def _names(listeners: Sequence[ListenerSpec]) -> list[str]:
    return [listenerName(address, spec.port) for spec in listeners for address in spec.addresses]
