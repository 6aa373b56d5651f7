"""CPU per relayed message of the mta room: loopback, a sink in a process of its own, everything else faked.

    python -m tests.benchmarks.relay [messages] [flight] [profile]

C{flight} messages are under way at any time. Prints one line: messages a second, CPU milliseconds a message, connections.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from cProfile import Profile
from pathlib import Path as FilePath
from pstats import Stats
from typing import Any, cast

from twisted.internet import protocol, reactor

from pysmtpd.model.config import Config, MtaLimits
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.mta.agent import MtaAgent
from pysmtpd.tls.client import ClientContexts
from tests.mta.fakes import Bodies, Dns, Ears, Platform, World, explicit

LINE = b"x" * 70 + b"\r\n"
CONTENT = b"Subject: bench\r\n\r\n" + LINE * 56


class Sink(protocol.Protocol):
    """Answers at once, keeps nothing."""

    def connectionMade(self) -> None:
        self._buffer = b""
        self._inData = False
        cast(Any, self.transport).setTcpNoDelay(True)
        cast(Any, self.transport).write(b"220 sink\r\n")

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        answers = []
        while True:
            if self._inData:
                head, mark, rest = self._buffer.partition(b"\r\n.\r\n")
                if not mark:
                    break
                self._inData = False
                answers.append(b"250 2.0.0 queued as 4711\r\n")
            else:
                head, mark, rest = self._buffer.partition(b"\r\n")
                if not mark:
                    break
                if head[:4] == b"EHLO":
                    answers.append(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 52428800\r\n")
                elif head == b"DATA":
                    self._inData = True
                    answers.append(b"354 go\r\n")
                else:
                    answers.append(b"250 2.0.0 Ok\r\n")
            self._buffer = rest
        cast(Any, self.transport).write(b"".join(answers))


def sink() -> None:
    factory = protocol.Factory.forProtocol(Sink)
    factory.noisy = False
    port = cast(Any, reactor).listenTCP(0, factory, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    cast(Any, reactor).callLater(60, cast(Any, reactor).stop)
    cast(Any, reactor).run()


class Load(Ears):
    """Keeps C{flight} messages under way until all are done."""

    def __init__(self, messages: int, flight: int) -> None:
        super().__init__()
        self.left = messages - flight
        self.open = messages
        self.bad = 0
        self.next: Any = None

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        self.open -= 1
        self.bad += outcomes[0].result is not Result.DELIVERED
        if self.left:
            self.left -= 1
            self.next()
        elif not self.open:
            cast(Any, reactor).stop()

    def hold(self, envelopes: Sequence[EnvelopeId], key: str) -> None:
        raise AssertionError("never that many")


def main(messages: int, flight: int, profile: bool) -> None:
    root = str(FilePath(__file__).parent.parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.relay", "sink"], stdout=subprocess.PIPE, text=True, cwd=root
    )
    try:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        world = World()
        load = Load(messages, flight)
        bodies = Bodies()
        config = Config("bench", "me.test", actions=explicit("smtp://127.0.0.1", port), mta=MtaLimits())
        agent = MtaAgent(
            cast(Any, Platform(reactor, reactor)),
            Dns(),
            cast(Any, bodies),
            lambda: config,
            dict,
            load,
            load,
            load,
            ClientContexts(),
        )
        deliveries = [world.delivery("b@y.test", content=CONTENT) for _ in range(messages)]
        bodies.contents = world.bodies.contents
        waiting = iter(deliveries)
        load.next = lambda: agent.deliver(next(waiting), load)

        def begin() -> None:
            for _ in range(flight):
                load.next()

        cast(Any, reactor).callWhenRunning(begin)
        cast(Any, reactor).callLater(50, cast(Any, reactor).stop)
        used, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        if profile:
            profiler = Profile()
            profiler.runcall(cast(Any, reactor).run)
            Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(30)
        else:
            cast(Any, reactor).run()
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        connections = sum(type(event).__name__ == "ConnectionOpened" for event in load.events)
        print(
            f"{messages} messages, {flight} in flight: {messages / seconds:.0f}/s, {cpu / messages * 1000:.3f} ms CPU each, "
            f"{connections} connections, {load.bad} not delivered"
        )
    finally:
        child.terminate()
        child.wait(10)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["sink"]:
        sink()
    else:
        count = int(arguments[0]) if arguments else 5000
        main(count, int(arguments[1]) if len(arguments) > 1 else 20, "profile" in arguments)
