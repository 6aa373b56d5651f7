"""What accepting mail costs: a real listener on loopback before a queue that takes everything at once and keeps nothing.

    python -m tests.benchmarks.accept [--messages N] [--sessions N] [--idle N] [--profile FILE] [--load PROGRAM]

The server is this process, and only its CPU time counts; the load is a child. C{PROGRAM}, if given, is called with C{-p port
-n messages -s sessions -l octets} and, for many messages on one connection, C{-r}. Prints the resident memory per idle session, and one
line for each way of sending.
"""

from __future__ import annotations

import argparse
import cProfile
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path as FilePath
from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import IReport, IRouter, IStat, ISubmission, ISubmit
from pysmtpd.listen.listeners import Listeners
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config, ListenerSpec
from pysmtpd.model.decision import Decision, Step
from pysmtpd.model.envelope import Agent, BodyRef, Destination, Message
from pysmtpd.model.events import Event
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId
from pysmtpd.model.reply import Reply

reactor: Any = _reactor
HOST = "127.0.0.1"
SIZE = 4096


@implementer(ISubmission)
class Nowhere:
    """Takes a message and forgets it."""

    __slots__ = ("id", "transaction")

    def __init__(self, number: int, transaction: Transaction) -> None:
        self.id = MessageId(number)
        self.transaction = transaction

    def recipient(self, destination: Destination) -> EnvelopeId:
        return envelopeId(self.id, 0)

    def write(self, chunk: bytes) -> None:
        return None

    def commit(
        self, prefix: bytes, supersedes: Sequence[EnvelopeId] = (), isTlsOptional: bool = False
    ) -> Deferred[Message]:
        return succeed(Message(self.id, self.transaction, BodyRef(self.id, 0), 0.0))

    def rollback(self) -> Deferred[None]:
        return succeed(None)


@implementer(ISubmit, IRouter, IReport, IStat)
class Neighbour:
    """Every room next door, doing as little as may be."""

    def __init__(self) -> None:
        path = Path("u", "d.test")
        self._decision = Decision((Destination(path, path, Agent.MDA, "local"),), None, "", Step(path))
        self.begun = 0

    def admit(self, size: int) -> Reply | None:
        return None

    def begin(self, transaction: Transaction, isBounce: bool = False) -> ISubmission:
        self.begun += 1
        return Nowhere(self.begun, transaction)

    def expand(self, config: Config, path: Path, transaction: Transaction) -> Decision:
        return self._decision

    def happened(self, event: Event) -> None: ...

    def allHappened(self, events: Sequence[Event]) -> None:
        for event in events:
            self.happened(event)

    def increment(self, key: str, by: int = 1) -> None: ...

    def decrement(self, key: str, by: int = 1) -> None: ...

    def set(self, key: str, value: float) -> None: ...

    def snapshot(self) -> dict[str, float]:
        return {}


class Platform:
    clock = reactor
    network = reactor
    random = Random(1)
    hostname = "bench.test"

    def wallTime(self) -> float:
        return time.time()


class Child(ProcessProtocol):
    def __init__(self, heard: Callable[[str], None], ended: Callable[[str], None]) -> None:
        self._heard, self._ended = heard, ended
        self._said = b""

    def outReceived(self, data: bytes) -> None:
        self._said += data
        self._heard(self._said.decode())

    def errReceived(self, data: bytes) -> None:
        sys.stderr.write(data.decode())

    def processEnded(self, reason: Failure) -> None:
        self._ended(self._said.decode())


def residentOctets() -> int:
    pages = int(FilePath("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Run:
    """One measurement after the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._neighbour = Neighbour()
        config = Config("bench", "bench.test", listeners=(ListenerSpec(HOST, (HOST,), 0),))
        here: Any = self._neighbour
        platform: Any = Platform()
        self._listeners = Listeners(platform, lambda: config, here, here, here, here, here, None, here, 1_000_000)
        self._listeners.start()
        self._port = int(self._listeners.names[0].rpartition(":")[2])
        self._profile = cProfile.Profile()

    def start(self) -> None:
        self._next(["idle", "new", "reused"] if self._options.idle else ["new", "reused"])

    def _next(self, left: list[str]) -> None:
        if not left:
            reactor.stop()
        elif left[0] == "idle":
            self._idle(lambda: self._next(left[1:]))
        else:
            self._send(left[0], lambda: self._next(left[1:]))

    def _send(self, kind: str, then: Callable[[], None]) -> None:
        options = self._options
        arguments = ["-p", str(self._port), "-n", str(options.messages), "-s", str(options.sessions), "-l", str(SIZE)]
        if kind == "reused":
            arguments.append("-r")
        argv = [options.load] if options.load else [sys.executable, "-m", "tests.benchmarks.accept", "load"]
        begun = self._neighbour.begun
        cpu, wall = time.process_time(), time.perf_counter()
        if options.profile:
            self._profile.enable()

        def ended(said: str) -> None:
            self._profile.disable()
            spent, passed = time.process_time() - cpu, time.perf_counter() - wall
            count = self._neighbour.begun - begun
            print(f"{kind:7} {count} messages, {count / passed:.0f}/s, {1000 * spent / count:.3f} ms CPU each")
            if options.profile:
                self._profile.dump_stats(f"{options.profile}.{kind}")
                self._profile = cProfile.Profile()
            then()

        reactor.spawnProcess(Child(lambda said: None, ended), argv[0], argv + arguments, env=None)

    def _idle(self, then: Callable[[], None]) -> None:
        count = self._options.idle
        argv = [sys.executable, "-m", "tests.benchmarks.accept", "hold", "-p", str(self._port), "-n", str(count)]
        before = residentOctets()

        def heard(said: str) -> None:
            if said.endswith("\n"):
                held = self._listeners.sessions
                print(f"idle    {held} sessions, {(residentOctets() - before) / held / 1000:.1f} kB each")
                process.signalProcess("KILL")

        process = reactor.spawnProcess(Child(heard, lambda said: then()), argv[0], argv, env=None)


# --- the load, in a process of its own


def _talk(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    heard = b""
    while True:
        heard += connection.recv(65536)
        last = heard[:-2].rpartition(b"\n")[2]
        if heard.endswith(b"\n") and last[3:4] == b" ":
            break
    if not heard.startswith((b"2", b"3")):
        raise RuntimeError(heard.decode())


def _open(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _talk(connection, b"")
    _talk(connection, b"EHLO bench.test\r\n")
    return connection


def _load(port: int, messages: int, reuse: bool) -> None:
    body = b"Subject: bench\r\n\r\n" + (b"x" * 78 + b"\r\n") * (SIZE // 80) + b".\r\n"
    connection = None
    for number in range(messages):
        connection = connection or _open(port)
        for said in (b"MAIL FROM:<load@src.test>\r\n", b"RCPT TO:<u@d.test>\r\n", b"DATA\r\n", body):
            _talk(connection, said)
        if not reuse or number == messages - 1 or number % 900 == 899:
            _talk(connection, b"QUIT\r\n")
            connection.close()
            connection = None


def _hold(port: int, count: int) -> None:
    held = [_open(port) for _ in range(count)]
    print(len(held), flush=True)
    time.sleep(60)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", nargs="?", default="serve", choices=["serve", "load", "hold"])
    parser.add_argument("--messages", "-n", type=int, default=4000)
    parser.add_argument("--sessions", "-s", type=int, default=20)
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--profile", default="")
    parser.add_argument("--load", default="")
    parser.add_argument("-p", dest="port", type=int, default=0)
    parser.add_argument("-l", dest="size", type=int, default=SIZE)
    parser.add_argument("-r", dest="reuse", action="store_true")
    options = parser.parse_args()
    with suppress(ValueError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.role == "load":
        share = options.messages // options.sessions
        threads = [
            threading.Thread(target=_load, args=(options.port, share, options.reuse)) for _ in range(options.sessions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elif options.role == "hold":
        _hold(options.port, options.messages)
    else:
        reactor.callWhenRunning(Run(options).start)
        reactor.run()


if __name__ == "__main__":
    main()
