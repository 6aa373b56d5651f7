"""Copying between backends."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.queue import IQueueBackend, NewMessage, QueueError, SpoolError
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.ids import MessageId, envelopeId
from pysmtpd.queue import fs, sqlite
from pysmtpd.queue.copy import Copied, copy
from pysmtpd.queue.refusal import FAILED
from tests.queue.support import CrashDisk, SmallPlatform


class CopyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = CrashDisk(os.path.abspath(self.mktemp()))
        self.platform = SmallPlatform(self.disk)
        self.settings = {"spool": "/spool", "limits": QueueLimits()}

    def sqlite(self, place: str = "s") -> IQueueBackend:
        return sqlite.make(place, self.platform, self.settings)

    def fs(self, place: str = "f") -> IQueueBackend:
        return fs.make(place, self.platform, self.settings)

    def fill(self, backend: IQueueBackend, count: int = 250) -> None:
        self.successResultOf(backend.open())
        for number in range(1, count + 1):
            id = MessageId(number << 30)
            envelopes = tuple((envelopeId(id, n), b"envelope %d" % n) for n in range(2))
            staged = ""
            if number % 50 == 0:
                stage = self.successResultOf(backend.stage(id))
                self.successResultOf(stage.write(b"large" * 100_000))
                self.successResultOf(stage.finish())
                staged = stage.name
            content = None if staged else b"content %d" % number
            new = NewMessage(id, b"record %d" % number, envelopes, content, staged)
            self.successResultOf(backend.commit([new]))
            if number % 3 == 0:
                self.successResultOf(backend.update({envelopes[1][0]: b"state %d" % number}))
        self.successResultOf(backend.reserve(MessageId(count << 40)))
        self.successResultOf(backend.close())

    def dump(self, backend: IQueueBackend) -> tuple[int, list[object]]:
        highest = self.successResultOf(backend.open())
        found: list[object] = []
        for stored in self.successResultOf(backend.page(MessageId(0), 1000)):
            body = self.successResultOf(backend.body(stored.id))
            assert body is not None
            content = []
            while chunk := self.successResultOf(asDeferred(body.read())):
                content.append(chunk)
            found.append((stored, b"".join(content)))
        self.successResultOf(backend.close())
        return highest, found

    def test_thereAndBack(self) -> None:
        self.fill(self.sqlite())
        before = self.dump(self.sqlite())
        self.assertEqual(Copied(250, 0, ()), self.successResultOf(copy(self.sqlite(), self.fs())))
        self.assertEqual(before, self.dump(self.fs()))
        self.assertEqual(Copied(250, 0, ()), self.successResultOf(copy(self.fs(), self.sqlite("again"))))
        self.assertEqual(before, self.dump(self.sqlite("again")))
        self.assertEqual(before, self.dump(self.sqlite()))

    def test_brokenOffAndTakenUpAgain(self) -> None:
        self.fill(self.sqlite())
        target = self.fs()
        left = [120]
        commit = target.commit

        def commitSome(messages: object) -> Deferred[None]:
            left[0] -= 1
            if left[0] < 0:
                raise QueueError(FAILED, "broken off")
            return commit(messages)  # type: ignore[arg-type]

        target.commit = commitSome  # type: ignore[method-assign]
        self.failureResultOf(copy(self.sqlite(), target), QueueError)
        target = self.fs()
        # The last one before the break may lack its states.
        target.update = lambda states: succeed(None)  # type: ignore[method-assign]
        self.assertEqual(Copied(130, 120, ()), self.successResultOf(copy(self.sqlite(), target)))
        self.assertEqual(Copied(0, 250, ()), self.successResultOf(copy(self.sqlite(), self.fs())))
        self.assertEqual(self.dump(self.sqlite()), self.dump(self.fs()))

    def test_otherMailInTheTarget(self) -> None:
        self.fill(self.sqlite(), 3)
        self.fill(self.fs(), 4)
        self.failureResultOf(copy(self.sqlite(), self.fs()), SpoolError)
        self.assertEqual(4, len(self.dump(self.fs())[1]))

    def test_whatIsAsideIsLeftAndNamed(self) -> None:
        self.fill(self.sqlite(), 3)
        source = self.sqlite()
        self.successResultOf(source.open())
        self.successResultOf(source.putAside(MessageId(2 << 30), "why"))
        self.successResultOf(source.close())
        result = self.successResultOf(copy(self.sqlite(), self.fs()))
        self.assertEqual((2, ["why"]), (result.messages, [aside.reason for aside in result.left]))
