"""The daemon is started in each of its ways, looked at, and ended in order."""

from __future__ import annotations

import shutil
import site
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.support import (
    PATIENCE,
    ROOT,
    SINK,
    Daemon,
    Peer,
    Place,
    checkReach,
    environment,
    needsRoot,
    run,
    running,
    say,
    waitFor,
)

SINK_PORT = 2525

# What an installed console script looks like.
_SCRIPT = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys
from pysmtpd.control.cli import main
sys.exit(main())
"""


def isFree(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class RunSinkTests(SynchronousTestCase):
    """C{make run}: the lines that it prints do what they say."""

    def setUp(self) -> None:
        checkReach()
        if not isFree(SINK_PORT):
            raise SkipTest(f"somebody else listens on port {SINK_PORT}, where the sink would")
        place = Place()
        self.addCleanup(place.remove)
        # A name that a shell must not take apart.
        self.top = place.path / "my mail's"
        examples = self.top / "docs" / "examples"
        examples.mkdir(parents=True)
        self.script = examples / "run-sink"
        for name in ("run-sink", "sink.conf"):
            shutil.copy(ROOT / "docs" / "examples" / name, examples)
        for name in ("pysmtpd", "twisted"):
            shutil.copytree(ROOT / name, self.top / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.install(self.top / ".venv")

    def install(self, directory: Path) -> None:
        """An environment that borrows the libraries of this one."""
        run(sys.executable, "-m", "venv", "--without-pip", str(directory))
        packages = next((directory / "lib").glob("python*/site-packages"))
        (packages / "borrowed.pth").write_text("\n".join((str(self.top), *site.getsitepackages())))
        script = directory / "bin" / "pysmtpctl"
        script.write_text(_SCRIPT.format(python=directory / "bin" / "python"))
        script.chmod(0o755)

    def check(self) -> None:
        output = self.top / "output"
        # The tree's own package counts.
        plain = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
        with output.open("wb") as file:
            daemon = subprocess.Popen(["sh", str(self.script)], stdout=file, stderr=file, env=plain)
        self.addCleanup(daemon.kill)
        waitFor("the sink", lambda: self.greets(daemon, output))
        lines = {line[:8].strip(): line[8:].strip() for line in output.read_text().splitlines() if line[:2] == "  "}
        printed = output.read_text()
        self.assertIn(f"127.0.0.1 port {SINK_PORT}", printed)
        self.assertEqual(sorted(lines), ["look", "send", "stop"])

        self.assertEqual(run("sh", "-c", lines["look"]), "")
        run("sh", "-c", lines["send"])
        new = self.top / "run" / "Maildir" / "new"
        waitFor("the letter", lambda: new.is_dir() and list(new.iterdir()))
        (letter,) = new.iterdir()
        self.assertTrue(letter.read_bytes().endswith(b"Subject: hello\n\nIt works.\n"))
        waitFor("the queue to be empty", lambda: run("sh", "-c", lines["look"]) == f"{letter.name}\n")
        self.assertEqual(run("sh", "-c", lines["stop"]), "stopping\n")
        self.assertEqual(daemon.wait(PATIENCE), 0)

    def test_printedLines(self) -> None:
        self.check()

    def closed(self) -> None:
        needsRoot("start the sink as nobody")
        self.top.chmod(0o700)

    def test_aTreeThatNobodyMayEnter(self) -> None:
        """Root's own, such as one in /root: the sink has its own view of it."""
        self.closed()
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
            raise SkipTest("there are no views of the file system here")
        self.check()
        self.assertEqual([path.owner() for path in (self.top / "run").iterdir()], ["nobody", "nobody"])

    def test_aTreeThatNobodyCanEnter(self) -> None:
        """Without the right to have such a view, as in many containers, it says what to do."""
        self.closed()
        less = "-sys_admin"
        printed = run("setpriv", "--bounding-set", less, "--inh-caps", less, "sh", str(self.script), isOk=False)
        self.assertIn(f"The sink runs as nobody, who may not enter {self.top}: ", printed)

    def greets(self, daemon: subprocess.Popen[bytes], output: Path) -> bool:
        self.assertIsNone(daemon.poll(), output.read_text())
        return not isFree(SINK_PORT)


class PausedTests(SynchronousTestCase):
    """twistd starts it, with parts paused."""

    def daemon(self, *arguments: str) -> Daemon:
        stack = ExitStack()
        self.addCleanup(stack.close)
        place = Place()
        stack.callback(place.remove)
        checkReach()
        daemon = Daemon(place.path, SINK + 'action "out" relay host "smtp://127.0.0.1:9"\n', *arguments)
        script = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        daemon.program = [sys.executable, "-c", script, "--nodaemon", "--pidfile=", "pysmtpd"]
        daemon.launch()
        stack.callback(self.stop, daemon)
        waitFor("the control socket", lambda: not daemon.control("show", "status").returncode)
        return daemon

    def stop(self, daemon: Daemon) -> None:
        assert daemon.process is not None
        try:
            self.assertEqual(daemon.control("stop").returncode, 0)
            self.assertEqual(daemon.process.wait(PATIENCE), 0)
        finally:
            if daemon.process.poll() is None:
                daemon.kill()

    def send(self, daemon: Daemon) -> None:
        with daemon.client() as client:
            client.sendmail("sender@example.org", ["rcpt@example.org"], b"Subject: paused\r\n\r\n")

    def test_mda(self) -> None:
        daemon = self.daemon("-P", "mda")
        self.assertIn("paused", daemon.control("show", "status").stdout)
        self.send(daemon)
        (row,) = daemon.queued()
        self.assertEqual(row["recipient"], "rcpt@example.org")
        self.assertEqual(daemon.delivered(), [])
        self.assertEqual(daemon.control("resume", "mda").returncode, 0)
        daemon.letters(1)
        waitFor("an empty queue", lambda: not daemon.queued())

    def test_smtp(self) -> None:
        daemon = self.daemon("-P", "smtp", "-P", "mta")
        self.assertRegex(daemon.control("show", "status").stdout, r"paused:\n +mta\n +smtp\n")
        with socket.create_connection(("127.0.0.1", daemon.port), 0.5) as peer:
            self.assertRaises(TimeoutError, peer.recv, 4)
            self.assertEqual(daemon.control("resume", "smtp").returncode, 0)
            peer.settimeout(PATIENCE)
            self.assertEqual(peer.recv(4), b"220 ")
        self.send(daemon)
        daemon.letters(1)


class EndTests(SynchronousTestCase):
    """SIGTERM and C{pysmtpctl stop}: new sessions are refused, running transactions end, the others read 421."""

    def talk(self, stop: str) -> None:
        with running(SINK) as daemon, ExitStack() as stack:
            busy, idle = (stack.enter_context(Peer(daemon.port)) for _ in range(2))
            busy.begin()
            idle.hear()
            idle.ask("EHLO client.test")
            self.end(daemon, stop)
            self.assertTrue(idle.hear().startswith("421 4.3.2"))
            self.assertEqual(idle.hear(), "")
            waitFor("the port to be closed", lambda: isFree(daemon.port))
            busy.say(b"Subject: last\r\n\r\nlast\r\n.\r\n")
            self.assertTrue(busy.hear().startswith("250 2.0.0"))
            self.assertTrue(busy.hear().startswith("421 4.3.2"))
            self.assertEqual(busy.hear(), "")
            self.assertEqual(self.wait(daemon), 0)
            # It was acknowledged: delivered already, or by the next daemon.
            daemon.start()
            (letter,) = daemon.letters(1).values()
            self.assertTrue(letter.endswith(b"\n\nlast\n"))

    def end(self, daemon: Daemon, how: str) -> None:
        if how == "SIGTERM":
            daemon.terminate()
            return
        done = daemon.control("stop")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "stopping\n", ""))

    def wait(self, daemon: Daemon) -> int:
        assert daemon.process is not None
        return daemon.process.wait(PATIENCE)

    def test_sigterm(self) -> None:
        self.talk("SIGTERM")

    def test_stop(self) -> None:
        self.talk("stop")

    def test_stopWhenNothingHappens(self) -> None:
        """The answer is on its way before anything ends."""
        with running(SINK) as daemon:
            for _ in range(3):
                self.end(daemon, "stop")
                self.assertEqual(self.wait(daemon), 0)
                self.assertFalse((daemon.spool / "control.sock").exists())
                daemon.start()

    def test_grace(self) -> None:
        """Who does not end a transaction in ten seconds reads 421; nothing of it is kept."""
        with running(SINK) as daemon, Peer(daemon.port) as slow:
            slow.begin()
            slow.say(b"Subject: slow\r\n\r\n")
            began = time.monotonic()
            daemon.terminate()
            self.assertTrue(slow.hear().startswith("421 4.3.2"))
            seconds = time.monotonic() - began
            self.assertGreater(seconds, 9)
            self.assertLess(seconds, 15)
            self.assertEqual(self.wait(daemon), 0)
            daemon.start()
            self.assertEqual((daemon.queued(), daemon.delivered()), ([], []))
            say(f"an open transaction was told 421 after {seconds:.1f} s")

    def test_secondDaemon(self) -> None:
        """It says that the spool is taken, and leaves the first one alone."""
        place = Place()
        self.addCleanup(place.remove)
        with running(SINK) as daemon:
            second = Daemon(place.path, SINK)
            second.spool = daemon.spool
            second.launch()
            assert second.process is not None
            self.assertEqual(second.process.wait(PATIENCE), 75)
            self.assertIn("in use by another daemon", second.errors.read_text())
            self.assertEqual(daemon.control("show", "status").returncode, 0)
            with daemon.client() as client:
                client.sendmail("sender@example.org", ["rcpt@example.org"], b"Subject: first\r\n\r\n")
            daemon.letters(1)
