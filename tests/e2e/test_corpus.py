"""Real messages, well-formed and broken, sent by real programs, come out of the Maildir as they went in.

The corpus is a directory of raw messages that C{PYSMTPD_CORPUS} names; without it, a few of our own that are as odd. Each message is
sent to a recording sink and to the daemon by the same program, and what the two got is compared.

Programs put on the wire what they please. A file with LF line ends that smtplib gets as octets goes out with bare LF; smtp-source adds CRLF
to lines whose own CR it keeps. RFC 5321 2.3.8 forbids both, so the default listener has to refuse exactly those (554 5.6.0), and
one with C{bare-newline normalise} has to take them.
"""

from __future__ import annotations

import os
import re
import smtplib
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.recorder import Recorder
from tests.e2e.support import Daemon, run, running, say

OWN = {
    "plain": b"From: a@example.org\r\nSubject: plain\r\n\r\nHello.\r\n",
    "line feeds": b"From: a@example.org\nSubject: lf\n\nHello.\n",
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n...\r\n",
    "empty": b"",
    "no body": b"Subject: no body\r\n",
    "no header": b"\r\nno header at all\r\n",
    "eight bit": "Subject: gr\u00fc\u00dfe\r\n\r\nstra\u00dfe\r\n".encode("latin-1"),
    "long line": b"Subject: long\r\n\r\n" + b"x" * 990 + b"\r\n",
    "no last line end": b"Subject: cut\r\n\r\ncut",
    "tabs and blanks": b"Subject: \t blanks \t\r\n \t\r\n\r\n \t\r\n",
    "trace": b"Return-Path: <x@example.org>\r\nDelivered-To: y@example.org\r\nReceived: from z\r\n\tby w\r\n\r\nbody\r\n",
}

LISTENERS = """
listen on 127.0.0.1 port @PORT@
listen on 127.0.0.1 port @PORT2@ bare-newline normalise
action "sink" maildir "@PLACE@/Maildir" virtual { "@" = "@USER@" }
match from any for any action "sink"
"""

REFUSED = "554 5.6.0"

# What the daemon puts on top; Received may be folded.
_TRACE = re.compile(rb"Return-Path: [^\n]*\nDelivered-To: [^\n]*\nReceived: [^\n]*\n(?:[ \t][^\n]*\n)*")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LINE_END = re.compile(rb"\r\n|\r|\n")

# Returns the reply that refused the message; empty: it was accepted.
Send = Callable[[int, str, Path], str]


def corpus() -> dict[str, bytes]:
    place = os.environ.get("PYSMTPD_CORPUS")
    if not place:
        return OWN
    ours = ("README", ".gitattributes")
    paths = sorted(path for path in Path(place).iterdir() if path.is_file() and path.name not in ours)
    return {path.name: path.read_bytes() for path in paths}


def bySmtplib(port: int, recipient: str, path: Path) -> str:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=30) as client:
        try:
            client.sendmail("sender@example.org", [recipient], path.read_bytes())
        except smtplib.SMTPDataError as error:
            return f"{error.smtp_code} {error.smtp_error!r}".replace("b'", "")
    return ""


def bySwaks(port: int, recipient: str, path: Path) -> str:
    printed = run(
        "swaks", "--suppress-data", "-s", "127.0.0.1", "-p", str(port), "-h", "client.test",
        "-f", "sender@example.org", "-t", recipient, "-d", f"@{path}", isOk=False,
    )  # fmt: skip
    refused = re.search(r"lines sent\n<\*\* (.*)", printed)
    if refused is None and not re.search(r"lines sent\n<-  250", printed):
        raise AssertionError(printed)
    return "" if refused is None else refused[1]


def bySmtpSource(port: int, recipient: str, path: Path) -> str:
    address = f"127.0.0.1:{port}"
    printed = run("smtp-source", "-f", "sender@example.org", "-t", recipient, "-F", str(path), address, isOk=False)
    if printed and "end of data rejected" not in printed:
        raise AssertionError(printed)
    return printed.strip().partition("rejected: ")[2]


class CorpusTests(SynchronousTestCase):
    """Three programs, each with the files as they are and with the files as the program wants them."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="pysmtpd-corpus-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.recorder = Recorder()
        self.addCleanup(self.recorder.close)

    def files(self, form: Callable[[bytes], bytes] = lambda content: content) -> dict[str, Path]:
        """The corpus by recipient: each message has one of its own, by which it is found again."""
        made = {}
        for number, (name, content) in enumerate(corpus().items()):
            path = self.directory / f"{number:03d}-{name.replace(' ', '-')}"
            path.write_bytes(form(content))
            made[f"m{number:03d}@example.org"] = path
        return made

    def send(self, send: Send, port: int, files: dict[str, Path]) -> dict[str, str]:
        """Send them all, a few at a time.

        @return: the replies that refused one.
        """
        # smtp-source sleeps a second after a refusal.
        with ThreadPoolExecutor(16) as threads:
            replies = threads.map(lambda item: send(port, *item), files.items())
        return {recipient: reply for recipient, reply in zip(files, replies, strict=True) if reply}

    def compare(self, send: Send, files: dict[str, Path], refusals: int) -> None:
        """
        @param refusals: how many the default listener has to refuse, if the corpus is the one this was written for.
        """
        began = time.monotonic()
        self.assertEqual(self.send(send, self.recorder.port, files), {})
        sent = {recipient: self.recorder.to(recipient).content for recipient in files}
        with running(LISTENERS) as daemon:
            refused = self.send(send, daemon.port, files)
            wrong = {recipient for recipient, content in sent.items() if _BARE.search(content)}
            self.assertEqual(set(refused), wrong)
            for recipient, reply in refused.items():
                self.assertTrue(reply.startswith(REFUSED), f"{files[recipient]}: {reply}")
            self.assertStored(daemon, {recipient: sent[recipient] for recipient in files if recipient not in refused})
            if refused:
                again = {recipient: files[recipient] for recipient in refused}
                self.assertEqual(self.send(send, daemon.ports[2], again), {})
                self.assertStored(daemon, sent)
        if len(files) == 104:
            self.assertEqual(len(refused), refusals)
        eight = sum(not content.isascii() for content in sent.values())
        say(
            f"{len(files)} messages sent, {len(files) - len(refused)} delivered as sent ({eight} with 8-bit octets and no BODY=), "
            f"{len(refused)} refused for bare CR or LF and taken by 'normalise'; {time.monotonic() - began:.0f} s"
        )

    def assertStored(self, daemon: Daemon, sent: dict[str, bytes]) -> None:
        letters = daemon.letters(len(sent))
        self.assertEqual(set(letters), set(sent))
        for recipient, letter in letters.items():
            trace = _TRACE.match(letter)
            assert trace is not None, letter[:300]
            self.assertEqual(letter[trace.end() :], _LINE_END.sub(b"\n", sent[recipient]), recipient)

    def test_smtplib(self) -> None:
        """Octets as they are in the file: 6 files have LF line ends."""
        self.compare(bySmtplib, self.files(), 6)

    def test_smtplibWithNetworkLineEnds(self) -> None:
        self.compare(bySmtplib, self.files(lambda content: _LINE_END.sub(b"\r\n", content)), 0)

    def test_swaks(self) -> None:
        """It gives every line the right end by itself. It cannot send nothing, so the empty file becomes an empty line."""
        self.compare(bySwaks, self.files(lambda content: content or b"\n"), 0)

    def test_smtpSource(self) -> None:
        """It adds CRLF to whatever stands before LF, so all go out with CR CR LF, but for the 6 with LF line ends and the empty one."""
        self.compare(bySmtpSource, self.files(), 97)

    def test_smtpSourceWithLocalLineEnds(self) -> None:
        self.compare(bySmtpSource, self.files(lambda content: _LINE_END.sub(b"\n", content)), 0)
