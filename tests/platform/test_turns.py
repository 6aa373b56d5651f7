"""Turns of the reactor that cost less serve descriptors as the reactor's own do."""

from __future__ import annotations

import os
from typing import Any
from unittest import SkipTest

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

try:
    from twisted.internet.epollreactor import EPollReactor
except ImportError:
    EPollReactor = None  # type: ignore[assignment,misc]
from twisted.internet.interfaces import IReadDescriptor

from pysmtpd.platform.turns import EVENTS, quicken


@implementer(IReadDescriptor)
class Reader:
    """The reading end of a pipe."""

    def __init__(self) -> None:
        self.descriptor, self.peer = os.pipe()
        self.heard: list[bytes] = []
        self.lost: list[Any] = []
        self.doing: Any = lambda: None

    def fileno(self) -> int:
        return self.descriptor

    def logPrefix(self) -> str:
        raise AssertionError("nobody needs it")

    def doRead(self) -> Any:
        data = os.read(self.descriptor, 100)
        if not data:
            return ConnectionDone()
        self.heard.append(data)
        return self.doing()

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason.value)

    def close(self) -> None:
        for descriptor in (self.descriptor, self.peer):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self.peer = -1


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        if EPollReactor is None:
            raise SkipTest("no epoll(7) here")
        self.reactor: Any = EPollReactor()
        self.addCleanup(self._close)
        self.assertTrue(quicken(self.reactor))
        self.readers: list[Reader] = []

    def _close(self) -> None:
        for selectable in self.reactor.removeAll():
            close = getattr(selectable, "close", None)
            if close is not None:
                close()
        for reader in self.readers:
            reader.close()
        self.reactor._poller.close()

    def reader(self) -> Reader:
        reader = Reader()
        self.readers.append(reader)
        self.reactor.addReader(reader)
        return reader

    def test_whatIsReadyIsServed(self) -> None:
        first, second, idle = self.reader(), self.reader(), self.reader()
        os.write(first.peer, b"one")
        os.write(second.peer, b"two")
        self.reactor.doIteration(0)
        self.assertEqual((first.heard, second.heard, idle.heard), ([b"one"], [b"two"], []))

    def test_anEndIsTold(self) -> None:
        reader = self.reader()
        os.close(reader.peer)
        reader.peer = -1
        self.reactor.doIteration(0)
        (lost,) = reader.lost
        self.assertIsInstance(lost, ConnectionDone)
        self.assertNotIn(reader, self.reactor.getReaders())

    def test_aFaultCostsItsDescriptorOnly(self) -> None:
        bad, good = self.reader(), self.reader()
        bad.doing = lambda: 1 // 0
        os.write(bad.peer, b"x")
        os.write(good.peer, b"x")
        self.reactor.doIteration(0)
        self.assertEqual(good.heard, [b"x"])
        (lost,) = bad.lost
        self.assertIsInstance(lost, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_aFaultInTheEndIsLogged(self) -> None:
        bad, good = self.reader(), self.reader()
        bad.connectionLost = lambda reason: 1 // 0  # type: ignore[method-assign,assignment]
        os.close(bad.peer)
        bad.peer = -1
        os.write(good.peer, b"x")
        self.reactor.doIteration(0)
        self.assertEqual(good.heard, [b"x"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_oneIsClosedByAnother(self) -> None:
        first, second = self.reader(), self.reader()
        first.doing = lambda: self.reactor.removeReader(second)
        second.doing = lambda: self.reactor.removeReader(first)
        os.write(first.peer, b"x")
        os.write(second.peer, b"x")
        self.reactor.doIteration(0)
        self.assertEqual(len(first.heard) + len(second.heard), 1)

    def test_moreThanOneTurnHolds(self) -> None:
        readers = [self.reader() for _ in range(EVENTS + 3)]
        for reader in readers:
            os.write(reader.peer, b"x")
        self.reactor.doIteration(0)
        self.assertEqual(sum(len(reader.heard) for reader in readers), EVENTS)
        self.reactor.doIteration(0)
        self.assertEqual(sum(len(reader.heard) for reader in readers), EVENTS + 3)

    def test_anotherReactorIsLeftAlone(self) -> None:
        clock = Clock()
        self.assertFalse(quicken(clock))
        self.assertFalse(hasattr(clock, "doIteration"))
