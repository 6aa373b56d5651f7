"""Each recipe of docs/recipes.md, as it stands there: the daemon takes what it is for, brings it where it says, and refuses what it should.

    python -m tests.e2e.recipes [PART-OF-A-TITLE ...]

In a room of its own (namespace.py), with the paths, ports and users that the page names, and with other hosts in a network beside it
(outside.py). Root on Linux only.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pysmtpd.testing.certificates import selfSigned
from tests.e2e import namespace
from tests.e2e.hosts import BESIDE
from tests.e2e.outside import NEIGHBOUR, PRIMARY, PROVIDER, STRANGER, WORLD, Answer, Letter, send
from tests.e2e.servers import dovecot
from tests.e2e.support import ROOT, environment, run, say, waitFor

PAGE = ROOT / "docs" / "recipes.md"
USERS = ("ann", "ben", "vmail", "pysmtpd")
OURS = "192.0.2.25"
_BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_DNS = f"""
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
user=root
pid-file=
local=/#/
host-record=mail.example.com,{PROVIDER}
host-record=mx.example.net,{WORLD}
mx-host=example.net,mx.example.net,10
mx-host=example.com,mx.example.net,10
host-record=mx1.example.org,{PRIMARY}
host-record=mx2.example.org,{OURS}
mx-host=example.org,mx1.example.org,10
mx-host=example.org,mx2.example.org,20
"""


def recipes() -> dict[str, dict[str, str]]:
    """By their titles: the configuration, as C{smtpd.conf}, and files by their paths."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {section.partition("\n")[0]: dict(_BLOCK.findall(section)) for section in sections}


class Room:
    """Where a recipe runs."""

    def __init__(self, place: Path, outside: subprocess.Popen[str]) -> None:
        self.place = place
        self.homes = place / "home"
        self._outside = outside
        self.log = place / "daemon.log"

    # --- what happens

    def ask(self, asked: object) -> Any:
        assert self._outside.stdin is not None
        assert self._outside.stdout is not None
        self._outside.stdin.write(json.dumps(asked) + "\n")
        self._outside.stdin.flush()
        return json.loads(self._outside.stdout.readline())

    def send(self, peer: str, sender: str, *recipients: str, **options: Any) -> Answer:
        """Send a message, from this machine or from another."""
        letter = Letter(peer, sender, list(recipients), **options)
        return send(letter) if peer.startswith("127.") else Answer(**self.ask(asdict(letter)))

    def submit(self, sender: str, *recipients: str, subject: str = "hello") -> None:
        """By the command that programs use."""
        program = Path(sys.executable).with_name("pysmtpd-sendmail")
        subprocess.run(
            [program, "-f", sender, *recipients],
            input=f"Subject: {subject}\n\nHello.\n",
            text=True,
            env=environment(PYSMTPD_SOCKET=str(self.spool / "control.sock")),
            check=True,
            timeout=60,
        )

    # --- what is seen

    @property
    def spool(self) -> Path:
        return self.place / "spool"

    def taken(self, recipient: str, subject: str = "hello") -> dict[str, Any]:
        """What another host took for somebody; waits for it."""

        def found() -> list[dict[str, Any]]:
            return [
                message
                for message in self.ask("taken")
                if recipient in message["recipients"] and f"Subject: {subject}" in message["content"]
            ]

        return waitFor(f"{recipient} elsewhere", found)[0]

    def delivered(self, maildir: Path, subject: str = "hello") -> None:
        """Wait until a message lies there."""

        def isThere() -> bool:
            return any(f"Subject: {subject}" in path.read_text() for path in maildir.glob("new/*"))

        waitFor(f"mail in {maildir}", isThere)


def accepted(answer: Answer) -> None:
    assert answer.isAccepted, answer


def refused(answer: Answer, code: str = "550") -> None:
    assert answer.said.startswith(code), answer


# --- the stories, by the titles of the page


def everythingThroughOneHost(room: Room) -> None:
    room.submit("ann@example.org", "joe@example.net")
    message = room.taken("joe@example.net")
    assert (message["host"], message["login"]) == (PROVIDER, "someone@example.com"), message
    refused(room.send(STRANGER, "joe@example.net", "ann@example.org"), "Connection refused")


def aRelayForTheLocalNetwork(room: Room) -> None:
    accepted(room.send(NEIGHBOUR, "printer@printer.example", "joe@example.net"))
    message = room.taken("joe@example.net")
    assert (message["host"], message["sender"]) == (PROVIDER, "office@example.org"), message
    refused(room.send(STRANGER, "office@example.org", "joe@example.net"))


def mailingOutAtAMeasuredPace(room: Room) -> None:
    for number in range(4):
        accepted(
            room.send("127.0.0.1", "news@example.org", "joe@example.net", to="127.0.0.1", subject=f"news {number}")
        )
    for number in range(4):
        assert room.taken("joe@example.net", f"news {number}")["host"] == WORLD
    refused(room.send(STRANGER, "joe@example.net", "jim@example.com"), "Connection refused")


def mailForOneDomain(room: Room) -> None:
    accepted(room.send(STRANGER, "joe@example.net", "ann@example.org", tls="starttls"))
    room.delivered(room.homes / "ann/Maildir")
    accepted(room.send(STRANGER, "joe@example.net", "info@example.org", subject="both"))
    room.delivered(room.homes / "ann/Maildir", "both")
    room.delivered(room.homes / "ben/Maildir", "both")
    refused(room.send(STRANGER, "joe@example.net", "nobody-here@example.org"))
    refused(room.send(STRANGER, "joe@example.net", "jim@example.com"))
    accepted(room.send("127.0.0.1", "ann@example.org", "joe@example.net", to="127.0.0.1", subject="out"))
    assert room.taken("joe@example.net", "out")["host"] == WORLD


def severalDomains(room: Room) -> None:
    for host in ("mx.example.org", "mx.example.net"):
        answer = room.send(STRANGER, "joe@example.com", "info@example.net", tls="starttls", name=host, subject=host)
        accepted(answer)
        assert answer.names == [host], answer
        room.delivered(room.homes / "ben/Maildir", host)
    assert room.send(STRANGER, "joe@example.com", "ann@example.org", tls="starttls").names == ["mx.example.org"]
    refused(room.send(STRANGER, "joe@example.com", "ann@example.net"), "550")
    refused(room.send(STRANGER, "joe@example.com", "jim@example.com"))


def aCatchAll(room: Room) -> None:
    accepted(room.send(STRANGER, "joe@example.net", "ann+list@example.org", subject="ann"))
    room.delivered(room.homes / "ann/Maildir", "ann")
    accepted(room.send(STRANGER, "joe@example.net", "whoever@example.org", subject="all"))
    room.delivered(room.homes / "ben/Maildir", "all")
    refused(room.send(STRANGER, "joe@example.net", "sales@example.org"), "550 5.1.1 nobody reads this")
    refused(room.send(STRANGER, "joe@example.net", "jim@example.com"))


def mailboxesInDovecot(room: Room) -> None:
    accepted(room.send(STRANGER, "joe@example.net", "ann@example.org", "ben@example.org"))
    for name in ("ann", "ben"):
        room.delivered(Path("/run/dovecot/home") / name / "Maildir")
    refused(room.send(STRANGER, "joe@example.net", "nobody-here@example.org"))


def virtualDomainsFromSqlite(room: Room) -> None:
    accepted(room.send(STRANGER, "joe@example.com", "ann@example.org"))
    room.delivered(Path("/srv/mail/example.org/ann"))
    accepted(room.send(STRANGER, "joe@example.com", "info@example.net", subject="info"))
    room.delivered(Path("/srv/mail/example.org/ann"), "info")
    refused(room.send(STRANGER, "joe@example.com", "nobody-here@example.net"), "5")
    refused(room.send(STRANGER, "joe@example.com", "jim@example.com"))
    login = ["ann@example.org", "PASSWORD"]
    accepted(
        room.send(STRANGER, "ann@example.org", "jim@example.com", port=587, tls="starttls", login=login, subject="out")
    )
    assert room.taken("jim@example.com", "out")["host"] == WORLD


def aSubmissionServer(room: Room) -> None:
    for port, tls in ((587, "starttls"), (465, "implicit")):
        options = {"port": port, "tls": tls, "subject": f"by {port}"}
        accepted(room.send(STRANGER, "ann@example.org", "joe@example.net", login=["ann", "PASSWORD"], **options))
        assert room.taken("joe@example.net", f"by {port}")["sender"] == "ann@example.org"
        refused(room.send(STRANGER, "ann@example.org", "joe@example.net", **options), "530")
        refused(room.send(STRANGER, "ann@example.org", "joe@example.net", login=["ann", "guess"], **options), "535")
        refused(room.send(STRANGER, "ann@example.org", "joe@example.net", login=["ben", "PASSWORD"], **options))
    refused(room.send(STRANGER, "ann@example.org", "joe@example.net", port=587), "530")


def aBackupMx(room: Room) -> None:
    accepted(room.send(STRANGER, "joe@example.net", "ann@example.org"))
    assert room.taken("ann@example.org")["host"] == PRIMARY
    refused(room.send(STRANGER, "joe@example.net", "jim@example.com"))


def aForwarder(room: Room) -> None:
    accepted(room.send(STRANGER, "joe@example.com", "all@example.org"))
    message = room.taken("ann@example.net")
    assert set(message["recipients"]) == {"ann@example.net", "ben@example.net"}, message
    rewritten = message["sender"]
    assert rewritten.startswith("SRS0=") and rewritten.endswith("@example.org"), message
    accepted(room.send(STRANGER, "", rewritten, subject="returned"))
    assert room.taken("joe@example.com", "returned")["host"] == WORLD
    refused(room.send(STRANGER, "", "SRS0=AAAAAAAA=AA=example.com=joe@example.org"))
    refused(room.send(STRANGER, "joe@example.com", "nobody-here@example.org"), "5")
    refused(room.send(STRANGER, "joe@example.net", "jim@example.com"))


def aMailSink(room: Room) -> None:
    accepted(room.send("127.0.0.1", "joe@example.net", "whoever@wherever.example", to="127.0.0.1", port=2525))
    room.delivered(room.homes / "vmail/Maildir")
    refused(room.send(STRANGER, "joe@example.net", "ann@example.org", port=2525), "Connection refused")


STORIES: Mapping[str, Callable[[Room], None]] = {
    "Everything through one host": everythingThroughOneHost,
    "A relay for the local network": aRelayForTheLocalNetwork,
    "Mailing out at a measured pace": mailingOutAtAMeasuredPace,
    "Mail for one domain": mailForOneDomain,
    "Several domains, each with its certificate": severalDomains,
    "A catch-all": aCatchAll,
    "Mailboxes in Dovecot": mailboxesInDovecot,
    "Virtual domains from SQLite": virtualDomainsFromSqlite,
    "A submission server": aSubmissionServer,
    "A backup MX": aBackupMx,
    "A forwarder": aForwarder,
    "A mail sink": aMailSink,
}


# --- the room


def tell(*titles: str, patience: float = 400.0) -> dict[str, str]:
    """Run these recipes, or all.

    @return: by title what went wrong; empty: nothing did.
    """
    done = namespace.inside("tests.e2e.recipes", "--inside", *titles, patience=patience)
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _inside(titles: list[str]) -> dict[str, str]:
    place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
    place.chmod(0o755)
    found: dict[str, str] = {}
    try:
        _furnish(place)
        for title, files in recipes().items():
            if titles and not any(part.lower() in title.lower() for part in titles):
                continue
            with ExitStack() as stack:
                log = place / f"{_plain(title)}/daemon.log"
                try:
                    STORIES[title](stack.enter_context(_room(place, title, files)))
                except Exception as error:
                    said = log.read_text()[-3000:] if log.exists() else ""
                    found[title] = f"{type(error).__name__}: {error}\n{said}"
                else:
                    found[title] = ""
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return found


def _furnish(place: Path) -> None:
    """Our machine, one wire, and the rest of the world behind it."""
    run("cp", "-a", "/etc", str(place / "etc"))
    run("mount", "--bind", str(place / "etc"), "/etc")
    for name in ("passwd", "group"):
        lines = (place / "etc" / name).read_text().splitlines(keepends=True)
        (place / "etc" / name).write_text("".join(line for line in lines if line.split(":")[0] not in USERS))
    namespace.furnish(USERS, place / "home")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/srv")
    for path in ("/etc/mail", "/etc/ssl/private", "/run/netns"):
        Path(path).mkdir(parents=True, exist_ok=True)
    for name in ("mx.example.org", "mx.example.net", "mail.example.org", "mail.example.com"):
        certificate, key = selfSigned(name)
        (Path("/etc/ssl") / f"{name}.pem").write_bytes(certificate)
        secret = Path("/etc/ssl/private") / f"{name}.key"
        secret.write_bytes(key)
        secret.chmod(0o600)
    # Whom the system trusts.
    (Path("/etc/ssl/certs") / "ca-certificates.crt").write_bytes(selfSigned("mail.example.com")[0])
    for network in namespace.FOREIGN:
        run("ip", "route", "del", "local", network, "dev", "lo")
    run("ip", "netns", "add", "world")
    run("ip", "link", "add", "here", "type", "veth", "peer", "name", "there", "netns", "world")
    run("ip", "address", "add", f"{OURS}/24", "dev", "here")
    run("ip", "link", "set", "here", "up")
    run("ip", "route", "add", "203.0.113.0/24", "via", NEIGHBOUR)
    for command in (
        ("link", "set", "lo", "up"),
        ("address", "add", f"{NEIGHBOUR}/24", "dev", "there"),
        ("link", "set", "there", "up"),
        ("route", "add", "local", "203.0.113.0/24", "dev", "lo"),
    ):
        run("ip", "-n", "world", *command)
    (place / "dnsmasq.conf").write_text(_DNS)


def _plain(title: str) -> str:
    return re.sub(r"\W+", "-", title)


@contextmanager
def _room(place: Path, title: str, files: Mapping[str, str]) -> Iterator[Room]:
    own = place / _plain(title)
    own.mkdir()
    for home in (place / "home").iterdir():
        shutil.rmtree(home / "Maildir", ignore_errors=True)
    _write(files)
    with ExitStack() as stack:
        stack.enter_context(_process(place / "dnsmasq.log", "dnsmasq", "-k", "-C", str(place / "dnsmasq.conf")))
        if "/run/dovecot" in files["smtpd.conf"]:
            Path("/run/dovecot").mkdir()
            stack.enter_context(dovecot(Path("/run/dovecot"), {"ann": "", "ben": ""}))
        outside = stack.enter_context(
            _process(
                own / "outside.log",
                *("ip", "netns", "exec", "world", sys.executable, "-m", "tests.e2e.outside", "/etc/ssl"),
                PYTHONPATH=f"{ROOT}:{BESIDE / 'aiosmtpd'}",
            )
        )
        assert outside.stdout is not None
        ready = outside.stdout.readline()
        assert ready == '"ready"\n', (own / "outside.log").read_text()
        room = Room(place, outside)
        room.place = own
        room.log = own / "daemon.log"
        config = Path("/etc/mail/smtpd.conf")
        checked = run(sys.executable, "-m", "pysmtpd", "-n", "-f", str(config))
        assert "warning:" not in checked and "open relay: closed" in checked, checked
        daemon = stack.enter_context(
            _process(
                room.log,
                *(sys.executable, "-m", "pysmtpd", "--user", "pysmtpd", "--spool", str(room.spool), "-f", str(config)),
            )
        )
        waitFor("the daemon", lambda: "daemon started" in room.log.read_text() or daemon.poll() is not None)
        assert daemon.poll() is None, room.log.read_text()
        yield room


def _write(files: Mapping[str, str]) -> None:
    """Put the files where the page says, and do what it says should be done."""
    for old in Path("/etc/mail").iterdir():
        old.unlink()
    for path, text in files.items():
        if path == "sh":
            continue
        target = Path("/etc/mail/smtpd.conf" if path == "smtpd.conf" else path)
        target.write_text(text)
        target.chmod(0o600 if "$6$" in text or "secret" in text else 0o644)
        shutil.chown(target, "pysmtpd")
    for command in files.get("sh", "").splitlines():
        if not command.startswith("sqlite3 "):
            run("sh", "-c", command)
            continue
        # Its command-line program may not be there; what it does is.
        _, database, _, script = command.split()
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(Path(script).read_text())


@contextmanager
def _process(log: Path, *command: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    with log.open("a") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if "tests.e2e.outside" in command else output,
            stderr=output,
            text=True,
            env=environment(**more),
            cwd=ROOT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(_inside(sys.argv[2:])))
        return
    found = tell(*sys.argv[1:])
    for title, wrong in found.items():
        say(f"{title}: {wrong or 'ok'}")
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
