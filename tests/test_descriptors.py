"""A daemon that may open few descriptors says so to its peers, and lives on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 64
PATIENCE = 30.0
CONFIG = """
listen on 127.0.0.1 port {port}
action "out" relay
match from any for any action "out"
"""


class DescriptorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.addCleanup(rmtree, self.place)
        self.place.chmod(0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        config = self.place / "smtpd.conf"
        config.write_text(CONFIG.format(port=self.port))
        user = ["--user", "nobody"] if os.geteuid() == 0 else []
        daemon = [sys.executable, "-m", "pysmtpd", "-f", str(config), "--spool", str(self.place / "spool"), "-P", "mta"]
        self.errors = self.place / "errors"
        with self.errors.open("wb") as errors:
            self.daemon = subprocess.Popen(
                ["sh", "-c", f'ulimit -n {LIMIT} && exec "$@"', "sh", *daemon, "--log", "none", *user],
                stdout=errors,
                stderr=errors,
                env=dict(os.environ, PYTHONPATH=str(ROOT)),
            )
        self.addCleanup(self.end)
        self.connections: list[socket.socket] = []

    def end(self) -> None:
        if self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        self.connections.append(connection)
        self.addCleanup(connection.close)
        return connection

    def greeted(self) -> socket.socket:
        """The first session; waits for the daemon's start, or for room."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                connection = self.connect()
            except ConnectionRefusedError:
                if self.daemon.poll() is not None:
                    break
            else:
                if connection.recv(4) == b"220 ":
                    return connection
                connection.close()
            time.sleep(0.05)
        raise AssertionError(self.errors.read_text())

    def say(self, connection: socket.socket, line: bytes) -> bytes:
        connection.sendall(line)
        return connection.recv(4096)[:3]

    def test_tooManyAreTold(self) -> None:
        first = self.greeted()
        first.recv(4096)
        heard = [self.connect().recv(4096)[:4] for _ in range(LIMIT + 20)]
        self.assertEqual(sorted(dict.fromkeys(heard)), [b"220 ", b"421 "])
        replies = [self.say(first, line) for line in (b"EHLO x.test\r\n", b"MAIL FROM:<a@x.test>\r\n")]
        replies += [
            self.say(first, line) for line in (b"RCPT TO:<b@y.test>\r\n", b"DATA\r\n", b"Subject: x\r\n\r\n.\r\n")
        ]
        self.assertEqual(replies, [b"250", b"250", b"250", b"354", b"250"])
        for connection in self.connections:
            connection.close()
        self.greeted()
        self.daemon.terminate()
        self.assertEqual(self.daemon.wait(PATIENCE), 0, self.errors.read_text())
        self.assertNotIn("Traceback", self.errors.read_text())
