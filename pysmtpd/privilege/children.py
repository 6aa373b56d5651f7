"""Children of the root helper: of each kind there are so many at most, and each has one socket and nothing else of the helper's.

A child that has become a user is that user's to stop (C{SIGSTOP}). So none of them is waited for: those that should have ended long ago
are killed, and so is the oldest of a user who has too many. Nobody can take the places of others for good.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from pysmtpd.privilege.refused import Refused

# The helper never has more descriptors open.
DESCRIPTORS = 1024


class Children:
    """Those of one kind."""

    def __init__(self, most: int, tooMany: str, life: float = inf, mostOfOwner: int = 0) -> None:
        """
        @param most: at one time, whatever the daemon asks for.
        @param tooMany: what it is told beyond that.
        @param life: seconds after which a child is killed when the next one is asked for.
        @param mostOfOwner: when an owner has so many, the oldest is killed; when there are twice as many, which cannot even be killed,
            no other is started. 0: owners do not count.
        """
        self._most = most
        self._tooMany = tooMany
        self._life = life
        self._mostOfOwner = mostOfOwner
        # By process id, the oldest first: whose it is, and since when.
        self._running: dict[int, tuple[int, float]] = {}

    def start(self, live: Callable[[socket.socket], object], owner: int = 0) -> socket.socket:
        """
        @param live: the child's life, which is over when this returns or raises. It begins as root, without a terminal, with its end of
            the connection as its only descriptor.
        @param owner: the user id that the child takes.
        @return: the other end.
        @raise Refused: there are too many.
        """
        # A child must not be reaped before it is counted, nor between being chosen and being killed: its number could be another's.
        with _undisturbed():
            self._clear(owner)
            if len(self._running) >= self._most:
                raise Refused(self._tooMany)
            ours, theirs = socket.socketpair()
            try:
                child = os.fork()
                if not child:
                    status = 1
                    try:
                        _begin(theirs)
                        live(theirs)
                        status = 0
                    finally:
                        os._exit(status)
                self._running[child] = (owner, time.monotonic())
            except OSError:
                ours.close()
                raise
            finally:
                theirs.close()
        return ours

    def _clear(self, owner: int) -> None:
        """
        @raise Refused: the owner has too many that do not end.
        """
        now = time.monotonic()
        for child, (_, since) in self._running.items():
            if now - since > self._life:
                os.kill(child, signal.SIGKILL)
        own = [child for child, (whose, _) in self._running.items() if whose == owner] if self._mostOfOwner else []
        if own and len(own) >= self._mostOfOwner:
            os.kill(own[0], signal.SIGKILL)
        if self._mostOfOwner and len(own) >= 2 * self._mostOfOwner:
            raise Refused(f"{self._tooMany} of user id {owner}")

    def ended(self, child: int) -> None:
        """
        @param child: a process id, of this kind or another.
        """
        self._running.pop(child, None)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No child is reaped meanwhile."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _begin(connection: socket.socket) -> None:
    # With them the other end of its own connection: the daemon's hanging up must be noticed.
    os.closerange(3, connection.fileno())
    os.closerange(connection.fileno() + 1, DESCRIPTORS)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
