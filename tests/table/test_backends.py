"""The shipped tables, and one that takes its time, against the contract."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service, TableError, TableUpdate, Updated
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.platform.disk import RealDisk
from pysmtpd.table import db, file, sqlite, static
from pysmtpd.table.dbfile import MapWriter
from pysmtpd.testing.contracts.table import TableContract
from tests.table.platform import SmallPlatform

PATH = "/etc/mail/table"
REAL = RealDisk()


def staticTable(entries: Sequence[tuple[str, str]], isMap: bool = False) -> ITable:
    spec = TableSpec("t", BackendSpec("static"), tuple(entries), isMap)
    return static.make("", SmallPlatform().asPlatform, {"spec": spec})


@implementer(ITable)
class SlowTable:
    """Answers like another table, 50 ms later."""

    allowsCommands = True

    def __init__(self, table: ITable, clock: Clock) -> None:
        self.name = table.name
        self.allowsCommands = table.allowsCommands
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

    def update(self) -> Deferred[Updated]:
        return self._later(Updated(self, TableUpdate(1)))

    def close(self) -> Deferred[None]:
        return self._later(None)


class StaticTableTests(TableContract, SynchronousTestCase):
    def makeList(self, keys: Sequence[str]) -> ITable:
        return staticTable([(key, "") for key in keys])

    def makeMap(self, entries: Sequence[tuple[str, str]]) -> ITable:
        return staticTable(entries, isMap=True)

    def test_argument(self) -> None:
        """C{static:/path} is a file, as in OpenSMTPD; another argument is nothing."""
        settings = {"spec": TableSpec("t", BackendSpec("static"))}
        self.assertIsInstance(static.make("/etc/x", SmallPlatform().asPlatform, settings), file.FileTable)
        error = self.assertRaises(ValueError, static.make, "x", SmallPlatform().asPlatform, settings)
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


class DbTableTests(TableContract, SynchronousTestCase):
    def makeTable(self, entries: Sequence[tuple[str, str]]) -> ITable:
        path = os.path.abspath(self.mktemp())
        writer = MapWriter(REAL, path)
        writer.add([(key, value, line) for line, (key, value) in enumerate(entries, 1)])
        writer.finish()
        platform = SmallPlatform(REAL)
        table = db.make(path, platform.asPlatform, {"spec": TableSpec("t", BackendSpec("db", path))})
        self.addCleanup(table.close)
        return table

    def makeList(self, keys: Sequence[str]) -> ITable:
        return self.makeTable([(key, "") for key in keys])

    def makeMap(self, entries: Sequence[tuple[str, str]]) -> ITable:
        return self.makeTable(entries)


class SqliteTableTests(TableContract, SynchronousTestCase):
    """Queries for a key."""

    hasAllPatterns = False

    def queries(self) -> str:
        matched = ("domain", "netaddr", "mailaddr", "string")
        return "".join(f"query_{name} SELECT key FROM entry WHERE key = ?\n" for name in matched) + (
            "query_regex SELECT key FROM entry\n"
        )

    def makeTable(self, entries: Sequence[tuple[str, str]]) -> ITable:
        path = os.path.abspath(self.mktemp())
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE entry (key TEXT, value TEXT)")
        # A pattern's letters may be escapes.
        rows = [(key if "\\" in key else key.lower(), value) for key, value in entries]
        database.executemany("INSERT INTO entry VALUES (?, ?)", rows)
        database.commit()
        database.close()
        values = ("alias", "credentials", "userinfo", "addrname", "mailaddrmap", "relayhost")
        with open(f"{path}.conf", "w") as out:
            out.write(f"# of OpenSMTPD's table-sqlite\ndbpath\t{path}\n{self.queries()}")
            out.writelines(f"query_{name} SELECT value FROM entry WHERE key = ?\n" for name in values)
            out.write("fetch_source SELECT key FROM entry\nfetch_source_expire 60\n")
        platform = SmallPlatform(REAL)
        spec = TableSpec("t", BackendSpec("sqlite", f"{path}.conf"))
        table = sqlite.make(f"{path}.conf", platform.asPlatform, {"spec": spec})
        self.addCleanup(table.close)
        return table

    def makeList(self, keys: Sequence[str]) -> ITable:
        return self.makeTable([(key, "") for key in keys])

    def makeMap(self, entries: Sequence[tuple[str, str]]) -> ITable:
        return self.makeTable(entries)


class SqliteListTests(SqliteTableTests):
    """Queries that give all keys."""

    hasAllPatterns = True

    def queries(self) -> str:
        matched = ("domain", "netaddr", "mailaddr", "string", "regex")
        return "".join(f"query_{name} SELECT key FROM entry\n" for name in matched)


class FileTableTests(TableContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()

    def makeTable(self, text: str) -> ITable:
        self.platform.disk.files[PATH] = text.encode()
        table = file.make(PATH, self.platform.asPlatform, {"spec": TableSpec("t", BackendSpec("file", PATH))})
        return self.successResultOf(table.update()).table

    def makeList(self, keys: Sequence[str]) -> ITable:
        return self.makeTable("# @list\n" + "".join(f"{key}\n" for key in keys))

    def makeMap(self, entries: Sequence[tuple[str, str]]) -> ITable:
        return self.makeTable("".join(f"{key}\t{value}\n" for key, value in entries))

    def test_readsInALane(self) -> None:
        self.makeTable("ann\n")
        self.assertEqual(set(self.platform.workers.ran), {"table-t"})

    def test_unreadTableCannotTell(self) -> None:
        table = file.make(PATH, self.platform.asPlatform, {"spec": TableSpec("t", BackendSpec("file", PATH))})
        error = self.assertRaises(TableError, table.match, Service.DOMAIN, "x")
        self.assertIn(PATH, str(error))

    def test_updateReadsAgain(self) -> None:
        """Into another table: who began with this one keeps it."""
        table = self.makeTable("ann\n")
        self.platform.disk.files[PATH] = b"ben\n"
        renewed = self.successResultOf(table.update()).table
        self.assertFalse(renewed.match(Service.STRING, "ann"))
        self.assertTrue(renewed.match(Service.STRING, "ben"))
        self.assertTrue(table.match(Service.STRING, "ann"))
        self.assertFalse(table.match(Service.STRING, "ben"))

    def test_turnsGoOn(self) -> None:
        table = self.makeTable("# @list\n192.0.2.1\n192.0.2.2\n192.0.2.3\n")
        fetched = [table.fetch(Service.SOURCE)]
        for _ in range(2):
            table = self.successResultOf(table.update()).table
            fetched.append(table.fetch(Service.SOURCE))
        self.assertEqual(len(set(fetched)), 3)

    def test_closed(self) -> None:
        """It answers nothing rather than wrongly, also while it lets go of its content."""
        table = self.makeTable("ann\n")
        self.platform.workers.delay = 1.0
        closing = table.close()
        self.assertRaises(TableError, table.match, Service.STRING, "ann")
        self.platform.clock.pump([1.0] * 5)
        self.successResultOf(closing)
        self.assertRaises(TableError, table.match, Service.STRING, "ann")
        self.successResultOf(table.close())

    def test_aSourceThatDoesNotAnswer(self) -> None:
        """That ends the update, and is in no other table's way."""
        table = self.makeTable("ann\n")
        self.platform.workers.delay = 1e6
        updating = table.update()
        self.platform.clock.advance(29)
        self.assertNoResult(updating)
        self.platform.clock.advance(1)
        failure = self.failureResultOf(updating, TableError)
        self.assertIn("no answer within 30 seconds", failure.getErrorMessage())
        self.assertEqual(self.platform.workers.ran[-1], "table-t")
        self.assertTrue(table.match(Service.STRING, "ann"))

    def test_failedUpdateKeepsTheOldContent(self) -> None:
        table = self.makeTable("ann: ben\n")
        for bad, reason in (
            (b"ann: ben\nben:\n", "line 2"),
            (b"\n\xff", "line 2: it is not UTF-8"),
            (None, "No such file"),
        ):
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


class TrustTests(SynchronousTestCase):
    """Who may have written what names commands."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory, 0o755)
        self.path = f"{self.directory}/aliases"
        with open(self.path, "w") as out:
            out.write("ann: |true\n")
        os.chmod(self.path, 0o644)
        self.me = os.geteuid()

    def isTrusted(self, path: str = "") -> bool:
        opened = REAL.open(path or self.path)
        try:
            return REAL.isWritableOnlyBy(opened, path or self.path, {0, self.me})
        finally:
            opened.close()

    def test_ours(self) -> None:
        self.assertTrue(self.isTrusted())

    def test_writableByOthers(self) -> None:
        for mode in (0o664, 0o646):
            os.chmod(self.path, mode)
            self.assertFalse(self.isTrusted(), oct(mode))

    def test_directoryWritableByOthers(self) -> None:
        os.chmod(self.directory, 0o777)
        self.assertFalse(self.isTrusted())
        os.chmod(self.directory, 0o1777)
        self.assertTrue(self.isTrusted(), "nobody else may take the file away there")

    def test_othersFile(self) -> None:
        opened = REAL.open(self.path)
        self.addCleanup(opened.close)
        self.assertFalse(REAL.isWritableOnlyBy(opened, self.path, {self.me + 1}))

    def test_linkToElsewhere(self) -> None:
        """The directory that counts is the one where the file lies."""
        other = os.path.abspath(self.mktemp())
        os.mkdir(other, 0o755)
        os.symlink(self.path, f"{other}/link")
        self.assertTrue(self.isTrusted(f"{other}/link"))
        os.chmod(self.directory, 0o777)
        self.assertFalse(self.isTrusted(f"{other}/link"))

    def test_tables(self) -> None:
        platform = SmallPlatform()
        platform.disk.files[PATH] = b"ann: |true\n"
        table: ITable = file.make(PATH, platform.asPlatform, {"spec": TableSpec("t", BackendSpec("file", PATH))})
        self.assertFalse(table.allowsCommands)
        table = self.successResultOf(table.update()).table
        self.assertTrue(table.allowsCommands)
        platform.disk.shared.add(PATH)
        table = self.successResultOf(table.update()).table
        self.assertFalse(table.allowsCommands)
        self.assertTrue(staticTable([("ann", "|true")]).allowsCommands)

    def test_allowCommands(self) -> None:
        for make in (file.make, db.make, sqlite.make):
            for allowed in (False, True):
                spec = TableSpec("t", BackendSpec("x"), allowCommands=allowed)
                self.assertIs(make("/x", SmallPlatform().asPlatform, {"spec": spec}).allowsCommands, allowed)
