"""What one message costs of Python alone, and in which room: the whole daemon, without a socket, a thread or a sync.

    python -m tests.benchmarks.path [--messages N] [--rounds N] [--sessions N] [--profile]

Octets are handed to the daemon's protocols, and taken from them, by transports that do nothing; lanes run at once; SQLite works in memory's
file system. Three ways: C{new}, one message on each connection, held in the queue; C{reused}, many on one connection; C{relayed}, new
connections in, and each message goes on to a peer that always says yes. Of the rounds the quickest counts: this is for comparing
two versions of the code on a machine that others use, too. C{--profile} tells the microseconds of each room and file.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import os
import pstats
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from pysmtpd.config import Environment, load
from pysmtpd.interfaces import ResolverSettings
from pysmtpd.platform.disk import RealDisk
from pysmtpd.platform.system import RealUsers
from pysmtpd.report.maillog import MailLog
from pysmtpd.service import Daemon, build
from pysmtpd.settings import Settings

T = TypeVar("T")

CONTENT = (b"x" * 62 + b"\r\n") * 64 + b".\r\n"
CONFIG = """
listen on 127.0.0.1 port 2525
action "a" relay host "smtp://127.0.0.1:2526"
match from any for any action "a"
"""
TALK = (b"EHLO load.example.org\r\n",)
MESSAGE = (b"MAIL FROM:<u@load.example.org>\r\n", b"RCPT TO:<u@d.test>\r\n", b"DATA\r\n", CONTENT)
US, PEER = IPv4Address("TCP", "127.0.0.1", 2525), IPv4Address("TCP", "127.0.0.1", 40000)


class Wire:
    """A transport that keeps nothing."""

    TLS = False
    disconnecting = False

    def __init__(self, protocol: Any, sent: Callable[[Wire, bytes], None]) -> None:
        self.protocol = protocol
        self._sent = sent

    def write(self, data: bytes) -> None:
        self._sent(self, data)

    def loseConnection(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    abortConnection = loseConnection

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def registerProducer(self, producer: Any, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def getHost(self) -> IPv4Address:
        return US

    def getPeer(self) -> IPv4Address:
        return PEER


class Network:
    """One port of ours, and one peer."""

    def __init__(self) -> None:
        self.factory: Any = None
        self.relayed = 0
        # What the peer has said since the reactor was last entered, as the kernel would keep it.
        self.heard: list[tuple[Any, bytes]] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        self.factory = factory
        return self

    def getHost(self) -> IPv4Address:
        return US

    def listenUNIX(self, *values: Any, **named: Any) -> Any:
        return self

    def stopListening(self) -> None: ...

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float, bind: object) -> None:
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(Wire(protocol, self._said))
        self.heard.append((protocol, b"220 sink\r\n"))

    def _said(self, wire: Wire, data: bytes) -> None:
        if data.startswith(b"EHLO"):
            answer = b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
        elif data.startswith(b"MAIL"):
            answer = b"250 ok\r\n250 ok\r\n354 go\r\n"
        elif data.endswith(b"\r\n.\r\n"):
            answer = b"250 ok\r\n"
            self.relayed += 1
        else:
            answer = b"221 bye\r\n"
        self.heard.append((wire.protocol, answer))


class Workers:
    """Lanes that work when the reactor's turn is over, as threads mostly do."""

    def __init__(self) -> None:
        self._given: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def run(self, lane: str, work: Callable[..., T], *values: Any) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self._given.append((done, work, values))
        return done

    def work(self, others: list[float]) -> bool:
        """
        @param others: is told the seconds that the lanes took.
        """
        given, self._given = self._given, []
        for done, work, values in given:
            begun = time.process_time()
            try:
                result: Any = work(*values)
            except Exception:
                result = Failure()
            others.append(time.process_time() - begun)
            done.callback(result)
        return bool(given)


class Platform:
    """As much of a machine as the daemon needs here."""

    isPrivileged = False
    hostname = "bench.example.org"

    def __init__(self) -> None:
        from random import Random

        self.clock = Clock()
        self.clock.advance(1000.0)
        self.network = Network()
        self.workers = Workers()
        self.disk = RealDisk()
        self.random = Random(1)
        self.processes = None
        self.users = RealUsers()
        self.wallTime = time.time

    def localAddresses(self) -> tuple[str, ...]:
        return ("127.0.0.1",)

    def interfaces(self) -> Mapping[str, Sequence[str]]:
        return {}

    def resolverSettings(self) -> ResolverSettings:
        return ResolverSettings(())

    def processId(self) -> int:
        return os.getpid()

    def secret(self, size: int) -> bytes:
        return bytes(size)


class Bench:
    """A daemon, and the clients that it believes to have."""

    def __init__(self, spool: str, isRelaying: bool) -> None:
        self.platform = Platform()
        self.lanes: list[float] = []
        lines: list[str] = []
        self._lines = lines
        platform: Any = self.platform
        config = load("smtpd.conf", lambda path: CONFIG, Environment(self.platform.hostname))
        paused = () if isRelaying else ("mta", "mda")
        self.daemon: Daemon = build(platform, config, Settings(spool, paused, observers=(MailLog(lines.append),)))
        self.daemon.controlServer.start = lambda: None  # type: ignore[method-assign]
        self.daemon.startService()
        self.settle()

    def settle(self) -> None:
        """Let everything happen that can happen now."""
        platform = self.platform
        heard = platform.network.heard
        busy = True
        while busy:
            platform.clock.advance(0)
            now, heard[:] = heard[:], ()
            for protocol, data in now:
                protocol.dataReceived(data)
            busy = platform.workers.work(self.lanes) or bool(now)
        self._lines.clear()

    def send(self, messages: int, sessions: int, perSession: int) -> None:
        """C{sessions} clients at a time, each saying one line in turn."""
        factory = self.platform.network.factory

        def client() -> Iterator[None]:
            protocol = factory.buildProtocol(PEER)
            protocol.makeConnection(Wire(protocol, _ignore))
            yield
            for data in (*TALK, *(MESSAGE * perSession), b"QUIT\r\n"):
                protocol.dataReceived(data)
                yield

        left = messages
        while left > 0:
            clients = [client() for _ in range(min(sessions, -(-left // perSession)))]
            left -= len(clients) * perSession
            for turns in zip(*clients, strict=True):
                assert turns
                self.settle()


def _ignore(wire: Wire, data: bytes) -> None: ...


def room(file: str) -> str:
    for mark in ("/pysmtpd/", "/twisted/", "/tests/"):
        if mark in file:
            return mark.strip("/") + "/" + file.split(mark)[-1].removesuffix(".py")
    return "other"


def tell(profile: cProfile.Profile, messages: int) -> None:
    """Microseconds of each file; what is built in counts for its callers."""
    spent: Counter[str] = Counter()
    stats: Mapping[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, _, _), (_, _, own, _, callers) in stats.items():
        if file == "~":
            for caller, (_, _, share, _) in callers.items():
                spent[room(caller[0])] += share
        else:
            spent[room(file)] += own
    for name, seconds in spent.most_common(45):
        print(f"    {seconds * 1e6 / messages:7.1f} {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    for name, isRelaying, perSession in (("new", False, 1), ("reused", False, 50), ("relayed", True, 1)):
        spool = tempfile.mkdtemp(dir=memory)
        try:
            bench = Bench(spool, isRelaying)
            bench.send(500, options.sessions, perSession)
            rounds: list[tuple[float, float]] = []
            for _ in range(options.rounds):
                gc.collect()
                bench.lanes.clear()
                begun = time.process_time()
                bench.send(options.messages, options.sessions, perSession)
                spent = time.process_time() - begun
                lanes = sum(bench.lanes)
                rounds.append(((spent - lanes) * 1e6 / options.messages, lanes * 1e6 / options.messages))
            reactor, lanes = min(rounds)
            print(f"{name:8} {reactor:6.1f} us in the reactor, {lanes:5.1f} us in lanes, for each message")
            if options.profile:
                profile = cProfile.Profile()
                profile.runcall(bench.send, options.messages, options.sessions, perSession)
                tell(profile, options.messages)
        finally:
            shutil.rmtree(spool)


if __name__ == "__main__":
    main()
