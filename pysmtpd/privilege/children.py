"""Children of the root helper: of each kind there are so many at most, and each has one socket and nothing else of the helper's."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable

from pysmtpd.privilege.refused import Refused

# The helper never has more descriptors open.
DESCRIPTORS = 1024


class Children:
    """Those of one kind."""

    def __init__(self, most: int, tooMany: str) -> None:
        """
        @param most: at one time, whatever the daemon asks for.
        @param tooMany: what it is told beyond that.
        """
        self._most = most
        self._tooMany = tooMany
        self._running: set[int] = set()

    def start(self, live: Callable[[socket.socket], object]) -> socket.socket:
        """
        @param live: the child's life, which is over when this returns or raises. It begins as root, without a terminal, with its end of
            the connection as its only descriptor.
        @return: the other end.
        @raise Refused: there are too many.
        """
        if len(self._running) >= self._most:
            raise Refused(self._tooMany)
        ours, theirs = socket.socketpair()
        # A child must not be reaped before it is counted.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
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
            self._running.add(child)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            theirs.close()
        return ours

    def ended(self, child: int) -> None:
        """
        @param child: a process id, of this kind or another.
        """
        self._running.discard(child)


def _begin(connection: socket.socket) -> None:
    # With them the other end of its own connection: the daemon's hanging up must be noticed.
    os.closerange(3, connection.fileno())
    os.closerange(connection.fileno() + 1, DESCRIPTORS)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
