"""SQLite on a simulated disk: real files of SQLite's, whose commits survive a power cut only if they were synced."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from pysmtpd.testing.inodes import Directory, Inode

if TYPE_CHECKING:
    from pysmtpd.testing.disk import SimulatedDisk

# A directory in memory, where there is one: what SQLite syncs there costs nothing.
_PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a private directory is made in it

_FULL = 2
_SAFE_JOURNALS = ("wal", "delete", "truncate", "persist")


class DatabaseFile(Inode):
    """A database.

    Its content is in a real file. What a power cut has to bring back, when a commit was made that was not synced, is a copy taken
    before the first such commit. A database that syncs each commit (C{synchronous} at FULL or EXTRA, with a journal on disk) never
    needs one.
    """

    __slots__ = ("__weakref__", "_backing", "_connections", "_directory", "_disk", "_name", "_path", "_survives")

    def __init__(
        self, modified: float, path: str, disk: SimulatedDisk, directory: Directory, name: str, content: bytes = b""
    ) -> None:
        super().__init__(modified)
        self._path = path
        self._disk = disk
        self._directory = directory
        self._name = name
        self._connections: list[weakref.ref[SimulatedConnection]] = []
        place = tempfile.mkdtemp(prefix="simulated-disk-", dir=_PLACE)
        weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
        self._backing = os.path.join(place, "database")
        self._survives: bytes | None = b""
        if content:
            self._survives = None
            self._restore(content)

    def connect(self) -> SimulatedConnection:
        connection = sqlite3.connect(
            self._backing, isolation_level=None, check_same_thread=False, factory=SimulatedConnection
        )
        connection.attach(self)
        self._connections = [known for known in self._connections if known() is not None]
        self._connections.append(weakref.ref(connection))
        return connection

    def content(self) -> bytes:
        """The file as it is, without what lies in its log."""
        if not os.path.exists(self._backing):
            return b""
        with open(self._backing, "rb") as file:
            return file.read()

    def size(self) -> int:
        return os.path.getsize(self._backing) if os.path.exists(self._backing) else 0

    def closeAll(self) -> None:
        """The process has ended: open transactions are rolled back."""
        for known in self._connections:
            connection = known()
            if connection is not None:
                connection.close()
        self._connections = []

    def powerCut(self, random: Random, seen: set[int]) -> None:
        if self._survives is not None:
            self._restore(self._survives)

    def _restore(self, content: bytes) -> None:
        for end in ("-wal", "-shm", "-journal"):
            if os.path.exists(self._backing + end):
                os.unlink(self._backing + end)
        with open(self._backing, "wb") as file:
            file.write(content)

    # --- for connections

    def beforeCommit(self, connection: SimulatedConnection) -> None:
        """
        @raise sqlite3.OperationalError: the disk refuses.
        """
        try:
            self._disk.begin("commit", self._path)
            self._disk.needBlocks(self._path)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            refused = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
            refused.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
            raise refused from None
        if self._survives is None and (self._disk.isLying or not connection.isSynced):
            self._survives = self._committed()

    def committed(self, connection: SimulatedConnection) -> None:
        self.modified = self._disk.now()
        if connection.isSynced:
            self.madeDurable()
        self._disk.end()

    def madeDurable(self) -> None:
        """All that was committed is synced. With a new journal SQLite syncs the directory too."""
        if self._disk.isLying:
            return
        self._survives = None
        if self._directory.durable.get(self._name) is not self:
            self._directory.sync()

    def _committed(self) -> bytes:
        """The database as another connection sees it: without open transactions."""
        other = sqlite3.connect(self._backing)
        try:
            return other.serialize()
        finally:
            other.close()


class SimulatedConnection(sqlite3.Connection):
    """A connection that tells its disk of each commit.

    @ivar isSynced: commits are synced as it is set up now.
    """

    def attach(self, file: DatabaseFile) -> None:
        """Called once, before use."""
        self.file = file
        self.isSynced = True
        self.readSettings()

    def readSettings(self) -> None:
        """PRAGMAs may have changed how commits are synced."""
        plain = sqlite3.Cursor(self)
        level = plain.execute("PRAGMA synchronous").fetchone()[0]
        journal = plain.execute("PRAGMA journal_mode").fetchone()[0]
        plain.close()
        self.isSynced = level >= _FULL and journal in _SAFE_JOURNALS

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(SimulatedCursor if factory is None else factory)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql: str, /) -> Any:
        return self.cursor().executescript(sql)

    def commit(self) -> None:
        if self.in_transaction:
            self.execute("COMMIT")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]:
        if kind is None:
            self.commit()
        else:
            self.rollback()
        return False

    def commitFailed(self) -> None:
        """The disk refused a commit: the transaction is gone."""
        if self.in_transaction:
            self.rollback()


class SimulatedCursor(sqlite3.Cursor):
    """Sees which statements commit."""

    connection: SimulatedConnection

    def execute(self, sql: str, parameters: Any = (), /) -> SimulatedCursor:
        word = sql.lstrip()[:6].upper()
        connection = self.connection
        if word in ("SELECT", "EXPLAI", "BEGIN", "SAVEPO", "ROLLBA"):
            super().execute(sql, parameters)
        elif word == "PRAGMA":
            super().execute(sql, parameters)
            self._afterPragma(sql)
        elif word.startswith(("COMMIT", "END")) or not connection.in_transaction:
            self._commitBy(lambda: sqlite3.Cursor.execute(self, sql, parameters))
        else:
            super().execute(sql, parameters)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> SimulatedCursor:
        if self.connection.in_transaction:
            super().executemany(sql, parameters)
        else:
            self._commitBy(lambda: sqlite3.Cursor.executemany(self, sql, parameters))
        return self

    def executescript(self, sql: str, /) -> SimulatedCursor:
        self._commitBy(lambda: sqlite3.Cursor.executescript(self, sql))
        self.connection.readSettings()
        return self

    def _commitBy(self, run: Any) -> None:
        connection = self.connection
        try:
            connection.file.beforeCommit(connection)
        except sqlite3.Error:
            connection.commitFailed()
            raise
        run()
        connection.file.committed(connection)

    def _afterPragma(self, sql: str) -> None:
        text = sql.lower()
        connection = self.connection
        if "synchronous" in text or "journal_mode" in text:
            # The answer must still be there for whoever asked.
            connection.readSettings()
        elif "wal_checkpoint" in text and not connection.in_transaction:
            connection.file.madeDurable()
