"""Where the contract suite finds the backends under test."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from typing import Any

from pysmtpd.interfaces.queue import IQueueBackend
from pysmtpd.platform.disk import RealDisk
from pysmtpd.platform.workers import RealWorkers
from pysmtpd.testing.contracts.queue import QueueHarness
from tests.queue.support import CrashDisk, SmallPlatform


class DiskHarness(QueueHarness):
    """A backend on a disk whose power can be cut."""

    def __init__(self, make: Callable[[SmallPlatform], IQueueBackend], real: str, isTearing: bool) -> None:
        self._make = make
        self._real = real
        self.disk = CrashDisk(f"{real}/disk", isTearing)

    def backend(self) -> IQueueBackend:
        return self._make(SmallPlatform(self.disk))

    def crash(self) -> None:
        self.disk = self.disk.powerCut()

    def crashAfter(self, operations: int) -> None:
        self.disk.crashAfter(operations)

    def failAfter(self, operations: int | None, error: int = errno.ENOSPC) -> None:
        self.disk.failAfter(operations, error)

    def release(self) -> None:
        shutil.rmtree(self._real, ignore_errors=True)


class RealHarness(QueueHarness):
    """A backend in a real directory."""

    def __init__(self, make: Callable[[SmallPlatform], IQueueBackend]) -> None:
        self._make = make

    def backend(self) -> IQueueBackend:
        return self._make(SmallPlatform(RealDisk()))


class ThreadHarness(QueueHarness):
    """A backend in a real directory, with lanes that are threads."""

    def __init__(self, reactor: Any, make: Callable[[SmallPlatform], IQueueBackend]) -> None:
        self._make = make
        self._workers = RealWorkers(reactor)

    def backend(self) -> IQueueBackend:
        return self._make(SmallPlatform(RealDisk(), self._workers))

    def release(self) -> None:
        self._workers.close()
