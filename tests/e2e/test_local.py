"""Local delivery by a daemon that root has started: mailboxes that other programs write to at the same time, and commands.

Root runs these.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import threading
from pathlib import Path

from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SkipTest

from pysmtpd.mda.wire import Frame, Kind, packFrame, takeAnswers
from pysmtpd.model.task import Account, CommandTask
from pysmtpd.privilege import wire
from pysmtpd.privilege.client import Helper
from tests.e2e.support import PATIENCE, run, say, waitFor
from tests.e2e.test_privilege import RootDaemonTestCase, children, status

USER = "games"
MAILBOX = Path("/var/mail") / USER

# Nobody's in the system.
UID = 54_321

CONFIGURATION = f"""
mda limit command-timeout 1s
mda wrapper "mark" "@PLACE@/mark '%{{sender}}' %{{mda}}"
listen on 127.0.0.1 port @PORT@
listen on 127.0.0.1 port @LOW@
action "mbox" mbox virtual {{ "@" = "{USER}" }}
action "maildir" maildir "@PLACE@/{USER}/Maildir" junk virtual {{ "@" = "{USER}" }}
action "command" mda "@PLACE@/command -f %{{sender}} %{{dest.user}}" virtual {{ "@" = "{USER}" }}
action "shell" mda shell "exit $LOCAL" virtual {{ "@" = "{USER}" }}
action "late" mda "/bin/sleep 60" virtual {{ "@" = "{USER}" }}
action "gone" mda "/no/such/program" virtual {{ "@" = "{USER}" }}
action "marked" maildir "@PLACE@/{USER}/Maildir" wrapper "mark" virtual {{ "@" = "{USER}" }}
table people {{ ann = "{UID}:{UID}:@PLACE@/ann" }}
action "piped" maildir user {USER} alias {{ piped = "|@PLACE@/command 'a b'", "file" = "@PLACE@/{USER}/file", needs = "|a > b" }}
action "people" maildir userbase <people>
match from any for domain "piped.test" action "piped"
match from any for domain "people.test" action "people"
match from any for domain "mbox.test" action "mbox"
match from any for domain "command.test" action "command"
match from any for domain "shell.test" action "shell"
match from any for domain "late.test" action "late"
match from any for domain "gone.test" action "gone"
match from any for domain "marked.test" action "marked"
match from any for any action "maildir"
"""

COMMAND = """#!/bin/sh
cat > letter
{ id -u; id -G; grep NoNewPrivs /proc/self/status | cut -f2; umask; ps -o sid= -p $$; } > who
printf '%s\\n' "$@" > arguments
env | sort > environment
ls /proc/self/fd | wc -l > descriptors
"""

MARK = """#!/bin/sh
(echo "X-Mark: $1"; cat) | { shift; exec "$@"; }
"""

DOVECOT = """
base_dir = {place}/run
log_path = {place}/dovecot.log
ssl = no
mail_location = mbox:{place}/index:INBOX={mailbox}
mbox_write_locks = fcntl
first_valid_uid = 1
postmaster_address = postmaster@mail.test
hostname = mail.test
"""


def letter(name: str, lines: int) -> bytes:
    body = "".join(f"{name} line {number}\r\nFrom {name}\r\n" for number in range(lines))
    return f"Subject: {name}\r\n\r\n{name} begins\r\n{body}{name} ends\r\n".encode()


class LocalTestCase(RootDaemonTestCase):
    def setUp(self) -> None:
        super().setUp()
        if MAILBOX.exists():
            raise SkipTest(f"{MAILBOX} is somebody's")
        self.addCleanup(self._removeMailbox)
        self.user = pwd.getpwnam(USER)
        self.home = self.place.path / USER
        self.home.mkdir()
        shutil.chown(self.home, USER)
        for name, text in (
            ("command", f"#!/bin/sh\ncd {self.home}\n{COMMAND}"),
            ("mark", MARK),
        ):
            path = self.place.path / name
            path.write_text(text)
            path.chmod(0o755)
        self.configure(CONFIGURATION)

    @staticmethod
    def _removeMailbox() -> None:
        MAILBOX.unlink(missing_ok=True)

    def outcomes(self, result: str) -> list[str]:
        return re.findall(rf'result="{result}" stat="(.*)"', self.log())

    def said(self, recipient: str, result: str) -> str:
        before = len(self.outcomes(result))
        self.send(recipient)
        waitFor(f"{result} of {recipient}", lambda: len(self.outcomes(result)) > before)
        return self.outcomes(result)[-1]


class MailboxTests(LocalTestCase):
    def test_made(self) -> None:
        """By root, for the user may not; with the mode and the group that the directory demands."""
        self.start()
        for number in range(2):
            self.send("a@mbox.test")
            waitFor("delivery", lambda: len(self.outcomes("Ok")) == number + 1)  # noqa: B023
        found = MAILBOX.stat()
        directory = MAILBOX.parent.stat()
        self.assertEqual((found.st_uid, found.st_mode & 0o7777), (self.user.pw_uid, 0o600))
        self.assertEqual(found.st_gid, directory.st_gid if directory.st_mode & 0o2000 else self.user.pw_gid)
        self.assertEqual(len(re.findall(rb"^From a@client.test ", MAILBOX.read_bytes(), re.MULTILINE)), 2)

    def test_whatIsRefused(self) -> None:
        self.start()
        target = self.home / "target"
        target.write_text("")
        os.chown(target, self.user.pw_uid, self.user.pw_gid)
        MAILBOX.symlink_to(target)
        self.assertIn("symbolic link", self.said("a@mbox.test", "TempFail"))
        MAILBOX.unlink()
        MAILBOX.write_text("")
        self.assertIn("Permission denied", self.said("b@mbox.test", "TempFail"))
        os.chown(MAILBOX, self.user.pw_uid, self.user.pw_gid)
        MAILBOX.with_name(f"{USER}-too").hardlink_to(MAILBOX)
        try:
            self.assertIn("more than one name", self.said("c@mbox.test", "TempFail"))
        finally:
            MAILBOX.with_name(f"{USER}-too").unlink()
        self.assertEqual((target.read_text(), MAILBOX.read_text()), ("", ""))

    def test_aFullDisk(self) -> None:
        """Nothing of the letter is left, the mailbox is as it was, and other mail goes on."""
        small = self.place.path / "small"
        small.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=128k,mode=777", "tmpfs", str(small))
        self.addCleanup(run, "umount", "--lazy", str(small))
        full = f'{{ file = "{small}/mbox", other = "{small}/other" }}'
        action = f'action "full" maildir "{small}/Maildir" user {USER} alias {full}\n'
        rule = 'match from any for domain "full.test" action "full"\n'
        self.configure(CONFIGURATION.replace("match from any for any", f"{action}{rule}match from any for any"))
        self.start()
        self.send("file@full.test")
        waitFor("delivery", lambda: len(self.outcomes("Ok")) == 1)
        before = (small / "mbox").read_bytes()
        large = letter("large", 8000)
        for number, recipient in enumerate(("file@full.test", f"{USER}@full.test"), 1):
            with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
                client.sendmail("a@client.test", [recipient], large)
            waitFor("an attempt", lambda: len(self.outcomes("TempFail")) >= number)  # noqa: B023
        self.assertTrue(all(said.startswith("452 4.2.2 ") for said in self.outcomes("TempFail")))
        self.assertEqual((small / "mbox").read_bytes(), before)
        self.assertEqual([path for path in (small / "Maildir").rglob("*") if path.is_file()], [])
        self.assertEqual(list(small.glob("*.lock")), [])
        self.send("file@full.test", "other@full.test")
        waitFor("deliveries", lambda: len(self.outcomes("Ok")) == 3)
        self.assertTrue((small / "mbox").read_bytes().startswith(before))

    def test_othersWriteAtTheSameTime(self) -> None:
        """We, procmail, and Dovecot's delivery agent: every letter is there once, and none is torn."""
        self.start()
        (self.place.path / "dovecot.conf").write_text(DOVECOT.format(place=self.place.path, mailbox=MAILBOX))
        (self.place.path / "index").mkdir()
        shutil.chown(self.place.path / "index", USER)
        (self.place.path / "dovecot.log").touch()
        (self.place.path / "dovecot.log").chmod(0o666)
        # What it does when there is a mailbox already is what is asked here.
        self.send("first@mbox.test")
        waitFor("the mailbox", lambda: self.outcomes("Ok"))
        count, sizes = 40, (1, 400, 20, 3000, 5)
        failures: list[str] = []
        asUser = [
            "setpriv",
            f"--reuid={USER}",
            f"--regid={self.user.pw_gid}",
            "--clear-groups",
            "env",
            f"USER={USER}",
            f"HOME={self.home}",
        ]
        writers = {
            "procmail": ["procmail", "-f", "p@client.test", "-d", USER],
            "dovecot": [*asUser, "/usr/lib/dovecot/dovecot-lda", "-c", f"{self.place.path}/dovecot.conf"],
        }

        def write(name: str) -> None:
            for number in range(count):
                content = letter(f"{name}{number}", sizes[number % 5]).replace(b"\r\n", b"\n")
                done = subprocess.run(writers[name], input=content, capture_output=True, timeout=60, check=False)
                if done.returncode:
                    failures.append(f"{name}: {done.returncode} {done.stderr.decode()}")

        def deliver(name: str) -> None:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
                for number in range(count):
                    client.sendmail("a@client.test", ["a@mbox.test"], letter(f"{name}{number}", sizes[number % 5]))

        threads = [threading.Thread(target=write, args=(name,)) for name in writers]
        threads += [threading.Thread(target=deliver, args=(name,)) for name in ("ours", "also")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [], (self.place.path / "dovecot.log").read_text())
        waitFor("all of ours", lambda: len(self.outcomes("Ok")) == 1 + 2 * count, 120)
        self.assertEqual(self.outcomes("TempFail"), [])
        names = [f"{name}{number}" for name in (*writers, "ours", "also") for number in range(count)]
        self.assertEqual(sorted(self.whole(MAILBOX.read_text())), sorted(names))
        say(f"{len(names)} letters by four writers, none torn")

    def whole(self, text: str) -> list[str]:
        """Names of all letters but the first; a test fails where one is not whole."""
        found = []
        for message in re.split(r"(?:\A|(?<=\n\n))(?=From )", text)[1:]:
            subject = re.search(r"^Subject: (.*)$", message, re.MULTILINE)
            assert subject is not None, message[:300]
            if subject[1] == "test":
                continue
            body = message.partition("\n\n")[2].rstrip("\n").replace("\n>From ", "\nFrom ").splitlines()
            name = subject[1]
            self.assertEqual((body[0], body[-1]), (f"{name} begins", f"{name} ends"))
            inside = [
                line for number in range(len(body) // 2 - 1) for line in (f"{name} line {number}", f"From {name}")
            ]
            self.assertEqual(body[1:-1], inside)
            found.append(name)
        return found


class CommandTests(LocalTestCase):
    def test_asWhomAndWithWhat(self) -> None:
        self.start()
        self.send("Ann+x@command.test")
        waitFor("delivery", lambda: self.outcomes("Ok"))
        uid, groups, noNewPrivileges, umask, session = (self.home / "who").read_text().split("\n")[:5]
        self.assertEqual((int(uid), noNewPrivileges, umask), (self.user.pw_uid, "1", "0077"))
        self.assertEqual(set(map(int, groups.split())), set(os.getgrouplist(USER, self.user.pw_gid)) - {0})
        self.assertNotEqual(int(session), os.getsid(0))
        self.assertEqual((self.home / "arguments").read_text().splitlines(), ["-f", "a@client.test", "Ann+x"])
        self.assertEqual((self.home / "descriptors").read_text().strip(), "4")
        environment = dict(line.split("=", 1) for line in (self.home / "environment").read_text().splitlines())
        for name in ("PWD", "OLDPWD", "_", "SHLVL"):
            environment.pop(name, None)
        self.assertEqual(
            environment,
            {
                "DOMAIN": "command.test",
                "EXTENSION": "x",
                "HOME": self.user.pw_dir,
                "LOCAL": "Ann+x",
                "LOGNAME": USER,
                "ORIGINAL_RECIPIENT": "Ann+x@command.test",
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "RECIPIENT": "Ann+x@command.test",
                "SENDER": "a@client.test",
                "SHELL": "/bin/sh",
                "USER": USER,
            },
        )
        stored = (self.home / "letter").read_bytes()
        self.assertTrue(stored.startswith(b"Return-Path: <a@client.test>\nDelivered-To: Ann+x@command.test\n"))
        self.assertTrue(stored.endswith(b"\nSubject: test\n\nHello.\n"))

    def test_nodes(self) -> None:
        """What an alias gives runs as the action's user."""
        self.start()
        self.send("piped@piped.test", "file@piped.test")
        waitFor("deliveries", lambda: len(self.outcomes("Ok")) == 2)
        self.assertEqual((self.home / "arguments").read_text(), "a b\n")
        stored = self.home / "file"
        self.assertTrue(stored.read_bytes().startswith(b"From a@client.test "))
        self.assertEqual(stored.owner(), USER)
        with self.assertRaises(smtplib.SMTPRecipientsRefused):
            self.send("needs@piped.test")
        self.assertIn("needs a shell", self.log())

    def test_exits(self) -> None:
        self.start()
        self.send("0@shell.test")
        waitFor("delivery", lambda: self.outcomes("Ok"))
        for code, enhanced in ((75, "4.3.0"), (71, "4.3.0"), (78, "4.3.5"), (126, "4.3.5"), (127, "4.3.5")):
            self.assertIn(f" {enhanced} ", self.said(f"{code}@shell.test", "TempFail"))
        for code, enhanced in ((1, "5.3.0"), (67, "5.1.1"), (77, "5.7.0")):
            self.assertIn(f" {enhanced} ", self.said(f"{code}@shell.test", "PermFail"))
        self.assertIn("No such file", self.said("a@gone.test", "TempFail"))
        self.assertIn("Configuration fault", self.log())

    def test_theTimeLimit(self) -> None:
        self.start()
        self.assertIn("its time was over", self.said("a@late.test", "TempFail"))

    def test_aWrapperAroundAMaildir(self) -> None:
        asUser = ["setpriv", f"--reuid={USER}", f"--regid={self.user.pw_gid}", "--clear-groups", "sh", "-c"]
        if subprocess.run([*asUser, f"exec {sys.executable} -c ''"], capture_output=True, check=False).returncode:
            raise SkipTest(f"{USER} may not run {sys.executable}, which the wrapper is given")
        self.start()
        self.send("a@marked.test")
        waitFor("an attempt", lambda: self.outcomes("Ok") or self.outcomes("TempFail"))
        self.assertEqual(self.outcomes("TempFail"), [])
        (stored,) = self.letters(USER)
        self.assertTrue(stored.read_bytes().startswith(b"X-Mark: a@client.test\nReturn-Path: <a@client.test>\n"))
        self.assertEqual(stored.owner(), USER)

    def test_commandsEndWithTheDaemon(self) -> None:
        self.configure(CONFIGURATION.replace("command-timeout 1s", "command-timeout 1h"))
        daemon = self.start()
        self.send("a@late.test")
        sleeper = waitFor("the command", self.sleeper)
        os.kill(daemon, signal.SIGTERM)
        waitFor("its end", lambda: not Path(f"/proc/{sleeper}").exists() or status(sleeper)["State"][0] == "Z", 60)

    def sleeper(self) -> int:
        assert self.process is not None
        for pid in children(self.process.pid):
            try:
                if Path(f"/proc/{pid}/cmdline").read_bytes() == b"/bin/sleep\x0060\x00":
                    return pid
            except OSError:
                # It has ended meanwhile.
                continue
        return 0


class NoRootTests(LocalTestCase):
    def test_noRootProcessReadsAPeersOctets(self) -> None:
        """Neither the helper nor a child of it before it has become its user: strace sees all that they read and write."""
        daemon = self.start()
        helper = self.helper(daemon)
        trace = self.place.path / "trace"
        calls = "read,readv,pread64,preadv,recvfrom,recvmsg,recvmmsg,write,writev,sendto,sendmsg,mmap,setresuid,clone,clone3,fork,vfork"
        with open(self.place.path / "strace", "wb") as said:
            strace = subprocess.Popen(
                ["strace", "-f", "-xx", "-s", "4096", "-e", f"trace={calls}", "-o", str(trace), "-p", str(helper)],
                stderr=said,
            )
        try:
            waitFor("strace", lambda: "attached" in (self.place.path / "strace").read_text())
            marker = b"Hello."
            for recipient in ("a@mbox.test", "a@maildir.test", "a@command.test", "0@shell.test"):
                self.send(recipient)
            waitFor("deliveries", lambda: len(self.outcomes("Ok")) == 4)
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait(PATIENCE)
        lines = trace.read_text().splitlines()
        octets = "".join(f"\\x{octet:02x}" for octet in marker)
        asRoot = {str(helper)}
        parents: dict[str, str] = {}
        for line in lines:
            if made := re.match(r"(\d+) +(?:<\.\.\. )?(?:clone3?|v?fork)\b.* = (\d+)$", line):
                parents[made[2]] = made[1]
        asRoot |= {pid for pid, parent in parents.items() if parent == str(helper)}
        seen = {True: 0, False: 0}
        became = 0
        for line in lines:
            pid = line.split()[0]
            if pid != str(helper) and re.search(r"setresuid\((\d+), \1, \1\) += 0$", line):
                asRoot.discard(pid)
                became += 1
            if octets in line:
                seen[pid in asRoot] += 1
        self.assertEqual(seen[True], 0)
        # That it could have been seen: by those who are the user.
        self.assertGreater(seen[False], 3)
        self.assertGreater(became, 0)


class IdTests(LocalTestCase):
    def test_idsThatTheSystemDoesNotKnow(self) -> None:
        """What a userbase gives: a uid and gid without a name."""
        uid = UID
        helper = Helper(MemoryReactor())
        helper.start([], {}, hasIds=True)
        self.addCleanup(helper.stop)
        with socket.socket(fileno=helper._askForHost(Account("ann", uid, uid + 1, "/srv/ann"))) as host:
            host.setblocking(True)
            host.settimeout(PATIENCE)
            task = CommandTask(("/bin/sh", "-c", "echo $(id -u) $(id -g) $(id -G); exit 1"), {"PATH": "/usr/bin:/bin"})
            host.sendall(packFrame(Frame(1, Kind.WHOLE, task, b"x")))
            (answer,) = takeAnswers(bytearray(host.recv(65_536)))
        self.assertIn(f"{uid} {uid + 1} {uid + 1}", answer.text)
        for values in ({"uid": 0, "gid": uid}, {"uid": uid, "gid": 0}, {"uid": uid, "gid": 6}):
            assert helper._connection is not None
            wire.send(helper._connection, {"verb": "ids", **values})
            told = wire.receive(helper._connection)
            assert told is not None
            self.assertIn("refused", told[0])

    def test_userbase(self) -> None:
        """Without an entry in the system's table of users, down to the .forward of a user."""
        home = self.place.path / "ann"
        home.mkdir()
        forward = home / ".forward"
        forward.write_text("\\ann, \"|/bin/sh -c 'id -u > who'\"\n")
        for path in (home, forward):
            os.chown(path, UID, UID)
        self.start()
        self.send("ann@people.test")
        waitFor("both attempts", lambda: len(re.findall(" mda delivery ", self.log())) == 2)
        self.assertEqual(len(self.outcomes("Ok")), 2, self.log())
        (stored,) = self.letters("ann")
        self.assertEqual((stored.stat().st_uid, stored.stat().st_gid), (UID, UID))
        self.assertEqual((home / "who").read_text(), f"{UID}\n")
