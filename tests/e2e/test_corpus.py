"""Real messages, well-formed and broken, sent by real programs, come out of the Maildir as they went in.

The corpus is a directory of raw messages that C{PYSMTPD_CORPUS} names; without it, a few of our own that are as odd.
"""

from __future__ import annotations

import os
import smtplib
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.recorder import Recorder
from tests.e2e.support import SINK, Daemon, running, waitFor

OWN = {
    "plain": b"From: a@example.org\r\nSubject: plain\r\n\r\nHello.\r\n",
    "line feeds": b"From: a@example.org\nSubject: lf\n\nHello.\n",
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n...\r\n",
    "no body": b"Subject: no body\r\n",
    "no header": b"\r\nno header at all\r\n",
    "eight bit": "Subject: gr\u00fc\u00dfe\r\n\r\nstra\u00dfe\r\n".encode("latin-1"),
    "empty": b"",
    "long line": b"Subject: long\r\n\r\n" + b"x" * 990 + b"\r\n",
    "no last line end": b"Subject: cut\r\n\r\ncut",
    "tabs and blanks": b"Subject: \t blanks \t\r\n \t\r\n\r\n \t\r\n",
}

ADDED = (b"Return-Path:", b"Delivered-To:", b"Received:")


def corpus() -> dict[str, bytes]:
    place = os.environ.get("PYSMTPD_CORPUS")
    if not place:
        return OWN
    names = sorted(
        path for path in Path(place).iterdir() if path.is_file() and path.name not in ("README", ".gitattributes")
    )
    return {path.name: path.read_bytes() for path in names}


def withoutTrace(stored: bytes) -> bytes:
    """What lies in the Maildir, without the fields that were put on top of it, with LF line ends."""
    lines = stored.split(b"\n")
    at = 0
    for field in ADDED:
        if not lines[at].startswith(field):
            raise AssertionError(f"{field.decode()} is missing: {stored[:300]!r}")
        at += 1
        while (
            lines[at : at + 1] and lines[at][:1] in (b" ", b"\t") and field == b"Received:" and lines[at].strip() != b""
        ):
            at += 1
    return b"\n".join(lines[at:])


def bySmtplib(port: int, name: str, content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.sendmail("sender@example.org", ["rcpt@example.org"], content)


def bySwaks(port: int, name: str, content: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"pysmtpd-swaks-{os.getpid()}"
    path.write_bytes(content)
    try:
        run("swaks", "--silent", "2", "-s", "127.0.0.1", "-p", str(port), "-f", "sender@example.org", "-t", "rcpt@example.org",
            "--suppress-data", "--no-data-fixup", "-d", f"@{path}")  # fmt: skip
    finally:
        path.unlink()


def bySmtpSource(port: int, name: str, content: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"pysmtpd-source-{os.getpid()}"
    path.write_bytes(content)
    try:
        run(
            "smtp-source",
            "-m",
            "1",
            "-f",
            "sender@example.org",
            "-t",
            "rcpt@example.org",
            "-F",
            str(path),
            f"127.0.0.1:{port}",
        )
    finally:
        path.unlink()


def run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, timeout=60, env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin")
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}")


Send = Callable[[int, str, bytes], None]


class CorpusTests(SynchronousTestCase):
    def send(self, send: Send) -> None:
        """Send each message to the recorder and to the daemon, and compare what they got."""
        messages = corpus()
        recorder = Recorder()
        self.addCleanup(recorder.close)
        with running(SINK) as daemon:
            self.compare(send, messages, recorder, daemon)

    def compare(self, send: Send, messages: dict[str, bytes], recorder: Recorder, daemon: Daemon) -> None:
        seen: Sequence[Path] = ()
        for number, (name, content) in enumerate(messages.items(), 1):
            del recorder.messages[:]
            send(recorder.port, name, content)
            send(daemon.port, name, content)
            now = waitFor(f"{name} in the Maildir", partial(self.delivered, daemon, number))
            (new,) = [path for path in now if path not in seen]
            seen = now
            self.assertEqual(withoutTrace(new.read_bytes()), recorder.messages[0].replace(b"\r\n", b"\n"), name)
        print(f"{len(messages)} messages compared", flush=True)

    def delivered(self, daemon: Daemon, count: int) -> Sequence[Path]:
        paths = daemon.delivered()
        return paths if len(paths) >= count else ()

    def test_smtplib(self) -> None:
        self.send(bySmtplib)

    def test_swaks(self) -> None:
        self.send(bySwaks)

    def test_smtpSource(self) -> None:
        self.send(bySmtpSource)
