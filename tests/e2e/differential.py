"""The same recipients before OpenSMTPD and before us: the same verdict, or a difference that docs/differences.md lists.

    python -m tests.e2e.differential [SCENARIO ...]

The opensmtpd of Debian 12, a 6.8, and that of Debian 13, a 7.6, unpacked beside (C{OPENSMTPD} names another smtpd in their place), run
with our daemon in a room of their own, on the configurations of tests/e2e/scenarios.py, one after the other. Each case is a session of its
own up to RCPT: what counts is the command at which it ends, and the class of the reply. Root on Linux only.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pysmtpd.control.wire import Client
from tests.e2e import namespace, oracle
from tests.e2e.scenarios import SCENARIOS, Case, Scenario
from tests.e2e.support import PATIENCE, certificate, environment, waitFor

USERS = ("opensmtpd", "opensmtpq", "pysmtpd", "ann", "ben", "carl", "dora", "store")
# Of PASSWORD.
HASH = "$6$saltsalt$e/5XKibXPLqVcfjpD.ouauaJrAOL5V0uo80Lt7n7EbRdRiCx3HbQ90yjOHr.G0T.mx79PEMRy8nmtr0qSYhQp1"
# Debian's 6.8 cannot use a private key with OpenSSL 3; TLS without one is all that it can do.
CIPHERS = "AECDH-AES256-SHA:@SECLEVEL=0"
_ANONYMOUS = f'smtp ciphers "{CIPHERS}"\n'
# The n-th port of a configuration is n more.
THEIRS, OURS = 2000, 3000

_DNS = """
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
user=root
pid-file=
local=/#/
host-record=friend.example.com,203.0.113.10
host-record=mail.example.net,203.0.113.11
ptr-record=12.113.0.203.in-addr.arpa,forged.example.com
"""


@dataclass(frozen=True)
class Verdict:
    """
    @ivar reason: the id of the listed difference that is expected, or why so old an OpenSMTPD differs; empty: neither.
    @ivar theirs: the command at which OpenSMTPD ended, and its reply.
    @ivar explained: what our C{explain} says of the same session.
    """

    scenario: str
    case: str
    reason: str
    theirs: str
    ours: str
    explained: str = ""

    @property
    def isExplained(self) -> bool:
        """C{explain} tells what the session was told. It believes whoever says that he has logged in."""
        return self.explained == self.ours or self.ours.startswith("AUTH 5")

    @property
    def isExpected(self) -> bool:
        """The same, or listed; what is listed is not the same."""
        return self.isSame is not bool(self.reason)

    @property
    def isSame(self) -> bool:
        return _class(self.theirs) == _class(self.ours)


def _class(said: str) -> str:
    verb, _, reply = said.partition(" ")
    return f"{verb} {reply[:1]}"


def compare(smtpd: str, *names: str, patience: float = 400.0) -> list[Verdict]:
    """Run the scenarios with these names, or all, in a room of their own.

    @param smtpd: the path of the other one.
    @raise AssertionError: a daemon does not take its configuration, or ended.
    """
    done = namespace.inside("tests.e2e.differential", "--inside", smtpd, *names, patience=patience)
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    return [Verdict(**row) for row in json.loads(done.stdout)]


def _inside(smtpd: str, names: list[str]) -> list[Verdict]:
    isOlder = oracle.version(smtpd) < "7"
    place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
    place.chmod(0o755)
    try:
        namespace.furnish(USERS, place / "home")
        Path("/var/lib/opensmtpd/empty").mkdir(parents=True)
        certificate(place)
        (place / "key.pem").chmod(0o600)
        (place / "dnsmasq.conf").write_text(_DNS)
        with _daemon(place / "dnsmasq.log", 53, False, "dnsmasq", "-k", "-C", str(place / "dnsmasq.conf")):
            return [
                verdict
                for name, scenario in SCENARIOS.items()
                if not names or name in names
                for verdict in _play(place, smtpd, isOlder, name, scenario)
            ]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _play(place: Path, smtpd: str, isOlder: bool, name: str, scenario: Scenario) -> Iterator[Verdict]:
    for path, text in scenario.files.items():
        file = place / path
        file.write_text(_filled(text, place, 0))
        if path.startswith("home/"):
            owner = path.split("/")[1]
            shutil.chown(file, owner, owner)
    commands = {
        THEIRS: [smtpd, "-d", "-f"],
        OURS: [sys.executable, "-m", "pysmtpd", "--user", "pysmtpd", "--spool", str(place / "ours" / name), "-f"],
    }
    (place / "ours").mkdir(exist_ok=True)
    with ExitStack() as stack:
        for path in scenario.files:
            stack.callback((place / path).unlink)
        for first, command in commands.items():
            file = place / f"smtpd-{first}.conf"
            file.write_text((_ANONYMOUS if first == THEIRS else "") + _filled(scenario.configuration, place, first))
            file.chmod(0o600)
            stack.enter_context(_daemon(place / f"{name}-{first}.log", first + 1, True, *command, str(file)))
        operator = Client(str(place / "ours" / name / "control.sock"))
        stack.callback(operator.close)
        for case in scenario.cases:
            said = (_ask(case, THEIRS), _ask(case, OURS), _explained(operator, case))
            yield Verdict(name, case.text, case.differs(isOlder), *said)


def _filled(text: str, place: Path, first: int) -> str:
    numbered = re.sub(r"@PORT(\d?)@", lambda match: str(first + int(match[1] or 1)), text)
    return numbered.replace("@PLACE@", str(place)).replace("@HASH@", HASH)


def _ask(case: Case, first: int) -> str:
    """One session; what a peer would be told in the end."""
    with ExitStack() as stack:
        plain = socket.create_connection(("127.0.0.1", first + case.port), PATIENCE, (case.peer, 0))
        stack.callback(plain.close)
        connection = plain
        if case.isTls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if first == THEIRS:
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                context.set_ciphers(CIPHERS)
            connection = context.wrap_socket(plain)
        file = stack.enter_context(connection.makefile("rwb"))

        def hear() -> str:
            while True:
                line = file.readline().decode("utf-8", "replace").rstrip()
                if line[3:4] != "-":
                    return line or "0 closed"

        def say(command: str) -> str:
            file.write(command.encode() + b"\r\n")
            file.flush()
            return hear()

        dialogue = [("EHLO", f"EHLO {case.helo}")]
        if case.user:
            secret = base64.b64encode(f"\0{case.user}\0{case.password}".encode()).decode()
            dialogue.append(("AUTH", f"AUTH PLAIN {secret}"))
        dialogue += [("MAIL", f"MAIL FROM:{case.sender}"), ("RCPT", f"RCPT TO:{case.recipient}")]
        verb, reply = "CONNECT", hear()
        for following, command in dialogue:
            if reply[:1] == "2":
                verb, reply = following, say(command)
        file.write(b"QUIT\r\n")
        file.flush()
        return f"{verb} {reply}"


def _explained(operator: Client, case: Case) -> str:
    """The same as words of C{explain}."""
    supposed = {
        "sender": case.sender[1:-1],
        "recipients": [case.recipient[1:-1]],
        "peer": case.peer,
        "rdns": None,
        "helo": case.helo,
        "user": case.user,
        "tls": case.isTls,
        "tag": "",
        "listener": f"127.0.0.1:{OURS + case.port}",
        "size": 0,
    }
    told = operator.whole("Explain", supposed=supposed)
    for command in told["commands"]:
        if command["reply"][:1] in ("4", "5"):
            return f"{command['command'].split()[0]} {command['reply']}"
    return f"RCPT {told['recipients'][0]['reply']}"


@contextmanager
def _daemon(log: Path, port: int, greets: bool, *command: str) -> Iterator[None]:
    """From when it takes connections on; a daemon that ended before we wanted that is an error."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment(), start_new_session=True)

    def listens() -> bool:
        assert process.poll() is None, f"{command} ended: {log.read_text()}"
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as probe:
                return not greets or probe.recv(4) == b"220 "
        except OSError:
            return False

    try:
        waitFor(command[0], listens)
        yield
        assert process.poll() is None, f"{command} ended: {log.read_text()}"
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Its children may outlive it a little, and answer in the place of who comes next.
        waitFor(f"{command[0]} to let go of its port", lambda: not _isOpen(port))


def _isOpen(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps([asdict(verdict) for verdict in _inside(sys.argv[2], sys.argv[3:])]))
        return
    found = oracle.find()
    if not found:
        sys.exit(f"there is no smtpd below {oracle.BESIDE}: run tests/e2e/setup, or name one with OPENSMTPD")
    sys.exit(sum(_tell(smtpd, *sys.argv[1:]) for smtpd in found) != 0)


def _tell(smtpd: str, *names: str) -> int:
    """
    @return: how many verdicts are not as they should be.
    """
    began = time.monotonic()
    verdicts = compare(smtpd, *names)
    for verdict in verdicts:
        if not verdict.isSame or not verdict.isExpected or not verdict.isExplained:
            print(f"{verdict.scenario}: {verdict.case}\n    theirs: {verdict.theirs}\n    ours:   {verdict.ours}")
        if not verdict.isExpected:
            print("    " + (f"IS LISTED AS {verdict.reason}" if verdict.reason else "IS NOT LISTED"))
        elif verdict.reason:
            print(f"    {verdict.reason}")
        if not verdict.isExplained:
            print(f"    EXPLAIN: {verdict.explained}")
    same = sum(verdict.isSame for verdict in verdicts)
    unexpected = sum(not verdict.isExpected for verdict in verdicts)
    wrong = sum(not verdict.isExpected or not verdict.isExplained for verdict in verdicts)
    print(
        f"OpenSMTPD {oracle.version(smtpd)}: {len(verdicts)} cases in {time.monotonic() - began:.0f} s: "
        f"{same} the same, {unexpected} not listed, or listed and the same"
    )
    return wrong


if __name__ == "__main__":
    main()
