"""A daemon that root has started: who runs as whom, and who holds a peer's connection. Root runs these, on Linux."""

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pysmtpd.privilege.reach import obstacle
from tests.e2e.support import PATIENCE, ROOT, Place, environment, freePort, waitFor
from tests.tls.authority import Authority, keyPem, newKey

CONFIGURATION = """
pki mail cert "@PLACE@/mail.crt"
pki mail key "@PLACE@/mail.key"
listen on 127.0.0.1 port @PORT@ tls pki mail
listen on 127.0.0.1 port @LOW@
action "mail" maildir "@PLACE@/mail/Maildir" virtual { "@" = "mail" }
action "daemon" maildir "@PLACE@/daemon/Maildir" virtual { "@" = "daemon" }
action "root" maildir "@PLACE@/root/Maildir" virtual { "@" = "root" }
table numbers { "joe" = "61234:61234:@PLACE@/joe", "null" = "0:0:/root" }
action "numbers" maildir "@PLACE@/numbers/%{dest.user}" userbase <numbers>
match from any for domain "numbers.test" action "numbers"
match from any for domain "mail.test" action "mail"
match from any for domain "daemon.test" action "daemon"
match from any for domain "root.test" action "root"
"""

CONTENT = b"Subject: test\r\n\r\nHello.\r\n"


def direct(pid: int) -> list[int]:
    """Processes that this one has started. One that ends meanwhile is none of them."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(status(int(entry))["PPid"])
            except (OSError, KeyError):
                continue
            if parent == pid:
                found.append(int(entry))
    return found


def children(pid: int) -> list[int]:
    """All processes below this one."""
    return [each for child in direct(pid) for each in (child, *children(child))]


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def sockets(pid: int) -> set[str]:
    """Inodes of its sockets."""
    found = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def internetSockets() -> dict[str, str]:
    """Inode and state of all TCP and UDP sockets of this machine."""
    found = {}
    for name in ("tcp", "tcp6", "udp", "udp6"):
        path = Path("/proc/net") / name
        if path.exists():
            for line in path.read_text().splitlines()[1:]:
                fields = line.split()
                found[fields[9]] = fields[3]
    return found


ESTABLISHED = "01"
LISTENING = "0A"


class RootDaemonTestCase(SynchronousTestCase):
    """
    @ivar process: started by root; it leaves root behind by itself.
    """

    command: tuple[str, ...] = (sys.executable, "-m", "pysmtpd")

    def setUp(self) -> None:
        if os.geteuid() or not sys.platform.startswith("linux"):
            raise SkipTest("root on Linux runs this")
        self.place = Place()
        self.addCleanup(self.place.remove)
        path = self.place.path
        for user in ("mail", "daemon"):
            (path / user).mkdir()
            shutil.chown(path / user, user)
        (path / "root").mkdir(mode=0o777)
        key = newKey()
        (path / "mail.crt").write_bytes(Authority().issue(["mail.example.org"], key))
        (path / "mail.key").write_bytes(keyPem(key))
        (path / "mail.key").chmod(0o600)
        self.port = freePort()
        self.low = next(port for port in range(900, 1000) if self._isFree(port))
        self.configure(CONFIGURATION)
        self.process: subprocess.Popen[bytes] | None = None

    def _isFree(self, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    def configure(self, text: str) -> None:
        text = text.replace("@PLACE@", str(self.place.path)).replace("@PORT@", str(self.port))
        path = self.place.path / "smtpd.conf"
        path.write_text(text.replace("@LOW@", str(self.low)))
        # As root's files often are.
        path.chmod(0o600)

    def launch(self, *arguments: str) -> subprocess.Popen[bytes]:
        path = self.place.path
        with open(path / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "-f", str(path / "smtpd.conf"), "--spool", str(path / "spool"), *arguments],
                stdout=log,
                stderr=log,
                env=dict(os.environ, PYTHONPATH=str(ROOT)),
                cwd=path,
            )
        self.addCleanup(self._end, self.process)
        return self.process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
        process.wait()

    def start(self, *arguments: str) -> int:
        process = self.launch("--user", "nobody", *arguments)
        waitFor("the greeting", lambda: process.poll() is not None or self._greets())
        self.assertIsNone(process.poll(), self.log())
        return process.pid

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as probe:
                return probe.recv(4) == b"220 "
        except OSError:
            return False

    def log(self) -> str:
        return (self.place.path / "log").read_text()

    def send(self, *recipients: str, port: int = 0) -> None:
        with smtplib.SMTP("127.0.0.1", port or self.port, timeout=PATIENCE) as client:
            client.sendmail("a@client.test", recipients, CONTENT)

    def letters(self, user: str) -> list[Path]:
        new = self.place.path / user / "Maildir" / "new"
        return sorted(new.iterdir()) if new.is_dir() else []

    def helper(self, pid: int) -> int:
        (found,) = direct(pid)
        return found


class RootDaemonTests(RootDaemonTestCase):
    def test_everyProcessIsWhoItShouldBe(self) -> None:
        daemon = self.start()
        self.send("a@mail.test", "b@daemon.test")
        waitFor("delivery", lambda: self.letters("mail") and self.letters("daemon"))
        uids = {pid: status(pid)["Uid"].split() for pid in (daemon, *children(daemon))}
        helper = self.helper(daemon)
        names = {pid: pwd.getpwuid(int(ids[0])).pw_name for pid, ids in uids.items()}
        self.assertEqual(names.pop(daemon), "nobody")
        self.assertEqual(names.pop(helper), "root")
        self.assertEqual(sorted(names.values()), ["daemon", "mail"])
        for pid, ids in uids.items():
            # Real, effective, saved and file system's: nothing is left to go back to.
            self.assertEqual(len(set(ids)), 1)
            self.assertEqual(len(set(status(pid)["Gid"].split())), 1)
            self.assertEqual(status(pid)["NoNewPrivs"], "1")
            if pid != helper:
                self.assertNotIn("0", status(pid)["Groups"].split())
                self.assertEqual(int(status(pid)["CapEff"], 16), 0)
                self.assertEqual(int(status(pid)["CapPrm"], 16), 0)
        for user in ("mail", "daemon"):
            (letter,) = self.letters(user)
            self.assertEqual(letter.owner(), user)
            self.assertEqual(letter.stat().st_mode & 0o777, 0o600)

    def test_noRootProcessHasAPeer(self) -> None:
        """Only the daemon holds sockets of the network, and the hosts none at all."""
        daemon = self.start()
        self.send("a@mail.test")
        waitFor("delivery", lambda: self.letters("mail"))
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
            client.ehlo()
            network = internetSockets()
            own = {network[inode] for inode in sockets(daemon) if inode in network}
            self.assertIn(ESTABLISHED, own)
            self.assertIn(LISTENING, own)
            for pid in children(daemon):
                self.assertEqual([inode for inode in sockets(pid) if inode in network], [])
                # To the daemon, and nothing else.
                self.assertEqual(len(sockets(pid)), 1)

    def test_lowPortsAndRootsKeys(self) -> None:
        self.start()
        self.send("a@mail.test", port=self.low)
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
            client.starttls()
            client.sendmail("a@client.test", ["b@mail.test"], CONTENT)
        waitFor("delivery", lambda: len(self.letters("mail")) == 2)

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pysmtpd.control.cli", "-s", str(self.place.path / "spool" / "control.sock")]
        return subprocess.run([*command, *words], capture_output=True, text=True, env=environment(), check=False)

    def test_reloadOfFilesForRootAlone(self) -> None:
        """What the daemon's user cannot read is read by the helper, if it was there at the start."""
        path = self.place.path
        more = path / "more.conf"
        more.write_text('match from any for domain "more.test" reject\n')
        more.chmod(0o600)
        self.configure(f'{CONFIGURATION}include "more.conf"\n')
        self.start()
        self.assertEqual(self.code("a@more.test"), 550)
        more.write_text('match from any for domain "more.test" action "mail"\n')
        done = self.control("reload")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.code("a@more.test"), 250)
        other = path / "other.conf"
        other.write_text("")
        other.chmod(0o600)
        self.configure(f'{CONFIGURATION}include "other.conf"\n')
        done = self.control("reload")
        self.assertEqual(done.returncode, 1)
        self.assertIn("only those of the start can be read again", done.stdout + done.stderr)
        self.assertEqual(self.code("a@more.test"), 250)

    def test_explainOffline(self) -> None:
        """Run by root it becomes whom the daemon is, and tells what the daemon would: down to .forward files, and to whom trusts whom."""
        home = self.place.path / "joe"
        home.mkdir(mode=0o700)
        os.chown(home, 61_234, 61_234)
        forward = home / ".forward"
        forward.write_text("a@mail.test, |/bin/prog\n")
        os.chown(forward, 61_234, 61_234)
        aliases = self.place.path / "aliases"
        aliases.write_text("list: |/bin/prog, :include:/nowhere\n")
        shutil.chown(aliases, "nobody")
        more = 'action "more" maildir alias <more>\nmatch from any for domain "more.test" action "more"\n'
        self.configure(f"{CONFIGURATION}table more file:{aliases}\n{more}")
        self.start()
        asked = ["--from", "a@b.test", "--rcpt", "joe@numbers.test", "list@more.test", "nobody@x.test", "--helo", "x"]
        live = self.control("--json", "explain", *asked)
        command = [sys.executable, "-m", "pysmtpd", "explain", "-f", str(self.place.path / "smtpd.conf")]
        offline = subprocess.run(
            [*command, "--user", "nobody", "--json", *asked],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        told, said = json.loads(live.stdout), json.loads(offline.stdout)
        self.assertEqual(said["recipients"], told["recipients"])
        self.assertEqual(said["envelopes"], told["envelopes"])
        self.assertEqual([envelope["command"] for envelope in said["envelopes"]], ["", "/bin/prog"])
        self.assertIn("/nowhere", said["recipients"][1]["reason"])

    def test_largeLetter(self) -> None:
        self.start()
        content = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 200_000
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
            client.sendmail("a@client.test", ["b@mail.test"], content)
        (letter,) = waitFor("delivery", lambda: self.letters("mail"))
        self.assertTrue(letter.read_bytes().endswith(content.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")))

    def code(self, recipient: str) -> int:
        try:
            self.send(recipient)
        except smtplib.SMTPRecipientsRefused as refused:
            return int(refused.recipients[recipient][0])
        return 250

    def becomes(self, code: int) -> None:
        """What was read of a .forward is believed for some seconds."""
        waitFor(f"a {code}", lambda: self.code("joe@numbers.test") == code)

    def test_forwardsAreReadAsTheirUsers(self) -> None:
        """By a number that the system has no name for; what only root can read stays unread."""
        home = self.place.path / "joe"
        home.mkdir(mode=0o700)
        os.chown(home, 61_234, 61_234)
        forward = home / ".forward"
        forward.write_text("a@mail.test\n")
        os.chown(forward, 61_234, 61_234)
        forward.chmod(0o600)
        self.start()
        self.send("joe@numbers.test")
        waitFor("delivery", lambda: self.letters("mail"))
        secret = self.place.path / "secret"
        secret.write_text("a@mail.test\n")
        secret.chmod(0o600)
        forward.unlink()
        forward.symlink_to(secret)
        self.becomes(524)
        forward.unlink()
        os.link(secret, forward)
        self.becomes(451)
        forward.unlink()
        os.mkfifo(forward)
        os.chown(forward, 61_234, 61_234)
        self.becomes(524)
        self.assertEqual(self.code("null@numbers.test"), 550)
        waitFor("the log", lambda: "symbolic link" in self.log())

    def test_nothingIsDeliveredAsRoot(self) -> None:
        self.start()
        self.assertRaises(smtplib.SMTPRecipientsRefused, self.send, "a@root.test")
        waitFor("the log", lambda: "nothing is done as root" in self.log())
        self.assertEqual(list((self.place.path / "root").iterdir()), [])

    def test_theSpoolBelongsToTheDaemonsUser(self) -> None:
        self.start()
        spool = self.place.path / "spool"
        self.assertEqual((spool.owner(), spool.stat().st_mode & 0o777), ("nobody", 0o711))
        self.assertEqual({path.lstat().st_uid for path in spool.rglob("*")}, {pwd.getpwnam("nobody").pw_uid})

    def test_aBurstForAUserWithoutHome(self) -> None:
        """One user of the system, whose home was never made, owns a Maildir elsewhere: all of a burst is there, once each."""
        user = next(
            each.pw_name
            for each in pwd.getpwall()
            if each.pw_uid and each.pw_name != "nobody" and not Path(each.pw_dir).exists()
        )
        maildir = self.place.path / "homeless" / "Maildir"
        maildir.mkdir(parents=True)
        shutil.chown(maildir, user)
        self.configure(
            f"""
            listen on 127.0.0.1 port @PORT@
            action "a" maildir "{maildir}" virtual {{ "@" = "{user}" }}
            match from any for any action "a"
            """
        )
        self.start()
        sessions, each = 20, 10

        def session(number: int) -> None:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
                for message in range(each):
                    client.sendmail("a@client.test", [f"{number}.{message}@d.test"], CONTENT)

        with ThreadPoolExecutor(sessions) as senders:
            list(senders.map(session, range(sessions)))
        waitFor("delivery", lambda: len(self.letters("homeless")) >= sessions * each)
        letters = self.letters("homeless")
        self.assertEqual({letter.owner() for letter in letters}, {user})
        recipients = [letter.read_text().partition("Delivered-To: ")[2].partition("\n")[0] for letter in letters]
        self.assertEqual(
            sorted(recipients), sorted(f"{at}.{of}@d.test" for at in range(sessions) for of in range(each))
        )

    def test_aHostThatIsKilled(self) -> None:
        daemon = self.start()
        self.send("a@mail.test")
        waitFor("delivery", lambda: self.letters("mail"))
        (host,) = set(children(daemon)) - {self.helper(daemon)}
        os.kill(host, signal.SIGKILL)
        waitFor("its end", lambda: host not in children(daemon))
        self.send("b@mail.test")
        waitFor("delivery", lambda: len(self.letters("mail")) == 2)

    def test_theHelperIsKilled(self) -> None:
        """It is told, mail is still taken, and nothing is delivered by anybody else."""
        daemon = self.start()
        self.send("a@mail.test")
        waitFor("delivery", lambda: self.letters("mail"))
        os.kill(self.helper(daemon), signal.SIGKILL)
        waitFor("the log", lambda: "root helper has ended" in self.log())
        self.send("b@mail.test", "c@daemon.test")
        waitFor("the attempts", lambda: self.log().count("TempFail") == 2)
        self.assertEqual((len(self.letters("mail")), len(self.letters("daemon"))), (1, 0))

    def test_allEndWithTheDaemon(self) -> None:
        for how in (signal.SIGKILL, signal.SIGTERM):
            daemon = self.start()
            self.send("a@mail.test", "b@daemon.test")
            waitFor("delivery", lambda: len(children(daemon)) == 3)  # noqa: B023
            others = children(daemon)
            os.kill(daemon, how)
            assert self.process is not None
            self.process.wait(PATIENCE)
            waitFor("the others' end", lambda: not [pid for pid in others if self._runs(pid)])  # noqa: B023

    def _runs(self, pid: int) -> bool:
        try:
            return not status(pid)["State"].startswith("Z")
        except OSError:
            return False

    # --- it refuses to start

    def refusal(self, *arguments: str) -> str:
        process = self.launch(*arguments)
        process.wait(PATIENCE)
        return self.log()

    def test_neverAsRoot(self) -> None:
        self.assertIn("user root is root", self.refusal("--user", "root"))

    def test_aSpoolOfSomebodyElse(self) -> None:
        spool = self.place.path / "spool"
        spool.mkdir()
        shutil.chown(spool, "daemon")
        self.assertIn("belongs to user 1", self.refusal("--user", "nobody"))

    def test_aSpoolThatIsALink(self) -> None:
        (self.place.path / "spool").symlink_to("/etc")
        self.assertIn("symbolic link", self.refusal("--user", "nobody"))
        self.assertEqual(Path("/etc").owner(), "root")

    def test_aTableThatTheUserCannotRead(self) -> None:
        table = self.place.path / "domains"
        table.write_text("example.org\n")
        table.chmod(0o600)
        self.configure(f'table domains file:{table}\n{CONFIGURATION}match for domain <domains> action "mail"\n')
        said = self.refusal("--user", "nobody")
        self.assertIn("domains", said)
        self.assertIn("runs as nobody", said)

    def test_aWarningAboutNobody(self) -> None:
        """Only where there was no choice."""
        self.start()
        self.assertNotIn("run as nobody", self.log())

    def test_aWarningAboutWhatTheUserCannotLoad(self) -> None:
        """It is said where Python is closed to the daemon's user, and nowhere else."""
        self.start()
        closed = obstacle(os.path.dirname(os.__file__), pwd.getpwnam("nobody").pw_uid, [pwd.getpwnam("nobody").pw_gid])
        self.assertEqual("may not enter" in self.log(), bool(closed))
        self.assertEqual(f"nobody may not enter {closed}, where Python is" in self.log(), bool(closed))


class RootTwistdTests(RootDaemonTests):
    """The same, started by twistd."""

    def setUp(self) -> None:
        super().setUp()
        path = self.place.path / "twistd"
        path.write_text("import sys\nfrom twisted.scripts.twistd import run\nsys.argv[0] = 'twistd'\nrun()\n")
        self.command = (sys.executable, str(path), "-n", "--pidfile=", "pysmtpd")
