"""A real daemon on loopback, and real things to talk to it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

# Seconds after which a wait for another process has failed.
PATIENCE = 30.0


def freePort() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def waitFor(what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Ask until the answer is true: other processes tell us nothing when they are done."""
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s for {what}")
        time.sleep(0.02)
    return answer


def me() -> str:
    """Who runs this."""
    return pwd.getpwuid(os.geteuid()).pw_name


class Place:
    """A directory of our own, short enough for a socket's path, that any user may look into."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.path.chmod(0o755)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class Daemon:
    """pysmtpd as a process of its own, without root's rights (root runs it as C{nobody})."""

    def __init__(self, place: Path, configuration: str, *arguments: str, before: Sequence[str] = ()) -> None:
        """
        @param configuration: with C{@PORT@}, C{@PLACE@} and C{@USER@} to be filled in.
        @param before: a command that is put before ours, such as strace.
        """
        self.place = place
        self.port = freePort()
        self.user = me() if os.geteuid() else "nobody"
        self.arguments = arguments
        self.before = before
        self.spool = place / "spool"
        self.maildir = place / "Maildir"
        self.log = place / "mail.log"
        filled = configuration.replace("@PORT@", str(self.port)).replace("@PLACE@", str(place))
        (place / "smtpd.conf").write_text(filled.replace("@USER@", self.user))
        if not os.geteuid():
            for path in (place, *place.rglob("*")):
                shutil.chown(path, "nobody")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        drop = [] if os.geteuid() else ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        command = [sys.executable, "-m", "pysmtpd", "-f", str(self.place / "smtpd.conf"), "--spool", str(self.spool)]
        environment = dict(os.environ, PYTHONPATH=str(ROOT), HOME=str(self.place))
        with open(self.log, "ab") as log, open(self.place / "daemon.log", "ab") as errors:
            self.process = subprocess.Popen(
                [*drop, *self.before, *command, *self.arguments],
                stdout=log,
                stderr=errors,
                env=environment,
                cwd=self.place,
                start_new_session=True,
            )
        waitFor("the greeting", self._greets)

    def _greets(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended: {(self.place / 'daemon.log').read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as probe:
                return probe.recv(4) == b"220 "
        except OSError:
            return False

    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """As a crash would: the whole session of processes at once."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """In order; gives the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self.process.returncode

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pysmtpctl."""
        command = [sys.executable, "-m", "pysmtpd.control.cli", "-s", str(self.spool / "control.sock"), *words]
        return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))

    def queued(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.control("--json", "show", "queue").stdout.splitlines()]

    def delivered(self) -> list[Path]:
        new = self.maildir / "new"
        return sorted(new.iterdir()) if new.is_dir() else []

    def client(self, **options: Any) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE, **options)


SINK = """
listen on 127.0.0.1 port @PORT@
action "sink" maildir "@PLACE@/Maildir" virtual { "@" = "@USER@" }
match from any for any action "sink"
"""


@contextmanager
def running(configuration: str, *arguments: str, before: Sequence[str] = ()) -> Iterator[Daemon]:
    """A daemon for the length of a C{with}; its directory goes with it."""
    place = Place()
    daemon = Daemon(place.path, configuration, *arguments, before=before)
    try:
        daemon.start()
        yield daemon
        daemon.stop()
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
        place.remove()
