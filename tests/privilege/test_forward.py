"""The root helper's verb C{forward}: what it refuses, and, where root runs this, that a child reads as its user and no more."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from pysmtpd.interfaces import HelperFailed
from pysmtpd.privilege.forward import MAX_READING
from tests.privilege.test_helper import HelperTestCase

JOE = 61_234


class RefusalTests(HelperTestCase):
    def test_neverRoot(self) -> None:
        for uid in (0, -1, 2**32 - 1, "0", None, True, 1.5):
            self.assertIn("as root", self.ask(verb="forward", user="joe", uid=uid, gid=1, home="/home/joe"))
        for gid in (-1, "1", None):
            self.assertIn("as root", self.ask(verb="forward", user="joe", uid=JOE, gid=gid, home="/home/joe"))

    def test_homes(self) -> None:
        for home in ("", "home", "../x", "/ho\0me", None, 7):
            self.assertIn("home", self.ask(verb="forward", user="joe", uid=JOE, gid=JOE, home=home))


class ReadingTests(HelperTestCase):
    def setUp(self) -> None:
        if os.geteuid():
            raise SkipTest("root runs this")
        super().setUp()
        self.home = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.addCleanup(shutil.rmtree, self.home, True)
        os.chown(self.home, JOE, JOE)
        self.file = self.home / ".forward"

    def write(self, content: bytes) -> None:
        self.file.write_bytes(content)
        os.chown(self.file, JOE, JOE)
        self.file.chmod(0o600)

    def read(self, uid: int = JOE) -> dict[str, Any]:
        asked = self.helper._ask("forward", user="joe", uid=uid, gid=uid, home=str(self.home))
        with socket.socket(fileno=asked) as connection:
            connection.settimeout(20)
            octets = b""
            while chunk := connection.recv(65_536):
                octets += chunk
        answer: dict[str, Any] = json.loads(octets)
        return answer

    def test_reads(self) -> None:
        self.assertEqual(self.read(), {"text": None})
        self.write("é".encode())
        self.assertEqual(self.read(), {"text": "é".encode().decode("latin-1")})

    def test_asTheUser(self) -> None:
        """Another user may not even enter the home; root's own files stay unread."""
        self.write(b"x")
        self.assertEqual(self.read(JOE + 1)["errno"], errno.EACCES)
        secret = self.home.with_suffix(".secret")
        secret.write_text("secret")
        secret.chmod(0o600)
        self.addCleanup(secret.unlink)
        self.file.unlink()
        os.link(secret, self.file)
        self.assertEqual(self.read()["errno"], errno.EACCES)
        self.file.unlink()
        self.file.symlink_to(secret)
        self.assertEqual(self.read()["errno"], errno.EPERM)
        self.file.unlink()
        os.mkfifo(self.file, 0o600)
        os.chown(self.file, JOE, JOE)
        self.assertEqual(self.read()["errno"], errno.EPERM)

    def test_size(self) -> None:
        self.write(b"x" * 4097)
        self.assertEqual(self.read()["errno"], errno.EFBIG)

    def test_noHome(self) -> None:
        self.home.rmdir()
        self.assertEqual(self.read()["errno"], errno.ENOTDIR)

    def test_many(self) -> None:
        """Children that have ended are not counted."""
        for _ in range(2 * MAX_READING):
            self.read()

    def test_theHelperLivesOn(self) -> None:
        self.assertRaises(HelperFailed, self.helper._ask, "forward", user="x", uid=0, gid=0, home="/root")
        self.assertEqual(self.read(), {"text": None})
