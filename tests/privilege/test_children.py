"""Children of the root helper as real processes: whoever stops his own takes nobody's place. None of this needs root."""

from __future__ import annotations

import os
import signal
import socket

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.privilege.children import Children
from pysmtpd.privilege.refused import Refused

ANN, BEN = 1001, 1002


class ChildrenTests(SynchronousTestCase):
    def start(self, children: Children, owner: int = ANN) -> int:
        """One that its user stops at once. It is never reaped by itself: nobody tells that it has ended.

        @return: its process id.
        """
        with children.start(_tellAndStop, owner) as connection:
            connection.settimeout(20)
            child = int(connection.recv(20))
        os.waitpid(child, os.WUNTRACED)
        self.addCleanup(_end, child)
        return child

    def killed(self, child: int) -> bool:
        """Waits for its end, and leaves it to be reaped."""
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        return ended is not None and (ended.si_code, ended.si_status) == (os.CLD_KILLED, signal.SIGKILL)

    def test_overdue(self) -> None:
        children = Children(2, "too many", life=0.0)
        first = self.start(children)
        second = self.start(children, BEN)
        self.assertTrue(self.killed(first))
        children.ended(first)
        self.start(children)
        self.assertTrue(self.killed(second))

    def test_thoseThatMayLiveLongStay(self) -> None:
        children = Children(2, "too many")
        first, second = self.start(children), self.start(children)
        self.assertRaisesRegex(Refused, "too many", self.start, children)
        for child in (first, second):
            self.assertEqual(os.waitpid(child, os.WNOHANG), (0, 0))

    def test_anOwnersOldest(self) -> None:
        children = Children(10, "too many", mostOfOwner=2)
        mine = [self.start(children, ANN) for _ in range(3)]
        self.assertTrue(self.killed(mine[0]))
        self.assertEqual(os.waitpid(mine[1], os.WNOHANG), (0, 0))
        # What the system has not ended yet still counts, but for nobody else.
        self.start(children, ANN)
        self.assertRaisesRegex(Refused, f"too many of user id {ANN}", self.start, children, ANN)
        self.start(children, BEN)
        children.ended(mine[0])
        self.start(children, ANN)


def _tellAndStop(connection: socket.socket) -> None:
    connection.sendall(str(os.getpid()).encode())
    os.kill(os.getpid(), signal.SIGSTOP)


def _end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        # It was waited for already.
        return
