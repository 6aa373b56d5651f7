"""The daemon as its administrator runs it: command line, exit codes, signals, plugins, copying."""

from __future__ import annotations

import json
import signal
import smtplib
import stat
import subprocess
import time

from tests.daemon.processes import PATIENCE, PYSMTPCTL, PYSMTPD, TWISTD, ProcessTestCase


class ConfigurationTests(ProcessTestCase):
    def test_checkByTwistd(self) -> None:
        path = self.write()
        checked = self.run_(*TWISTD, "-n", "-f", str(path))
        self.assertEqual(
            (checked.returncode, checked.stdout.splitlines()[0]), (0, f"{path}: configuration OK"), checked.stderr
        )

    def test_unknownBackend(self) -> None:
        """One clear line, whoever starts it: what there is."""
        path = str(self.write(before='queue backend "redis:"\n'))
        there = "child:BACKEND, fs:[PATH], null:, ram:, sqlite:[PATH]"
        for command in (PYSMTPD, TWISTD):
            ran = self.run_(*command, "-f", path, "--spool", str(self.spool))
            said = f'pysmtpd: {path}:3: unknown queue backend "redis"; there are: {there}\n'
            self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (78, "", said))


class LifeTests(ProcessTestCase):
    def test_fromStartToStop(self) -> None:
        self.write()
        daemon = self.start()
        self.assertEqual(stat.S_IMODE(self.socket.stat().st_mode), 0o600)
        self.send()
        (row,) = [json.loads(line) for line in self.ctl("--json", "show", "queue").stdout.splitlines()]
        self.assertEqual((row["sender"], row["recipient"]), ("jane@example.org", "ann@example.net"))
        stopped = self.ctl("stop")
        self.assertEqual((stopped.returncode, stopped.stdout), (0, "stopping\n"))
        self.assertEqual(daemon.wait(30), 0)
        self.assertFalse(self.socket.exists())
        self.assertEqual(self.ctl("show", "queue").returncode, 69)
        self.assertIn("daemon started", self.log)
        self.assertIn("daemon stopped", self.log)

    def test_signals(self) -> None:
        """SIGTERM and SIGINT end it in order; kill -9 does not, and the next start finds everything."""
        # What a shell starts in the background has it ignored, and so would the daemon.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        self.write()
        daemon = self.start(PYSMTPD, "-P", "mta")
        self.send()
        self.assertEqual(self.stopped(daemon), 0)
        daemon = self.start(PYSMTPD, "-P", "mta")
        self.send("bob@example.net")
        self.assertEqual(self.stopped(daemon, signal.SIGKILL), -signal.SIGKILL)
        daemon = self.start(PYSMTPD, "-P", "mta")
        self.assertEqual(self.ctl("show", "queue").stdout.count("ready, but the mta is paused"), 2)
        self.assertIn("paused:\n    mta\n", self.ctl("show", "status").stdout)
        self.assertEqual(self.stopped(daemon, signal.SIGINT), 0)

    def test_toldToEndTwice(self) -> None:
        """By an impatient operator, while somebody's transaction has its grace: it goes on ending, and nothing is a fault."""
        self.write()
        for program, code in ((PYSMTPD, 0), (TWISTD, -signal.SIGTERM)):
            daemon = self.start(program)
            client = smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE)
            self.addCleanup(client.close)
            client.ehlo()
            client.mail("jane@example.org")
            daemon.send_signal(signal.SIGTERM)
            self.waitFor("the end", lambda: "Received SIGTERM" in self.log, daemon)
            again = self.ctl("stop")
            self.assertEqual((again.returncode, again.stdout), (0, "stopping\n"))
            daemon.send_signal(signal.SIGTERM)
            self.waitFor("the signal", lambda: self.log.count("Received SIGTERM") == 2, daemon)
            self.assertEqual(client.rset()[0], 250)
            self.assertEqual(daemon.wait(PATIENCE), code)
            self.assertNotIn("Traceback", self.log)
            self.assertIn("daemon stopped reason=stopped", self.log)

    def test_hangUp(self) -> None:
        """SIGHUP reloads; a file that is wrong changes nothing, and the log says why."""
        path = self.write()
        daemon = self.start()
        good = path.read_text()
        path.write_text(good + "mach\n")
        daemon.send_signal(signal.SIGHUP)
        self.waitFor("the refusal", lambda: "daemon reload-failed" in self.log, daemon)
        reload = self.ctl("reload")
        self.assertEqual((reload.returncode, reload.stdout), (1, ""))
        self.assertIn(f"{path}:6:1: ", reload.stderr)
        path.write_text(good + 'match from any for domain "example.org" action "out"\n')
        daemon.send_signal(signal.SIGHUP)
        self.waitFor("the reload", lambda: "daemon reloaded" in self.log, daemon)
        self.assertIn("number: 2", self.ctl("show", "status").stdout)
        self.assertEqual(self.stopped(daemon), 0)

    def stuck(self, good: int) -> None:
        self.write(before=f'table x "stuck:{good}"\nmatch from any for domain <x> reject')

    def test_aTableThatHangs(self) -> None:
        """The daemon ends all the same, soon, and says what it did not wait for."""
        for program in (PYSMTPD, TWISTD):
            self.stuck(1)
            daemon = self.start(program)
            operator = subprocess.Popen(
                [*PYSMTPCTL, "-s", str(self.socket), "update", "table", "x"], env=self.environment, text=True
            )
            self.addCleanup(self.end, operator)
            self.waitFor("the question", lambda: "it hangs" in self.log, daemon)
            began = time.monotonic()
            if program is PYSMTPD:
                self.assertEqual(self.ctl("stop").returncode, 0)
                self.assertEqual(daemon.wait(PATIENCE), 0, self.log)
            else:
                self.assertEqual(self.stopped(daemon), -signal.SIGTERM, self.log)
            self.assertLess(time.monotonic() - began, 10)
            self.assertIn("Not waited for: what the lane table-x does has not ended within 2 seconds.", self.log)
            self.assertIn("daemon stopped", self.log)
            self.assertNotIn("Traceback", self.log)

    def test_aTableThatHangsAtTheStart(self) -> None:
        self.stuck(0)
        daemon = self.begin()
        self.waitFor("the question", lambda: "it hangs" in self.log, daemon)
        began = time.monotonic()
        self.assertEqual(self.stopped(daemon), 0, self.log)
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("Not waited for: what the lane table-x does", self.log)
        self.assertNotIn("Traceback", self.log)

    def test_byTwistd(self) -> None:
        self.write()
        daemon = self.start(TWISTD)
        self.send()
        self.assertEqual(len(self.ctl("--json", "show", "queue").stdout.splitlines()), 1)
        # twistd ends by the signal that it was told to end by.
        self.assertEqual(self.stopped(daemon), -signal.SIGTERM, self.log)
        self.assertIn("daemon stopped", self.log)

    def test_inTheBackground(self) -> None:
        """twistd leaves no standard output for the mail log; the daemon's own log says so."""
        self.write()
        log, pid = self.place / "twistd.log", self.place / "pid"
        background = [*TWISTD[:-3], f"--pidfile={pid}", f"--logfile={log}", "pysmtpd"]
        daemon = self.begin(background)
        self.assertEqual(daemon.wait(PATIENCE), 0)
        self.addCleanup(self.ctl, "stop")
        self.waitFor("the control socket", lambda: self.ctl("show", "status").returncode == 0)
        self.assertIn("The mail log goes to standard output, and that is nowhere", log.read_text())
        self.assertEqual(self.ctl("stop").returncode, 0)
        self.waitFor("the end", lambda: "Server Shut Down" in log.read_text())

    def test_whatCannotStart(self) -> None:
        """A second daemon on the same spool, or on the same port: one line that says why, and exit code 75."""
        self.write()
        self.start()
        for program in (PYSMTPD, TWISTD):
            second = self.run_(*program, "-f", str(self.place / "smtpd.conf"), "--spool", str(self.spool))
            self.assertEqual(second.returncode, 75, second.stderr)
            self.assertNotIn("Traceback", second.stderr + second.stdout)
            self.assertRegex(
                second.stderr + second.stdout,
                r"(?m)pysmtpd: the queue in .*/spool is in use by another daemon .*; stop that one first$",
            )
        elsewhere = str(self.place / "elsewhere")
        second = self.run_(*PYSMTPD, "-f", str(self.place / "smtpd.conf"), "--spool", elsewhere)
        self.assertEqual(second.returncode, 75)
        said = (
            f"pysmtpd: cannot listen on 127.0.0.1:{self.port}: Address already in use; another program listens there\n"
        )
        self.assertIn(said, second.stderr)
        self.assertEqual(self.ctl("show", "status").returncode, 0, "the first goes on")

    def test_aSpoolThatCannotBeUsed(self) -> None:
        """Whatever is in the place of one of its files: the exit code says that it is the spool, the text which file."""
        self.write()
        self.assertEqual(self.stopped(self.start()), 0, self.log)
        for name in ("queue.db", "queue.db-shm", "queue.lock", "queue.format", "bodies", "control.sock"):
            wrong = self.spool / name
            right = self.place / name
            if wrong.exists():
                wrong.rename(right)
            if name == "bodies":
                wrong.write_text("not a directory")
            else:
                wrong.mkdir()
            for program in (PYSMTPD, TWISTD)[: 2 if name == "queue.db-shm" else 1]:
                command = (*program, "-f", str(self.place / "smtpd.conf"), "--spool", str(self.spool))
                done = self.run_(*command)
                self.assertIn(str(wrong), done.stderr + done.stdout)
                self.assertEqual(done.returncode, 73, done.stderr)
                self.assertNotIn("Traceback", done.stderr + done.stdout)
            (wrong.unlink if name == "bodies" else wrong.rmdir)()
            if right.exists():
                right.rename(wrong)
        self.assertEqual(self.stopped(self.start()), 0, self.log)

    def test_aSpoolWithALongName(self) -> None:
        """A socket has no room for it."""
        self.write()
        long = self.place / ("x" * 100)
        done = self.run_(*PYSMTPD, "-f", str(self.place / "smtpd.conf"), "--spool", str(long))
        self.assertEqual(done.returncode, 73)
        said = f"pysmtpd: cannot listen on the socket {long}/smtp.sock: AF_UNIX path too long; choose a shorter one with --spool"
        self.assertIn(said, done.stderr)

    def test_readersThatLeave(self) -> None:
        """C{pysmtpd --help | head -1}: no traceback, and the exit code is what it would have been."""
        good, bad = str(self.write()), str(self.place / "bad.conf")
        (self.place / "bad.conf").write_text("nonsense\n")
        for options, code in ((("--help",), 0), (("-n", "--print", "-f", good), 0), (("-n", "-f", bad), 78)):
            words = " ".join((*PYSMTPD, *options))
            ran = self.run_("bash", "-c", f"{words} | true; exit ${{PIPESTATUS[0]}}")
            self.assertEqual((ran.returncode, "Traceback" in ran.stderr), (code, False), ran.stderr)

    def test_wrongConfiguration(self) -> None:
        self.write("listen on nowhere.example port x\n")
        for program in (PYSMTPD, TWISTD):
            done = self.run_(*program, "-f", str(self.place / "smtpd.conf"), "--spool", str(self.spool))
            self.assertEqual(done.returncode, 78, done.stderr)
        self.write(before='table t file:"/nonexistent/table"')
        done = self.run_(*PYSMTPD, "-f", str(self.place / "smtpd.conf"), "--spool", str(self.spool))
        self.assertEqual(done.returncode, 78, done.stderr)

    def test_verboseAndBrief(self) -> None:
        self.write()
        daemon = self.start(PYSMTPD, "--log", "json")
        self.assertEqual(self.ctl("log", "brief").returncode, 0)
        self.send()
        self.assertEqual(self.stopped(daemon), 0)
        words = [json.loads(line)["word"] for line in self.log.splitlines() if line.startswith("{")]
        self.assertIn("message", words)
        self.assertNotIn("failed-command", words)


class CopyTests(ProcessTestCase):
    def copy(self, *options: str) -> tuple[int, str, str]:
        ran = self.run_(*PYSMTPD, "copy", "--spool", str(self.spool), *options)
        return ran.returncode, ran.stdout, ran.stderr

    def test_fromOneToTheOther(self) -> None:
        self.write()
        daemon = self.start()
        for number in range(5):
            self.send(f"r{number}@example.net", b"Subject: x\r\n\r\n" + b"x\r\n" * 10 ** (number + 1))
        before = self.ctl("--json", "show", "queue").stdout
        there = ("--from", "sqlite:", "--to", "fs:")
        code, _, error = self.copy(*there)
        self.assertEqual(code, 1)
        self.assertIn("in use by another daemon", error)
        self.assertEqual(self.stopped(daemon), 0)
        self.assertEqual(self.copy(*there), (0, "5 messages copied from sqlite: to fs:\n", ""))
        self.assertEqual(self.copy(*there), (0, "0 messages copied from sqlite: to fs:; 5 were there already\n", ""))
        self.write(before='queue backend "fs:"\n')
        daemon = self.start()
        after = self.ctl("--json", "show", "queue").stdout
        ids = [[json.loads(line)["evpid"] for line in rows.splitlines()] for rows in (before, after)]
        self.assertEqual(ids[0], ids[1])
        self.assertEqual(self.stopped(daemon), 0)
        self.assertEqual(self.copy("--from", "fs:", "--to", "sqlite:other")[0], 0)
        # A typing error is no empty queue.
        for source in ("fs:quue", "sqlite:ohter"):
            code, _, error = self.copy("--from", source, "--to", "sqlite:third")
            self.assertEqual(code, 2)
            self.assertIn(f"there is no queue in {self.spool}/{source.partition(':')[2]}: nothing to copy", error)
        self.assertEqual([name for name in ("quue", "ohter", "third") if (self.spool / name).exists()], [])

    def test_wrongUse(self) -> None:
        self.spool.mkdir()
        for options, code, said in (
            ((), 2, "--from names a backend"),
            (("--from", "fs:", "--to", "fs:"), 2, "are the same"),
            (("--from", "fs:", "--to", "redis:"), 2, "there are: child:BACKEND, fs:[PATH]"),
            (("--from", "fs:", "--to", "ram:"), 2, "ram: is volatile"),
            (("--from", "fs:", "--to", "null:"), 2, "null: is discarding"),
        ):
            ran = self.copy(*options)
            self.assertEqual((ran[0], ran[1]), (code, ""), ran)
            self.assertIn(said, ran[2])
        nowhere = self.run_(*PYSMTPD, "copy", "--spool", "/nonexistent", "--from", "fs:", "--to", "sqlite:")
        self.assertEqual(nowhere.returncode, 2)
        self.assertIn("/nonexistent: No such file or directory", nowhere.stderr)
