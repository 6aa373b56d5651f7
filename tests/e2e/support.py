"""A real daemon on loopback, and real things to talk to it."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest import SkipTest

ROOT = Path(__file__).resolve().parent.parent.parent

# Seconds after which a wait for another process has failed.
PATIENCE = 30.0

T = TypeVar("T")


def freePort() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def waitFor(what: str, condition: Callable[[], T], patience: float = PATIENCE) -> T:
    """Ask until the answer is true: other processes tell us nothing when they are done."""
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s for {what}")
        time.sleep(0.02)
    return answer


def say(text: str) -> None:
    """Progress and figures: one line, at once."""
    print(f"    {text}", flush=True)


def needsRoot(why: str) -> None:
    """Skip the test that calls this, unless root runs it."""
    if os.geteuid():
        raise SkipTest(f"only root can do this: {why}")


def environment(**more: str) -> dict[str, str]:
    """For child processes: our own, the tree to import from, and the directories where Debian keeps the peers."""
    usual = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    return os.environ | usual | more


def run(*command: str, patience: float = 60.0, isOk: bool = True) -> str:
    """Run a command to its end.

    @param isOk: anything but exit code 0 is an error.
    @return: all that it printed.
    """
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=patience, env=environment(), check=False
    )
    printed = done.stdout.decode("utf-8", "replace")
    if isOk and done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{printed}")
    return printed


class Place:
    """A directory of our own, short enough for a socket's path, that any user may look into."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.path.chmod(0o755)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class Daemon:
    """pysmtpd as a process of its own, without root's rights (root runs it as C{nobody})."""

    def __init__(
        self, place: Path, configuration: str, *arguments: str, before: Sequence[str] = (), asRoot: bool = False
    ) -> None:
        """
        @param asRoot: let root start it; it leaves root behind by itself.
        @param configuration: with C{@PORT@}, C{@PORT2@} and so on, C{@PLACE@} and C{@USER@} to be filled in.
        @param before: a command that is put before ours, such as strace.
        """
        self.place = place
        self.ports: dict[int, int] = {}
        self.port = self._port(1)
        self.user = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else "nobody"
        self.program = [sys.executable, "-m", "pysmtpd"]
        # Whom root's daemon becomes is not left to the users that this machine happens to have.
        self.arguments = (*(("--user", self.user) if asRoot and "--user" not in arguments else ()), *arguments)
        self.before = [*before, *([] if asRoot else _unprivileged())]
        self.spool = place / "spool"
        self.maildir = place / "Maildir"
        self.log = place / "mail.log"
        self.errors = place / "daemon.log"
        filled = re.sub(r"@PORT(\d?)@", lambda match: str(self._port(int(match[1] or 1))), configuration)
        filled = filled.replace("@PLACE@", str(place)).replace("@USER@", self.user)
        (place / "smtpd.conf").write_text(filled)
        if not os.geteuid():
            for path in (place, *place.rglob("*")):
                shutil.chown(path, "nobody")
        self.process: subprocess.Popen[bytes] | None = None

    def _port(self, number: int) -> int:
        if number not in self.ports:
            port = freePort()
            while port in self.ports.values():
                port = freePort()
            self.ports[number] = port
        return self.ports[number]

    def start(self) -> None:
        """Start it, and wait until it greets."""
        self.launch()
        waitFor("the greeting", self.greets)

    def launch(self) -> None:
        command = [*self.program, "-f", str(self.place / "smtpd.conf"), "--spool", str(self.spool)]
        with open(self.log, "ab") as log, open(self.errors, "ab") as errors:
            self.process = subprocess.Popen(
                [*self.before, *command, "--log", "json", *self.arguments],
                stdout=log,
                stderr=errors,
                env=environment(HOME=str(self.place)),
                cwd=self.place,
                start_new_session=True,
            )

    def greets(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended: {self.errors.read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as probe:
                return probe.recv(4) == b"220 "
        except OSError:
            return False

    def kill(self) -> None:
        """As a crash would: the whole session of processes at once, if it has not ended already."""
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def terminate(self) -> None:
        """SIGTERM, and no waiting."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGTERM)

    def stop(self) -> int:
        """In order; gives the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self.process.returncode

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pysmtpctl."""
        command = [sys.executable, "-m", "pysmtpd.control.cli", "-s", str(self.spool / "control.sock"), *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)

    def queued(self) -> list[dict[str, Any]]:
        """The rows of C{show queue}."""
        return [json.loads(line) for line in self.control("--json", "show", "queue").stdout.splitlines()]

    def delivered(self) -> list[Path]:
        """Letters in C{new}."""
        new = self.maildir / "new"
        return sorted(new.iterdir()) if new.is_dir() else []

    def letters(self, count: int) -> dict[str, bytes]:
        """Wait for so many letters with one recipient each.

        @return: what lies there by the address in Delivered-To.
        """
        waitFor(f"{count} letters", lambda: len(self.delivered()) >= count)
        found = {}
        for path in self.delivered():
            letter = path.read_bytes()
            found[letter.partition(b"Delivered-To: ")[2].partition(b"\n")[0].decode()] = letter
        return found

    def events(self, *words: str) -> list[dict[str, Any]]:
        """What the mail log tells so far, of these words."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [row for row in rows if row["word"] in words]

    def client(self, **options: Any) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE, **options)


def _unprivileged() -> list[str]:
    return [] if os.geteuid() else ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def checkReach() -> None:
    """
    @raise AssertionError: the user that the daemon will be cannot read the tree.
    """
    command = [*_unprivileged(), sys.executable, "-c", "import pysmtpd"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(
            f"nobody cannot run pysmtpd from {ROOT} ({done.stderr.strip()}): put the tree where others may read"
        )


def certificate(place: Path) -> Path:
    """Make C{cert.pem} and C{key.pem} for C{mx.test} there, signed by itself."""
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=mx.test", "-addext", "subjectAltName=DNS:mx.test",
        "-keyout", str(place / "key.pem"), "-out", str(place / "cert.pem"),
    )  # fmt: skip
    return place / "cert.pem"


class Peer:
    """An SMTP client that says exactly what it is told to, in the segments that it is told to."""

    def __init__(self, port: int) -> None:
        self._socket: socket.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def startTls(self, authority: Path) -> None:
        """Go on under TLS; the certificate must be for C{mx.test}."""
        context = ssl.create_default_context(cafile=str(authority))
        self._file.close()
        self._socket = context.wrap_socket(self._socket, server_hostname="mx.test")
        self._file = self._socket.makefile("rb")

    def say(self, *segments: bytes, pause: float = 0.002) -> None:
        """Send segments that arrive one by one, as far as a sleep between them can do that."""
        for number, segment in enumerate(segments):
            if number:
                time.sleep(pause)
            self._socket.sendall(segment)

    def hear(self) -> str:
        """A whole reply, its lines joined by LF; empty: the connection was closed."""
        lines = []
        while line := self._file.readline().decode():
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    def ask(self, command: str) -> str:
        self.say(command.encode() + b"\r\n")
        return self.hear()

    def begin(self, recipient: str = "rcpt@example.org") -> None:
        """All up to DATA's 354."""
        for expected, reply in (
            ("220", self.hear()),
            ("250", self.ask("EHLO client.test")),
            ("250", self.ask("MAIL FROM:<sender@example.org>")),
            ("250", self.ask(f"RCPT TO:<{recipient}>")),
            ("354", self.ask("DATA")),
        ):
            if not reply.startswith(expected):
                raise AssertionError(reply)


SINK = """
listen on 127.0.0.1 port @PORT@
action "sink" maildir "@PLACE@/Maildir" virtual { "@" = "@USER@" }
match from any for any action "sink"
"""


@contextmanager
def running(
    configuration: str,
    *arguments: str,
    before: Sequence[str] = (),
    asRoot: bool = False,
    prepare: Callable[[Path], object] = lambda place: None,
) -> Iterator[Daemon]:
    """A daemon for the length of a C{with}; its directory goes with it.

    @param prepare: puts files into the directory.
    """
    checkReach()
    place = Place()
    try:
        prepare(place.path)
        daemon = Daemon(place.path, configuration, *arguments, before=before, asRoot=asRoot)
        try:
            daemon.start()
            yield daemon
            code = daemon.stop()
            if code:
                raise AssertionError(f"the daemon ended with exit code {code}: {daemon.errors.read_text()}")
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.kill()
    finally:
        place.remove()
