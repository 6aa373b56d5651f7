"""The daemon's side of the root helper: started while the daemon is still root, asked when it is not any more."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocol
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.components import proxyForInterface
from zope.interface import implementer

from pysmtpd.interfaces import HelperFailed, IHelper, INetwork, IWorkers
from pysmtpd.model.question import UserInfo
from pysmtpd.model.task import Account
from pysmtpd.privilege import wire

# Seconds for an answer; looking up a user may ask a directory on the network.
PATIENCE = 120.0

LANE = "helper"

# Passwords that are checked side by side.
PASSWORD_LANES = 4

# A fresh interpreter that takes nothing from the environment and sees no installed packages.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from pysmtpd.privilege.__main__ import main; main(int(sys.argv[2]))"
)
_ROOT = str(Path(__file__).resolve().parent.parent.parent)


class _Life(FileDescriptor):
    """The reading end of a pipe that ends when the helper does."""

    def __init__(self, reactor: Any, descriptor: int, ended: Callable[[], object]) -> None:
        super().__init__(reactor)
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._ended = ended
        self.startReading()

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> None:
        """There is nothing to read: it is the end."""
        self.connectionLost()

    def connectionLost(self, reason: object = None) -> None:
        """The pipe's end, or the reactor's."""
        if self._descriptor < 0:
            return
        try:
            isOver = not os.read(self._descriptor, 1)
        except BlockingIOError:
            isOver = False
        self.stopReading()
        os.close(self._descriptor)
        self._descriptor = -1
        if isOver:
            self._ended()


@implementer(IHelper)
class Helper:
    """
    @ivar isAlive: it has started and has not ended.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        """
        C{workers} is set before the first host is asked for: those requests wait in a lane.
        """
        self.isAlive = False
        self._reactor = reactor
        self._addresses: frozenset[tuple[str, int]] = frozenset()
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._isStopped = False
        self._turn = 0
        self.workers: IWorkers | None = None

    def start(
        self,
        addresses: Iterable[tuple[str, int]],
        files: Mapping[tuple[str, str], str],
        passwords: bool = False,
        hasIds: bool = False,
    ) -> None:
        """Start the helper. Root does this, before there are threads.

        @param addresses: all that may ever be bound.
        @param files: absolute paths of all that may ever be read, by pki name and C{cert} or C{key}; of a ca, by its name and C{ca}; of
            the configuration, by its path and C{configuration}.
        @param passwords: the system's passwords may be checked.
        @param hasIds: delivery hosts may be asked for by ids that a C{userbase} table gave.
        @raise HelperFailed: it does not start.
        """
        self._addresses = frozenset(addresses)
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT, str(theirs.fileno())],
                pass_fds=(theirs.fileno(), writing),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(writing)
        self._connection = ours
        ours.settimeout(PATIENCE)
        self.isAlive = True
        _Life(self._reactor, reading, self._ended)
        terms = {
            "addresses": sorted(self._addresses),
            "files": sorted((name, part, path) for (name, part), path in files.items()),
            "passwords": passwords,
            "hasIds": hasIds,
        }
        self._exchange(terms)

    @property
    def processId(self) -> int:
        return 0 if self._process is None else self._process.pid

    def stop(self) -> None:
        """Hang up: the helper ends by that."""
        self._isStopped = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.isAlive = False

    # --- what it does

    def mayBind(self, address: str, port: int) -> bool:
        return (address, port) in self._addresses

    def bind(self, address: str, port: int) -> socket.socket:
        """A listening socket that does not block.

        @raise HelperFailed: it cannot be had.
        """
        bound = socket.socket(fileno=self._ask("bind", address=address, port=port))
        bound.setblocking(False)
        return bound

    def readFile(self, name: str, part: str) -> bytes:
        """What is in a file now. For a reload; the files' first reading is root's.

        @param name: of a pki or a ca; a path of the configuration.
        @param part: C{cert}, C{key}, C{ca} or C{configuration}.
        @raise HelperFailed: it is not to be had.
        @raise OSError: it cannot be read.
        """
        with open(self._ask("file", name=name, part=part), "rb") as file:
            return file.read()

    def host(self, account: Account, protocol: IProtocol) -> Deferred[None]:
        """See L{IHelper.host}."""
        if self.workers is None:
            return fail(HelperFailed("the helper has not been started"))
        return self.workers.run(LANE, self._askForHost, account).addCallback(self._connect, protocol)

    def _askForHost(self, account: Account) -> int:
        if account.isNumeric:
            return self._ask("ids", uid=account.uid, gid=account.gid)
        return self._ask("host", user=account.name)

    def mailbox(self, user: str) -> Deferred[None]:
        """See L{IHelper.mailbox}."""
        if self.workers is None:
            return fail(HelperFailed("the helper has not been started"))
        return self.workers.run(LANE, self._makeMailbox, user)

    def _makeMailbox(self, user: str) -> None:
        answer, _ = self._exchange({"verb": "mailbox", "user": user})
        if answer:
            raise HelperFailed(str(answer.get("refused")))

    def password(self, user: str, password: bytes, peer: str) -> Deferred[bool]:
        """See L{IHelper.password}."""
        if self.workers is None:
            return fail(HelperFailed("the helper has not been started"))
        self._turn = (self._turn + 1) % PASSWORD_LANES
        return self.workers.run(f"password-{self._turn}", self._checkPassword, user, password, peer)

    def _checkPassword(self, user: str, password: bytes, peer: str) -> bool:
        with socket.socket(fileno=self._ask("password")) as child:
            child.settimeout(PATIENCE)
            question = {"user": user, "password": base64.b64encode(password).decode("ascii"), "peer": peer}
            try:
                wire.send(child, question)
                answer = wire.receive(child)
            except (OSError, wire.WireError) as error:
                raise HelperFailed(f"the password could not be checked: {error}") from error
        values = {} if answer is None else answer[0]
        if values.get("trouble") or not isinstance(values.get("isRight"), bool):
            raise HelperFailed(f"the system cannot check passwords now: {values.get('trouble') or 'no answer'}")
        isRight: bool = values["isRight"]
        return isRight

    def forward(self, user: UserInfo, protocol: IProtocol) -> Deferred[None]:
        """See L{IHelper.forward}."""
        if self.workers is None:
            return fail(HelperFailed("the helper has not been started"))
        return self.workers.run(LANE, self._askForForward, user).addCallback(self._connect, protocol)

    def _askForForward(self, user: UserInfo) -> int:
        return self._ask("forward", user=user.name, uid=user.uid, gid=user.gid, home=user.home)

    def _connect(self, descriptor: int, protocol: IProtocol) -> None:
        factory: Any = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        try:
            os.set_blocking(descriptor, False)
            self._reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, factory)
        finally:
            # It was adopted as a duplicate.
            os.close(descriptor)

    # --- talk

    def _ask(self, verb: str, **values: Any) -> int:
        """
        @return: a descriptor.
        @raise HelperFailed: it refuses, or is gone.
        """
        answer, descriptor = self._exchange({"verb": verb, **values})
        if descriptor is None:
            raise HelperFailed(str(answer.get("refused") or "the helper has not done it"))
        return descriptor

    def _exchange(self, values: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        with self._lock:
            connection = self._connection
            if connection is None or not self.isAlive:
                raise HelperFailed("the root helper has ended")
            try:
                wire.send(connection, values)
                answer = wire.receive(connection)
            except (OSError, wire.WireError) as error:
                # What it says later would answer another question: never again.
                connection.close()
                self._connection = None
                self.isAlive = False
                raise HelperFailed(f"the root helper does not answer: {error}") from error
            if answer is None:
                self.isAlive = False
                raise HelperFailed("the root helper has ended")
            return answer

    def _ended(self) -> None:
        if self._process is not None:
            self._process.poll()
        if not self._isStopped:
            self._log.critical(
                "The root helper has ended. Nothing more is delivered to local users until the daemon is started again."
            )
        self.isAlive = False


class PrivilegedNetwork(proxyForInterface(INetwork, "_network")):  # type: ignore[misc]
    """The reactor's sockets; the addresses of the configuration are bound by the helper."""

    def __init__(self, reactor: Any, helper: Helper) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self._helper = helper

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        """As the reactor's; the helper's sockets have a backlog of their own.

        @raise CannotListenError: the address cannot be had.
        """
        if not self._helper.mayBind(interface, port):
            opened: IListeningPort = self._reactor.listenTCP(port, factory, backlog=backlog, interface=interface)
            return opened
        try:
            bound = self._helper.bind(interface, port)
        except HelperFailed as error:
            raise CannotListenError(interface, port, OSError(str(error))) from error
        with bound:
            # The backlog may be set again at any time.
            bound.listen(backlog)
            adopted: IListeningPort = self._reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
            return adopted
