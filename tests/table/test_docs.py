"""docs/tables.md tells the truth: each of its examples is read, and asked what stands under it."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.routing import ITable, Service
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.platform.disk import RealDisk
from pysmtpd.table import file, sqlite
from tests.table.platform import SmallPlatform

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tables.md"

_EXAMPLE = re.compile(r"^```(table|queries)\n(.*?)^```\n(.*?)(?=^#|^```|\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| (\w+) \| (.*?) \| (yes|no|none|`.*`) \|$", re.MULTILINE)


def examples(kind: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    for found, text, after in _EXAMPLE.findall(PAGE.read_text()):
        if found == kind:
            yield text, _ROW.findall(after)


class ExampleTests(SynchronousTestCase):
    def check(self, table: ITable, rows: list[tuple[str, str, str]]) -> None:
        self.assertTrue(rows)
        for name, key, expected in rows:
            service = Service(name)
            if expected in ("yes", "no"):
                found = self.successResultOf(asDeferred(table.match(service, key.lower())))
                self.assertIs(found, expected == "yes", f"{name} {key}")
            else:
                value = self.successResultOf(asDeferred(table.lookup(service, key)))
                self.assertEqual(value, None if expected == "none" else expected.strip("`"), f"{name} {key}")

    def test_files(self) -> None:
        count = 0
        for text, rows in examples("table"):
            platform = SmallPlatform()
            platform.disk.files["/t"] = text.encode()
            table = file.make("/t", platform.asPlatform, {"spec": TableSpec("t", BackendSpec("file", "/t"))})
            self.check(self.successResultOf(table.update()).table, rows)
            count += 1
        self.assertEqual(count, 5)

    def test_queries(self) -> None:
        ((text, rows),) = examples("queries")
        path = os.path.abspath(self.mktemp())
        database = sqlite3.connect(path)
        database.executescript("""
            CREATE TABLE aliases (address TEXT, destination TEXT);
            INSERT INTO aliases VALUES ('ann@example.org', 'ann'), ('ann@example.org', 'ben');
            CREATE TABLE domains (name TEXT);
            INSERT INTO domains VALUES ('example.org');
            CREATE TABLE users (login TEXT, hash TEXT, uid INTEGER, gid INTEGER, home TEXT);
            INSERT INTO users VALUES ('ann', '$6$salt$hash', 1000, 1000, '/home/ann');
            CREATE TABLE friends (network TEXT);
            INSERT INTO friends VALUES ('192.0.2.0/24');
            CREATE TABLE sources (address TEXT);
        """)
        database.close()
        Path(f"{path}.conf").write_text(text.replace("/var/lib/mail/users.sqlite", path))
        spec = TableSpec("t", BackendSpec("sqlite", f"{path}.conf"))
        table = sqlite.make(f"{path}.conf", SmallPlatform(RealDisk()).asPlatform, {"spec": spec})
        read = self.successResultOf(table.update()).table
        self.addCleanup(read.close)
        self.check(read, rows)

    def test_configuration(self) -> None:
        (text,) = re.findall(r"^```smtpd.conf\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        config = load("smtpd.conf", {"smtpd.conf": text}.__getitem__, Environment("mx.example.org", ("192.0.2.25",)))
        self.assertEqual(str(config.tables["users"].backend), "sqlite:/etc/mail/users.conf")

    def test_everyServiceIsListed(self) -> None:
        for service in Service:
            self.assertIn(f"\n| {service.value} |", PAGE.read_text())
