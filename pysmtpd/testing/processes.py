"""Child processes that a test plays itself."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IFile, IProcesses
from pysmtpd.model.task import Exit
from pysmtpd.testing.clock import SimulatedClock

SIGNALS = {"HUP": 1, "INT": 2, "KILL": 9, "TERM": 15}


@implementer(IProcessTransport)
class ScriptedProcess:
    """One child: its parent's side is an L{IProcessTransport}, the test's side is the rest.

    @ivar received: called with descriptor and data when the parent writes.
    @ivar closed: called with the descriptor when the parent closes one.
    @ivar signalled: called with a signal's name; without one, the child ends by it.
    """

    def __init__(
        self, clock: SimulatedClock, protocol: Any, argv: Sequence[str], environment: Mapping[str, str], pid: int
    ) -> None:
        self._clock = clock
        self._protocol = protocol
        self.argv = tuple(argv)
        self.environment = dict(environment)
        self.pid: int | None = pid
        self.received: Callable[[int, bytes], object] = lambda descriptor, data: None
        self.closed: Callable[[int], object] = lambda descriptor: None
        self.signalled: Callable[[str], object] | None = None
        self.isOver = False

    # --- the test's side

    def output(self, data: bytes, descriptor: int = 1) -> None:
        """The child writes."""
        self._clock.callLater(0, self._protocol.childDataReceived, descriptor, data)

    def exit(self, status: int = 0, signal: int | None = None) -> None:
        """The child ends."""
        if not self.isOver:
            self.isOver = True
            self.pid = None
            reason = ProcessTerminated(status or None, signal) if status or signal else ProcessDone(0)
            self._clock.callLater(0, self._ended, Failure(reason))

    def _ended(self, reason: Failure) -> None:
        for descriptor in (0, 1, 2):
            self._protocol.childConnectionLost(descriptor)
        self._protocol.processExited(reason)
        self._protocol.processEnded(reason)

    # --- IProcessTransport

    def write(self, data: bytes) -> None:
        self.writeToChild(0, data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.writeToChild(0, b"".join(data))

    def getHost(self) -> Any:
        return None

    def getPeer(self) -> Any:
        return None

    def writeToChild(self, childFD: int, data: bytes) -> None:
        if not self.isOver:
            self._clock.callLater(0, self.received, childFD, data)

    def closeChildFD(self, descriptor: int) -> None:
        if not self.isOver:
            self._clock.callLater(0, self.closed, descriptor)

    def closeStdin(self) -> None:
        self.closeChildFD(0)

    def closeStdout(self) -> None:
        self.closeChildFD(1)

    def closeStderr(self) -> None:
        self.closeChildFD(2)

    def loseConnection(self) -> None:
        for descriptor in (0, 1, 2):
            self.closeChildFD(descriptor)

    def signalProcess(self, signalID: str | int) -> None:
        name = str(signalID).removeprefix("SIG")
        if self.signalled is not None:
            self.signalled(name)
        else:
            self.exit(signal=SIGNALS.get(name, signalID if isinstance(signalID, int) else 15))


@dataclass(frozen=True, slots=True)
class Called:
    """A command that was run to its end, with all that it was given."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    content: bytes
    limit: float


@implementer(IProcesses)
class SimulatedProcesses:
    """Nothing runs unless a test says how.

    @ivar programs: by absolute path: called with the L{ScriptedProcess}, to play it.
    @ivar spawned: all that were started.
    @ivar commands: by first word: called with what it was given, to say how it ends. It is run in no time at all; let it say C{isLate} for
        one that takes too long, and see L{pysmtpd.testing.workers.SimulatedWorkers.delays} for one that takes long.
    @ivar called: all that were run to their end.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self.programs: dict[str, Callable[[ScriptedProcess], object]] = {}
        self.spawned: list[ScriptedProcess] = []
        self.commands: dict[str, Callable[[Called], Exit]] = {}
        self.called: list[Called] = []
        self._isOver = False

    def command(
        self, argv: Sequence[str], environment: Mapping[str, str], directory: str, content: IFile, limit: float
    ) -> Exit:
        play = self.commands.get(argv[0])
        if play is None:
            return Exit(failure=f"no command of this world (see SimulatedProcesses.commands): {argv[0]}")
        if self._isOver:
            return Exit(isLate=True)
        octets = b""
        while part := content.readAt(len(octets), 65_536):
            octets += part
        called = Called(tuple(argv), dict(environment), directory, octets, limit)
        self.called.append(called)
        return play(called)

    def endCommands(self) -> None:
        self._isOver = True

    def spawn(
        self, protocol: Any, argv: Sequence[str], environment: Mapping[str, str], descriptors: Mapping[int, int | str]
    ) -> Any:
        play = self.programs.get(argv[0])
        if play is None:
            raise FileNotFoundError(errno.ENOENT, "no program of this world (see SimulatedProcesses.programs)", argv[0])
        child = ScriptedProcess(self._clock, protocol, argv, environment, 1000 + len(self.spawned))
        self.spawned.append(child)
        play(child)
        protocol.makeConnection(child)
        return child
