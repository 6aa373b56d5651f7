"""The shipped backends against the contract."""

from __future__ import annotations

import os

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from pysmtpd.model.config import QueueLimits
from pysmtpd.queue import fs, null, ram, sqlite
from pysmtpd.testing.contracts.queue import (
    BatchingQueueContract,
    DiscardingQueueContract,
    QueueBackendContract,
    QueueCrashContract,
    QueueFailureContract,
    QueueHarness,
    VolatileQueueContract,
)
from tests.queue.harness import DiskHarness, RealHarness, ThreadHarness

SETTINGS = {"spool": "/spool", "limits": QueueLimits()}


class SqliteOnRealDiskTests(QueueBackendContract, BatchingQueueContract, TestCase):
    def harness(self) -> QueueHarness:
        settings = {**SETTINGS, "spool": os.path.abspath(self.mktemp())}
        return RealHarness(lambda platform: sqlite.make("", platform, settings))


class SqliteTests(QueueBackendContract, QueueCrashContract, QueueFailureContract, BatchingQueueContract, TestCase):
    def harness(self) -> QueueHarness:
        return DiskHarness(lambda platform: sqlite.make("", platform, SETTINGS), self.mktemp(), isTearing=False)


class SqliteTearingTests(QueueBackendContract, QueueCrashContract, QueueFailureContract, TestCase):
    def harness(self) -> QueueHarness:
        return DiskHarness(lambda platform: sqlite.make("", platform, SETTINGS), self.mktemp(), isTearing=True)


class FsOnRealDiskTests(QueueBackendContract, TestCase):
    def harness(self) -> QueueHarness:
        settings = {**SETTINGS, "spool": os.path.abspath(self.mktemp())}
        return RealHarness(lambda platform: fs.make("", platform, settings))


class FsTests(QueueBackendContract, QueueCrashContract, QueueFailureContract, TestCase):
    def harness(self) -> QueueHarness:
        return DiskHarness(lambda platform: fs.make("", platform, SETTINGS), self.mktemp(), isTearing=False)


class FsTearingTests(QueueBackendContract, QueueCrashContract, QueueFailureContract, TestCase):
    def harness(self) -> QueueHarness:
        return DiskHarness(lambda platform: fs.make("", platform, SETTINGS), self.mktemp(), isTearing=True)


class RamTests(VolatileQueueContract, TestCase):
    def harness(self) -> QueueHarness:
        return RealHarness(lambda platform: ram.make("", platform, SETTINGS))


class NullTests(DiscardingQueueContract, TestCase):
    def harness(self) -> QueueHarness:
        return RealHarness(lambda platform: null.make("", platform, SETTINGS))


class SqliteInThreadsTests(QueueBackendContract, BatchingQueueContract, TestCase):
    timeout = 30.0

    def harness(self) -> QueueHarness:
        settings = {**SETTINGS, "spool": os.path.abspath(self.mktemp())}
        return ThreadHarness(reactor, lambda platform: sqlite.make("", platform, settings))


class FsInThreadsTests(QueueBackendContract, TestCase):
    timeout = 30.0

    def harness(self) -> QueueHarness:
        settings = {**SETTINGS, "spool": os.path.abspath(self.mktemp())}
        return ThreadHarness(reactor, lambda platform: fs.make("", platform, settings))
