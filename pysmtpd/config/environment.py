"""What a configuration needs to know of the machine; handed in, so that reading a configuration touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


def _unresolved(name: str) -> Sequence[str]:
    return ()


def _accepted(expression: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Environment:
    """
    @ivar serverName: our own name: of C{mailname}, or the host's.
    @ivar localAddresses: addresses of this machine's interfaces.
    @ivar interfaces: for C{listen on}: an interface's name and its addresses.
    @ivar resolve: for C{listen on}: the addresses of a host name; empty: there are none. It may block.
    @ivar regexFault: why a text is no regular expression of the kind that tables hold; empty: it is one.
    """

    serverName: str
    localAddresses: tuple[str, ...] = ()
    interfaces: Mapping[str, Sequence[str]] = field(default_factory=dict)
    resolve: Callable[[str], Sequence[str]] = _unresolved
    regexFault: Callable[[str], str] = _accepted
