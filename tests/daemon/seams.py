"""Backends as third parties write them, for the stories; each has its plugin in L{PLUGIN}."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from zope.interface import implementer

from pysmtpd.interfaces import IPlatform, IQueueBackend, IScheduler, ITable, Service, TableError, TableUpdate, Updated
from tests.queue.process import ProcessBackend
from tests.scheduler.leased import LeasedScheduler

PLUGIN = """
from pysmtpd.backends import BackendMaker

slow = BackendMaker("table", "slow", "slow:MILLISECONDS", "tests.daemon.seams.makeSlow")
broken = BackendMaker("table", "broken", "broken:", "tests.daemon.seams.makeBroken")
stuck = BackendMaker("table", "stuck", "stuck:UPDATES", "tests.daemon.seams.makeStuck")
leased = BackendMaker("scheduler", "leased", "leased:", "tests.daemon.seams.makeLeased")
child = BackendMaker("queue", "child", "child:BACKEND", "tests.daemon.seams.makeChild")
"""


@implementer(ITable)
class SlowTable:
    """It knows C{example.org} and C{joe@example.org}, and takes its time to say so."""

    allowsCommands = False

    def __init__(self, platform: IPlatform, name: str, seconds: float) -> None:
        self.name = name
        self._clock = platform.clock
        self._seconds = seconds

    def _later(self, answer: Any) -> Deferred[Any]:
        return deferLater(self._clock, self._seconds, lambda: answer)

    def match(self, service: Service, key: str) -> Deferred[bool]:
        return self._later(key == "example.org")

    def lookup(self, service: Service, key: str) -> Deferred[str | None]:
        return self._later("pysmtpd" if key == "joe@example.org" else None)

    def fetch(self, service: Service) -> Deferred[str | None]:
        return self._later(None)

    def update(self) -> Deferred[Updated]:
        return succeed(Updated(self, TableUpdate()))

    def close(self) -> Deferred[None]:
        return succeed(None)


@implementer(ITable)
class BrokenTable(SlowTable):
    """Its server is away."""

    allowsCommands = True

    def _later(self, answer: Any) -> Deferred[Any]:
        def fail() -> None:
            raise TableError("no route to the directory server")

        return deferLater(self._clock, self._seconds, fail)


class StuckTable(SlowTable):
    """Its file system hangs, or will: a thread that asks it never comes back."""

    def __init__(self, platform: IPlatform, name: str, good: int) -> None:
        """
        @param good: updates that go well.
        """
        super().__init__(platform, name, 0.0)
        self._workers = platform.workers
        self._good = good

    def _later(self, answer: Any) -> Deferred[Any]:
        return self._workers.run(f"table-{self.name}", _hang)

    def update(self) -> Deferred[Updated]:
        self._good -= 1
        return super().update() if self._good >= 0 else self._later(None)


def _hang() -> None:
    print("it hangs", file=sys.stderr, flush=True)
    threading.Event().wait()


def makeStuck(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> ITable:
    return StuckTable(platform, settings["spec"].name, int(argument))


def makeSlow(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> ITable:
    return SlowTable(platform, settings["spec"].name, int(argument) / 1000)


def makeBroken(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> ITable:
    return BrokenTable(platform, settings["spec"].name, 0.05)


def makeLeased(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> IScheduler:
    return LeasedScheduler(platform.wallTime, settings["limits"])


def makeChild(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> IQueueBackend:
    from twisted.internet import reactor

    return ProcessBackend(reactor, argument, settings["spool"])
