"""What the operating system says of itself: users, names, name servers, addresses."""

from __future__ import annotations

import ctypes
import os
import pwd
import socket
import sys
from collections.abc import Sequence

import idna
from zope.interface import implementer

from pysmtpd.interfaces.platform import IUsers, ResolverSettings, User
from pysmtpd.model.netaddr import isLoopback, parseIp


@implementer(IUsers)
class RealUsers:
    """The system's user database."""

    def byName(self, name: str) -> User | None:
        try:
            found = pwd.getpwnam(name)
        except (KeyError, ValueError, UnicodeEncodeError):
            return None
        return User(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)

    def byUid(self, uid: int) -> User | None:
        try:
            found = pwd.getpwuid(uid)
        except (KeyError, OverflowError):
            return None
        return User(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)

    def me(self) -> User:
        uid = os.geteuid()
        try:
            found = pwd.getpwuid(uid)
        except KeyError:
            # As in a container that was given a number only.
            return User(str(uid), uid, os.getegid(), os.environ.get("HOME", "/"))
        return User(found.pw_name, uid, os.getegid(), found.pw_dir)


def readHostname(hosts: str = "/etc/hosts") -> str:
    """The machine's name; where that has no domain, the name with one that stands beside it in C{hosts}. Asks no name server."""
    name = socket.gethostname()
    if "." in name:
        return name
    try:
        with open(hosts, encoding="utf-8", errors="replace") as file:
            for line in file:
                _, *names = line.partition("#")[0].split() or [""]
                if name in names:
                    return next((candidate for candidate in names if candidate.startswith(name + ".")), name)
    except OSError:
        # No such file: the bare name is what we have.
        return name
    return name


def readServerName(hostname: str, files: Sequence[str] = ("/etc/mailname", "/etc/mail/mailname")) -> str:
    """The mail server's own name: the first line of the first of C{files} that is there, or else C{hostname}."""
    for path in files:
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                name = file.readline().strip()
        except OSError:
            continue
        if name:
            return name
    return hostname


def resolveHost(name: str) -> tuple[str, ...]:
    """The addresses of a name, as the system resolves it; empty: none. Blocks: for reading a configuration only."""
    try:
        # Python's own codec for names raises what is no OSError, and is loaded when it is wanted, perhaps no longer with the right to.
        host = name.encode("ascii") if name.isascii() else idna.encode(name, uts46=True)
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(item[4][0]) for item in found))


def parseResolverSettings(text: str) -> ResolverSettings:
    """What resolv.conf(5) says. Without a name server in it, the one on this machine."""
    servers: list[tuple[str, int]] = []
    trusted = False
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            if parseIp(words[1]) is not None:
                servers.append((words[1], 53))
        elif words[0] == "options":
            trusted = trusted or "trust-ad" in words[1:]
    if not servers:
        servers = [("127.0.0.1", 53)]
    loopback = all(isLoopback(address) for address, _ in servers)
    return ResolverSettings(tuple(servers), trusted or loopback)


def readResolverSettings(path: str = "/etc/resolv.conf") -> ResolverSettings:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parseResolverSettings(file.read())
    except OSError:
        return parseResolverSettings("")


class _InterfaceAddress(ctypes.Structure):
    """C{struct ifaddrs} of getifaddrs(3), as far as we read it: the same on Linux and the BSDs."""


_InterfaceAddress._fields_ = [
    ("next", ctypes.POINTER(_InterfaceAddress)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def readInterfaceAddresses() -> tuple[tuple[str, str], ...]:
    """Name and address of each interface, IPv4 and IPv6, in the system's order. Link-local addresses come without their zone."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        getifaddrs, freeifaddrs = library.getifaddrs, library.freeifaddrs
    except (OSError, AttributeError):
        return _addressesByName()
    first = ctypes.POINTER(_InterfaceAddress)()
    if getifaddrs(ctypes.byref(first)) != 0:
        return _addressesByName()
    found: list[tuple[str, str]] = []
    try:
        item = first
        while item:
            entry = item.contents
            address = _textOfSockaddr(entry.address)
            if address:
                found.append((entry.name.decode("utf-8", "replace"), address))
            item = entry.next
    finally:
        freeifaddrs(first)
    return tuple(dict.fromkeys(found))


def _textOfSockaddr(pointer: int | None) -> str:
    """The address in a C{struct sockaddr}; empty: none, or of another family."""
    if not pointer:
        return ""
    head = ctypes.string_at(pointer, 2)
    # The BSDs put a length before a family of one octet.
    family = int.from_bytes(head, sys.byteorder) if sys.platform.startswith("linux") else head[1]
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, ctypes.string_at(pointer + 4, 4))
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, ctypes.string_at(pointer + 8, 16))
    return ""


def _addressesByName() -> tuple[tuple[str, str], ...]:
    """Where the system cannot list its interfaces."""
    addresses = ["127.0.0.1", "::1"]
    try:
        addresses += [str(item[4][0]) for item in socket.getaddrinfo(socket.gethostname(), None)]
    except OSError:
        # Not even its own name resolves: the loopback addresses are all we know.
        return tuple(("", address) for address in addresses)
    return tuple(("", address) for address in dict.fromkeys(addresses))
