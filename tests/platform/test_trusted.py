"""Files that only certain users could have written."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.platform.trusted import openings, readTrusted

ME = os.getuid()
STRANGER = 65_533


class TrustedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.addCleanup(shutil.rmtree, self.home, True)
        self.file = self.home / ".forward"
        self.file.write_text("ann\n")
        self.file.chmod(0o644)

    def read(self, *owners: int, most: int = 100) -> bytes:
        return readTrusted(str(self.home), ".forward", owners or (ME,), most)

    def assertRefused(self, code: int = errno.EPERM) -> None:
        error = self.assertRaises(OSError, self.read)
        self.assertEqual(error.errno, code)

    def test_reads(self) -> None:
        self.assertEqual(self.read(), b"ann\n")
        self.file.write_text("")
        self.assertEqual(self.read(), b"")

    def test_nothingThere(self) -> None:
        self.file.unlink()
        self.assertRaises(FileNotFoundError, self.read)
        self.home.rmdir()
        self.assertRaises(NotADirectoryError, self.read)

    def test_othersMayWriteIt(self) -> None:
        for mode in (0o664, 0o646):
            self.file.chmod(mode)
            self.assertRefused()

    def test_othersMayWriteItsDirectory(self) -> None:
        for mode in (0o770, 0o707):
            self.home.chmod(mode)
            self.assertRefused()
        # As long as nothing is there, it does no harm.
        self.file.unlink()
        self.assertRaises(FileNotFoundError, self.read)

    def test_theHomeIsBeingWorkedOn(self) -> None:
        self.home.chmod(0o1700)
        self.assertRefused(errno.EBUSY)

    def test_links(self) -> None:
        target = self.home / "other"
        self.file.rename(target)
        self.file.symlink_to(target)
        self.assertRefused()

    def test_whatIsNoFile(self) -> None:
        self.file.unlink()
        os.mkfifo(self.file, 0o600)
        self.assertRefused()
        self.file.unlink()
        self.file.mkdir(0o700)
        self.assertRefused()

    def test_size(self) -> None:
        self.file.write_bytes(b"x" * 100)
        self.assertEqual(len(self.read()), 100)
        self.file.write_bytes(b"x" * 101)
        self.assertRefused(errno.EFBIG)

    def test_names(self) -> None:
        for name in ("", ".", "..", "a/b", "/etc/passwd"):
            self.assertRaises(OSError, readTrusted, str(self.home), name, (ME,), 100)

    def test_owner(self) -> None:
        if ME == 0:
            os.chown(self.file, STRANGER, STRANGER)
            self.assertRefused()
            self.assertEqual(self.read(STRANGER), b"ann\n")
            os.chown(self.home, STRANGER + 1, STRANGER)
            self.assertRefused()
        else:
            self.assertRaises(PermissionError, self.read, STRANGER)


class OpeningsTests(SynchronousTestCase):
    """Where others can change what a path leads to."""

    def setUp(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.addCleanup(shutil.rmtree, self.home, True)
        self.inner = self.home / "mail"
        self.inner.mkdir(0o755)
        self.file = self.inner / "smtpd.conf"
        self.file.touch(0o600)

    def found(self, path: Path | None = None, *users: int) -> list[str]:
        return [place for place, _ in openings(str(path or self.file), users or (0, ME))]

    def test_none(self) -> None:
        self.assertEqual(self.found(), [])

    def test_fileAndDirectories(self) -> None:
        self.file.chmod(0o620)
        self.inner.chmod(0o757)
        self.home.chmod(0o770)
        self.assertEqual(self.found(), [str(self.file), str(self.inner), str(self.home)])

    def test_stickyDirectory(self) -> None:
        """There, nobody can put a file in the place of another's, whoever may make some."""
        self.inner.chmod(0o1777)
        self.assertEqual(self.found(), [])

    def test_strangers(self) -> None:
        found = self.found(None, STRANGER)
        self.assertEqual(found[:3], [str(self.file), str(self.inner), str(self.home)])
        self.assertEqual(found[-1], "/")

    def test_links(self) -> None:
        """Whoever may write where the link lies leads it elsewhere, and whoever may write where the file lies replaces that."""
        links = self.home / "links"
        links.mkdir(0o755)
        link = links / "smtpd.conf"
        link.symlink_to(self.file)
        self.assertEqual(self.found(link), [])
        links.chmod(0o777)
        self.inner.chmod(0o777)
        self.assertEqual(self.found(link), [str(self.inner), str(links)])
        self.assertEqual(self.found(), [str(self.inner)])

    def test_nothingThere(self) -> None:
        self.assertRaises(FileNotFoundError, self.found, self.home / "no")
