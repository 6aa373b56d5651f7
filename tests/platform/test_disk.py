"""What only the real disk has; what it shares with the simulated one is in C{tests.testing.test_disk}."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.platform import file as fileModule
from pysmtpd.platform.disk import RealDisk


class RealDiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = RealDisk()
        self.place = os.path.abspath(self.mktemp())
        os.mkdir(self.place)

    def test_filesArePrivateAndNotInherited(self) -> None:
        path = os.path.join(self.place, "file")
        file = self.disk.create(path)
        self.addCleanup(file.close)
        self.assertEqual(os.stat(path).st_mode & 0o077, 0)
        self.assertTrue(fcntl.fcntl(file.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC)

    def test_linksAreNotWrittenThrough(self) -> None:
        target, trap = os.path.join(self.place, "target"), os.path.join(self.place, "trap")
        os.symlink(target, trap)
        self.assertRaises(OSError, self.disk.create, trap)
        self.assertRaises(OSError, self.disk.append, trap)
        self.assertRaises(OSError, self.disk.lock, trap)
        self.assertFalse(os.path.exists(target))
        self.assertEqual(self.disk.stat(trap).kind, "link")

    def test_whatIsNoPlainFileIsNotWaitedFor(self) -> None:
        """Opening a FIFO would last until somebody writes to it."""
        fifo = os.path.join(self.place, "fifo")
        os.mkfifo(fifo)
        writer = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self.addCleanup(os.close, writer)
        self.assertIn("not a plain file", str(self.assertRaises(OSError, self.disk.open, fifo)))
        database = self.assertRaises(OSError, self.disk.database, fifo, readOnly=True)
        self.assertIn("not a plain file", str(database))
        self.assertIn("is a directory", str(self.assertRaises(OSError, self.disk.open, self.place)))

    def test_theLockOfAnotherProcessNamesIt(self) -> None:
        path = os.path.join(self.place, "lock")
        program = (
            "import sys; from pysmtpd.platform.disk import RealDisk\n"
            f"lock = RealDisk().lock({path!r}); print('locked', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
        ) as other:
            assert other.stdout is not None
            self.assertEqual(other.stdout.readline(), b"locked\n")
            refusal = self.assertRaises(BlockingIOError, self.disk.lock, path)
            self.assertIn(f"process {other.pid}", str(refusal))
            other.kill()
        # The lock of a process that was killed is free.
        self.disk.lock(path).close()

    def test_syncsReachTheSystem(self) -> None:
        """By the inode that the system was asked to sync; what a sync is worth, only a power cut could tell."""
        synced: list[int] = []

        def note(descriptor: int) -> None:
            synced.append(os.fstat(descriptor).st_ino)

        self.patch(fileModule, "_dataSync", note)
        self.patch(os, "fsync", note)
        if hasattr(fcntl, "F_FULLFSYNC"):
            self.patch(fcntl, "fcntl", lambda descriptor, command: note(descriptor))
        path = os.path.join(self.place, "file")
        file = self.disk.create(path)
        self.addCleanup(file.close)
        file.sync()
        self.assertEqual(synced, [os.stat(path).st_ino])
        self.disk.syncDirectory(self.place)
        self.assertEqual(synced[1:], [os.stat(self.place).st_ino])
        # Below a directory, at it and above it.
        within = os.path.join(self.place, "within")
        os.mkdir(within)
        beneath = self.disk.beneath(self.place)
        synced.clear()
        above = os.path.dirname(self.place)
        for directory in (within, self.place, above):
            beneath.syncDirectory(directory)
        self.assertEqual(synced, [os.stat(each).st_ino for each in (within, self.place, above)])

    def test_aClosedFileIsAnError(self) -> None:
        file = self.disk.create(os.path.join(self.place, "file"))
        file.close()
        file.close()
        self.assertRaises(OSError, file.write, b"x")
        self.assertRaises(OSError, file.fileno)
