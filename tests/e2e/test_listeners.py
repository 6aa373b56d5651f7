"""Listeners before real clients, a real balancer and a real service manager's means."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.support import (
    Daemon,
    Place,
    certificate,
    checkReach,
    environment,
    freePort,
    needsRoot,
    run,
    running,
    waitFor,
)
from tests.tls.authority import Authority, keyPem, newKey

SINK = """
action "sink" maildir "@PLACE@/Maildir" virtual { "@" = "@USER@" }
match from any auth for any action "sink"
match from socket for any action "sink"
match from any for domain "example.org" action "sink"
match from local for domain "local.test" action "sink"
"""


class LocalSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.daemon = stack.enter_context(running("listen on 127.0.0.1 port @PORT@\n" + SINK))

    def enqueue(self, message: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "pysmtpd.control.cli", "-s", str(self.daemon.spool / "control.sock")]
        return subprocess.run(
            [*command, "enqueue", *words], input=message, capture_output=True, env=environment(), check=False
        )

    def test_cron(self) -> None:
        done = self.enqueue(b"Subject: done\n\nAll is well.\n.\nReally.\n", "-oi", "-FCron Daemon", "ann@example.net")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        letter = self.daemon.letters(1)["ann@example.net"].decode()
        for pattern in (
            r"\nReceived: from localhost \(local user \w+\)\n\tby \S+ with ESMTP id \w+\n\tfor <ann@example.net>;",
            r"\nDate: ",
            r"\nMessage-ID: <\w{16}@",
            r"\nFrom: Cron Daemon <\S+@\S+>\n",
            r"\n\nAll is well.\n.\nReally.\n$",
        ):
            self.assertRegex(letter, pattern)

    def test_recipientsOfTheHeader(self) -> None:
        message = b"To: Ann <ann@example.net>,\n bob@example.net\nBcc: eve@example.net\nFrom: me@example.org\n\nHello\n"
        self.assertEqual(self.enqueue(message, "-t", "-i", "-f", "me@example.org").returncode, 0)
        letters = self.daemon.letters(3)
        self.assertEqual(sorted(letters), ["ann@example.net", "bob@example.net", "eve@example.net"])
        for letter in letters.values():
            self.assertNotIn(b"eve@", letter.partition(b"\nReceived: ")[2])

    def test_exitCodes(self) -> None:
        self.assertEqual(self.enqueue(b"x\n").returncode, 64)
        self.assertEqual(self.enqueue(b"x\n", "-z", "ann@example.net").returncode, 64)
        self.assertEqual(self.enqueue(b"x\n", "two@at@signs").returncode, 67)
        self.assertEqual(self.enqueue(b"x\n", "-f", "a b@example.net", "ann@example.net").returncode, 65)
        self.daemon.stop()
        self.assertEqual(self.enqueue(b"x\n", "ann@example.net").returncode, 75)

    def test_status(self) -> None:
        self.assertIn("socket", self.daemon.control("show", "status").stdout)


class ClientCertificateTests(SynchronousTestCase):
    CONFIGURATION = """
pki mx.test cert "@PLACE@/cert.pem" key "@PLACE@/key.pem"
ca staff cert "@PLACE@/ca.pem"
listen on 127.0.0.1 port @PORT@
listen on 127.0.0.1 port @PORT2@ smtps verify pki mx.test ca staff
listen on 127.0.0.1 port @PORT3@ tls-require verify pki mx.test ca staff
"""

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.daemon = stack.enter_context(running(self.CONFIGURATION + SINK, prepare=self.prepare))

    def prepare(self, place: Path) -> None:
        certificate(place)
        authority, key = Authority("Staff"), newKey()
        (place / "ca.pem").write_bytes(authority.pem)
        (place / "mine.pem").write_bytes(authority.issue(("anna.test",), key) + keyPem(key))
        (place / "foreign.pem").write_bytes(Authority("Others").issue(("eve.test",), key) + keyPem(key))

    def connect(self, port: int, *arguments: str) -> str:
        place = self.daemon.place
        starttls = ("-starttls", "smtp") if port == 3 else ()
        words = [
            "openssl",
            "s_client",
            "-quiet",
            "-connect",
            f"127.0.0.1:{self.daemon.ports[port]}",
            *starttls,
            *arguments,
        ]
        lines = "EHLO client.test\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
        content = "Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n"
        done = subprocess.run(
            words,
            input=(lines + content).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=place,
            timeout=30,
            check=False,
        )
        return done.stdout.decode("utf-8", "replace")

    def test_verify(self) -> None:
        for number, port in enumerate((2, 3), 1):
            said = self.connect(port, "-cert", "mine.pem", "-key", "mine.pem")
            self.assertIn("Message accepted", said)
            waitFor("a letter", lambda wanted=number: len(self.daemon.delivered()) >= wanted)  # type: ignore[misc]
        self.assertTrue(all(b":YES)" in path.read_bytes() for path in self.daemon.delivered()))
        for arguments in ((), ("-cert", "foreign.pem", "-key", "foreign.pem")):
            for port in (2, 3):
                self.assertNotIn("Message accepted", self.connect(port, *arguments))

    def test_sendersMayNot(self) -> None:
        """Without TLS the listener that requires it takes nothing."""
        with socket.create_connection(("127.0.0.1", self.daemon.ports[3])) as plain:
            plain.recv(1000)
            plain.sendall(b"EHLO x\r\n")
            plain.recv(1000)
            plain.sendall(b"MAIL FROM:<a@example.org>\r\n")
            self.assertEqual(plain.recv(3), b"530")


class BalancerTests(SynchronousTestCase):
    """haproxy in front, with both forms of the header."""

    CONFIGURATION = """
table balancers { 127.0.0.1 }
listen on 127.0.0.1 port @PORT@
listen on 127.0.0.1 port @PORT2@ proxy from <balancers>
listen on 127.0.0.1 port @PORT3@ proxy-v2 from <balancers>
"""

    def test_haproxy(self) -> None:
        program = shutil.which("haproxy", path=environment()["PATH"])
        if program is None:
            raise SkipTest("there is no haproxy here")
        with running(self.CONFIGURATION + SINK) as daemon:
            fronts = {"send-proxy": (freePort(), 2), "send-proxy-v2": (freePort(), 3)}
            text = "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
            for word, (port, behind) in fronts.items():
                text += f"listen {word}\n bind 127.0.0.1:{port}\n server mx 127.0.0.1:{daemon.ports[behind]} {word}\n"
            file = daemon.place / "haproxy.cfg"
            file.write_text(text)
            with subprocess.Popen([program, "-db", "-f", str(file)], stderr=subprocess.DEVNULL) as balancer:
                try:
                    for port, _ in fronts.values():
                        waitFor("haproxy", lambda port=port: self.greets(port))  # type: ignore[misc]
                        # From 127.0.0.1, but announced: not local.
                        said = run(
                            *("swaks", "-s", "127.0.0.1", "-p", str(port), "-h", "client.test", "-f", "a@example.org"),
                            *("-t", "b@local.test", "-q", "RCPT"),
                            isOk=False,
                        )
                        self.assertIn("<** 550", said)
                        run(
                            *("swaks", "-s", "127.0.0.1", "-p", str(port), "-h", "client.test", "-f", "a@example.org"),
                            *("-t", "b@example.org"),
                        )
                    announced = waitFor("the log", lambda: daemon.events("announced"))
                    self.assertEqual(
                        {(row["how"], row["via"], row["address"]) for row in announced},
                        {("proxy", "127.0.0.1", "127.0.0.1")},
                    )
                finally:
                    balancer.terminate()

    def greets(self, port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as probe:
                return probe.recv(4) == b"220 "
        except OSError:
            return False


class SubmissionTests(SynchronousTestCase):
    """swaks logs in; what it may send from is limited."""

    CONFIGURATION = """
pki mx.test cert "@PLACE@/cert.pem" key "@PLACE@/key.pem"
table users { ann = "HASH" }
table allowed { ann = "ann@example.org, @lists.example.org" }
listen on 127.0.0.1 port @PORT@ submission tls-require pki mx.test auth <users> senders <allowed> masquerade received-auth mask-src
"""

    def swaks(self, daemon: Daemon, sender: str, password: str = "secret", isOk: bool = True) -> str:
        return run(
            *(
                "swaks",
                "-s",
                "127.0.0.1",
                "-p",
                str(daemon.port),
                "-h",
                "laptop.test",
                "-tls",
                "-au",
                "ann",
                "-ap",
                password,
            ),
            *("-f", sender, "-t", "b@example.net", "--header", "From: Ann <root>", "--body", "hello"),
            isOk=isOk,
        )

    def test_swaks(self) -> None:
        stored = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$pbviq+1UUgwZCmLIr4Hgk7mEMsxnRLuOb2HfvIaBwGY"
        with running(self.CONFIGURATION.replace("HASH", stored) + SINK, prepare=certificate) as daemon:
            self.swaks(daemon, "ann@example.org")
            self.assertIn("550 5.7.1", self.swaks(daemon, "bob@example.org", isOk=False))
            self.assertIn("535 5.7.8", self.swaks(daemon, "ann@example.org", "wrong", isOk=False))
            letter = daemon.letters(1)["b@example.net"].decode()
            self.assertIn("\nFrom: Ann <ann@example.org>\n", letter)
            self.assertRegex(letter, r"\nReceived: by \S+ with ESMTPSA id \w+\n\t\(TLS[^)]*\) auth=yes user=ann\n")
            self.assertNotIn("laptop.test", letter.partition("\n\n")[0].replace("Message-Id", ""))


class SystemdTests(SynchronousTestCase):
    """As systemd starts it: with open sockets and an address to tell how it is."""

    PROGRAM = (
        "import os, runpy, sys; fds = [int(fd) for fd in sys.argv[1].split(',')];"
        "[os.dup2(fd, 3 + n) for n, fd in enumerate(fds)];"
        "os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES='mx:other', LISTEN_PID=str(os.getpid()));"
        "sys.argv[:2] = ['pysmtpd']; runpy.run_module('pysmtpd', run_name='__main__', alter_sys=True)"
    )

    def launch(
        self, place: Path, daemon: Daemon, sockets: Sequence[socket.socket], manager: str
    ) -> subprocess.Popen[bytes]:
        numbers = ",".join(str(each.fileno()) for each in sockets)
        command = ["-f", str(place / "smtpd.conf"), "--spool", str(daemon.spool)]
        with open(daemon.errors, "ab") as errors:
            return subprocess.Popen(
                [*daemon.before, sys.executable, "-c", self.PROGRAM, numbers, *command],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment(NOTIFY_SOCKET=manager),
                cwd=place,
                pass_fds=[each.fileno() for each in sockets],
            )

    def test_activation(self) -> None:
        checkReach()
        place = Place()
        self.addCleanup(place.remove)
        daemon = Daemon(place.path, "listen on 127.0.0.1 port @PORT@\n" + SINK)
        handed = []
        for port in (daemon.port, 0):
            opened = socket.socket()
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(("127.0.0.1", port))
            opened.listen()
            # Above those that they become.
            high = socket.socket(fileno=os.dup(os.dup(opened.detach())))
            self.addCleanup(high.close)
            handed.append(high)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            path = str(place.path / "notify")
            manager.bind(path)
            os.chmod(path, 0o777)
            manager.settimeout(30)
            process = self.launch(place.path, daemon, handed, path)
            try:
                try:
                    told = manager.recv(100)
                except TimeoutError:
                    told = b""
                self.assertEqual(told, b"READY=1", daemon.errors.read_text())
                with socket.create_connection(("127.0.0.1", daemon.port), 5) as peer:
                    self.assertEqual(peer.recv(4), b"220 ")
                self.assertIn("socket other (127.0.0.1 ", daemon.errors.read_text())
                process.terminate()
                self.assertEqual(manager.recv(100), b"STOPPING=1")
                self.assertEqual(process.wait(30), 0)
            finally:
                process.kill()
                process.wait()


class RootTests(SynchronousTestCase):
    """What only a daemon that root has started can do."""

    # Another run on this machine has its own.
    USER = f"pysmtpd{os.getpid()}"

    def setUp(self) -> None:
        needsRoot("it makes a user and asks PAM")
        if shutil.which("useradd", path=environment()["PATH"]) is None:
            raise SkipTest("there is no useradd here")
        run("useradd", "--no-create-home", self.USER)
        self.addCleanup(run, "userdel", self.USER)
        subprocess.run(["chpasswd"], input=f"{self.USER}:s3cret".encode(), check=True, env=environment())

    def test_theSystemsUsers(self) -> None:
        configuration = """
            pki mx.test cert "@PLACE@/cert.pem" key "@PLACE@/key.pem"
            listen on 127.0.0.1 port @PORT@ tls pki mx.test auth-optional
            action "sink" maildir "@PLACE@/Maildir" virtual { "@" = "mail" }
            match auth from any for any action "sink"
            match from socket for any action "sink"
        """

        def prepare(place: Path) -> None:
            certificate(place)

        with running(configuration, "--user", "nobody", prepare=prepare, asRoot=True) as daemon:
            shutil.chown(daemon.place, "mail")

            def login(password: str) -> str:
                return run(
                    *("swaks", "-s", "127.0.0.1", "-p", str(daemon.port), "-tls", "-au", self.USER, "-ap", password),
                    *("-f", "a@example.org", "-t", "b@example.net", "-q", "AUTH"),
                    isOk=False,
                )

            self.assertIn("235 2.7.0", login("s3cret"))
            self.assertIn("535 5.7.8", login("wrong"))
            run("usermod", "--expiredate", "1", self.USER)
            self.assertIn("535 5.7.8", login("s3cret"))

            # Any user may send by the local socket, and is known there.
            words = ["setpriv", f"--reuid={self.USER}", "--regid=nogroup", "--clear-groups"]
            command = [sys.executable, "-m", "pysmtpd.control.cli", "-s", str(daemon.spool / "control.sock"), "enqueue"]
            done = subprocess.run(
                [*words, *command, "b@example.net"],
                input=b"Subject: x\n\nhello\n",
                capture_output=True,
                env=environment(),
                check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            (row,) = waitFor("the log", lambda: daemon.events("message"))
            self.assertTrue(row["from"].startswith(f"{self.USER}@"), row)

    def test_withoutRoot(self) -> None:
        """It does not start, and says what it needs."""
        place = Place()
        self.addCleanup(place.remove)
        certificate(place.path)
        text = 'pki mx.test cert "@PLACE@/cert.pem" key "@PLACE@/key.pem"\nlisten on 127.0.0.1 port @PORT@ tls pki mx.test auth\n'
        daemon = Daemon(place.path, text + SINK)
        daemon.launch()
        assert daemon.process is not None
        self.assertNotEqual(daemon.process.wait(30), 0)
        self.assertIn("needs root", daemon.errors.read_text())
