"""Tables of every backend, looked into while nobody asks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.routing import ITable, Service, TableError
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.platform.disk import RealDisk
from pysmtpd.table import db, file, getpwnam, seen, sqlite, static
from pysmtpd.table.content import Content
from pysmtpd.table.dbfile import MapWriter
from tests.table.platform import SmallPlatform

ENTRIES = [("ann", "ben"), ("*.example.org", ""), ("192.0.2.0/24", ""), ("@example.com", "x")]


class SeenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform(RealDisk())
        self.path = os.path.abspath(self.mktemp())

    def spec(self, name: str, entries: Sequence[tuple[str, str]] = ()) -> TableSpec:
        return TableSpec("t", BackendSpec(name), tuple(entries))

    def seeing(self, table: ITable, service: Service = Service.DOMAIN) -> Deferred[Content]:
        return Deferred.fromCoroutine(seen.see(self.platform.asPlatform, table, service))

    def assertSeen(self, table: ITable, entries: Sequence[tuple[str, str]] = ENTRIES) -> None:
        content = self.successResultOf(self.seeing(table))
        self.assertEqual(sorted(seen.entriesOf(content)), sorted(entries))
        self.assertTrue(content.match(Service.DOMAIN, "a.example.org"))

    def assertUnseen(self, table: ITable, why: str, service: Service = Service.DOMAIN) -> None:
        self.assertIn(why, self.failureResultOf(self.seeing(table, service), TableError).getErrorMessage())

    def database(self) -> db.DbTable:
        writer = MapWriter(RealDisk(), self.path)
        writer.add([(key, value, line) for line, (key, value) in enumerate(ENTRIES, 1)])
        writer.finish()
        table = db.make(self.path, self.platform.asPlatform, {"spec": self.spec("db")})
        self.addCleanup(table.close)
        return table

    def test_inMemory(self) -> None:
        self.assertSeen(static.make("", self.platform.asPlatform, {"spec": self.spec("static", ENTRIES)}))
        with open(self.path, "w") as out:
            out.writelines(f'"{key}": {value or "-"}\n' for key, value in ENTRIES)
        unread = file.make(self.path, self.platform.asPlatform, {"spec": self.spec("file")})
        self.assertUnseen(unread, "cannot be seen")
        read = self.successResultOf(unread.update()).table
        self.assertSeen(read, [(key, value or "-") for key, value in ENTRIES])

    def test_maps(self) -> None:
        self.assertSeen(self.database())
        self.assertUnseen(
            db.make("/nowhere", self.platform.asPlatform, {"spec": self.spec("db")}), "No such file or directory"
        )

    def test_largeMaps(self) -> None:
        self.patch(seen, "MAX_ENTRIES", 3)
        self.assertUnseen(self.database(), "it has more than 3 entries")

    def test_queries(self) -> None:
        """Those that give all keys can be seen; what a query for each key would say, cannot."""
        database = sqlite3.connect(self.path)
        database.execute("CREATE TABLE entry (key TEXT)")
        database.executemany("INSERT INTO entry VALUES (?)", [(key,) for key, _ in ENTRIES])
        database.commit()
        database.close()
        with open(f"{self.path}.conf", "w") as out:
            out.write(f"dbpath {self.path}\nquery_domain SELECT key FROM entry\n")
            out.write("query_mailaddr SELECT key FROM entry WHERE key = ?\n")
        table = sqlite.make(f"{self.path}.conf", self.platform.asPlatform, {"spec": self.spec("sqlite")})
        self.addCleanup(table.close)
        self.assertSeen(table, [(key, "") for key, _ in ENTRIES])
        self.assertUnseen(table, 'a query for each key ("?")', Service.MAILADDR)
        self.assertUnseen(table, 'there is no "query_netaddr"', Service.NETADDR)
        self.patch(seen, "MAX_ENTRIES", 3)
        self.assertUnseen(table, "there are more than 3")

    def test_others(self) -> None:
        users = getpwnam.make("", self.platform.asPlatform, {"spec": self.spec("getpwnam")})
        self.assertUnseen(users, "cannot be seen")

    def test_whatDoesNotAnswer(self) -> None:
        table = self.database()
        self.platform.workers.delay = 1e6
        seeing = self.seeing(table)
        self.platform.clock.advance(30)
        self.assertIn("no answer", self.failureResultOf(seeing, TableError).getErrorMessage())
