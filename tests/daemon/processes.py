"""The real daemon as a process of its own, on loopback, without root's rights or any other peer."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import plugins

ROOT = Path(__file__).resolve().parent.parent.parent
PYSMTPD = (sys.executable, "-m", "pysmtpd")
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "pysmtpd")
PYSMTPCTL = (sys.executable, "-m", "pysmtpd.control.cli")
PATIENCE = 30.0

CONFIG = """
listen on 127.0.0.1 port {port}
{before}
action "out" relay host "smtp://127.0.0.1:{sink}"
match from local for any action "out"
"""


def freePort() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ProcessTestCase(SynchronousTestCase):
    """A configuration and a spool in a directory of their own; mail goes to a port where nobody listens, so it stays queued.

    @ivar place: short enough for a socket's path.
    """

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        # Root's daemon is another user's process.
        self.place.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.place)
        self.spool = self.place / "spool"
        self.socket = self.spool / "control.sock"
        self.port, self.sink = freePort(), freePort()
        plugins.write(self.place / "others")
        self.environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{self.place / 'others'}"}

    def write(self, text: str = CONFIG, before: str = "") -> Path:
        path = self.place / "smtpd.conf"
        path.write_text(text.format(port=self.port, sink=self.sink, before=before))
        return path

    def run_(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return subprocess.run(
            command,
            cwd=self.place,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run_(*PYSMTPCTL, "-s", str(self.socket), *words)

    def start(self, program: Sequence[str] = PYSMTPD, *options: str, stdin: str = "") -> subprocess.Popen[str]:
        """A daemon that listens. It is killed with the test if it still runs then."""
        daemon = self.begin(program, *options, stdin=stdin)
        self.waitFor("the control socket", lambda: self.ctl("show", "status").returncode == 0, daemon)
        return daemon

    def begin(self, program: Sequence[str] = PYSMTPD, *options: str, stdin: str = "") -> subprocess.Popen[str]:
        command = [*program, "-f", str(self.place / "smtpd.conf"), "--spool", str(self.spool), *options]
        log = open(self.place / "log", "w")  # noqa: SIM115 - the process owns it
        self.addCleanup(log.close)
        daemon = subprocess.Popen(
            command, cwd=self.place, env=self.environment, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True
        )
        self.addCleanup(self.end, daemon)
        assert daemon.stdin is not None
        with daemon.stdin:
            daemon.stdin.write(stdin)
        return daemon

    def end(self, daemon: subprocess.Popen[str]) -> None:
        if daemon.poll() is None:
            daemon.kill()
        daemon.wait()

    @property
    def log(self) -> str:
        return (self.place / "log").read_text()

    def waitFor(self, what: str, condition: Callable[[], object], daemon: subprocess.Popen[str] | None = None) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if (daemon is not None and daemon.poll() is not None) or time.monotonic() > deadline:
                self.fail(f"waited for {what}; the daemon said:\n{self.log}")
            time.sleep(0.02)

    def stopped(self, daemon: subprocess.Popen[str], signalNumber: int = signal.SIGTERM) -> int:
        """End it by a signal; its exit code."""
        daemon.send_signal(signalNumber)
        return daemon.wait(PATIENCE)

    def send(self, recipient: str = "ann@example.net", content: bytes = b"Subject: hello\r\n\r\nHi.\r\n") -> None:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
            client.sendmail("jane@example.org", [recipient], content)
