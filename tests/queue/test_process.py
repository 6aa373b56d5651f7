"""The seam: a backend in another process passes the contract, and the front works over it."""

from __future__ import annotations

import os

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pysmtpd.interfaces.queue import IQueueBackend, QueueError
from pysmtpd.model.config import QueueLimits
from pysmtpd.platform.disk import RealDisk
from pysmtpd.queue.front import QueueFront
from pysmtpd.testing.contracts.queue import QueueBackendContract, QueueHarness
from tests.queue.process import ProcessBackend
from tests.queue.support import SmallPlatform
from tests.queue.values import REMOTE, TRANSACTION, ChangesetScheduler, Recorder


class ProcessHarness(QueueHarness):
    def __init__(self, place: str) -> None:
        self._place = os.path.abspath(place)

    def backend(self) -> IQueueBackend:
        return ProcessBackend(reactor, "sqlite", self._place)


class ProcessTests(QueueBackendContract, TestCase):
    timeout = 30.0

    def harness(self) -> QueueHarness:
        return ProcessHarness(self.mktemp())


class KilledTests(TestCase):
    timeout = 30.0

    def test_aDeadChildCostsTheCall(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.aDeadChild(os.path.abspath(self.mktemp())))

    async def aDeadChild(self, place: str) -> None:
        backend = ProcessBackend(reactor, "fs", place)
        report = Recorder()
        front = QueueFront(backend, ChangesetScheduler(), SmallPlatform(RealDisk()), report, QueueLimits())
        await front.start()
        submission = front.begin(TRANSACTION)
        submission.recipient(REMOTE)
        submission.write(b"content\r\n")
        message = await submission.commit(b"")
        await backend.kill()
        lost = front.begin(TRANSACTION)
        lost.recipient(REMOTE)
        try:
            await lost.commit(b"")
        except QueueError as error:
            self.assertEqual(451, error.reply.code)
        else:
            self.fail("nobody can have kept it")
        again = QueueFront(
            ProcessBackend(reactor, "fs", place),
            ChangesetScheduler(),
            SmallPlatform(RealDisk()),
            report,
            QueueLimits(),
        )
        await again.start()
        walked = await again.walk(None)
        self.assertEqual([message.id], [found.id for found, _ in walked.messages])
        await again.stop()
