"""One suite for the real disk and the simulated one."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.platform import IDisk, IFile
from pysmtpd.platform.disk import RealDisk
from pysmtpd.testing.disk import SimulatedDisk

# Only its subclasses are tests.
if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object


class DiskContract(_Case):
    """What every disk does. A subclass makes C{disk} and an empty directory C{place}."""

    disk: IDisk
    place: str

    def at(self, *names: str) -> str:
        return "/".join((self.place, *names))

    def put(self, name: str, content: bytes) -> None:
        file = self.disk.create(self.at(name))
        file.write(content)
        file.sync()
        file.close()

    def content(self, name: str) -> bytes:
        file = self.disk.open(self.at(name))
        try:
            return file.read(1 << 20)
        finally:
            file.close()

    def test_interfaces(self) -> None:
        verifyObject(IDisk, self.disk)
        verifyObject(IFile, self.disk.create(self.at("a")))

    def test_writeAndRead(self) -> None:
        file = self.disk.create(self.at("a"))
        file.write(b"hello ")
        file.write(b"world")
        file.sync()
        self.assertEqual(file.readAt(6, 3), b"wor")
        file.close()
        file.close()
        file = self.disk.open(self.at("a"))
        self.assertEqual([file.read(6), file.read(100), file.read(100)], [b"hello ", b"world", b""])
        self.assertEqual(file.readAt(0, 5), b"hello")
        self.assertRaises(OSError, file.write, b"x")
        file.close()
        self.assertRaises(OSError, file.read, 1)

    def test_createIsExclusive(self) -> None:
        self.put("a", b"1")
        self.assertRaises(FileExistsError, self.disk.create, self.at("a"))
        self.assertEqual(self.content("a"), b"1")

    def test_append(self) -> None:
        for part in (b"one", b"two"):
            file = self.disk.append(self.at("log"))
            file.write(part)
            file.close()
        self.assertEqual(self.content("log"), b"onetwo")

    def test_readingDoesNotMoveWriting(self) -> None:
        file = self.disk.append(self.at("log"))
        file.write(b"abc")
        self.assertEqual(file.read(2), b"ab")
        file.write(b"def")
        self.assertEqual(file.read(10), b"cdef")
        file.close()

    def test_missing(self) -> None:
        for call in (self.disk.open, self.disk.stat, self.disk.unlink, self.disk.listDirectory, self.disk.space):
            self.assertRaises(FileNotFoundError, call, self.at("none", "at", "all"))
        self.assertRaises(FileNotFoundError, self.disk.create, self.at("none", "a"))
        self.assertRaises(FileNotFoundError, self.disk.rename, self.at("none"), self.at("b"))
        self.assertRaises(FileNotFoundError, self.disk.link, self.at("none"), self.at("b"))
        self.assertRaises(FileNotFoundError, self.disk.syncDirectory, self.at("none"))

    def test_renameReplaces(self) -> None:
        self.put("a", b"new")
        self.put("b", b"old")
        self.disk.rename(self.at("a"), self.at("b"))
        self.assertEqual(self.disk.listDirectory(self.place), ["b"])
        self.assertEqual(self.content("b"), b"new")

    def test_linkDoesNotReplace(self) -> None:
        self.put("a", b"1")
        self.disk.link(self.at("a"), self.at("b"))
        self.assertEqual(self.disk.stat(self.at("b")).links, 2)
        self.assertRaises(FileExistsError, self.disk.link, self.at("a"), self.at("b"))
        self.disk.unlink(self.at("a"))
        self.assertEqual(self.content("b"), b"1")
        self.assertEqual(self.disk.stat(self.at("b")).links, 1)

    def test_directories(self) -> None:
        self.disk.makeDirectory(self.at("x", "y"))
        self.disk.makeDirectory(self.at("x", "y"))
        self.assertEqual(self.disk.stat(self.at("x")).kind, "directory")
        self.assertRaises(OSError, self.disk.removeDirectory, self.at("x"))
        self.assertRaises(OSError, self.disk.open, self.at("x", "y", "z"))
        self.disk.syncDirectory(self.at("x"))
        self.disk.removeDirectory(self.at("x", "y"))
        self.disk.removeDirectory(self.at("x"))
        self.assertEqual(self.disk.listDirectory(self.place), [])

    def test_aFileIsNoDirectory(self) -> None:
        self.put("a", b"1")
        self.assertRaises(OSError, self.disk.makeDirectory, self.at("a"))
        self.assertRaises(OSError, self.disk.makeDirectory, self.at("a", "b", "c"))
        self.assertRaises(NotADirectoryError, self.disk.listDirectory, self.at("a"))
        self.assertRaises(NotADirectoryError, self.disk.create, self.at("a", "b"))
        self.assertRaises(OSError, self.disk.removeDirectory, self.at("a"))
        self.disk.makeDirectory(self.at("d"))
        self.assertRaises(OSError, self.disk.unlink, self.at("d"))
        self.assertRaises(OSError, self.disk.rename, self.at("a"), self.at("d"))
        self.assertRaises(OSError, self.disk.rename, self.at("d"), self.at("a"))

    def test_aDirectoryMoves(self) -> None:
        self.disk.makeDirectory(self.at("x"))
        self.put("x/a", b"1")
        self.disk.rename(self.at("x"), self.at("y"))
        self.assertEqual(self.content("y/a"), b"1")

    def test_listIsSorted(self) -> None:
        for name in ("b", "a", "C"):
            self.put(name, b"")
        self.assertEqual(self.disk.listDirectory(self.place), ["C", "a", "b"])

    def test_stat(self) -> None:
        self.put("a", b"12345")
        stat = self.disk.stat(self.at("a"))
        self.assertEqual((stat.size, stat.kind, stat.links), (5, "file", 1))

    def test_space(self) -> None:
        space = self.disk.space(self.place)
        for share in (space.blocks, space.inodes):
            self.assertTrue(0 <= share <= 1)

    def test_anOpenFileOutlivesItsName(self) -> None:
        self.put("a", b"12")
        file = self.disk.open(self.at("a"))
        self.disk.unlink(self.at("a"))
        self.assertEqual(file.read(10), b"12")
        file.close()

    def test_lock(self) -> None:
        lock = self.disk.lock(self.at("lock"))
        self.assertRaises(BlockingIOError, self.disk.lock, self.at("lock"))
        lock.close()
        self.disk.lock(self.at("lock")).close()
        self.assertEqual(self.disk.listDirectory(self.place), ["lock"])

    def test_database(self) -> None:
        database = self.disk.database(self.at("q.sqlite"))
        self.assertEqual(database.execute("PRAGMA journal_mode=WAL").fetchone(), ("wal",))
        database.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
        database.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
        database.execute("BEGIN")
        database.execute("INSERT INTO t VALUES (3)")
        database.execute("ROLLBACK")
        other = self.disk.database(self.at("q.sqlite"))
        self.assertEqual(other.execute("SELECT x FROM t").fetchall(), [(1,), (2,)])
        self.assertRaises(sqlite3.IntegrityError, other.execute, "INSERT INTO t VALUES (1)")
        other.close()
        with database:
            database.execute("BEGIN")
            database.execute("INSERT INTO t VALUES (4)")
        self.assertFalse(database.in_transaction)
        database.close()
        self.assertIn("q.sqlite", self.disk.listDirectory(self.place))
        self.assertGreater(self.disk.stat(self.at("q.sqlite")).size, 0)


class RealDiskTests(DiskContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = RealDisk()
        self.place = os.path.abspath(self.mktemp())
        os.mkdir(self.place)


class SimulatedDiskTests(DiskContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = SimulatedDisk()
        self.place = "/place"
        self.disk.makeDirectory(self.place)
