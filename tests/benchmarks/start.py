"""How soon a daemon with much queued mail answers: C{python -m tests.benchmarks.start [ENVELOPES] [BACKEND...]}.

For each backend (sqlite, fs): a spool is filled in this process through the backend itself, the page cache is dropped (as root; it
says so if it could not), and the daemon is started as a process. Printed are the seconds from exec to the greeting, to the
first 250 after an end of data, and until all is loaded; and how long messages that are sent one after the other meanwhile take. All
that is queued waits for a time far away, and the mta is paused, so that only loading goes on beside.

Measured with 200,000 envelopes, cold: the first 250 after 0.9 s with either backend (0.7 s of it CPU, most of that imports); all loaded
after 10 s (sqlite). On two busy cores 1.6 s, and 20 s (sqlite, 7 s CPU) and 40 s (fs, 22 s CPU).
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from pysmtpd.interfaces.queue import IQueueBackend, NewMessage
from pysmtpd.model.address import Path as Address
from pysmtpd.model.envelope import Agent, BodyRef, Destination, Envelope, EnvelopeState, Message
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import MessageId, SessionId, envelopeId
from pysmtpd.platform import file
from pysmtpd.platform.real import RealPlatform
from pysmtpd.queue import fs, sqlite
from pysmtpd.queue.record import encodeEnvelope, encodeMessage, encodeState

BAR = 2.0
BODY = b"Subject: queued\r\n\r\n" + b"A line of text that is neither long nor short.\r\n" * 20
CONFIG = """
queue backend "{backend}:"
listen on 127.0.0.1 port {port}
action "out" relay
match from any for any action "out"
"""
BATCH = 500
USER = ["--user", "nobody"] if os.geteuid() == 0 else []
MAKERS: dict[str, Any] = {"sqlite": sqlite.make, "fs": fs.make}


def queued(number: int, now: float) -> NewMessage:
    id = MessageId(int(now - 86_400) * 1000 + number << 12)
    session = SessionFacts(SessionId(number), "smtp", "mail.example.org", "192.0.2.1", helo="client.test")
    transaction = Transaction(session, Address(f"sender{number}", "client.test"))
    body = BodyRef(id, len(BODY))
    destination = Destination(
        Address(f"rcpt{number}", "remote.test"), Address(f"rcpt{number}", "remote.test"), Agent.MTA, "out"
    )
    envelope = Envelope(envelopeId(id, 0), destination, now - 3600, now + 4 * 86_400)
    return NewMessage(
        id,
        encodeMessage(Message(id, transaction, body, now - 3600)),
        ((envelope.id, encodeEnvelope(envelope)),),
        BODY,
    )


async def fill(backend: IQueueBackend, count: int) -> None:
    now = time.time()
    await backend.open()
    for at in range(0, count, BATCH):
        new = [queued(number, now) for number in range(at, min(at + BATCH, count))]
        await backend.commit(new)
        state = EnvelopeState(3, now + 86_400, now - 60, "451 4.4.1 No host could be reached")
        await backend.update({id: encodeState(id, state) for one in new for id, _ in one.envelopes})
    await backend.close()


def run(work: Any) -> None:
    failed: list[Any] = []
    done = Deferred.fromCoroutine(work)
    done.addErrback(failed.append)
    done.addBoth(lambda _: reactor.crash())
    reactor.run()
    for failure in failed:
        failure.raiseException()


def _unsynced(descriptor: int) -> None:
    """In the place of a sync."""


def dropCaches() -> bool:
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def freePort() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Client:
    """One session; every command waits for its reply."""

    def __init__(self, port: int, daemon: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline or daemon.poll() is not None:
                    raise
                time.sleep(0.002)
        self._file = self._socket.makefile("rb")
        self.expect("220")

    def expect(self, code: str) -> None:
        while True:
            line = self._file.readline().decode()
            if line[:3] != code:
                raise SystemExit(f"expected {code}: {line!r}")
            if line[3:4] == " ":
                return

    def say(self, line: str, code: str) -> None:
        self._socket.sendall(line.encode() + b"\r\n")
        self.expect(code)

    def message(self) -> None:
        self.say("MAIL FROM:<a@client.test>", "250")
        self.say("RCPT TO:<b@example.org>", "250")
        self.say("DATA", "354")
        self.say("Subject: x\r\n\r\nHello.\r\n.", "250")


def cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(backend: str, count: int) -> bool:
    directory = Path(tempfile.mkdtemp(prefix="start-"))
    spool = directory / "spool"
    spool.mkdir(mode=0o700)
    try:
        print(f"{backend}: filling with {count} envelopes ...", flush=True)
        fill = [sys.executable, "-m", "tests.benchmarks.start", "--fill", backend, str(spool), str(count)]
        subprocess.run(fill, check=True)
        if os.geteuid() == 0:
            directory.chmod(0o755)
            # Whom the daemon becomes.
            subprocess.run(["chown", "-R", "nobody", str(spool)], check=True)
        port = freePort()
        config = directory / "smtpd.conf"
        config.write_text(CONFIG.format(backend=backend, port=port))
        isCold = dropCaches()
        log = (directory / "log").open("w+")
        began = time.monotonic()
        daemon = subprocess.Popen(
            [sys.executable, "-m", "pysmtpd", "-f", str(config), "--spool", str(spool), "-P", "mta", *USER],
            stdout=log,
            stderr=log,
        )
        try:
            client = Client(port, daemon)
            greeted = time.monotonic() - began
            client.say("EHLO client.test", "250")
            client.message()
            accepted = time.monotonic() - began
            started = cpu(daemon.pid)
            waits = []
            loaded = 0.0
            while not loaded:
                at = time.monotonic()
                client.message()
                waits.append(time.monotonic() - at)
                if len(waits) % 200 == 0:
                    client.say("QUIT", "221")
                    client = Client(port, daemon)
                    client.say("EHLO client.test", "250")
                time.sleep(0.01)
                if " queue loaded " in Path(log.name).read_text():
                    loaded = time.monotonic() - began
                if time.monotonic() - began > 300:
                    raise SystemExit("not loaded after 300 s")
            used = cpu(daemon.pid)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(30)
        ends = statistics.quantiles(waits, n=100) if len(waits) > 1 else waits * 99
        print(f"{backend}: {'cold' if isCold else 'WARM (only root can drop the page cache)'}")
        print(f"  exec to greeting          {greeted:8.2f} s")
        print(f"  exec to first 250         {accepted:8.2f} s   (bar: {BAR})   CPU {started:.2f} s")
        print(f"  exec to all loaded        {loaded:8.2f} s   CPU {used:.2f} s")
        print(
            f"  a message meanwhile       {statistics.median(waits) * 1e3:8.1f} ms median, "
            f"{ends[98] * 1e3:.1f} ms 99th percentile, {max(waits) * 1e3:.1f} ms longest, of {len(waits)}",
            flush=True,
        )
        return accepted <= BAR
    finally:
        shutil.rmtree(directory)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fill", nargs=3, metavar=("BACKEND", "SPOOL", "COUNT"), help=argparse.SUPPRESS)
    parser.add_argument("envelopes", type=int, nargs="?", default=200_000)
    parser.add_argument("backends", nargs="*", default=["sqlite", "fs"])
    options = parser.parse_args()
    if options.fill:
        backend, spool, count = options.fill
        # Two syncs for each of 200,000 files take minutes. What is measured is the start: all is synced once, before it.
        system: Any = os
        file._dataSync = system.fsync = _unsynced
        platform = RealPlatform(reactor)
        run(fill(MAKERS[backend]("", platform, {"spool": spool}), int(count)))
        return
    # As an installed package is, whatever PYTHONDONTWRITEBYTECODE says.
    compileall.compile_dir("pysmtpd", quiet=1)
    met = [measure(backend, options.envelopes) for backend in options.backends]
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
