"""C{kill -9} at random moments under load: C{python -m tests.e2e.crash [ROUNDS [SEED]]}.

A round starts the daemon on the spool that the one before left behind, loads it from several clients, and kills it at a moment that the
seed chooses: while it starts, while it accepts and delivers. Between rounds a reader takes the letters away, as people do, so that what
is delivered twice is seen twice. In the end everything that was acknowledged must have been read, whole, and no debris be left.
"""

from __future__ import annotations

import random
import smtplib
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.support import SINK, Daemon, Place, checkReach, say, waitFor

CLIENTS = 4
THRESHOLD = 16384
BACKENDS = ("sqlite", "fs")

# Seconds: the longest life of a daemon under load, and of one that is killed while it starts.
LIFE = 0.8
BIRTH = 0.7


def content(token: str, lines: int) -> bytes:
    return b"Subject: %s\r\n\r\n%send of %s\r\n" % (token.encode(), b"x" * 70 * lines + b"\r\n", token.encode())


@dataclass
class Account:
    """What was said and what was found.

    @ivar acknowledged: tokens whose end of data was answered 250, with the size of what was sent.
    @ivar read: how often each token was found in the Maildir.
    """

    seed: int
    acknowledged: dict[str, int] = field(default_factory=dict)
    read: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)
    debris: list[str] = field(default_factory=list)
    rounds: int = 0
    startedOver: int = 0

    @property
    def lost(self) -> list[str]:
        return sorted(token for token in self.acknowledged if token not in self.read)

    @property
    def duplicates(self) -> int:
        return sum(count - 1 for count in self.read.values())

    def __str__(self) -> str:
        unsaid = sum(token not in self.acknowledged for token in self.read)
        facts = (
            f"{self.rounds} rounds (seed {self.seed}), {self.startedOver} of them killed while starting",
            f"{len(self.acknowledged)} acknowledged",
            f"{len(self.lost)} lost",
            f"{self.duplicates} delivered twice",
            f"{unsaid} delivered whose 250 the kill swallowed",
            f"{len(self.damaged)} damaged",
            f"{len(self.debris)} files of debris",
        )
        return ", ".join(facts)


class Load:
    """Clients that send until the daemon is gone."""

    def __init__(self, port: int, name: str, seed: int, account: Account) -> None:
        self._port = port
        self._account = account
        self._threads = [
            threading.Thread(target=self._run, args=(f"{name}-{number}", random.Random(seed * 100 + number)))
            for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, chance: random.Random) -> None:
        sent = 0
        try:
            while True:
                with smtplib.SMTP("127.0.0.1", self._port, "client.test", timeout=10) as client:
                    client.ehlo()
                    for _ in range(chance.randint(1, 20)):
                        sent += 1
                        self._send(client, f"{name}-{sent}", 400 if chance.random() < 0.1 else chance.randint(1, 60))
        except (OSError, smtplib.SMTPException):
            # Killed. What was under way is nobody's business: it was not acknowledged.
            return

    def _send(self, client: smtplib.SMTP, token: str, lines: int) -> None:
        client.mail("sender@example.org")
        client.rcpt(f"{token}@example.org")
        data = content(token, lines)
        code, _ = client.data(data)
        if code == 250:
            self._account.acknowledged[token] = len(data)


class Trial:
    """A spool that is used for all rounds."""

    def __init__(self, backend: str, seed: int) -> None:
        self._place = Place()
        configuration = f'queue backend "{backend}:"\nqueue limit file-threshold {THRESHOLD}\n' + SINK
        self._daemon = Daemon(self._place.path, configuration)
        self._chance = random.Random(f"{seed}-{backend}")
        self.account = Account(seed)

    def run(self, rounds: int) -> Account:
        try:
            for number in range(1, rounds + 1):
                self._round(number)
                if number % 5 == 0:
                    say(f"round {number}: {len(self.account.acknowledged)} acknowledged so far")
            self._settle()
        finally:
            if self._daemon.process is not None and self._daemon.process.poll() is None:
                self._daemon.kill()
            self._place.remove()
        return self.account

    def _round(self, number: int) -> None:
        self.account.rounds += 1
        daemon = self._daemon
        if self._chance.random() < 0.2:
            self.account.startedOver += 1
            daemon.launch()
            time.sleep(self._chance.uniform(0.1, BIRTH))
            daemon.kill()
            return
        daemon.start()
        load = Load(daemon.port, f"r{number}", self._chance.getrandbits(30), self.account)
        time.sleep(self._chance.uniform(0.02, LIFE))
        daemon.kill()
        load.join()
        self._read()

    def _read(self) -> None:
        """Take the letters away."""
        for path in self._daemon.delivered():
            letter = path.read_bytes()
            token = letter.partition(b"\nDelivered-To: ")[2].partition(b"@")[0].decode()
            self.account.read[token] += 1
            body = letter[letter.find(b"Subject: ") :].replace(b"\n", b"\r\n")
            size = self.account.acknowledged.get(token, len(body))
            if len(body) != size or not body.endswith(f"end of {token}\r\n".encode()):
                self.account.damaged.append(f"{token}: {len(body)} octets in place of {size}")
            path.unlink()

    def _settle(self) -> None:
        """A last daemon delivers what is left, and ends in order."""
        daemon = self._daemon
        daemon.start()
        waitFor("an empty queue", self._isEmpty, 60)
        code = daemon.stop()
        if code:
            raise AssertionError(f"exit code {code}: {daemon.errors.read_text()}")
        self._read()
        self.account.debris = [str(path) for path in self._leftovers()]

    def _isEmpty(self) -> bool:
        shown = self._daemon.control("--json", "show", "queue")
        return not shown.returncode and not shown.stdout.strip()

    def _leftovers(self) -> list[Path]:
        spool = self._daemon.spool
        directories = (
            self._daemon.maildir / "tmp", spool / "bodies", spool / "queue" / "staged", spool / "queue" / "messages",
            spool / "queue" / "superseding", spool / "queue" / "aside",
        )  # fmt: skip
        return [path for directory in directories for path in directory.rglob("*") if path.is_file()]


def main(arguments: list[str]) -> int:
    checkReach()
    rounds = int(arguments[0]) if arguments else 50
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 30)
    status = 0
    for backend in BACKENDS:
        print(f"{backend}: {rounds} rounds, seed {seed}", flush=True)
        account = Trial(backend, seed).run(rounds)
        print(f"{backend}: {account}", flush=True)
        for trouble in (*account.lost, *account.damaged, *account.debris):
            print(f"  {trouble}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
