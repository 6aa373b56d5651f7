"""Commands, as real processes."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import IFile
from pysmtpd.model.task import Exit
from pysmtpd.platform.commands import Commands
from pysmtpd.platform.files import RealFiles


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.addCleanup(shutil.rmtree, self.place, True)
        self.commands = Commands()

    def content(self, octets: bytes = b"Hi\n") -> IFile:
        file = RealFiles().temporary()
        file.write(octets)
        self.addCleanup(file.close)
        return file

    def run_(
        self, *argv: str, limit: float = 20.0, directory: str = "", content: bytes = b"Hi\n", **environment: str
    ) -> Exit:
        where = directory or str(self.place)
        return self.commands.command(argv, environment, where, self.content(content), limit)

    def shell(self, text: str, **more: Any) -> Exit:
        return self.run_("/bin/sh", "-c", text, **more)

    def test_whatItIsGiven(self) -> None:
        octets = b"x" * 1_000_000
        self.assertEqual(self.shell("cat > got; env > environment; pwd > directory", content=octets, A="b c"), Exit())
        self.assertEqual((self.place / "got").read_bytes(), octets)
        names = {line.partition("=")[0] for line in (self.place / "environment").read_text().splitlines()}
        self.assertEqual(names - {"PWD", "OLDPWD", "SHLVL", "_"}, {"A"})
        self.assertEqual((self.place / "directory").read_text().strip(), str(self.place.resolve()))

    def test_whatItIsNotGiven(self) -> None:
        """No descriptor of ours, no terminal and no process group of ours; and a broken pipe ends it."""
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        program = (
            "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], "
            "os.getpgrp() == os.getsid(0) == os.getpid(), os.isatty(0))"
        )
        said = self.run_(sys.executable, "-I", "-S", "-c", program)
        self.assertEqual(said.output, "[0, 1, 2] True False")
        # Python ignores SIGPIPE by itself, a shell leaves it as it was given.
        self.assertEqual(self.shell("kill -PIPE $$; echo alive").signal, signal.SIGPIPE)

    def test_ends(self) -> None:
        self.assertEqual(self.shell("echo a; echo b >&2; echo; exit 75"), Exit(75, output="b"))
        self.assertEqual(self.shell("kill -9 $$"), Exit(signal=9))
        self.assertEqual(self.run_("true", PATH="/usr/bin:/bin"), Exit())

    def test_whatCannotBeStarted(self) -> None:
        (self.place / "text").write_text("no program")
        for program in ("/no/such/program", str(self.place), str(self.place / "text"), "no-such-program", "a\0b", ""):
            self.assertTrue(self.run_(program).failure, program)
        self.assertTrue(self.run_("/bin/true", A="b\0c").failure)

    def test_noDirectory(self) -> None:
        for directory in ("/no/such/directory", "/etc/passwd"):
            self.assertEqual(self.run_("/bin/pwd", directory=directory).output, "/")

    def test_output(self) -> None:
        """Any amount of it is taken; of the last line what fits is kept."""
        self.assertEqual(self.shell("head -c 3000000 /dev/zero; echo; echo end").output, "end")
        self.assertEqual(self.shell("printf 'a\\033[1m\\tb\\n\\n'").output, "a [1m b")
        self.assertEqual(len(self.shell("head -c 3000 /dev/zero | tr '\\0' x").output), 500)

    def test_whatItLeavesBehind(self) -> None:
        """A process that it started holds its output open: that is not waited for."""
        before = time.monotonic()
        self.assertEqual(self.shell("sleep 5 & echo started").output, "started")
        self.assertLess(time.monotonic() - before, 4)

    def test_contentThatIsNotRead(self) -> None:
        self.assertEqual(self.run_("/bin/true", content=b"x" * 1_000_000), Exit())

    def test_late(self) -> None:
        """The whole process group ends, though one of it does not want to."""
        text = "trap '' TERM; (trap '' TERM; sleep 60) & echo $! > pid; echo waits; wait; sleep 60"
        before = time.monotonic()
        self.assertEqual(self.shell(text, limit=0.3), Exit(0, 9, True, "", "waits"))
        self.assertLess(time.monotonic() - before, 10)
        while isAlive(int((self.place / "pid").read_text())):
            # It was killed, and takes a moment to be dead.
            self.assertLess(time.monotonic() - before, 10)
            time.sleep(0.01)

    def test_lateAndWilling(self) -> None:
        before = time.monotonic()
        self.assertEqual(self.shell("sleep 60", limit=0.2)[:3], (0, signal.SIGTERM, True))
        self.assertLess(time.monotonic() - before, 1.8)

    def test_endCommands(self) -> None:
        ends: list[Exit] = []
        thread = threading.Thread(target=lambda: ends.append(self.shell("echo started > started; sleep 60")))
        thread.start()
        deadline = time.monotonic() + 20
        while not (self.place / "started").exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.commands.endCommands()
        thread.join(20)
        self.assertEqual((ends[0].signal, ends[0].isLate), (9, True))
        self.assertEqual(self.shell("echo x"), Exit(isLate=True))

    def test_noDescriptorIsLost(self) -> None:
        def count() -> int:
            return len(os.listdir("/proc/self/fd"))

        before = count()
        for _ in range(3):
            file = cast("Any", RealFiles().temporary())
            for argv in (("/bin/true",), ("/no/such",), ("/bin/sleep", "9")):
                self.commands.command(argv, {}, "/", file, 0.05)
            file.close()
        self.assertEqual(count(), before)


def isAlive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
