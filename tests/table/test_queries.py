"""The SQLite table: what its configuration may say, and what a database may do."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.routing import Service, TableError
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.platform.disk import RealDisk
from pysmtpd.table import sqlite
from pysmtpd.table.queries import parseQueries
from tests.table.platform import SmallPlatform


class ConfigurationTests(SynchronousTestCase):
    def test_wrong(self) -> None:
        for text, why in (
            ("query_alias SELECT 1\n", "where the database is"),
            ("dbpath x.db\n", 'line 1: the path of the database is absolute: "dbpath /path"'),
            ("dbpath /x\nquery_alais SELECT 1\n", 'line 2: "query_alais" is not known; did you mean "query_alias"?'),
            ("dbpath /x\nfetch_source SELECT ?\n", "line 2: fetch_source"),
            ("dbpath /x\nquery_alias\n", "line 2"),
        ):
            error = self.assertRaises(ValueError, parseQueries, text.encode(), "/etc/q")
            self.assertIn(why, str(error))

    def test_marksInQuotes(self) -> None:
        queries = parseQueries(b"dbpath /x\nquery_alias SELECT '?' WHERE a = ? OR b = ?\n", "/etc/q")
        self.assertEqual(queries.lookups[Service.ALIAS].marks, 2)


class DatabaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.fill(self.path, "ann")
        spec = TableSpec("users", BackendSpec("sqlite", f"{self.path}.conf"))
        self.table = sqlite.make(f"{self.path}.conf", SmallPlatform(RealDisk()).asPlatform, {"spec": spec})
        self.addCleanup(self.table.close)
        self.say("query_alias SELECT value FROM t WHERE key = ?")

    def say(self, queries: str) -> None:
        Path(f"{self.path}.conf").write_text(f"dbpath {self.path}\n{queries}\n")

    def fill(self, path: str, value: str) -> None:
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE t (key TEXT, value)")
        database.execute("INSERT INTO t VALUES ('key', ?)", (value,))
        database.commit()
        database.close()

    def alias(self) -> str | None:
        return self.successResultOf(self.table.lookup(Service.ALIAS, "key"))

    def refusal(self, service: Service = Service.ALIAS) -> str:
        failure = self.failureResultOf(self.table.lookup(service, "key"), TableError)
        return str(failure.getErrorMessage())

    def test_whatIsWrittenIsSeen(self) -> None:
        self.assertEqual(self.alias(), "ann")
        database = sqlite3.connect(self.path)
        database.execute("UPDATE t SET value = 'ben'")
        database.commit()
        database.close()
        self.assertEqual(self.alias(), "ben")

    def test_replacedFile(self) -> None:
        self.assertEqual(self.alias(), "ann")
        self.fill(f"{self.path}.new", "cid")
        os.rename(f"{self.path}.new", self.path)
        self.assertEqual(self.alias(), "cid")

    def test_awayAndBack(self) -> None:
        self.assertEqual(self.alias(), "ann")
        os.rename(self.path, f"{self.path}.away")
        self.assertIn("No such file", self.refusal())
        self.assertFalse(os.path.exists(self.path), "nothing is made")
        os.rename(f"{self.path}.away", self.path)
        self.assertEqual(self.alias(), "ann")

    def test_lists(self) -> None:
        self.say("query_domain SELECT value FROM t")
        self.assertTrue(self.successResultOf(self.table.match(Service.DOMAIN, "ann")))
        database = sqlite3.connect(self.path)
        database.execute("INSERT INTO t VALUES ('key', '*.example.org')")
        database.commit()
        database.close()
        self.assertTrue(self.successResultOf(self.table.match(Service.DOMAIN, "a.b.example.org")))

    def test_badQuery(self) -> None:
        self.say("query_alias SELECT missing FROM t WHERE key = ?")
        failure = self.failureResultOf(self.table.update(), TableError)
        self.assertIn(f"{self.path}.conf:2: query_alias: no such column", failure.getErrorMessage())
        self.assertIn("query_alias", self.refusal())

    def test_failedUpdateKeepsTheOldQueries(self) -> None:
        self.assertEqual(self.alias(), "ann")
        for text in ("query_nothing x", "query_alias SELECT missing FROM t"):
            self.say(text)
            self.failureResultOf(self.table.update(), TableError)
            self.assertEqual(self.alias(), "ann")

    def test_nothingIsWritten(self) -> None:
        self.say("query_alias DELETE FROM t WHERE key = ? RETURNING value")
        self.assertIn("readonly", self.refusal())
        self.say("query_alias SELECT value FROM t WHERE key = ?")
        self.table = cast(sqlite.SqliteTable, self.successResultOf(self.table.update()).table)
        self.addCleanup(self.table.close)
        self.assertEqual(self.alias(), "ann")

    def test_endlessQuery(self) -> None:
        self.patch(sqlite, "_MOST_STEPS", 5)
        self.say("query_alias WITH RECURSIVE n(x) AS (SELECT ? UNION ALL SELECT 1 FROM n) SELECT x FROM n WHERE x = 2")
        self.assertIn("it takes too long", self.refusal())

    def test_tooManyRows(self) -> None:
        self.say("query_alias WITH RECURSIVE n(x) AS (SELECT ? UNION ALL SELECT x FROM n) SELECT x FROM n")
        self.assertIn("more than 10000 rows", self.refusal())

    def test_busy(self) -> None:
        self.patch(sqlite, "BUSY_MILLISECONDS", 1)
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        self.assertIn("locked", self.refusal())
        other.close()
        self.assertEqual(self.alias(), "ann")

    def test_strangeValues(self) -> None:
        self.say("query_alias SELECT ? || char(10)\nquery_addrname SELECT ?, NULL\nquery_userinfo SELECT ?, x'00', '/'")
        self.assertIn("control characters", self.refusal())
        self.assertIn("NULL", self.refusal(Service.ADDRNAME))
        self.assertIn("bytes", self.refusal(Service.USERINFO))

    def test_notAsked(self) -> None:
        self.assertIn("query_credentials", self.refusal(Service.CREDENTIALS))
        self.failureResultOf(self.table.fetch(Service.SOURCE), TableError)
        self.failureResultOf(self.table.match(Service.REGEX, "x"), TableError)

    def test_keysAreBound(self) -> None:
        self.assertIsNone(self.successResultOf(self.table.lookup(Service.ALIAS, "' OR ''='")))
