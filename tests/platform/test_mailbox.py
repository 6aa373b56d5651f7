"""Mailboxes that others write to, too: what is opened, and how it is locked."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pysmtpd.platform import mailbox as module
from pysmtpd.platform.mailbox import STALE, openMailbox

# Another program: it locks as it is told, says so, and waits.
LOCKER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


class MailboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.addCleanup(shutil.rmtree, self.place, True)
        self.path = self.place / "mbox"
        self.patch(module, "_PAUSE", 0.002)

    def write(self, octets: bytes = b"x", patience: float = 0.05) -> None:
        mailbox = openMailbox(str(self.path), patience)
        try:
            mailbox.write(octets)
        finally:
            mailbox.close()

    def code(self) -> int | None:
        return self.assertRaises(OSError, self.write).errno

    def test_made(self) -> None:
        self.write(b"a")
        self.write(b"b")
        self.assertEqual(self.path.read_bytes(), b"ab")
        self.assertEqual(self.path.stat().st_mode & 0o7777, 0o600)
        self.assertEqual(list(self.place.iterdir()), [self.path])

    def test_itsNameIsSynced(self) -> None:
        """Once, when it is made."""
        synced: list[int] = []
        self.patch(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
        for _ in range(2):
            self.write()
            self.assertEqual(synced, [self.place.stat().st_ino])

    def test_cutBack(self) -> None:
        self.path.write_bytes(b"before")
        mailbox = openMailbox(str(self.path), 0.05)
        self.assertEqual(mailbox.size, 6)
        mailbox.write(b"half")
        mailbox.cutBack()
        mailbox.close()
        self.assertEqual(self.path.read_bytes(), b"before")

    def test_links(self) -> None:
        (self.place / "target").write_text("")
        self.path.symlink_to(self.place / "target")
        self.assertEqual(self.code(), errno.ELOOP)
        self.path.unlink()
        self.path.symlink_to(self.place / "nothing")
        self.assertEqual(self.code(), errno.ELOOP)
        self.path.unlink()
        self.path.hardlink_to(self.place / "target")
        self.assertEqual(self.code(), errno.EMLINK)
        self.assertEqual((self.place / "target").read_text(), "")

    def test_noPlainFile(self) -> None:
        self.path.mkdir()
        self.assertEqual(self.code(), errno.EISDIR)
        self.path.rmdir()
        os.mkfifo(self.path)
        self.assertEqual(self.code(), errno.EINVAL)

    def test_anothersFile(self) -> None:
        if os.geteuid():
            raise SkipTest("only root can give files away")
        self.path.write_text("")
        os.chown(self.path, 1, 1)
        self.assertEqual(self.code(), errno.EPERM)

    def test_lockedByOthers(self) -> None:
        """By fcntl(2), as every mail program does."""
        self.path.write_text("")
        other = subprocess.Popen(
            [sys.executable, "-c", LOCKER, str(self.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert other.stdout is not None
        self.assertEqual(other.stdout.readline(), b"locked\n")
        self.assertEqual(self.code(), errno.EAGAIN)
        threading.Timer(0.1, other.communicate).start()
        self.write(patience=20)
        other.wait(20)

    def test_locksOthersOut(self) -> None:
        mailbox = openMailbox(str(self.path), 0.05)
        self.assertTrue((self.place / "mbox.lock").exists())
        program = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        command = [sys.executable, "-c", program, str(self.path)]
        done = subprocess.run(command, capture_output=True, check=False)
        self.assertIn(b"BlockingIOError", done.stderr)
        mailbox.close()
        self.assertFalse((self.place / "mbox.lock").exists())
        self.assertEqual(subprocess.run(command, capture_output=True, check=False).stderr, b"")

    def test_theFcntlLockIsNotKeptWhileTheOtherIsWaitedFor(self) -> None:
        """So those who take them the other way round get on."""
        self.path.write_text("")
        lock = self.place / "mbox.lock"
        lock.write_text("1\n")
        found: list[object] = []

        def other() -> None:
            time.sleep(0.05)
            with self.path.open("a") as file:
                for _ in range(1000):
                    try:
                        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except OSError:
                        time.sleep(0.001)
                found.append("locked")
                time.sleep(0.05)
                lock.unlink()

        thread = threading.Thread(target=other)
        thread.start()
        self.write(patience=20)
        thread.join()
        self.assertEqual(found, ["locked"])

    def test_aDeadProgramsLock(self) -> None:
        lock = self.place / "mbox.lock"
        lock.write_text("1\n")
        self.assertEqual(self.code(), errno.EAGAIN)
        os.utime(lock, (time.time(), time.time() - STALE - 1))
        self.write()
        self.assertFalse(lock.exists())

    def test_whereNoLockFileCanBe(self) -> None:
        """The directory is not ours to write: then fcntl(2) alone."""
        self.path.write_text("")

        def refused(name: str) -> str | None:
            self.patch(os, "open", self.refuseLocks(os.open))
            return original(name)

        original = module._dotLock
        self.patch(module, "_dotLock", refused)
        self.write()
        self.assertEqual(self.path.read_bytes(), b"x")

    @staticmethod
    def refuseLocks(opens: object) -> object:
        def open(path: str, flags: int, mode: int = 0o777) -> int:
            if path.endswith(".lock"):
                raise PermissionError(errno.EACCES, "no", path)
            return opens(path, flags, mode)  # type: ignore[operator]

        return open

    def test_replacedWhileWeWait(self) -> None:
        """As a mail reader does that rewrites it: what is written goes to the new file."""
        self.path.write_text("old")
        tries: list[int] = []
        original = module._lock

        def lock(path: str, descriptor: int) -> str | None:
            tries.append(descriptor)
            if len(tries) == 1:
                (self.place / "new").write_text("new")
                (self.place / "new").rename(self.path)
            return original(path, descriptor)

        self.patch(module, "_lock", lock)
        self.write(patience=20)
        self.assertEqual(self.path.read_text(), "newx")

    def test_threadsOfOurs(self) -> None:
        """No one's letter is torn, whichever name of the directory it takes."""
        (self.place / "other").symlink_to(self.place)
        paths = [str(self.path), str(self.place / "other" / "mbox")]

        def work(number: int) -> None:
            for _ in range(10):
                mailbox = openMailbox(paths[number % 2], 20)
                for _ in range(10):
                    mailbox.write(b"%d" % number)
                mailbox.write(b"\n")
                mailbox.close()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = self.path.read_text().splitlines()
        self.assertEqual(sorted(lines), sorted(str(number) * 10 for number in range(6) for _ in range(10)))
