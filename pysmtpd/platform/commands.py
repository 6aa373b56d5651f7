"""Commands that are run to their end. Loaded in delivery hosts as well: no Twisted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pysmtpd.model.task import Exit

if TYPE_CHECKING:
    from pysmtpd.interfaces.platform import IFile

# Octets of a command's output that are kept, from its end; characters of its last line.
_TAIL = 4096
_LINE = 500

# Seconds between being asked to end and being made to.
GRACE = 2.0

# Seconds between two looks at a command where the system does not tell of its end, and for one that was asked to end.
_PAUSE = 0.05

_READ = 65_536


class Commands:
    """All commands that this process runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, bool] = {}
        self._isOver = False

    def command(
        self, argv: Sequence[str], environment: Mapping[str, str], directory: str, content: IFile, limit: float
    ) -> Exit:
        """See L{pysmtpd.interfaces.platform.IProcesses.command}."""
        if not (os.path.isdir(directory) and os.access(directory, os.X_OK)):
            directory = "/"
        reading, writing = os.pipe()
        try:
            try:
                os.lseek(content.fileno(), 0, os.SEEK_SET)
                with self._lock:
                    if self._isOver:
                        return Exit(isLate=True)
                    child = subprocess.Popen(
                        list(argv),
                        stdin=content.fileno(),
                        stdout=writing,
                        stderr=writing,
                        env=dict(environment),
                        cwd=directory,
                        start_new_session=True,
                    )
                    self._running[child.pid] = True
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                return Exit(failure=str(error))
            finally:
                os.close(writing)
            os.set_blocking(reading, False)
            output = _Output(reading)
            try:
                isLate = not _wait(child.pid, output, time.monotonic() + limit)
                if isLate:
                    # It has not been waited for, so the number of its group is nobody else's.
                    os.killpg(child.pid, signal.SIGTERM)
                    _wait(child.pid, output, time.monotonic() + GRACE)
                    os.killpg(child.pid, signal.SIGKILL)
            finally:
                with self._lock:
                    isEnded = not self._running.pop(child.pid)
                status = child.wait()
        finally:
            os.close(reading)
        return Exit(max(status, 0), max(-status, 0), isLate or isEnded, "", output.lastLine())

    def endCommands(self) -> None:
        """See L{pysmtpd.interfaces.platform.IProcesses.endCommands}."""
        with self._lock:
            self._isOver = True
            for group in self._running:
                self._running[group] = False
                os.killpg(group, signal.SIGKILL)


class _Output:
    """What a command writes."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.isOpen = True
        self._tail = b""

    def read(self) -> None:
        """Take what there is now; a bounded part of it."""
        try:
            octets = os.read(self.descriptor, _READ)
        except BlockingIOError:
            return
        self.isOpen = bool(octets)
        self._tail = (self._tail + octets)[-_TAIL:]

    def lastLine(self) -> str:
        lines = self._tail.decode("utf-8", "replace").split("\n")
        for line in reversed(lines):
            text = "".join(character if character.isprintable() else " " for character in line).strip()
            if text:
                return text[:_LINE]
        return ""


def _wait(pid: int, output: _Output, deadline: float) -> bool:
    """Read what the command writes until it ends. It is left to be waited for.

    @return: it has ended in time.
    """
    opened = _openProcess(pid)
    poll = select.poll()
    if opened >= 0:
        poll.register(opened, select.POLLIN)
    if output.isOpen:
        poll.register(output.descriptor, select.POLLIN)
    try:
        while not _hasEnded(pid):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for descriptor, _ in poll.poll(1000 * (left if opened >= 0 else min(left, _PAUSE))):
                if descriptor == output.descriptor:
                    output.read()
                    if not output.isOpen:
                        poll.unregister(descriptor)
    finally:
        if opened >= 0:
            os.close(opened)
    if output.isOpen:
        # Others may have its output open still: no more than what is there now, which a pipe bounds.
        output.read()
    return True


def _openProcess(pid: int) -> int:
    """A descriptor that can be read once the process has ended; below 0: the system has none."""
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _hasEnded(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
