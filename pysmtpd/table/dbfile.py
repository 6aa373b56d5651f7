"""The file that C{pysmtpd makemap} writes and C{db:} reads: a SQLite database, which any SQLite shell can look into.

C{entry (key, value)} holds the keys in lower case; C{network (width, length, number)} those that are networks, by their prefix;
C{glob (pattern)} those that must be tried one by one; C{written (key, original)} those that may be patterns which mean something else in
lower case; C{about (name, value)} says what kind of file it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from pysmtpd.interfaces.platform import IDisk
from pysmtpd.table.glob import MAX_ENDING
from pysmtpd.table.networks import parseNetwork
from pysmtpd.table.syntax import Entry

FORMAT = "pysmtpd map 1"
MAX_GLOBS = 100_000

_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entry (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE network (width INTEGER, length INTEGER, number BLOB, PRIMARY KEY (width, length, number)) WITHOUT ROWID;
CREATE TABLE glob (pattern TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE written (key TEXT PRIMARY KEY, original TEXT NOT NULL) WITHOUT ROWID;
"""
_BATCH = 10_000


def numberBlob(number: int) -> bytes:
    """Prefixes of IPv6 do not fit into SQLite's integers."""
    return number.to_bytes(16, "big")


class MapWriter:
    """Makes a new file C{path}. Nobody reads it before C{finish} has returned and it was renamed."""

    def __init__(self, disk: IDisk, path: str) -> None:
        self._database = disk.database(path)
        # Said, for all rests on it: what is committed is synced, so only the name has to follow.
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("BEGIN")
        for statement in _SCHEMA.split(";"):
            if statement.strip():
                self._database.execute(statement)
        self.size = 0
        self.duplicates: list[str] = []
        self._tails: dict[str, None] = {}

    def add(self, entries: Sequence[Entry]) -> None:
        """Of equal keys the last counts.

        @raise sqlite3.Error:
        """
        rows: dict[str, str] = {}
        written: dict[str, str] = {}
        for original, value, line in entries:
            key = original.lower()
            if key != original and "\\" in key:
                written[key] = original
            if key in rows or self._isThere(key):
                self.duplicates.append(f"line {line}: {key}")
            else:
                self.size += 1
            rows[key] = value
        self._many("INSERT OR REPLACE INTO entry VALUES (?, ?)", rows.items())
        self._many("INSERT OR REPLACE INTO written VALUES (?, ?)", written.items())
        networks = [parseNetwork(key) for key in rows if key[:1] in "[0123456789abcdef:i"]
        self._many(
            "INSERT OR REPLACE INTO network VALUES (?, ?, ?)",
            [(found[0], found[1], numberBlob(found[2])) for found in networks if found is not None],
        )
        globs: list[tuple[str]] = []
        for key in rows:
            _, at, domain = key.rpartition("@")
            if "*" not in domain:
                if at and not domain and key != "@":
                    globs.append((key,))
                continue
            ending = domain[1:]
            if domain[0] != "*" or "*" in ending or len(ending) > MAX_ENDING:
                globs.append((key,))
            elif ending[:1] == ".":
                self._tails[f"{at}."] = None
            else:
                self._tails[f"{at}{len(ending)}"] = None
        self._many("INSERT OR REPLACE INTO glob VALUES (?)", globs)

    def _isThere(self, key: str) -> bool:
        return self._database.execute("SELECT 1 FROM entry WHERE key = ?", (key,)).fetchone() is not None

    def _many(self, statement: str, rows: Iterable[Any]) -> None:
        self._database.executemany(statement, rows)

    def finish(self) -> None:
        """
        @raise sqlite3.Error:
        """
        about = {"format": FORMAT, "entries": str(self.size), "stars": " ".join(self._tails)}
        self._many("INSERT INTO about VALUES (?, ?)", about.items())
        self._database.execute("COMMIT")
        self._database.close()

    def close(self) -> None:
        """Give up."""
        self._database.close()


class MapFile:
    """An open file. It belongs to one lane.

    @ivar size: entries.
    """

    def __init__(self, disk: IDisk, path: str) -> None:
        """
        @raise ValueError: it is none of ours.
        @raise sqlite3.Error: it cannot be opened.
        """
        self._database = disk.database(path, readOnly=True)
        try:
            self._about = dict(self._database.execute("SELECT name, value FROM about"))
        except sqlite3.DatabaseError as error:
            self._database.close()
            if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
                raise
            self._about = {}
        if self._about.get("format") != FORMAT:
            self._database.close()
            raise ValueError("it is no map of ours; make one by `pysmtpd makemap FILE`")
        # Pages are looked at where the system keeps them.
        self._database.execute("PRAGMA mmap_size = 1073741824")
        self.size = int(self._about["entries"])
        stars = self._about["stars"].split()
        self.labels = "." in stars
        self.mailLabels = "@." in stars
        self.tails = tuple(int(star) for star in stars if star.isdigit())
        self.mailTails = tuple(int(star[1:]) for star in stars if star[:1] == "@" and star[1:].isdigit())
        self.lengths: list[tuple[int, int]] = self._database.execute(
            "SELECT DISTINCT width, length FROM network ORDER BY width, length DESC"
        ).fetchall()
        self.globs: list[str] = [
            row[0] for row in self._database.execute("SELECT pattern FROM glob LIMIT ?", (MAX_GLOBS + 1,))
        ]
        if len(self.globs) > MAX_GLOBS:
            self._database.close()
            raise ValueError(f"it has more than {MAX_GLOBS} patterns that must be tried one by one")

    def get(self, key: str) -> str | None:
        """The value of exactly this key."""
        row = self._database.execute("SELECT value FROM entry WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def holdsAny(self, keys: Sequence[str]) -> bool:
        """Is any of these a key?"""
        marks = ",".join("?" * len(keys))
        found = self._database.execute(f"SELECT 1 FROM entry WHERE key IN ({marks}) LIMIT 1", keys)  # noqa: S608
        return found.fetchone() is not None

    def holdsNetwork(self, width: int, number: int) -> bool:
        """Is there a network that holds this address?"""
        for wide, length in self.lengths:
            if wide == width:
                row = (width, length, numberBlob(number >> (width - length)))
                statement = "SELECT 1 FROM network WHERE width = ? AND length = ? AND number = ?"
                if self._database.execute(statement, row).fetchone() is not None:
                    return True
        return False

    def patterns(self) -> list[str]:
        """All keys, as they were written, sorted."""
        original = "SELECT coalesce(original, key) FROM entry LEFT JOIN written USING (key) ORDER BY key"
        return [row[0] for row in self._database.execute(original)]

    def entries(self) -> list[tuple[str, str]]:
        """All keys, in lower case, and values."""
        return self._database.execute("SELECT key, value FROM entry").fetchall()

    def keyAt(self, place: int) -> str | None:
        """The key at a place of the sorted ones."""
        row = self._database.execute("SELECT key FROM entry ORDER BY key LIMIT 1 OFFSET ?", (place,)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        self._database.close()
