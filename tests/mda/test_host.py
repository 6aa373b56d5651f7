"""A delivery host as a real process of its own, on the real disk."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.mda.wire import Answer, Frame, Kind, Status, asExit, packFrame, takeAnswers
from pysmtpd.model.task import CommandTask, Exit, MaildirTask, MboxTask

ROOT = Path(__file__).resolve().parent.parent.parent

PROGRAM = """
import socket, sys
sys.path.append(sys.argv[1])
from pysmtpd.privilege.__main__ import serve
serve(socket.socket(fileno=int(sys.argv[2])), sys.argv[3])
"""


class HostTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = tempfile.mkdtemp(prefix="pysmtpd-")
        self.addCleanup(shutil.rmtree, self.home, True)
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(20)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", PROGRAM, str(ROOT), str(theirs.fileno()), self.home],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
            )
        self.addCleanup(self._end)
        self.buffer = bytearray()

    def _end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.communicate()

    def say(self, *frames: Frame) -> None:
        self.connection.sendall(b"".join(map(packFrame, frames)))

    def answers(self, count: int) -> list[Answer]:
        found: list[Answer] = []
        while len(found) < count:
            octets = self.connection.recv(65_536)
            self.assertTrue(octets, "the host has ended")
            self.buffer += octets
            found += takeAnswers(self.buffer)
        return found

    def stored(self, name: str, directory: str = "Maildir") -> bytes:
        return Path(self.home, directory, "new", name).read_bytes()

    def test_manyAtOnce(self) -> None:
        """Into a Maildir that is not there yet, by all threads at once."""
        frames = [
            Frame(number, Kind.WHOLE, MaildirTask("~/Maildir", f"letter{number}"), b"Number: %d\r\n" % number)
            for number in range(200)
        ]
        self.say(*frames)
        answers = self.answers(200)
        self.assertEqual({answer.status for answer in answers}, {Status.STORED})
        self.assertEqual({answer.letter for answer in answers}, set(range(200)))
        for number in range(200):
            self.assertEqual(self.stored(f"letter{number}"), b"Number: %d\n" % number)
        self.assertEqual(list(Path(self.home, "Maildir", "tmp").iterdir()), [])

    def test_pieces(self) -> None:
        self.say(Frame(1, Kind.BEGIN, MaildirTask(f"{self.home}/other/", "large"), b"Return-Path: <>\r\n"))
        self.assertEqual(self.answers(1), [Answer(1, Status.NEXT)])
        for _ in range(5):
            self.say(Frame(1, Kind.PIECE, content=b"0123456789\r\n" * 4000))
            self.assertEqual(self.answers(1), [Answer(1, Status.NEXT)])
        self.assertFalse(list(Path(self.home, "other", "new").iterdir()))
        self.say(Frame(1, Kind.END))
        self.assertEqual(self.answers(1), [Answer(1, Status.STORED, 0, f"{self.home}/other/new/large")])
        self.assertEqual(self.stored("large", "other"), b"Return-Path: <>\n" + b"0123456789\n" * 20_000)

    def test_abort(self) -> None:
        self.say(
            Frame(1, Kind.BEGIN, MaildirTask("~/Maildir", "large"), b"x"), Frame(1, Kind.ABORT), Frame(1, Kind.END)
        )
        self.assertEqual([answer.status for answer in self.answers(2)], [Status.NEXT, Status.FAILED])
        for folder in ("tmp", "new"):
            self.assertEqual(list(Path(self.home, "Maildir", folder).iterdir()), [])

    def test_piecesOfNothing(self) -> None:
        self.say(Frame(1, Kind.PIECE, content=b"x"), Frame(2, Kind.END), Frame(3, Kind.ABORT))
        self.assertEqual([answer.status for answer in self.answers(2)], [Status.FAILED, Status.FAILED])

    def test_whereLettersMayNotGo(self) -> None:
        """Whoever has taken over the daemon cannot write to any file but new letters of a Maildir."""
        wrong = [
            ("~/Maildir", "../cur/a"),
            ("~/Maildir", ".hidden"),
            ("~/Maildir", ""),
            ("~/Maildir", "a\0b"),
            ("~/../x", "a"),
            (f"{self.home}/a/../b", "a"),
            ("relative", "a"),
            ("~other/Maildir", "a"),
            ("~/a\0b", "a"),
        ]
        self.say(*(Frame(number, Kind.WHOLE, MaildirTask(path, name)) for number, (path, name) in enumerate(wrong)))
        answers = self.answers(len(wrong))
        self.assertEqual({answer.status for answer in answers}, {Status.FAILED}, answers)
        self.say(*(Frame(number, Kind.BEGIN, MaildirTask(path, name)) for number, (path, name) in enumerate(wrong)))
        self.assertEqual({answer.status for answer in self.answers(len(wrong))}, {Status.FAILED})
        self.assertEqual(list(Path(self.home).iterdir()), [])

    def test_oneThatFailsIsNotAnothersTrouble(self) -> None:
        Path(self.home, "file").write_text("not a directory")
        self.say(
            Frame(1, Kind.WHOLE, MaildirTask("~/file", "a"), b"x"),
            Frame(2, Kind.WHOLE, MaildirTask("~/Maildir", "b"), b"x"),
        )
        answers = {answer.letter: answer for answer in self.answers(2)}
        self.assertEqual(answers[1].status, Status.FAILED)
        self.assertTrue(answers[1].text)
        self.assertEqual(answers[2].status, Status.STORED)

    def test_aMailbox(self) -> None:
        self.say(
            Frame(
                1, Kind.WHOLE, MboxTask("~/mbox", "From a b", b"Return-Path: <a>\r\n"), b"Subject: x\r\n\r\nFrom me\r\n"
            ),
            Frame(2, Kind.BEGIN, MboxTask("~/mbox", "From c d")),
        )
        self.assertEqual(
            {answer.letter: answer.status for answer in self.answers(2)}, {1: Status.STORED, 2: Status.NEXT}
        )
        self.say(Frame(2, Kind.PIECE, content=b"Large"))
        self.answers(1)
        self.say(Frame(2, Kind.END))
        self.assertEqual(self.answers(1), [Answer(2, Status.STORED, 0, f"{self.home}/mbox")])
        self.assertEqual(
            Path(self.home, "mbox").read_text(),
            "From a b\nReturn-Path: <a>\nSubject: x\n\n>From me\n\nFrom c d\nLarge\n\n",
        )

    def test_aCommand(self) -> None:
        task = CommandTask(
            ("/bin/sh", "-c", "cat > got; pwd; exit 75"), {"A": "b"}, self.home, 20, b"Return-Path: <>\r\n"
        )
        self.say(Frame(1, Kind.WHOLE, task, b"Hi\r\n"))
        (answer,) = self.answers(1)
        self.assertEqual(asExit(answer), Exit(75, 0, False, "", str(Path(self.home).resolve())))
        self.assertEqual(Path(self.home, "got").read_bytes(), b"Return-Path: <>\nHi\n")

    def test_aSlowCommandDelaysNobody(self) -> None:
        slow = CommandTask(("/bin/sleep", "60"), {}, "/", 0.5)
        self.say(*(Frame(number, Kind.WHOLE, slow) for number in range(20)))
        self.say(Frame(99, Kind.WHOLE, MaildirTask("~/Maildir", "a"), b"x"))
        answers = self.answers(21)
        self.assertEqual((answers[0].letter, answers[0].status), (99, Status.STORED))
        self.assertEqual({asExit(answer).isLate for answer in answers[1:]}, {True})

    def test_commandsEndWithTheDaemon(self) -> None:
        """Nobody would hear how they end, and their mail is delivered again."""
        task = CommandTask(("/bin/sh", "-c", "echo $$ > pid; sleep 60; echo done > done"), {}, self.home)
        self.say(Frame(1, Kind.WHOLE, task))
        pid = Path(self.home, "pid")
        deadline = time.monotonic() + 20
        while not (pid.exists() and pid.read_text()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.connection.close()
        self.assertEqual(self.process.wait(20), 0)
        while True:
            self.assertLess(time.monotonic(), deadline)
            try:
                os.kill(int(pid.read_text()), 0)
            except ProcessLookupError:
                break
            if Path(f"/proc/{int(pid.read_text())}/stat").read_text().split(")")[1].split()[0] == "Z":
                # Nobody takes the dead away here.
                break

    def test_stop(self) -> None:
        task = CommandTask(("/bin/sleep", "60"), {}, "/")
        self.say(Frame(1, Kind.WHOLE, task), Frame(0, Kind.STOP), Frame(2, Kind.WHOLE, task))
        self.assertEqual({asExit(answer).isLate for answer in self.answers(2)}, {True})

    def test_endsWhenTheDaemonHangsUp(self) -> None:
        self.connection.close()
        self.assertEqual(self.process.wait(20), 0)

    def test_endsOnRubbish(self) -> None:
        self.connection.sendall(b"\xff" * 100)
        self.assertEqual(self.connection.recv(100), b"")
        self.assertNotEqual(self.process.wait(20), 0)

    def test_noTwisted(self) -> None:
        """What is loaded here is also loaded in the root helper: as little as can be."""
        program = "import sys; sys.path.append(sys.argv[1]); import pysmtpd.privilege.__main__; print(*sys.modules)"
        command = [sys.executable, "-I", "-c", program, str(ROOT)]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        ours = sorted(name for name in loaded if name.startswith("pysmtpd."))
        self.assertEqual(
            ours,
            [
                "pysmtpd.mda",
                "pysmtpd.mda.command",
                "pysmtpd.mda.host",
                "pysmtpd.mda.maildir",
                "pysmtpd.mda.mbox",
                "pysmtpd.mda.spooled",
                "pysmtpd.mda.wire",
                "pysmtpd.mda.writers",
                "pysmtpd.model",
                "pysmtpd.model.task",
                "pysmtpd.platform",
                "pysmtpd.platform.beneath",
                "pysmtpd.platform.commands",
                "pysmtpd.platform.file",
                "pysmtpd.platform.files",
                "pysmtpd.platform.mailbox",
                "pysmtpd.platform.trusted",
                "pysmtpd.privilege",
                "pysmtpd.privilege.__main__",
                "pysmtpd.privilege.children",
                "pysmtpd.privilege.drop",
                "pysmtpd.privilege.forward",
                "pysmtpd.privilege.helper",
                "pysmtpd.privilege.mailbox",
                "pysmtpd.privilege.password",
                "pysmtpd.privilege.refused",
                "pysmtpd.privilege.wire",
            ],
        )
        others = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"pysmtpd", "__main__"}
        self.assertEqual({name for name in others if name in ("twisted", "zope", "OpenSSL", "cryptography")}, set())
