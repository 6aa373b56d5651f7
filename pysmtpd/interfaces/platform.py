"""The world, handed in. L{pysmtpd.platform} has the real one, L{pysmtpd.testing} a simulated one; no room touches either directly."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IReactorTCP, IReactorTime, IReactorUDP, IReactorUNIX
from zope.interface import Attribute, Interface

from pysmtpd.model.question import UserInfo
from pysmtpd.model.task import Account, Exit, Task

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileStat:
    """
    @ivar kind: file, directory, link or other.
    """

    size: int
    modified: float
    kind: str
    links: int = 1


@dataclass(frozen=True, slots=True)
class Space:
    """Shares, from 0 to 1, of a file system that are free for us; 1.0 where it does not count them."""

    blocks: float
    inodes: float


@dataclass(frozen=True, slots=True)
class User:
    """A system user, as far as delivery needs to know."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """
    @ivar servers: addresses and ports, in order.
    @ivar trustAD: the servers' AD bit may be believed (loopback, or C{options trust-ad}).
    """

    servers: tuple[tuple[str, int], ...]
    trustAD: bool = False


class INetwork(IReactorTCP, IReactorUNIX, IReactorUDP, Interface):
    """Sockets, as Twisted's reactor offers them. A test's network has the same methods."""


class IFile(Interface):
    """An open file. Every method may raise L{OSError}; every method may block, so it is called inside a lane only."""

    def read(size: int) -> bytes:
        """At most C{size} octets from where the last read ended; empty at the end."""

    def readAt(offset: int, size: int) -> bytes:
        """At most C{size} octets from C{offset}."""

    def write(data: bytes) -> None:
        """Append all of C{data}, or raise."""

    def sync() -> None:
        """The file's content, and its size, survive a power cut once this returned (fdatasync)."""

    def close() -> None:
        """May be called twice."""

    def fileno() -> int:
        """The descriptor; raises L{OSError} where there is none (a simulated disk)."""


class IMailbox(IFile):
    """An mbox file that is locked against all who know its locks, until it is closed. It is written at its end."""

    size: int = Attribute("Octets that it had when it was locked.")

    def cutBack() -> None:
        """Take away what was written: it has C{size} octets again."""


class IDisk(Interface):
    """A file system. Paths are absolute text. Every method may raise L{OSError} and may block: call it inside a lane only.

    A name created, renamed or removed is durable after C{syncDirectory} of its directory, not before.
    """

    def create(path: str, mode: int = 0o600) -> IFile:
        """A new file for writing; L{FileExistsError} if there is one."""

    def append(path: str, mode: int = 0o600) -> IFile:
        """A file for writing at its end, made if it is not there."""

    def open(path: str) -> IFile:
        """A file for reading; L{OSError} at once if it is a FIFO, a socket or a directory."""

    def temporary() -> IFile:
        """A file without a name, for writing and reading; it is gone when it is closed."""

    def mailbox(path: str, patience: float) -> IMailbox:
        """An mbox file, made if it is not there, locked as docs/local.md says.

        @param patience: seconds that this may wait for a lock.
        @raise OSError: somebody else has the lock (EAGAIN), or the file is none that a delivery may write to: a link, one with several
            names, one of another owner, none that is plain.
        """

    def beneath(root: str) -> IDisk:
        """The same file system, for paths below C{root} only: no symbolic link is followed there. It may have no more than the part of
        L{IDisk} that makes, moves and removes files."""

    def readTrusted(directory: str, name: str, owners: Sequence[int], most: int) -> bytes:
        """The whole of a plain file in a directory, if nobody but C{owners} (and root) could have written it.

        File and directory belong to one of them and are not writable by group or others; the file is no symbolic link. That is looked
        at on what is open, so nothing can be put in its place.

        @param owners: user ids.
        @param most: octets that it may have.
        @raise NotADirectoryError: there is no such directory.
        @raise FileNotFoundError: there is no such file in it.
        @raise PermissionError: with EPERM: others could have written it.
        """

    def syncDirectory(path: str) -> None:
        """Its entries survive a power cut once this returned."""

    def rename(old: str, new: str) -> None:
        """Atomic; replaces C{new}."""

    def link(old: str, new: str) -> None:
        """L{FileExistsError} if C{new} is there."""

    def unlink(path: str) -> None: ...

    def makeDirectory(path: str, mode: int = 0o700) -> None:
        """With its missing parents; nothing happens if it is there."""

    def removeDirectory(path: str) -> None:
        """It must be empty."""

    def listDirectory(path: str) -> list[str]:
        """Names, sorted."""

    def isDirectory(path: str) -> bool:
        """False for a symbolic link, and where there is nothing."""

    def stat(path: str) -> FileStat:
        """Does not follow a symbolic link."""

    def space(path: str) -> Space: ...

    def lock(path: str) -> IFile:
        """An exclusive lock, kept until the file is closed or the process ends.

        @raise BlockingIOError: another process holds it; its message names the process id if that is known.
        """

    def database(path: str, readOnly: bool = False) -> sqlite3.Connection:
        """A SQLite database in autocommit mode (C{isolation_level=None}), usable from any one thread at a time.

        A simulated disk answers with one whose commits survive its power cuts only if C{synchronous} was at least FULL.

        @param readOnly: nothing is made or changed; without a file it raises L{sqlite3.OperationalError}.
        """

    def identity(path: str) -> tuple[int, ...]:
        """Other numbers as soon as another file has taken the place (the first two), or as the file was written to. Follows links."""

    def isWritableOnlyBy(file: IFile, path: str, users: Collection[int]) -> bool:
        """Can nobody but these users have written what is read from C{file}, which was opened as C{path}, or have put it there?

        Its owner and mode are those of the open file; of all directories above it, links resolved, too.
        """


class IWorkers(Interface):
    """Where blocking work goes."""

    def run(lane: str, work: Callable[..., T], *values: Any) -> Deferred[T]:
        """Call C{work(*values)} in the lane's thread, after what was given to the lane before.

        Values in, values out: C{work} touches no state of a room. Lanes of different names run side by side. The Deferred fires
        in the reactor's thread. A simulated one runs inline, after a seeded virtual delay.
        """


class IProcesses(Interface):
    """Child processes."""

    def spawn(
        protocol: Any, argv: Sequence[str], environment: Mapping[str, str], descriptors: Mapping[int, int | str]
    ) -> Any:
        """As Twisted's C{spawnProcess}: C{argv[0]} is an absolute path; C{descriptors} is C{childFDs}.

        @return: an L{twisted.internet.interfaces.IProcessTransport}.
        """

    def command(
        argv: Sequence[str], environment: Mapping[str, str], directory: str, content: IFile, limit: float
    ) -> Exit:
        """Run a command to its end. Blocks: call it inside a lane only.

        It has a session of its own, nothing of our environment, and no descriptor of ours. What it writes is read and thrown away,
        but for the last line.

        @param directory: to start in; C{/} where that cannot be entered.
        @param content: its standard input, from the beginning.
        @param limit: seconds after which its process group is ended.
        """

    def endCommands() -> None:
        """End all commands that run now, as if their time were over; later ones are not started. Does not block."""


class IUsers(Interface):
    """The system's users."""

    def byName(name: str) -> User | None:
        """Blocks: call it inside a lane only.

        @raise OSError: the answer cannot be had now.
        """

    def byUid(uid: int) -> User | None:
        """As C{byName}."""

    def me() -> User:
        """Whom this process runs as. Does not block."""


class IDeliveryHosts(Interface):
    """Where deliveries to a user's files run: in lanes of this process as the invoking user, or, with root, in one child per user."""

    def deliver(account: Account, task: Task, body: Any) -> Deferred[str]:
        """Deliver one message as C{account}.

        @param body: an L{pysmtpd.interfaces.queue.IBody}; it is read, not closed.
        @return: where it was stored, for the log: durable when it fires. For a command: the command.
        @raise DeliveryRefused: (of L{pysmtpd.interfaces.delivery}) with the L{Reply} that tells why, temporary or permanent.
        """

    def close() -> Deferred[None]:
        """No new deliveries; commands that run are ended. Fires when all deliveries under way have ended."""


class HelperFailed(Exception):
    """The root helper has not done what it was asked; the text says why."""


class IHelper(Interface):
    """The root helper of a daemon that was started as root, as the daemon sees it after it has dropped root's rights."""

    isAlive: bool = Attribute(
        "Once false it stays so: what needs the helper cannot be had until the daemon is started again."
    )

    def host(account: Account, protocol: IProtocol) -> Deferred[None]:
        """Start a delivery host as C{account} and connect the protocol to it.

        The process ends when the connection does.

        @raise HelperFailed: there is none; never for root.
        """

    def password(user: str, password: bytes, peer: str) -> Deferred[bool]:
        """Is this the password of a user of the system, who may log in now?

        @param peer: from where it is tried, for the system's own log.
        @raise HelperFailed: it cannot be told.
        """

    def mailbox(user: str) -> Deferred[None]:
        """Make the system's mailbox of a user of the system, if it is not there.

        @raise HelperFailed: it cannot be had.
        """

    def forward(user: UserInfo, protocol: IProtocol) -> Deferred[None]:
        """Read the C{.forward} of a user, as that user, and connect the protocol to whom reads it.

        What comes is one JSON object, then the end: C{text} (octets as Latin-1; null: there is none), or C{refused} and C{errno}.

        @raise HelperFailed: it is not read; never for root.
        """


class IPlatform(Interface):
    """Everything that is not a value."""

    clock: IReactorTime = Attribute("Monotonic time, for intervals and time-outs: C{seconds()}, C{callLater}.")
    network: INetwork = Attribute("Sockets.")
    disk: IDisk = Attribute("The file system.")
    workers: IWorkers = Attribute("Lanes for blocking work.")
    processes: IProcesses = Attribute("Child processes.")
    users: IUsers = Attribute("System users.")
    random: Random = Attribute("Randomness; seeded in a test. Not for secrets.")
    hostname: str = Attribute("This machine's name.")
    isPrivileged: bool = Attribute(
        "Started as root: a root helper stands by, this process runs as an unprivileged user."
    )

    def wallTime() -> float:
        """Seconds since the epoch. For what is stored and shown, never for intervals."""

    def secret(size: int) -> bytes:
        """Octets that cannot be guessed."""

    def resolverSettings() -> ResolverSettings:
        """The system's name servers, read anew at each call (blocks for a moment; for start and reload only)."""

    def localAddresses() -> tuple[str, ...]:
        """Addresses of this machine's interfaces."""

    def processId() -> int: ...
