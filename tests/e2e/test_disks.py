"""Disks that are full, have no inodes left, or may not be written any more, under the real daemon; and logs that nobody takes.

Root on Linux: the spool is a small file system of its own.
"""

from __future__ import annotations

import os
import smtplib
import subprocess
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.queue.space import CHECK_SECONDS
from tests.e2e.support import SINK, Daemon, Place, checkReach, needsRoot, say, waitFor

# Above the threshold from which content is a file of its own.
LARGE = 400_000
ROOM = "size=8m"
FEW_INODES = "size=8m,nr_inodes=60"


class DiskTestCase(SynchronousTestCase):
    """
    @ivar acknowledged: recipients of messages that were answered 250 after the end of data.
    """

    def setUp(self) -> None:
        needsRoot("mount a file system")
        checkReach()
        place = Place()
        self.addCleanup(place.remove)
        self.place = place.path
        self.spool = self.place / "spool"
        self.spool.mkdir()
        self.acknowledged: list[str] = []

    def begin(self, backend: str, options: str) -> Daemon:
        """A daemon with its spool on a file system of its own; it delivers elsewhere, and not yet."""
        command = ["mount", "-t", "tmpfs", "-o", f"{options},mode=711", "none", str(self.spool)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SkipTest(f"no file system can be mounted here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(self.spool)], check=False)
        daemon = Daemon(self.place, f'queue backend "{backend}:"\n{SINK}', "-P", "mda")
        daemon.start()
        self.addCleanup(daemon.kill)
        return daemon

    def send(self, daemon: Daemon, name: str, size: int = 100) -> int:
        """The first reply that is not positive, or the last one."""
        recipient = f"{name}@example.org"
        content = b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * (size // 72)
        with daemon.client() as client:
            client.ehlo()
            for code, _ in (client.mail("a@client.test"), client.rcpt(recipient)):
                if code >= 400:
                    return code
            try:
                code = client.data(content)[0]
            except smtplib.SMTPDataError as refused:
                return refused.smtp_code
        if code == 250:
            self.acknowledged.append(recipient)
        return code

    def fill(self) -> None:
        ballast = os.open(self.spool / "ballast", os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(ballast, bytes(4096))
        except OSError:
            os.close(ballast)

    def useInodes(self) -> None:
        try:
            for number in range(1000):
                (self.spool / f"ballast{number}").touch()
        except OSError:
            return

    def makeRoom(self) -> None:
        for path in self.spool.glob("ballast*"):
            path.unlink()

    def files(self) -> list[str]:
        """What a queue without mail leaves lying, but for what it keeps itself with."""
        kept = ("queue.", "ceiling")
        found = (path for path in self.spool.rglob("*") if path.is_file())
        return sorted(path.name for path in found if not path.name.startswith(kept))


class FullTests(DiskTestCase):
    """452 until there is room; nothing half done; what was acknowledged before is delivered meanwhile, once."""

    def check(self, daemon: Daemon, *allowed: int) -> None:
        for number in range(3):
            self.assertIn(self.send(daemon, f"meanwhile{number}"), {*allowed, 452})
        self.assertEqual(self.send(daemon, "large-meanwhile", LARGE), 452)
        # Now the floor is known, and nobody need send content to read that there is no room.
        self.assertEqual(self.send(daemon, "refused"), 452)
        self.assertEqual(self.send(daemon, "refused-large", LARGE), 452)
        waitFor(
            "the log",
            lambda: any(event["reason"] == "the queue has no room" for event in daemon.events("failed-command")),
        )
        # Deliveries go on, and need no room.
        self.assertEqual(daemon.control("resume", "mda").returncode, 0)
        daemon.letters(len(self.acknowledged))
        self.makeRoom()
        waitFor("room", lambda: self.send(daemon, "after") == 250, 4 * CHECK_SECONDS)
        self.assertEqual(self.send(daemon, "large-after", LARGE), 250)
        waitFor("an empty queue", lambda: not daemon.queued())
        self.assertEqual(daemon.stop(), 0)
        letters = [path.read_bytes().partition(b"Delivered-To: ")[2].partition(b"\n")[0] for path in daemon.delivered()]
        self.assertEqual(sorted(letter.decode() for letter in letters), sorted(self.acknowledged))
        self.assertEqual(self.files(), [])
        say(f"{len(letters)} letters, none lost, none twice, no debris")

    def prepared(self, backend: str, options: str) -> Daemon:
        daemon = self.begin(backend, options)
        for number in range(5):
            self.assertEqual(self.send(daemon, f"before{number}"), 250)
        self.assertEqual(self.send(daemon, "large-before", LARGE), 250)
        return daemon

    def test_sqlite(self) -> None:
        daemon = self.prepared("sqlite", ROOM)
        self.fill()
        self.check(daemon)

    def test_fs(self) -> None:
        daemon = self.prepared("fs", ROOM)
        self.fill()
        self.check(daemon)

    def test_inodesOfSqlite(self) -> None:
        """Small messages need none, until the floor is looked at."""
        daemon = self.prepared("sqlite", FEW_INODES)
        self.useInodes()
        self.check(daemon, 250)

    def test_inodesOfFs(self) -> None:
        daemon = self.prepared("fs", FEW_INODES)
        self.useInodes()
        self.check(daemon)


class StartTests(DiskTestCase):
    """Started again on a disk that is full."""

    def restart(self, daemon: Daemon) -> None:
        self.assertEqual(self.send(daemon, "before"), 250)
        self.fill()
        self.assertEqual(daemon.stop(), 0)
        daemon.arguments = ()
        daemon.launch()

    def test_fs(self) -> None:
        """It delivers, and so makes room."""
        daemon = self.begin("fs", ROOM)
        self.restart(daemon)
        waitFor("the greeting", daemon.greets)
        self.assertEqual(list(daemon.letters(1)), self.acknowledged)

    def test_sqlite(self) -> None:
        """SQLite needs some room even to read; it says so, and nothing is harmed."""
        daemon = self.begin("sqlite", ROOM)
        self.restart(daemon)
        assert daemon.process is not None
        self.assertEqual(daemon.process.wait(30), 73)
        self.assertIn("full", daemon.errors.read_text())
        self.makeRoom()
        daemon.start()
        self.assertEqual(list(daemon.letters(1)), self.acknowledged)


class LogTests(SynchronousTestCase):
    """The mail log goes where nothing can be written: mail does not depend on it, nor does the end."""

    def test_full(self) -> None:
        checkReach()
        place = Place()
        self.addCleanup(place.remove)
        daemon = Daemon(place.path, SINK)
        daemon.log = Path("/dev/full")
        daemon.start()
        self.addCleanup(daemon.kill)
        for number in range(20):
            with daemon.client() as client:
                client.sendmail("a@client.test", [f"{number}@example.org"], b"Subject: x\r\n\r\nHello.\r\n")
        daemon.letters(20)
        self.assertEqual(daemon.stop(), 0)
        self.assertIn("The mail log cannot be written", daemon.errors.read_text())
        self.assertIn("were lost at the end", daemon.errors.read_text())
