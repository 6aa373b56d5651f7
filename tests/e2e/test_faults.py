"""smtp-sink fails in every position: outcomes have their class, nothing is lost, and nothing comes twice unless the last reply was."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.support import Daemon, Place, environment, freePort, running, say, waitFor

# Messages for each fault; each second one has two recipients.
MESSAGES = 3

OK, TEMPORARY, PERMANENT = "Ok", "TempFail", "PermFail"


@dataclass(frozen=True)
class Fault:
    """
    @ivar options: of smtp-sink.
    @ivar result: of the first attempt.
    @ivar isTakenAnyway: the message has arrived all the same: its last reply is lost.
    @ivar mayHangUp: it may also have closed when the next message came, twice: a temporary result.
    """

    options: str
    result: str
    isTakenAnyway: bool = False
    mayHangUp: bool = False


FAULTS = {
    # 5xx
    "f-connect": Fault("-f CONNECT", TEMPORARY),
    # Then HELO is tried.
    "f-ehlo": Fault("-f EHLO", OK),
    "f-ehlo-helo": Fault("-f EHLO,HELO", TEMPORARY),
    "f-lhlo": Fault("-L -f LHLO", TEMPORARY),
    "f-mail": Fault("-f MAIL", PERMANENT),
    "f-rcpt": Fault("-f RCPT", PERMANENT),
    "f-data": Fault("-f DATA", PERMANENT),
    "f-dot": Fault("-f .", PERMANENT),
    "f-rset": Fault("-f RSET", OK),
    "f-quit": Fault("-f QUIT", OK),
    # RSET follows a refusal.
    "f-rset-after": Fault("-r RCPT -f RSET", TEMPORARY),
    "f-rcpt-lmtp": Fault("-L -f RCPT", PERMANENT),
    "f-dot-lmtp": Fault("-L -f .", PERMANENT),
    "f-dot-521": Fault("-f . -B 521_5.3.2_no_mail_here", PERMANENT),
    # 4xx
    "r-connect": Fault("-r CONNECT", TEMPORARY),
    "r-ehlo": Fault("-r EHLO", TEMPORARY),
    "r-helo": Fault("-f EHLO -r HELO", TEMPORARY),
    "r-ehlo-helo": Fault("-r EHLO,HELO", TEMPORARY),
    "r-lhlo": Fault("-L -r LHLO", TEMPORARY),
    "r-mail": Fault("-r MAIL", TEMPORARY),
    "r-rcpt": Fault("-r RCPT", TEMPORARY),
    "r-data": Fault("-r DATA", TEMPORARY),
    "r-dot": Fault("-r .", TEMPORARY),
    "r-rset": Fault("-r RSET", OK),
    "r-quit": Fault("-r QUIT", OK),
    "r-rset-after": Fault("-r RCPT,RSET", TEMPORARY),
    "r-rcpt-lmtp": Fault("-L -r RCPT", TEMPORARY),
    "r-dot-lmtp": Fault("-L -r .", TEMPORARY),
    "r-rcpt-421": Fault("-r RCPT -b 421_4.3.2_going_down", TEMPORARY),
    # It closes, with PIPELINING and without.
    "q-connect": Fault("-q CONNECT", TEMPORARY),
    "q-ehlo": Fault("-q EHLO", TEMPORARY),
    "q-helo": Fault("-f EHLO -q HELO", TEMPORARY),
    "q-lhlo": Fault("-L -q LHLO", TEMPORARY),
    "q-mail": Fault("-q MAIL", TEMPORARY),
    "q-rcpt": Fault("-q RCPT", TEMPORARY),
    "q-data": Fault("-q DATA", TEMPORARY),
    "q-dot": Fault("-q .", TEMPORARY, isTakenAnyway=True),
    "q-rset": Fault("-q RSET", OK),
    "q-quit": Fault("-q QUIT", OK),
    "q-rset-after": Fault("-r RCPT -q RSET", TEMPORARY),
    "q-dot-lmtp": Fault("-L -q .", TEMPORARY, isTakenAnyway=True),
    "q-mail-slowly": Fault("-p -q MAIL", TEMPORARY),
    "q-rcpt-slowly": Fault("-p -q RCPT", TEMPORARY),
    "q-data-slowly": Fault("-p -q DATA", TEMPORARY),
    "q-dot-slowly": Fault("-p -q .", TEMPORARY, isTakenAnyway=True),
    # 421, and it closes.
    "late-connect": Fault("-Q CONNECT", TEMPORARY),
    "late-ehlo": Fault("-Q EHLO", TEMPORARY),
    "late-helo": Fault("-f EHLO -Q HELO", TEMPORARY),
    "late-mail": Fault("-Q MAIL", TEMPORARY),
    "late-rcpt": Fault("-Q RCPT", TEMPORARY),
    "late-data": Fault("-Q DATA", TEMPORARY),
    "late-dot": Fault("-Q .", TEMPORARY),
    "late-rset-after": Fault("-r RCPT -Q RSET", TEMPORARY),
    "late-dot-lmtp": Fault("-L -Q .", TEMPORARY),
    "late-quit": Fault("-Q QUIT", OK),
    # Slow, and odd.
    "slow-data": Fault("-w 1", OK),
    "slow-connect": Fault("-W CONNECT:1", OK),
    "slow-ehlo": Fault("-W EHLO:1", OK),
    "slow-mail": Fault("-p -W MAIL:1", OK),
    "slow-rcpt": Fault("-p -W RCPT:1", OK),
    "slow-data-only": Fault("-p -W DATA:1", OK),
    "slow-dot": Fault("-W .:1", OK),
    "slow-quit": Fault("-W QUIT:1", OK),
    "stall-data": Fault("-H 1", OK),
    # 550 in place of more reading.
    "abort-data-0": Fault("-A 0", PERMANENT, mayHangUp=True),
    "abort-data-1": Fault("-A 1", PERMANENT, mayHangUp=True),
    "plain-smtp": Fault("-e", OK),
    "pix": Fault("-P", OK),
    "bare": Fault("-8 -a -C -E -F -N -p", OK),
}

# Those after which another host is tried at once.
HOPPING = (
    *("f-connect", "f-ehlo-helo", "r-connect", "r-ehlo", "r-helo", "r-ehlo-helo"),
    *("q-connect", "q-ehlo", "q-helo", "late-connect", "late-ehlo", "late-helo"),
)

CONFIGURATION = """
listen on 127.0.0.1 port @PORT@
action "here" maildir "@PLACE@/Maildir" virtual {{ "@" = "@USER@" }}
{actions}
match from any for domain "here.test" action "here"
{rules}
"""


class Sinks:
    """smtp-sink at addresses of their own, and what they have taken."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.port = freePort()
        self._processes: dict[str, Popen[bytes]] = {}
        self._refusing: set[str] = set()
        # Others may test here at the same time.
        self._network = f"127.{os.getpid() // 250 % 100 + 100}"

    def address(self, name: str) -> str:
        return f"{self._network}.{os.getpid() % 250 + 1}.{list(FAULTS).index(name) + 1}"

    def start(self, name: str, options: str, port: int = 0) -> None:
        path = self.place / f"{name}-{len(self._processes)}"
        path.mkdir()
        who: Sequence[str] = ()
        if not os.geteuid():
            shutil.chown(path, "nobody")
            who = ("-u", "nobody")
        if re.search(r"-[frQ] \.", options):
            self._refusing.add(path.name)
        words = [word.replace("_", " ") for word in options.split()]
        where = (self.address(name), port or self.port)
        self._processes[path.name] = Popen(
            ["smtp-sink", *who, *words, "-d", f"{path}/m.", f"{where[0]}:{where[1]}", "100"],
            stdout=DEVNULL,
            stderr=DEVNULL,
            env=environment(),
        )
        waitFor(f"smtp-sink {options}", lambda: _isBound(where))

    def end(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()

    def taken(self) -> Counter[tuple[str, str]]:
        """How often a recipient has got a message."""
        found: Counter[tuple[str, str]] = Counter()
        for path in self.place.glob("*/m.*"):
            text = path.read_text("latin-1")
            subject = re.search(r"^Subject: (\S+)$", text, re.MULTILINE)
            # smtp-sink keeps what it has refused, too; and one whose end has not come is none.
            if path.parent.name not in self._refusing and subject and "\nThe end.\n" in text:
                for recipient in re.findall(r"^X-Rcpt-Args: <(\S+)>", text, re.MULTILINE):
                    found[subject[1], recipient] += 1
        return found


def _isBound(where: tuple[str, int]) -> bool:
    """Without a connection: that would be one of the faults."""
    packed = "".join(f"{int(part):02X}" for part in reversed(where[0].split(".")))
    return any(f" {packed}:{where[1]:04X} 00000000:0000 0A" in line for line in Path("/proc/net/tcp").open())


class FaultTests(SynchronousTestCase):
    timeout = 300

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        place = Place()
        self.stack.callback(place.remove)
        self.sinks = Sinks(place.path)
        self.stack.callback(self.sinks.end)
        self.sent: list[tuple[str, str]] = []

    def daemon(self, names: Sequence[str], hosts: dict[str, Sequence[int]]) -> Daemon:
        """Each name is a domain.

        @param hosts: the ports of its address that mail for it may go to.
        """
        actions = []
        for name in names:
            protocol = "lmtp" if "-L" in FAULTS[name].options else "smtp"
            urls = ", ".join(f'"{protocol}://{self.sinks.address(name)}:{port}"' for port in hosts[name])
            actions.append(f'action "{name}" relay host {{ {urls} }}')
        rules = [f'match from any for domain "{name}.test" action "{name}"' for name in names]
        text = CONFIGURATION.format(actions="\n".join(actions), rules="\n".join(rules))
        return self.stack.enter_context(running(text))

    def send(self, daemon: Daemon, name: str) -> None:
        with daemon.client() as client:
            for number in range(MESSAGES):
                recipients = [f"one@{name}.test", f"two@{name}.test"][: 1 + number % 2]
                subject = f"{name}/{number}"
                text = f"Subject: {subject}\r\n\r\n" + "x" * 60 + "\r\nThe end.\r\n"
                client.sendmail("sender@here.test", recipients, text.encode())
                self.sent += [(subject, recipient) for recipient in recipients]

    def attempts(self, daemon: Daemon) -> dict[str, list[dict[str, Any]]]:
        """By domain."""
        found: dict[str, list[dict[str, Any]]] = {}
        for event in daemon.events("delivery"):
            if event["agent" if "agent" in event else "room"] == "mta":
                found.setdefault(event["to"].partition("@")[2].removesuffix(".test"), []).append(event)
        return found

    def test_everyPosition(self) -> None:
        port = self.sinks.port
        for name, fault in FAULTS.items():
            self.sinks.start(name, fault.options)
        daemon = self.daemon(list(FAULTS), dict.fromkeys(FAULTS, (port,)))
        for name in FAULTS:
            self.send(daemon, name)
        count = MESSAGES + MESSAGES // 2

        def attempted() -> bool:
            attempts = self.attempts(daemon)
            return all(len(attempts.get(name, ())) >= count for name in FAULTS)

        waitFor("an attempt for each recipient", attempted, 60)
        results = {
            name: {event["result"] for event in events[:count]} for name, events in self.attempts(daemon).items()
        }
        wrong = {
            name: [(event["result"], event["stat"]) for event in self.attempts(daemon)[name]]
            for name, fault in FAULTS.items()
            if results[name] not in ({fault.result}, {fault.result, TEMPORARY} if fault.mayHangUp else {})
        }
        self.assertEqual(wrong, {})
        statuses = Counter(row["recipient"].partition("@")[2] for row in daemon.queued() if row["sender"])
        left = {f"{name}.test": count for name, fault in FAULTS.items() if fault.result is TEMPORARY}
        for name, fault in FAULTS.items():
            if fault.mayHangUp:
                statuses.pop(f"{name}.test", None)
        self.assertEqual(statuses, left)

        # All sinks are well again.
        self.sinks.end()
        for name in FAULTS:
            self.sinks.start(name, "-L" if "-L" in FAULTS[name].options else "")

        def isEmpty() -> bool:
            daemon.control("schedule", "all")
            return not daemon.queued()

        waitFor("an empty queue", isEmpty, 120)
        self.check(daemon)
        twice = {key for key, number in self.sinks.taken().items() if number > 1}
        names = {subject.partition("/")[0] for subject, _ in twice}
        self.assertLessEqual(names, {name for name, fault in FAULTS.items() if fault.isTakenAnyway})
        say(
            f"{len(FAULTS)} faults, {len(self.sent)} recipients; twice came {len(twice)}, after {', '.join(sorted(names))}"
        )

    def check(self, daemon: Daemon) -> None:
        """Each recipient has the message, or the sender knows why not; never both."""
        taken = self.sinks.taken()
        told: Counter[tuple[str, str]] = Counter()
        for path in daemon.delivered():
            text = path.read_text("latin-1")
            subject = re.findall(r"^Subject: (\S+/\d)$", text, re.MULTILINE)
            for recipient in re.findall(r"^Final-Recipient: rfc822; ?(\S+)$", text, re.MULTILINE):
                told[subject[-1], recipient] += 1
        refused = {name for name, fault in FAULTS.items() if fault.result is PERMANENT}
        for key in self.sent:
            name = key[0].partition("/")[0]
            if name in refused and not (FAULTS[name].mayHangUp and not told[key]):
                self.assertEqual((told[key], taken[key]), (1, 0), key)
            else:
                self.assertGreaterEqual(taken[key], 1, key)
                self.assertEqual(told[key], 0, key)
        self.assertLessEqual(set(told) | set(taken), set(self.sent))

    def test_anotherHost(self) -> None:
        """Where one host does not even begin, the other one gets all, in the same attempt, once."""
        bad, good = self.sinks.port, freePort()
        for name in HOPPING:
            self.sinks.start(name, FAULTS[name].options, bad)
            self.sinks.start(name, "", good)
        daemon = self.daemon(HOPPING, dict.fromkeys(HOPPING, (bad, good)))
        for name in HOPPING:
            self.send(daemon, name)
        waitFor("an empty queue", lambda: not daemon.queued(), 60)
        # The log follows a moment later.
        waitFor("an attempt for each", lambda: sum(map(len, self.attempts(daemon).values())) >= len(self.sent))
        results = {name: {event["result"] for event in events} for name, events in self.attempts(daemon).items()}
        self.assertEqual(results, {name: {OK} for name in HOPPING})
        self.assertEqual(self.sinks.taken(), Counter(self.sent))
