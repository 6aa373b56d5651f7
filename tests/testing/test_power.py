"""What only the simulated disk can: forget, and fail."""

from __future__ import annotations

import errno
import sqlite3
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.platform import Space
from pysmtpd.testing.disk import SimulatedDisk
from pysmtpd.testing.faults import PowerCut


class PowerCutTests(SynchronousTestCase):
    """Each with many seeds: what is promised holds in all, what is not promised fails in some."""

    SEEDS = range(60)

    def disk(self, seed: int) -> SimulatedDisk:
        disk = SimulatedDisk(Random(seed))
        disk.directory("/q")
        return disk

    def test_syncedContentAndNameSurvive(self) -> None:
        for seed in self.SEEDS:
            disk = self.disk(seed)
            file = disk.create("/q/a")
            file.write(b"synced")
            file.sync()
            disk.syncDirectory("/q")
            file.write(b" and not")
            disk.powerCut()
            self.assertTrue(disk.read("/q/a").startswith(b"synced"), seed)
            self.assertLessEqual(disk.stat("/q/a").size, 14)
            self.assertRaises(OSError, file.write, b"more")

    def test_unsyncedContentMayVanishInEveryWay(self) -> None:
        found: dict[bytes, int] = {}
        for seed in self.SEEDS:
            disk = self.disk(seed)
            disk.create("/q/a").write(b"ab")
            disk.syncDirectory("/q")
            disk.powerCut()
            found[disk.read("/q/a")] = seed
        for way in (b"", b"a", b"ab", b"\0\0"):
            self.assertIn(way, found)

    def test_unsyncedNamesMayVanish(self) -> None:
        found: dict[tuple[str, ...], int] = {}
        for seed in self.SEEDS:
            disk = self.disk(seed)
            for name in ("a", "b"):
                file = disk.create(f"/q/{name}")
                file.write(b"x")
                file.sync()
            disk.powerCut()
            found[tuple(disk.listDirectory("/q"))] = seed
        self.assertEqual(sorted(found), [(), ("a",), ("a", "b"), ("b",)])

    def test_unsyncedRemovalsMayComeBack(self) -> None:
        found: dict[tuple[str, ...], int] = {}
        for seed in self.SEEDS:
            disk = self.disk(seed)
            disk.write("/q/a", b"x")
            disk.unlink("/q/a")
            disk.powerCut()
            found[tuple(disk.listDirectory("/q"))] = seed
        self.assertEqual(sorted(found), [(), ("a",)])

    def test_aRenameKeepsTheOldOrTheNewContent(self) -> None:
        found: dict[bytes, int] = {}
        for seed in self.SEEDS:
            disk = self.disk(seed)
            disk.write("/q/a", b"old")
            file = disk.create("/q/a.new")
            file.write(b"new")
            file.sync()
            disk.rename("/q/a.new", "/q/a")
            disk.powerCut()
            found[disk.read("/q/a")] = seed
        self.assertEqual(sorted(found), [b"new", b"old"])

    def test_aRenameBetweenDirectoriesNeverLosesTheFile(self) -> None:
        found: dict[tuple[str, ...], int] = {}
        for seed in self.SEEDS:
            disk = self.disk(seed)
            disk.directory("/tmp")
            disk.write("/tmp/m", b"mail")
            disk.rename("/tmp/m", "/q/m")
            if seed % 3 == 0:
                disk.syncDirectory("/tmp")
            disk.powerCut()
            found[tuple(disk.tree())] = seed
        self.assertEqual(sorted(found), [("/q/m",), ("/q/m", "/tmp/m"), ("/tmp/m",)])

    def test_aRenameIsDurableWithItsDirectory(self) -> None:
        for seed in self.SEEDS:
            disk = self.disk(seed)
            disk.directory("/tmp")
            disk.write("/tmp/m", b"mail")
            disk.rename("/tmp/m", "/q/m")
            disk.syncDirectory("/q")
            disk.powerCut()
            self.assertEqual(disk.read("/q/m"), b"mail")

    def test_aNewDirectoryNeedsItsParentSynced(self) -> None:
        lost = 0
        for seed in self.SEEDS:
            disk = self.disk(seed)
            disk.makeDirectory("/q/sub")
            file = disk.create("/q/sub/a")
            file.sync()
            disk.syncDirectory("/q/sub")
            disk.powerCut()
            lost += disk.tree() == []
        self.assertTrue(0 < lost < len(self.SEEDS))

    def test_aKillForgetsNothingThatWasWritten(self) -> None:
        disk = self.disk(0)
        disk.create("/q/a").write(b"x")
        lock = disk.lock("/q/lock")
        database = disk.database("/q/db")
        database.execute("PRAGMA synchronous=OFF")
        database.execute("CREATE TABLE t (x)")
        database.execute("BEGIN")
        database.execute("INSERT INTO t VALUES (1)")
        disk.processEnded()
        self.assertEqual(disk.read("/q/a"), b"x")
        disk.lock("/q/lock")
        self.assertRaises(OSError, lock.write, b"")
        self.assertEqual(disk.database("/q/db").execute("SELECT count(*) FROM t").fetchone(), (0,))

    def test_locksAreFreeAfterwards(self) -> None:
        disk = self.disk(0)
        disk.lock("/q/lock")
        disk.powerCut()
        disk.lock("/q/lock")

    def test_sameSeedSameLoss(self) -> None:
        def tree() -> list[tuple[str, bytes]]:
            disk = self.disk(7)
            for number in range(30):
                file = disk.create(f"/q/{number}")
                file.write(b"x" * number)
                if number % 3:
                    file.sync()
                if number == 20:
                    disk.syncDirectory("/q")
            disk.powerCut()
            return [(path, disk.read(path)) for path in disk.tree()]

        self.assertEqual(tree(), tree())


class CutInTheMiddleTests(SynchronousTestCase):
    """C{cutAfter}: every operation of a careful writer is a place where the power may go."""

    def store(self, disk: SimulatedDisk, number: int, stored: list[int], isCareful: bool = True) -> None:
        file = disk.create(f"/q/tmp{number}")
        file.write(b"%d" % number * 10)
        if isCareful:
            file.sync()
        file.close()
        disk.rename(f"/q/tmp{number}", f"/q/{number}")
        disk.syncDirectory("/q")
        stored.append(number)

    def lost(self, isCareful: bool) -> int:
        lost = 0
        for seed in range(40):
            disk = SimulatedDisk(Random(seed))
            disk.directory("/q")
            disk.cutAfter = seed
            stored: list[int] = []
            cuts: list[int] = []
            disk.onPowerCut = lambda cuts=cuts: cuts.append(1)
            try:
                for number in range(20):
                    self.store(disk, number, stored, isCareful)
            except PowerCut:
                self.assertRaises(PowerCut, disk.listDirectory, "/q")
                disk.powerOn()
            self.assertEqual(cuts, [1])
            names = disk.listDirectory("/q")
            lost += any(
                str(number) not in names or disk.read(f"/q/{number}") != b"%d" % number * 10 for number in stored
            )
        return lost

    def test_aCarefulWriterLosesNothing(self) -> None:
        self.assertEqual(self.lost(True), 0)

    def test_aCarelessOneDoes(self) -> None:
        self.assertGreater(self.lost(False), 5)


class DatabaseTests(SynchronousTestCase):
    """Commits survive if, and only if, SQLite was told to sync them."""

    def survivors(self, *pragmas: str, after: str = "") -> object:
        disk = SimulatedDisk(Random(1))
        disk.directory("/q")
        database = disk.database("/q/db")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE t (x)")
        for pragma in pragmas:
            database.execute(f"PRAGMA {pragma}")
        for number in range(5):
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO t VALUES (?)", (number,))
            database.execute("COMMIT")
        if after:
            database.execute(after)
        database.execute("BEGIN")
        database.execute("INSERT INTO t VALUES (99)")
        disk.powerCut()
        self.assertRaises(sqlite3.ProgrammingError, database.execute, "SELECT 1")
        return disk.database("/q/db").execute("SELECT count(*) FROM t").fetchone()[0]

    def test_synced(self) -> None:
        for pragmas in (
            ("synchronous=FULL", "journal_mode=WAL"),
            ("journal_mode=WAL", "synchronous=EXTRA"),
            ("journal_mode=DELETE",),
            ("journal_mode=TRUNCATE",),
        ):
            self.assertEqual(self.survivors(*pragmas), 5, pragmas)

    def test_notSynced(self) -> None:
        for pragmas in (
            ("journal_mode=WAL", "synchronous=NORMAL"),
            ("synchronous=OFF",),
            ("journal_mode=MEMORY",),
            ("journal_mode=OFF",),
        ):
            self.assertEqual(self.survivors(*pragmas), 0, pragmas)

    def test_aCheckpointOrALaterSyncedCommitMakesTheEarlierDurable(self) -> None:
        self.assertEqual(
            self.survivors("journal_mode=WAL", "synchronous=NORMAL", after="PRAGMA wal_checkpoint(TRUNCATE)"), 5
        )

    def test_aLaterSyncedCommitMakesTheEarlierDurable(self) -> None:
        disk = SimulatedDisk()
        disk.directory("/q")
        database = disk.database("/q/db")
        database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE t (x);")
        database.execute("INSERT INTO t VALUES (1)")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("INSERT INTO t VALUES (2)")
        disk.powerCut()
        self.assertEqual(disk.database("/q/db").execute("SELECT x FROM t").fetchall(), [(1,), (2,)])

    def test_everyWayToCommitIsSeen(self) -> None:
        for commit in ("BEGIN; INSERT INTO t VALUES (1); END", "INSERT INTO t VALUES (1)"):
            disk = SimulatedDisk()
            disk.directory("/q")
            database = disk.database("/q/db")
            database.execute("CREATE TABLE t (x)")
            before = disk.counts["commit"]
            database.executescript(commit)
            database.executemany("INSERT INTO t VALUES (?)", [(2,), (3,)])
            with database:
                database.execute("BEGIN")
                database.cursor().execute("INSERT INTO t VALUES (4)")
            database.execute("BEGIN")
            database.execute("INSERT INTO t VALUES (5)")
            database.commit()
            self.assertEqual(disk.counts["commit"] - before, 4)
            disk.powerCut()
            self.assertEqual(disk.database("/q/db").execute("SELECT count(*) FROM t").fetchone(), (5,))

    def test_aFullDiskFailsTheCommitAndKeepsNoneOfIt(self) -> None:
        disk = SimulatedDisk()
        disk.directory("/q")
        database = disk.database("/q/db")
        database.execute("CREATE TABLE t (x)")
        disk.free = Space(0.0, 1.0)
        database.execute("BEGIN")
        database.execute("INSERT INTO t VALUES (1)")
        failure = self.assertRaises(sqlite3.OperationalError, database.execute, "COMMIT")
        self.assertIn("full", str(failure))
        self.assertFalse(database.in_transaction)
        disk.free = Space(1.0, 1.0)
        database.execute("INSERT INTO t VALUES (2)")
        self.assertEqual(database.execute("SELECT x FROM t").fetchall(), [(2,)])

    def test_thePowerMayGoBeforeOrAfterACommit(self) -> None:
        found: dict[int, int] = {}
        for seed in range(20):
            disk = SimulatedDisk(Random(seed))
            disk.directory("/q")
            database = disk.database("/q/db")
            database.execute("CREATE TABLE t (x)")
            disk.cutAfter = 0
            self.assertRaises(PowerCut, database.execute, "INSERT INTO t VALUES (1)")
            disk.powerOn()
            found[disk.database("/q/db").execute("SELECT count(*) FROM t").fetchone()[0]] = seed
        self.assertEqual(sorted(found), [0, 1])

    def test_aDatabaseMayBePutThereByATest(self) -> None:
        first = SimulatedDisk()
        first.directory("/q")
        database = first.database("/q/db")
        database.execute("CREATE TABLE t (x)")
        database.close()
        second = SimulatedDisk()
        second.write("/q/db", first.read("/q/db"))
        self.assertEqual(second.database("/q/db").execute("SELECT * FROM t").fetchall(), [])


class FailureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = SimulatedDisk()
        self.disk.directory("/q")

    def test_theNthOperationFails(self) -> None:
        self.disk.fail("write", errno.EIO, after=1)
        file = self.disk.create("/q/a")
        file.write(b"1")
        self.assertEqual(self.assertRaises(OSError, file.write, b"2").errno, errno.EIO)
        file.write(b"3")
        self.assertEqual(self.disk.read("/q/a"), b"13")

    def test_onlyWhereThePathSaysSo(self) -> None:
        self.disk.fail("sync", path="/q/b", times=None)
        self.disk.create("/q/a").sync()
        broken = self.disk.create("/q/b")
        for _ in range(3):
            self.assertRaises(OSError, broken.sync)

    def test_noRoom(self) -> None:
        file = self.disk.create("/q/a")
        self.disk.free = Space(0.0, 0.5)
        self.assertEqual(self.assertRaises(OSError, file.write, b"x" * 100).errno, errno.ENOSPC)
        self.assertLess(self.disk.stat("/q/a").size, 100)
        self.assertEqual(self.disk.space("/q"), Space(0.0, 0.5))
        self.disk.free = Space(0.5, 0.0)
        self.assertEqual(self.assertRaises(OSError, self.disk.create, "/q/b").errno, errno.ENOSPC)
        self.assertRaises(OSError, self.disk.makeDirectory, "/q/c")

    def test_operationsAreCountedAndSeen(self) -> None:
        seen: list[tuple[str, str]] = []
        self.disk.observer = lambda operation, path: seen.append((operation, path))
        file = self.disk.create("/q/a")
        file.write(b"1")
        file.sync()
        self.assertEqual(seen, [("create", "/q/a"), ("write", "/q/a"), ("sync", "/q/a")])
        self.assertEqual(self.disk.counts["sync"], 1)

    def test_thereAreNoDescriptorsAndNoRelativePaths(self) -> None:
        self.assertRaises(OSError, self.disk.create("/q/a").fileno)
        self.assertRaises(ValueError, self.disk.open, "q/a")


class PropertyTests(SynchronousTestCase):
    """Any sequence of operations, any seed: what was synced by name and content is there."""

    @settings(max_examples=200, deadline=None, database=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["write", "sync", "dir", "rename", "unlink"]),
                st.sampled_from("abc"),
                st.sampled_from("abc"),
            ),
            max_size=30,
        ),
        st.integers(0, 1000),
    )
    def test_whatIsSyncedSurvives(self, steps: list[tuple[str, str, str]], seed: int) -> None:
        disk = SimulatedDisk(Random(seed))
        disk.directory("/q")
        synced: dict[str, bytes] = {}
        for operation, name, other in steps:
            path, target = f"/q/{name}", f"/q/{other}"
            there = disk.listDirectory("/q")
            if operation == "write":
                disk.append(path).write(name.encode() * 3)
            elif operation == "sync" and name in there:
                disk.append(path).sync()
                synced = {known: content for known, content in synced.items() if known != name}
            elif operation == "rename" and name in there:
                disk.rename(path, target)
                synced = {known: content for known, content in synced.items() if known not in (name, other)}
            elif operation == "unlink" and name in there:
                disk.unlink(path)
                synced.pop(name, None)
            elif operation == "dir":
                for known in there:
                    disk.append(f"/q/{known}").sync()
                disk.syncDirectory("/q")
                synced = {known: disk.read(f"/q/{known}") for known in there}
        disk.powerCut()
        for known, content in synced.items():
            self.assertTrue(disk.read(f"/q/{known}").startswith(content), (known, content))
