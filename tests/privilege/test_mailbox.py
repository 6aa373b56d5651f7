"""A mailbox that root makes for a user."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.privilege.mailbox import makeMailbox
from pysmtpd.privilege.refused import Refused


class MakeMailboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.addCleanup(shutil.rmtree, self.place, True)
        self.synced: list[int] = []
        self.patch(os, "fsync", lambda descriptor: self.synced.append(os.fstat(descriptor).st_ino))

    def make(self, name: str = "jane") -> None:
        makeMailbox(str(self.place), name, os.geteuid(), os.getegid())

    def test_made(self) -> None:
        """The file and its name survive a power cut."""
        self.make()
        path = self.place / "jane"
        self.assertEqual((path.read_bytes(), path.stat().st_mode & 0o7777), (b"", 0o600))
        self.assertEqual(self.synced, [path.stat().st_ino, self.place.stat().st_ino])

    def test_whatIsThereIsLeft(self) -> None:
        (self.place / "jane").write_text("mail")
        (self.place / "mary").symlink_to("/etc/passwd")
        for name in ("jane", "mary"):
            self.make(name)
        self.assertEqual((self.place / "jane").read_text(), "mail")
        self.assertEqual(self.synced, [])

    def test_names(self) -> None:
        for name in ("", ".", "..", ".hidden", "a/b", "/etc/x"):
            self.assertRaises(Refused, self.make, name)
        self.assertEqual(list(self.place.iterdir()), [])
