"""The root helper: the only part of a running daemon that is root. It is asked by the unprivileged daemon, and trusts it in nothing.

It knows few verbs, and does only what its terms allow, which root gave it before anything unprivileged ran. It reads no network, parses
no mail and no configuration. It ends when the daemon hangs up.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
import signal
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pysmtpd.privilege import wire
from pysmtpd.privilege.children import DESCRIPTORS, Children
from pysmtpd.privilege.drop import becomeUser, hardenProcess
from pysmtpd.privilege.forward import ForwardVerb, ReadTrusted
from pysmtpd.privilege.mailbox import MAIL, makeMailbox
from pysmtpd.privilege.password import PasswordVerb
from pysmtpd.privilege.refused import Refused

# Delivery hosts at one time, whatever the daemon asks for.
MAX_HOSTS = 64

# Of one user id: one at work, others that have been given up and are about to end.
MAX_HOSTS_OF_USER = 4

BACKLOG = 1024

# Groups below this one are the system's own: some of them are as good as root.
FIRST_GROUP = 100

# Signals that end the daemon, and its helper by that.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE")

PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Terms:
    """What is allowed, for the life of the helper.

    @ivar addresses: address and port of what may be bound.
    @ivar files: absolute path of what may be read, by pki name and C{cert} or C{key}; of a ca, by its name and C{ca}; of the
        configuration, by its path and C{configuration}.
    @ivar passwords: the system's passwords may be checked: a listener of the configuration wants it.
    @ivar hasIds: the configuration names a C{userbase}: hosts may be asked for by ids that are no user's of the system.
    """

    addresses: frozenset[tuple[str, int]]
    files: dict[tuple[str, str], str]
    passwords: bool = False
    hasIds: bool = False

    @classmethod
    def fromValues(cls, values: dict[str, Any]) -> Terms:
        return cls(
            frozenset((str(address), int(port)) for address, port in values["addresses"]),
            {(str(name), str(part)): str(path) for name, part, path in values["files"]},
            values.get("passwords") is True,
            values.get("hasIds") is True,
        )


@dataclass(frozen=True, slots=True)
class _Identity:
    """Whom a child becomes."""

    name: str
    uid: int
    gid: int
    groups: list[int]
    home: str


class Helper:
    """Answers one daemon."""

    def __init__(
        self,
        connection: socket.socket,
        terms: Terms,
        serve: Callable[[socket.socket, str], object],
        read: ReadTrusted,
        mail: str = MAIL,
    ) -> None:
        """
        @param serve: what a delivery host does, with its connection and its user's home; it is called as that user.
        @param read: how a .forward is read; it is called as its user.
        @param mail: the directory of the system's mailboxes.
        """
        self._mail = mail
        self._connection = connection
        self._terms = terms
        self._serve = serve
        self._hosts = Children(MAX_HOSTS, "too many delivery hosts", mostOfOwner=MAX_HOSTS_OF_USER)
        self._forward = ForwardVerb(read)
        self._password = PasswordVerb(terms.passwords)
        self._verbs: dict[str, Callable[[dict[str, Any]], socket.socket | int | None]] = {
            "bind": self._bind,
            "file": self._file,
            "host": self._host,
            "ids": self._ids,
            "mailbox": self._mailbox,
            "forward": self._forward.start,
            "password": self._password.start,
        }

    def run(self) -> None:
        """Until the daemon hangs up.

        @raise pysmtpd.privilege.wire.WireError: the daemon sent what is no request: it is not to be served any more.
        """
        signal.signal(signal.SIGCHLD, self._reap)
        while (request := wire.receive(self._connection)) is not None:
            values, stray = request
            if stray is not None:
                os.close(stray)
                raise wire.WireError("a descriptor where none belongs")
            self._answer(values)

    def _answer(self, values: dict[str, Any]) -> None:
        verb = values.get("verb")
        act = self._verbs.get(verb) if isinstance(verb, str) else None
        try:
            if act is None:
                raise Refused("there is no such verb")
            given = act(values)
        except (Refused, ValueError, OSError) as error:
            code = (error.errno or 0) if isinstance(error, OSError) else 0
            text = (error.strerror if isinstance(error, OSError) else None) or str(error)
            wire.send(self._connection, {"refused": text[:500], "errno": code})
            return
        if isinstance(given, socket.socket):
            with given:
                wire.send(self._connection, {}, given.fileno())
            return
        try:
            wire.send(self._connection, {}, given)
        finally:
            if given is not None:
                os.close(given)

    # --- the verbs

    def _bind(self, values: dict[str, Any]) -> socket.socket:
        """A listening socket on one of the allowed addresses."""
        address, port = values.get("address"), values.get("port")
        if not isinstance(address, str) or not isinstance(port, int) or (address, port) not in self._terms.addresses:
            raise Refused("this address is not in the configuration that the daemon was started with")
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV | socket.AI_PASSIVE
        family, kind, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags)[0]
        bound = socket.socket(family, kind)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(where)
            bound.listen(BACKLOG)
            bound.setblocking(False)
        except BaseException:
            bound.close()
            raise
        return bound

    def _file(self, values: dict[str, Any]) -> int:
        """A certificate, a key or the configuration, open for reading. Its octets do not pass through here."""
        name, part = values.get("name"), values.get("part")
        path = self._terms.files.get((name, part)) if isinstance(name, str) and isinstance(part, str) else None
        if path is None:
            raise Refused("this file is not in the configuration that the daemon was started with")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Refused("this is not a file")
        return descriptor

    def _host(self, values: dict[str, Any]) -> socket.socket:
        """A connection to a new delivery host of a user: a child that has become this user for good."""
        return self._started(_named(values.get("user")))

    def _started(self, user: _Identity) -> socket.socket:
        return self._hosts.start(lambda connection: self._live(user, connection), user.uid)

    def _ids(self, values: dict[str, Any]) -> socket.socket:
        """The same for ids that a table gave."""
        uid, gid = values.get("uid"), values.get("gid")
        if not self._terms.hasIds:
            raise Refused("the configuration that the daemon was started with has no userbase")
        if type(uid) is not int or type(gid) is not int or not 0 < uid < 2**31 or not 0 < gid < 2**31:
            raise Refused("nothing is delivered as root")
        if gid < FIRST_GROUP:
            try:
                isOwn = pwd.getpwuid(uid).pw_gid == gid
            except KeyError:
                isOwn = False
            if not isOwn:
                raise Refused(f"group id {gid} is one of the system's")
        return self._started(_Identity(str(uid), uid, gid, [gid], "/"))

    def _mailbox(self, values: dict[str, Any]) -> None:
        """The system's mailbox of a user, made if it is not there."""
        user = _named(values.get("user"))
        makeMailbox(self._mail, user.name, user.uid, user.gid)

    def _live(self, user: _Identity, connection: socket.socket) -> None:
        """The life of a delivery host."""
        for name in _SIGNALS:
            # What is ignored would be ignored by the commands that it executes; what is handled is not.
            signal.signal(getattr(signal, name), _pass)
        becomeUser(user.uid, user.gid, user.groups)
        # From here on nothing is root's.
        os.environ.clear()
        os.environ.update(HOME=user.home, USER=user.name, LOGNAME=user.name, PATH=PATH)
        try:
            os.chdir(user.home)
        except OSError:
            os.chdir("/")
        self._serve(connection, user.home)

    def _reap(self, *signalled: object) -> None:
        try:
            while child := os.waitpid(-1, os.WNOHANG)[0]:
                for kind in (self._forward.children, self._password.children, self._hosts):
                    kind.ended(child)
        except ChildProcessError:
            return


def _pass(*signalled: object) -> None:
    """A host's life is over when the daemon's is, not before."""


def _named(name: object) -> _Identity:
    """A user of the system."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise Refused("a user has a name")
    try:
        user = pwd.getpwnam(name)
    except (KeyError, UnicodeError):
        raise Refused("there is no such user") from None
    if user.pw_uid == 0:
        raise Refused("nothing is delivered as root")
    groups = [group for group in os.getgrouplist(user.pw_name, user.pw_gid) if group != 0]
    return _Identity(user.pw_name, user.pw_uid, user.pw_gid, groups, user.pw_dir)


def _bound(limit: int, most: int) -> None:
    """Lower a limit of this process to C{most}; one that is lower already stays, for even root may not be allowed to raise it."""
    hard = resource.getrlimit(limit)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(limit, (most, most))


def run(connection: socket.socket, serve: Callable[[socket.socket, str], object], read: ReadTrusted) -> None:
    """The helper's life, in a fresh interpreter, as root: take the terms, say that we are ready, answer until the daemon has ended."""
    for name in _SIGNALS:
        # A terminal's or a service manager's signals go to all processes; ours is over when the daemon's is.
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    _bound(resource.RLIMIT_NOFILE, DESCRIPTORS)
    hardenProcess()
    first = wire.receive(connection, wire.MAX_TERMS)
    if first is None:
        return
    # What user look-ups load, they load before there is a child.
    grp.getgrgid(0)
    pwd.getpwuid(0)
    helper = Helper(connection, Terms.fromValues(first[0]), serve, read)
    wire.send(connection, {})
    helper.run()
