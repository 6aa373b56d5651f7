"""What a service manager offers: sockets that it has opened (sd_listen_fds(3)), and an ear for how we are (sd_notify(3)). Neither
needs a library."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any

from twisted.internet import endpoints
from twisted.internet.interfaces import IListeningPort
from twisted.python.components import proxyForInterface

from pysmtpd.interfaces import INetwork
from pysmtpd.model.netaddr import canonicalIp

_FIRST = 3
_MOST = 1024


class Inherited:
    """Listening TCP sockets that were opened before we were started. Others are closed: our UNIX sockets lie in the spool.

    @ivar names: how the service manager calls those that nobody has taken yet, with their addresses.
    """

    def __init__(self, descriptors: Iterable[tuple[int, str]]) -> None:
        """
        @param descriptors: number and name of each.
        """
        self._sockets: dict[tuple[str, int], tuple[int, str]] = {}
        for descriptor, name in descriptors:
            os.set_inheritable(descriptor, False)
            key = _keyOf(descriptor)
            if key is None:
                os.close(descriptor)
            else:
                os.set_blocking(descriptor, False)
                self._sockets[key] = (descriptor, name)

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def names(self) -> list[str]:
        """See the class."""
        return [f"{name} ({address} {port})" for (address, port), (_, name) in self._sockets.items()]

    def take(self, address: str, port: int) -> int | None:
        """The socket that listens there, once; None: there is none."""
        found = self._sockets.pop((canonicalIp(address), port), None)
        return None if found is None else found[0]


def inherited(environment: MutableMapping[str, str], processId: int, taken: Sequence[int] = ()) -> Inherited:
    """The sockets of LISTEN_FDS, if they are for us. Children shall not think that they are for them: the variables go.

    LISTEN_FDNAMES is for messages: which listener a socket belongs to says its address.

    @param taken: descriptors that somebody has found there before us, and has removed the variables.
    """
    values = [environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")]
    isOurs = values[0] == str(processId) and values[1].isascii() and values[1].isdigit() and int(values[1]) <= _MOST
    count = int(values[1]) if isOurs else 0
    names = values[2].split(":") if values[2] else []
    numbers = list(taken) or range(_FIRST, _FIRST + count)
    return Inherited(
        (number, names[index] if index < len(names) else "unnamed") for index, number in enumerate(numbers)
    )


def takenByTwisted() -> Sequence[int]:
    """Twisted's endpoints look for such sockets as soon as anybody imports them, twistd for one. Nothing public tells what they found."""
    parser: Any = getattr(endpoints, "_SystemdParser", None)
    found = getattr(parser, "_sddaemon", None)
    return [] if found is None else list(found.inheritedDescriptors())


def _keyOf(descriptor: int) -> tuple[str, int] | None:
    """Where it listens; None: it is no listening TCP socket."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as found:
            isListening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            isTcp = found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM
            if not isTcp or not isListening:
                return None
            name = found.getsockname()
            return (canonicalIp(str(name[0])), int(name[1]))
    except OSError:
        return None


class ActivatedNetwork(proxyForInterface(INetwork, "_network")):  # type: ignore[misc]
    """Sockets as ever; but where a listening one was handed to us, that one is used."""

    def __init__(self, network: Any, reactor: Any, inherited: Inherited) -> None:
        """
        @param reactor: adopts sockets.
        """
        super().__init__(network)
        self._inner = network
        self._reactor = reactor
        self._inherited = inherited

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        """As the reactor's."""
        descriptor = self._inherited.take(interface, port)
        if descriptor is None:
            opened: IListeningPort = self._inner.listenTCP(port, factory, backlog=backlog, interface=interface)
            return opened
        return self._adopt(descriptor, factory)

    def _adopt(self, descriptor: int, factory: Any) -> IListeningPort:
        try:
            with socket.socket(fileno=os.dup(descriptor)) as found:
                family = found.family
            adopted: IListeningPort = self._reactor.adoptStreamPort(descriptor, family, factory)
            return adopted
        finally:
            # It was adopted as a duplicate.
            os.close(descriptor)


def notify(state: str, path: str) -> None:
    """Tell the service manager how we are: C{READY=1}, C{STOPPING=1}. One that does not listen is no reason to fail.

    @param path: of NOTIFY_SOCKET; one that begins with C{@} is in Linux's abstract name space; empty: nobody asks.
    """
    if path[:1] not in ("/", "@"):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as manager:
            manager.setblocking(False)
            manager.sendto(state.encode("utf-8"), address)
    except OSError:
        return
