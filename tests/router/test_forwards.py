"""Who reads the .forward of whom, and what becomes of homes that do not answer."""

from __future__ import annotations

import errno
import json
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces import ForwardRefused, HelperFailed, IForwardReader, IHelper
from pysmtpd.model.question import UserInfo
from pysmtpd.router.forwards import MAX_READING, MAX_WAITING, HelperForwards, LaneForwards
from tests.table.platform import SmallPlatform

ME = UserInfo("me", 1000, 1000, "/home/me")


class LaneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()
        self.reader = LaneForwards(self.platform.asPlatform)

    def test_isAReader(self) -> None:
        self.assertTrue(verifyObject(IForwardReader, self.reader))

    def test_reads(self) -> None:
        self.assertIsNone(self.successResultOf(self.reader.read(ME)))
        self.platform.disk.files["/home/me/.forward"] = "é@example.org".encode()
        self.assertEqual(self.successResultOf(self.reader.read(ME)), "é@example.org")

    def test_othersAreNotRead(self) -> None:
        self.platform.disk.files["/home/ann/.forward"] = b"x"
        self.assertIsNone(self.successResultOf(self.reader.read(UserInfo("ann", 1001, 1001, "/home/ann"))))
        self.assertEqual(self.platform.workers.ran, [])

    def test_errors(self) -> None:
        disk = self.platform.disk
        disk.files["/home/me/.forward"] = b"\xff"
        self.failureResultOf(self.reader.read(ME), OSError)
        disk.files["/home/me/.forward"] = b"x" * 4097
        self.failureResultOf(self.reader.read(ME), OSError)
        disk.error = PermissionError(errno.EPERM, "it is a symbolic link")
        failure = self.failureResultOf(self.reader.read(ME), ForwardRefused)
        self.assertEqual(failure.getErrorMessage(), "it is a symbolic link")
        disk.error = PermissionError(errno.EACCES, "Permission denied")
        self.failureResultOf(self.reader.read(ME), PermissionError)

    def test_aHomeThatHangs(self) -> None:
        self.platform.workers.delay = 60.0
        reading = [self.reader.read(ME) for _ in range(MAX_READING)]
        self.assertNoResult(reading[0])
        self.failureResultOf(self.reader.read(ME), OSError)
        self.platform.clock.advance(2)
        for each in reading:
            self.assertIn("2 seconds", self.failureResultOf(each, OSError).getErrorMessage())
        self.failureResultOf(self.reader.read(ME), OSError)
        self.platform.clock.advance(58)
        self.platform.workers.delay = 0.0
        self.assertIsNone(self.successResultOf(self.reader.read(ME)))


class Children:
    """A root helper whose children say what they are told to."""

    def __init__(self) -> None:
        self.asked: list[UserInfo] = []
        self.protocols: list[Any] = []
        self.says: object = None
        self.refuses = ""

    def forward(self, user: UserInfo, protocol: IProtocol) -> Deferred[None]:
        self.asked.append(user)
        if self.refuses:
            return fail(HelperFailed(self.refuses))
        self.protocols.append(protocol)
        protocol.makeConnection(StringTransport())
        if self.says is not None:
            octets = self.says if isinstance(self.says, bytes) else json.dumps(self.says).encode()
            protocol.dataReceived(octets)
            protocol.connectionLost(cast(Any, None))
        return succeed(None)


class HelperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()
        self.children = Children()
        self.reader = HelperForwards(self.platform.asPlatform, cast(IHelper, self.children))
        self.ann = UserInfo("ann", 1001, 1001, "/home/ann")

    def told(self, says: object) -> str | None:
        self.children.says = says
        return self.successResultOf(self.reader.read(self.ann))

    def refused(self, says: object, *kinds: type[Exception]) -> str:
        self.children.says = says
        return self.failureResultOf(self.reader.read(self.ann), *kinds).getErrorMessage()

    def test_isAReader(self) -> None:
        self.assertTrue(verifyObject(IForwardReader, self.reader))

    def test_reads(self) -> None:
        self.assertEqual(self.told({"text": "é\n".encode().decode("latin-1")}), "é\n")
        self.assertIsNone(self.told({"text": None}))
        self.assertEqual(self.children.asked, [self.ann] * 2)

    def test_nowhere(self) -> None:
        self.assertIsNone(self.successResultOf(self.reader.read(self.ann._replace(home="/nonexistent"))))
        self.assertEqual(self.children.asked, [])

    def test_refusals(self) -> None:
        self.assertEqual(self.refused({"refused": "a link", "errno": errno.EPERM}, ForwardRefused), "a link")
        self.assertIn("no home", self.refused({"refused": "no home", "errno": errno.ENOTDIR}, OSError))

    def test_nonsense(self) -> None:
        for says in (
            b"",
            b"{",
            b"[]",
            b"[" * 5000,
            {"text": 5},
            {"text": "x" * 4097},
            {"text": "\xff"},
            {"refused": "x"},
        ):
            self.refused(says, OSError)

    def test_floodsAreCut(self) -> None:
        reading = self.reader.read(self.ann)
        (protocol,) = self.children.protocols
        protocol.dataReceived(b"x" * 100_000)
        self.assertTrue(protocol.transport.disconnected or protocol.transport.disconnecting)
        protocol.connectionLost(None)
        self.failureResultOf(reading, OSError)

    def test_oneAfterTheOther(self) -> None:
        """A burst of mail for many users is no reason to send it away."""
        reading = [self.reader.read(self.ann) for _ in range(3 * MAX_READING)]
        self.assertEqual(len(self.children.protocols), MAX_READING)
        for number in range(3 * MAX_READING):
            protocol = self.children.protocols[number]
            protocol.dataReceived(b'{"text": "ben"}')
            protocol.connectionLost(None)
        self.assertEqual([self.successResultOf(each) for each in reading], ["ben"] * len(reading))

    def test_noTurn(self) -> None:
        """Homes that hang leave their places; who finds none is told so in time."""
        reading = [self.reader.read(self.ann) for _ in range(MAX_READING * 12)]
        self.platform.clock.pump([2.0] * 10)
        told = [self.failureResultOf(each, OSError).getErrorMessage() for each in reading]
        self.assertEqual(sum("does not answer within 2 seconds" in each for each in told), MAX_READING * 10)
        self.assertEqual(sum("no turn to read it within 20 seconds" in each for each in told), MAX_READING * 2)
        self.assertIsNone(self.told({"text": None}))

    def test_tooManyWait(self) -> None:
        reading = [self.reader.read(self.ann) for _ in range(MAX_READING + MAX_WAITING)]
        self.failureResultOf(self.reader.read(self.ann), OSError)
        self.assertNoResult(reading[-1])
        self.platform.clock.pump([2.0] * 11)
        for each in reading:
            self.failureResultOf(each, OSError)

    def test_aHomeThatHangs(self) -> None:
        reading = [self.reader.read(self.ann) for _ in range(MAX_READING)]
        self.platform.clock.advance(2)
        for each in reading:
            self.failureResultOf(each, OSError)
        self.assertTrue(all(protocol.transport.disconnected for protocol in self.children.protocols))
        self.assertIsNone(self.told({"text": None}))

    def test_noHelper(self) -> None:
        self.children.refuses = "the root helper has ended"
        self.assertIn("has ended", self.refused(None, HelperFailed))
