"""The example of docs/backends.md passes the contract that it is written for."""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType

from twisted.trial.unittest import TestCase

from pysmtpd.model.config import QueueLimits
from pysmtpd.testing.contracts.queue import QueueBackendContract, QueueCrashContract, QueueFailureContract, QueueHarness
from tests.queue.harness import DiskHarness, RealHarness

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load() -> ModuleType:
    path = os.path.join(ROOT, "docs", "examples", "journal_queue.py")
    spec = importlib.util.spec_from_file_location("journal_queue", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = load()
SETTINGS = {"spool": "/spool", "limits": QueueLimits()}


class ExampleOnRealDiskTests(QueueBackendContract, TestCase):
    def harness(self) -> QueueHarness:
        settings = {**SETTINGS, "spool": os.path.abspath(self.mktemp())}
        return RealHarness(lambda platform: EXAMPLE.make("", platform, settings))


class ExampleTests(QueueBackendContract, QueueCrashContract, QueueFailureContract, TestCase):
    def harness(self) -> QueueHarness:
        return DiskHarness(
            lambda platform: EXAMPLE.make("/journal", platform, SETTINGS), self.mktemp(), isTearing=False
        )


class ExampleTearingTests(QueueBackendContract, QueueCrashContract, QueueFailureContract, TestCase):
    def harness(self) -> QueueHarness:
        return DiskHarness(lambda platform: EXAMPLE.make("/journal", platform, SETTINGS), self.mktemp(), isTearing=True)
