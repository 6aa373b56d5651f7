"""The shipped tables, and one that takes its time, against the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service, TableError
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.table import file, static
from pysmtpd.testing.contracts.table import TableContract
from tests.table.platform import SmallPlatform

PATH = "/etc/mail/table"


def staticTable(entries: Sequence[tuple[str, str]], isMap: bool = False) -> ITable:
    spec = TableSpec("t", BackendSpec("static"), tuple(entries), isMap)
    return static.make("", SmallPlatform().asPlatform, {"spec": spec})


@implementer(ITable)
class SlowTable:
    """Answers like another table, 50 ms later."""

    allowsCommands = True

    def __init__(self, table: ITable, clock: Clock) -> None:
        self.name = table.name
        self.asked = 0
        self._table = table
        self._clock = clock

    def _later(self, answer: Any) -> Deferred[Any]:
        self.asked += 1
        return deferLater(self._clock, 0.05, lambda: answer)

    def match(self, service: Service, key: str) -> Ready[bool]:
        return self._later(self._table.match(service, key))

    def lookup(self, service: Service, key: str) -> Ready[str | None]:
        return self._later(self._table.lookup(service, key))

    def fetch(self, service: Service) -> Ready[str | None]:
        return self._later(self._table.fetch(service))

    def update(self) -> Deferred[None]:
        return self._later(None)


class StaticTableTests(TableContract, SynchronousTestCase):
    def makeList(self, keys: Sequence[str]) -> ITable:
        return staticTable([(key, "") for key in keys])

    def makeMap(self, entries: Sequence[tuple[str, str]]) -> ITable:
        return staticTable(entries, isMap=True)

    def test_argument(self) -> None:
        error = self.assertRaises(ValueError, static.make, "/etc/x", SmallPlatform().asPlatform, {})
        self.assertIn("file:/path", str(error))


class SlowTableTests(StaticTableTests):
    """Whoever waits for an answer gets the same one."""

    def setUp(self) -> None:
        self.clock = Clock()

    def makeList(self, keys: Sequence[str]) -> ITable:
        return SlowTable(super().makeList(keys), self.clock)

    def makeMap(self, entries: Sequence[tuple[str, str]]) -> ITable:
        return SlowTable(super().makeMap(entries), self.clock)

    def wait(self, answer: Deferred[Any]) -> None:
        self.assertNoResult(answer)
        self.clock.advance(0.05)


class FileTableTests(TableContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()

    def makeTable(self, text: str) -> ITable:
        self.platform.disk.files[PATH] = text.encode()
        table = file.make(PATH, self.platform.asPlatform, {"spec": TableSpec("t", BackendSpec("file", PATH))})
        self.successResultOf(table.update())
        return table

    def makeList(self, keys: Sequence[str]) -> ITable:
        return self.makeTable("# @list\n" + "".join(f"{key}\n" for key in keys))

    def makeMap(self, entries: Sequence[tuple[str, str]]) -> ITable:
        return self.makeTable("".join(f"{key}\t{value}\n" for key, value in entries))

    def test_readsInALane(self) -> None:
        self.makeTable("ann\n")
        self.assertEqual(self.platform.workers.ran, ["tables"])

    def test_unreadTableCannotTell(self) -> None:
        table = file.make(PATH, self.platform.asPlatform, {"spec": TableSpec("t", BackendSpec("file", PATH))})
        error = self.assertRaises(TableError, table.match, Service.DOMAIN, "x")
        self.assertIn(PATH, str(error))

    def test_updateReadsAgain(self) -> None:
        table = self.makeTable("ann\n")
        self.platform.disk.files[PATH] = b"ben\n"
        self.successResultOf(table.update())
        self.assertFalse(table.match(Service.STRING, "ann"))
        self.assertTrue(table.match(Service.STRING, "ben"))

    def test_failedUpdateKeepsTheOldContent(self) -> None:
        table = self.makeTable("ann: ben\n")
        for bad, reason in ((b"ann: ben\nben:\n", "line 2"), (b"\xff", "utf-8"), (None, "No such file")):
            if bad is None:
                del self.platform.disk.files[PATH]
            else:
                self.platform.disk.files[PATH] = bad
            failure = self.failureResultOf(table.update(), TableError)
            self.assertIn(reason, failure.getErrorMessage())
            self.assertIn(PATH, failure.getErrorMessage())
            self.assertEqual(table.lookup(Service.ALIAS, "ann"), "ben")

    def test_relativePath(self) -> None:
        self.assertRaises(ValueError, file.make, "etc/x", self.platform.asPlatform, {})
