"""C{pysmtpctl} against a real daemon on a real socket, with nothing but what it ships: its own client in a thread."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pysmtpd.config import Environment, load
from pysmtpd.control import cli
from pysmtpd.control.cli import main
from pysmtpd.control.render import moment
from pysmtpd.control.wire import Client, ControlError
from pysmtpd.model.address import Path as Address
from pysmtpd.model.envelope import Agent, Destination, Message
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import SessionId
from pysmtpd.platform.real import RealPlatform
from pysmtpd.service import Daemon, build
from pysmtpd.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent

CONFIG = """
queue backend "ram:"
action "out" relay
match from local for any action "out"
"""
CONTENT = b"Subject: hello\r\n\r\nHi \xc3\xa4.\r\n"


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    error: str

    @property
    def json(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@contextlib.contextmanager
def captured() -> Iterator[tuple[io.TextIOWrapper, io.StringIO]]:
    out, error = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        yield out, error


def run(*arguments: str) -> Ran:
    with captured() as (out, error):
        try:
            code = main(arguments)
        except SystemExit as exit:
            code = int(exit.code or 0)
        buffer: Any = out.buffer
        return Ran(code, buffer.getvalue().decode(), error.getvalue())


class DaemonTestCase(TestCase):
    """A daemon whose mta is paused, with a queue in memory."""

    timeout = 30.0

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        # The path of a UNIX socket may have about a hundred octets.
        self.spool = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.spool)
        self.socket = f"{self.spool}/control.sock"
        self.ended: list[str] = []
        self.verbose: list[bool] = []
        config = load("smtpd.conf", {"smtpd.conf": CONFIG}.__getitem__, Environment("mx.example.org", ("192.0.2.25",)))
        settings = Settings(
            self.spool, ("mta",), ended=self.ended.append, setVerbose=self.verbose.append, hosts="127.0.0.1 localhost"
        )
        self.daemon: Daemon = build(RealPlatform(reactor), config, settings)
        self.daemon.startService()
        self.addCleanup(self.daemon.stopService)
        assert self.daemon._starting is not None
        return self.daemon._starting

    async def submit(self, *recipients: str, content: bytes = CONTENT) -> Message:
        session = SessionFacts(
            session=SessionId(1), listener="socket", hostname="mx", peer="local", helo="mx", protocol="ESMTP"
        )
        submission = self.daemon.queue.begin(Transaction(session, Address("jane", "example.org")))
        for recipient in recipients:
            path = Address(*recipient.split("@"))
            submission.recipient(Destination(path, path, Agent.MTA, "out"))
        submission.write(content)
        return await submission.commit(b"")

    async def ctl(self, *arguments: str, socket: str = "") -> Ran:
        """One command, in a thread."""
        return await deferToThread(run, "-s", socket or self.socket, *arguments)


class CommandTests(DaemonTestCase):
    async def test_socketIsOurs(self) -> None:
        self.assertEqual(stat.S_IMODE(os.stat(self.socket).st_mode), 0o600)

    async def test_showQueue(self) -> None:
        self.assertEqual(await self.ctl("show", "queue"), Ran(0, "", ""))
        await self.submit("ann@example.net", "bob@example.net")
        shown = await self.ctl("show", "queue")
        self.assertEqual(shown.code, 0)
        lines = shown.out.splitlines()
        self.assertEqual(len(lines), 4)
        self.assertRegex(
            lines[0], r"^[0-9a-f]{24} mta <jane@example.org> -> <ann@example.net> \d+ bytes, 0s old, 0 tries$"
        )
        self.assertRegex(lines[1], r"^    ready, but the mta is paused; expires in (4d|3d23h)$")

    async def test_jsonBeforeAndAfterTheVerb(self) -> None:
        await self.submit("ann@example.net", "bob@example.net")
        before, after = await self.ctl("--json", "show", "queue"), await self.ctl("show", "queue", "--json")
        self.assertEqual(before, after)
        self.assertEqual([row["recipient"] for row in after.json], ["ann@example.net", "bob@example.net"])

    async def test_everyCommandSpeaksJson(self) -> None:
        message = await self.submit("ann@example.net")
        id = f"{message.id:016x}"
        evpid = (await self.ctl("--json", "show", "queue")).json[0]["evpid"]
        commands = [
            *(f"show {what}" for what in ("queue", f"message {id}", f"envelope {evpid}", "stats", "status")),
            *(f"show {what}" for what in ("routes", "hosts", "relays", "set-aside", "tls example.net")),
            *("schedule all", f"pause envelope {id}", f"resume envelope {id}"),
            *(f"{verb} {part}" for verb in ("pause", "resume") for part in ("mda", "mta", "smtp")),
            *("log verbose", "log brief", "monitor -c 1", f"remove {id}", "stop"),
        ]
        for command in commands:
            ran = await self.ctl("--json", *command.split())
            self.assertEqual((ran.code, ran.error), (0, ""), command)
            self.assertIsInstance(ran.json, list, command)

    async def test_showMessage(self) -> None:
        large = CONTENT + b"line\r\n" * 30_000
        for content in (CONTENT, large):
            message = await self.submit("ann@example.net", content=content)
            shown = await self.ctl("show", "message", f"{message.id:016x}")
            self.assertEqual(shown.out.encode(), content)
        (facts,) = (await self.ctl("--json", "show", "message", f"{message.id:016x}")).json
        self.assertEqual((facts["size"], facts["bounce"]), (len(large), False))

    async def test_showEnvelope(self) -> None:
        await self.submit("ann@example.net")
        (row,) = (await self.ctl("--json", "show", "queue")).json
        shown = await self.ctl("show", "envelope", row["evpid"])
        self.assertIn("recipient: ann@example.net\n", shown.out)
        self.assertEqual((row["condition"], row["next_try"]), ("ready", 0))
        self.assertIn("next_try: no time is set\n", shown.out)
        self.assertIn("session:\n    id: 0000000000000001\n", shown.out)
        self.assertIn("attempts: none\n", shown.out)

    async def test_showStatus(self) -> None:
        shown = await self.ctl("show", "status")
        self.assertIn("durability: volatile\n", shown.out)
        self.assertIn("paused:\n    mta\n", shown.out)
        self.assertIn(f"process: {os.getpid()}\n", shown.out)
        self.assertRegex(shown.out, r"(?m)^uptime: \d+s$")
        self.assertRegex(shown.out, r"(?m)^    since: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, \d+s ago$")
        self.assertIn("loading: no\n", shown.out)

    async def test_showStats(self) -> None:
        await self.submit("ann@example.net")
        shown = await self.ctl("show", "stats")
        self.assertIn("smtp.message=1\n", shown.out)

    async def test_countersHaveAllTheirDigits(self) -> None:
        self.daemon.stat.set("test.count", 123_456_789)
        self.daemon.stat.set("test.seconds", 0.25)
        self.daemon.stat.set("test.at", 1_796_027_166.5)
        shown = (await self.ctl("show", "stats")).out.splitlines()
        self.assertIn("test.count=123456789", shown)
        self.assertIn("test.seconds=0.25", shown)
        self.assertIn("test.at=1796027166.5", shown)

    async def test_doing(self) -> None:
        message = await self.submit("ann@example.net", "bob@example.net")
        id = f"{message.id:016x}"
        for arguments, code, said in (
            (("pause", "envelope", id), 0, "2 envelopes paused\n"),
            (("pause", "envelope", id), 1, "0 envelopes paused\n"),
            (("resume", "envelope", "all"), 0, "2 envelopes resumed\n"),
            (("schedule", "all"), 0, "0 envelopes scheduled\n"),
            (("remove", id + "00000000"), 0, "1 envelope will be removed\n"),
            (("resume", "mta"), 0, "mta resumed\n"),
            (("pause", "mta"), 0, "mta paused\n"),
            (("log", "verbose"), 0, "logging verbosely\n"),
            (("log", "brief"), 0, "logging briefly\n"),
        ):
            self.assertEqual(await self.ctl(*arguments), Ran(code, said, ""))
        self.assertEqual(self.verbose, [True, False])

    async def test_monitor(self) -> None:
        with patch("pysmtpd.control.cli.time.sleep"):
            await self.submit("ann@example.net")
            shown = await self.ctl("monitor", "-c", "21")
            rows = (await self.ctl("monitor", "-c", "2", "--json")).json
        lines = [line.split() for line in shown.out.splitlines()]
        self.assertEqual(len(lines), 23, "two heads, one each twenty lines")
        first = dict(zip(lines[0], lines[1], strict=True))
        self.assertEqual((first["queued"], first["accepted"], first["sessions"]), ("1", "0", "0"))
        self.assertEqual(lines[0], lines[21])
        self.assertEqual([row["queued"] for row in rows], [1, 1])

    async def test_monitorGoesOnUntilItIsInterrupted(self) -> None:
        with patch("pysmtpd.control.cli.time.sleep", side_effect=[None, None, KeyboardInterrupt]):
            shown = await self.ctl("monitor")
        self.assertEqual((shown.code, len(shown.out.splitlines())), (0, 4))

    async def test_monitorCountsWhatComes(self) -> None:
        calls: Any = reactor

        def sleep(seconds: float) -> None:
            self.assertEqual(seconds, 1)
            submit: Any = lambda: Deferred.fromCoroutine(self.submit("ann@example.net"))  # noqa: E731
            blockingCallFromThread(calls, submit)

        with patch("pysmtpd.control.cli.time.sleep", sleep):
            rows = (await self.ctl("--json", "monitor", "-c", "3")).json
        self.assertEqual([(row["accepted"], row["queued"]) for row in rows], [(0, 0), (1, 1), (1, 2)])

    async def test_everyMonitoredKeyIsCounted(self) -> None:
        page = (ROOT / "docs" / "metrics.md").read_text()
        keys = re.sub(
            r"`(m.a)\.delivery\.RESULT`", r"`\1.delivery.ok` `\1.delivery.tempfail` `\1.delivery.permfail`", page
        )
        for key, _ in cli._MONITORED:
            if key != "queue.envelope":
                self.assertIn(f"`{key}`", keys)

    async def test_stop(self) -> None:
        self.assertEqual(await self.ctl("stop"), Ran(0, "stopping\n", ""))
        self.assertEqual(self.ended, [""])


class ErrorTests(DaemonTestCase):
    async def test_refused(self) -> None:
        for arguments in (
            ("show", "message", "1" * 16),
            ("remove", "1" * 24),
            ("show", "envelope", "x"),
            ("schedule", "?"),
        ):
            ran = await self.ctl(*arguments)
            self.assertEqual((ran.code, ran.out), (1, ""))
            self.assertRegex(ran.error, r"^pysmtpctl: .*[1x?].*\n$")

    async def test_usage(self) -> None:
        for arguments in (
            (),
            ("show",),
            ("show", "everything"),
            ("remove",),
            ("pause", "queue"),
            ("monitor", "-c", "x"),
            ("monitor", "-c", "-1"),
            ("monitor", "-c", "0"),
            ("--json", "enqueue"),
        ):
            ran = await self.ctl(*arguments)
            self.assertEqual(ran.code, 2, arguments)
            self.assertIn("usage: pysmtpctl", ran.error)

    async def test_whatCannotBeSent(self) -> None:
        """An argument that is no text, or too much of it, is told as such."""
        for argument, said in (("\udcff", r"'\udcff' is not UTF-8"), ("x" * 65_536, "is too long: 65536 octets")):
            ran = await self.ctl("remove", argument)
            self.assertEqual((ran.code, ran.out), (1, ""))
            self.assertEqual((ran.error[:25], said in ran.error), ("pysmtpctl: the selection ", True), ran.error)

    async def test_noDaemon(self) -> None:
        ran = await self.ctl("show", "queue", socket=self.spool + "/other.sock")
        self.assertEqual((ran.code, ran.out), (69, ""))
        self.assertIn("no daemon answers", ran.error)
        await self.daemon.stopService()
        self.assertEqual((await self.ctl("show", "queue")).code, 69)

    async def test_notPermitted(self) -> None:
        with patch("socket.socket.connect", side_effect=PermissionError):
            ran = await self.ctl("show", "queue")
        self.assertEqual((ran.code, ran.out), (77, ""))
        self.assertIn("run it as the daemon's user or as root", ran.error)

    async def test_interrupted(self) -> None:
        with patch("pysmtpd.control.cli.Client.rows", side_effect=KeyboardInterrupt):
            for command, code in (("show queue", 130), ("monitor", 0)):
                self.assertEqual(await self.ctl(*command.split()), Ran(code, "", ""))

    async def test_readersThatLeave(self) -> None:
        """C{pysmtpctl show queue | head -1}"""
        await self.submit(*(f"recipient{number}@example.net" for number in range(900)))
        command = f"{sys.executable} -m pysmtpd.control.cli -s {self.socket} show queue 2>&1 | head -1"
        ran = await deferToThread(
            subprocess.run, ["sh", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False
        )
        self.assertEqual(len(ran.stdout.splitlines()), 1, ran)

    async def test_noRoomForTheAnswer(self) -> None:
        """That is not the daemon's fault, and no success."""
        command = f"{sys.executable} -m pysmtpd.control.cli -s {self.socket} show status > /dev/full"
        ran = await deferToThread(
            subprocess.run, ["sh", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False
        )
        said = "pysmtpctl: the answer cannot be written: No space left on device\n"
        self.assertEqual((ran.returncode, ran.stderr), (1, said))

    async def test_terminalsOfFewCharacters(self) -> None:
        """Text loses what they do not have, JSON escapes it."""
        self.daemon.stat.set("test.\u20ac\udcff", 1)
        command = (sys.executable, "-m", "pysmtpd.control.cli", "-s", self.socket, "show", "stats")
        environment = {**os.environ, "PYTHONIOENCODING": "iso-8859-1"}
        shown = []
        for arguments in ((), ("--json",)):
            ran = await deferToThread(
                subprocess.run, (*command, *arguments), capture_output=True, cwd=ROOT, env=environment, check=False
            )
            self.assertEqual((ran.returncode, ran.stderr), (0, b""))
            shown.append(ran.stdout)
        self.assertIn(b"\ntest.??=1\n", shown[0])
        self.assertIn(["test.\u20ac\udcff", 1], [json.loads(line) for line in shown[1].splitlines()])


class WireTests(DaemonTestCase):
    """The client that needs the standard library only, and the server's AMP, agree."""

    async def test_pages(self) -> None:
        await self.submit(*(f"recipient{number}@example.net" for number in range(900)))

        def ask() -> list[Any]:
            client = Client(self.socket)
            rows = list(client.rows("Queue"))
            client.close()
            return rows

        rows = await deferToThread(ask)
        self.assertEqual(
            [row["recipient"] for row in rows], [f"recipient{number}@example.net" for number in range(900)]
        )

    async def test_errors(self) -> None:
        def ask() -> list[str]:
            client = Client(self.socket)
            codes = []
            for id in ("x", "0" * 15 + "7"):
                try:
                    client.call("Message", id=id)
                except ControlError as error:
                    codes.append(error.code)
            self.assertEqual(client.call("Queue", cursor=""), {"rows": [], "cursor": ""})
            client.close()
            return codes

        self.assertEqual(await deferToThread(ask), ["BAD_ARGUMENT", "NO_SUCH_ITEM"])

    async def test_aDaemonThatGoes(self) -> None:
        """Its end in the middle of an answer is told as such."""
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(self.spool + "/half.sock")
        listening.listen()

        def half() -> None:
            connection, _ = listening.accept()
            connection.recv(1)
            connection.sendall(b"\x00\x07_answer\x00")
            connection.close()

        ended = deferToThread(half)
        ran = await self.ctl("show", "queue", socket=self.spool + "/half.sock")
        await ended
        self.assertEqual(ran.code, 69)
        self.assertIn("closed the connection", ran.error)

    async def test_nobodyWhoTakesWhatWeSay(self) -> None:
        """It hangs up at once, as a daemon does that has as many operators as it takes: then nothing was done, and that is said."""
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(self.spool + "/deaf.sock")
        listening.listen()
        gone = threading.Event()

        def hangUp() -> None:
            listening.accept()[0].close()
            gone.set()

        def stop() -> Ran:
            with patch("pysmtpd.control.cli.Client", connected):
                return run("-s", self.spool + "/deaf.sock", "stop")

        def connected(path: str) -> Client:
            client = Client(path)
            gone.wait(30)
            return client

        ended = deferToThread(hangUp)
        ran = await deferToThread(stop)
        await ended
        self.assertEqual(
            (ran.code, ran.out, ran.error), (69, "", "pysmtpctl: the daemon closed the connection: Broken pipe\n")
        )

    async def test_anotherProtocol(self) -> None:
        """Such as that of the local socket, beside it."""
        ran = await self.ctl("show", "queue", socket=self.spool + "/smtp.sock")
        self.assertEqual((ran.code, ran.error), (69, "pysmtpctl: who answers does not speak the control protocol\n"))


class MomentTests(SynchronousTestCase):
    def test_fromNow(self) -> None:
        now = 1_700_000_000.37
        for seconds, said in ((0.0, "0s ago"), (0.03, "0s ago"), (-0.9, "1s ago"), (1.0, "in 1s"), (90.0, "in 1m30s")):
            self.assertTrue(moment(now + seconds, now).endswith(f"Z, {said}"), (seconds, moment(now + seconds, now)))
        self.assertEqual(moment(0.0, now), "never")


class StartTests(SynchronousTestCase):
    def test_itLoadsNothingOfTheDaemons(self) -> None:
        """What is not loaded takes no time: neither Twisted nor any other part of the house."""
        program = "import sys; from pysmtpd.control import cli; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        names = loaded.stdout.split()
        self.assertEqual([name for name in names if name.split(".")[0] in ("twisted", "zope", "lark", "OpenSSL")], [])
        ours = [name for name in names if name.startswith("pysmtpd.")]
        self.assertEqual(ours, [name for name in ours if name.startswith("pysmtpd.control")])
        self.assertNotIn("inspect", names)

    def test_helpTellsTheExitCodes(self) -> None:
        shown = run("--help")
        self.assertEqual(shown.code, 0)
        for code in ("0 done", "1 refused", "2 wrong usage", "69 no daemon", "77 not permitted"):
            self.assertIn(code, " ".join(shown.out.split()))
