"""Memory, reload and questions of large tables: C{python -m tests.benchmarks.tables}. Each size is measured in a process of its own."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterable, Iterator
from statistics import median
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import LoopingCall, deferLater, react

from pysmtpd.analysing import analyse, look
from pysmtpd.config import Environment, load
from pysmtpd.generations import makeTables, readTables
from pysmtpd.interfaces.routing import ITable, Service
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.platform.real import RealPlatform
from pysmtpd.table import file
from pysmtpd.table.regex import Patterns
from pysmtpd.table.screen import makeScreen
from pysmtpd.table.uses import servicesOf

MILLION = 1_000_000
T = TypeVar("T")


def domains() -> Iterator[str]:
    return (f"host{n}.example{n % 977}.org" for n in range(MILLION))


def stars() -> Iterator[str]:
    return (f"*.host{n}.example{n % 977}.org" for n in range(MILLION))


def addresses() -> Iterator[str]:
    return (f"some.user{n}@example{n % 9973}.org" for n in range(MILLION))


def aliases() -> Iterator[str]:
    return (f"some.user{n}@example{n % 9973}.org: user{n}@mail.example.net" for n in range(MILLION))


def networks() -> Iterator[str]:
    return (f"10.{n >> 8 & 255}.{n & 255}.{n >> 16 << 6}/26" for n in range(100_000))


def networks6() -> Iterator[str]:
    return (f"2001:db8:{n >> 8:x}:{n & 255:x}00::/56" for n in range(100_000))


SIZES = {each.__name__: each for each in (domains, stars, addresses, aliases, networks, networks6)}
ASKED = {
    "domains": (Service.DOMAIN, "host77.example77.org", "www.host77.example78.org"),
    "stars": (Service.DOMAIN, "www.host77.example77.org", "www.host77.example78.org"),
    "addresses": (Service.MAILADDR, "some.user77@example77.org", "other.user@host.example78.org"),
    "aliases": (Service.MAILADDR, "some.user77@example77.org", "other.user@host.example78.org"),
    "networks": (Service.NETADDR, "10.0.77.9", "192.0.2.1"),
    "networks6": (Service.NETADDR, "2001:db8:0:4d12::1", "2001:db9::1"),
}


def resident() -> int:
    """Octets of this process in memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write(path: str, lines: Iterable[str], mode: str) -> int:
    """
    @return: how many lines.
    """
    count = 0
    with open(path, mode) as out:
        for line in lines:
            out.write(f"{line}\n")
            count += 1
    return count


class Gaps:
    """The longest time between two turns of the reactor that are due each millisecond."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._last = time.perf_counter()
        self._loop = LoopingCall(self._turn)
        self._loop.start(0.001)

    def _turn(self) -> None:
        now = time.perf_counter()
        self.worst = max(self.worst, now - self._last)
        self._last = now

    def take(self) -> float:
        worst, self.worst = self.worst, 0.0
        return worst


async def measure(reactor: IReactorCore, name: str) -> None:
    platform = RealPlatform(reactor)
    with tempfile.TemporaryDirectory() as place:
        path = os.path.join(place, name)
        count = write(path, SIZES[name](), "w")
        table: ITable = file.make(path, platform, {"spec": TableSpec(name, BackendSpec("file", path))})
        gc.collect()
        gaps = Gaps()
        before = resident()
        start = time.perf_counter()
        table, first = await table.update()
        took = time.perf_counter() - start
        grown = resident() - before
        gaps.take()
        write(path, ["new.example.org: x" if name == "aliases" else "new.example.org"], "a")
        start = time.perf_counter()
        renewed, second = await table.update()
        again = time.perf_counter() - start
        await table.close()
        table = renewed
        worst = gaps.take()
        assert (first.entries, second.added, second.removed) == (count, 1, 0), (first, second)
    service, hit, miss = ASKED[name]
    print(
        f"{name:10} {count:8} entries: {grown / count:6.1f} bytes each ({first.octets / count:5.1f} by the rule of thumb), "
        f"read in {took:4.1f} s, again in {again:4.1f} s with gaps of the reactor up to {worst * 1e3:4.0f} ms, "
        f"hit {cost(table, service, hit, True):4.2f} us, miss {cost(table, service, miss, False):4.2f} us",
        flush=True,
    )


async def generation(reactor: Any) -> None:
    """All that an C{update table} does in a daemon whose rules have a million domains, a million addresses and 100,000 networks."""
    platform = RealPlatform(reactor)
    with tempfile.TemporaryDirectory() as place:
        text = 'action "out" relay\n'
        for name, condition in (
            ("domains", "for domain"),
            ("addresses", "for rcpt-to"),
            ("networks", "for any from src"),
        ):
            write(os.path.join(place, name), SIZES[name](), "w")
            text += f"table {name} file:{place}/{name}\n"
            text += f'match {"" if name == "networks" else "from any "}{condition} <{name}> action "out"\n'
        text += "".join(f'match from any for domain {{ "d{n}.test", "e{n}.test" }} action "out"\n' for n in range(47))
        config = load("c", {"c": text}.__getitem__, Environment("mx.example.org"))
        services = servicesOf(config)
        gaps = Gaps()
        await deferLater(reactor, 2.0, lambda: None)
        print(f"whole: the longest gap of the reactor without anything to do is {gaps.take() * 1e3:.0f} ms")

        async def timed(what: str, work: Awaitable[T]) -> T:
            gaps.take()
            start = time.perf_counter()
            result = await work
            print(
                f"    {what}: {time.perf_counter() - start:5.1f} s, gaps up to {gaps.take() * 1e3:4.0f} ms", flush=True
            )
            return result

        tables, _, errors = await timed("read all", readTables(makeTables(platform, config)))
        assert not errors, errors
        before = resident()
        screen = await timed("screen", makeScreen(platform, tables, services))
        print(f"    the screen takes {(resident() - before) / 2_100_000:.0f} octets for each entry")
        sights = await timed("look at them", look(platform, config, tables))
        analysis = await timed("the rules as a whole", platform.workers.run("reload", analyse, config, sights))
        print(f"    {analysis.relaying}")
        updated = await timed("read the domains again", tables["domains"].update())
        again = {**tables, "domains": updated.table}
        await timed("screen of that generation", makeScreen(platform, again, services, screen))
        del screen, sights, analysis
        await timed("let go of the old one", tables["domains"].close())


def cost(table: ITable, service: Service, key: str, expected: bool) -> float:
    """Microseconds of one question, whose key is a new string each time, as it is in a session."""
    assert table.match(service, key) is expected
    keys = [key.encode() for _ in range(20_000)]
    times = []
    for _ in range(5):
        fresh = [each.decode() for each in keys]
        start = time.process_time()
        for each in fresh:
            table.match(service, each)
        times.append((time.process_time() - start) / len(fresh))
    return median(times) * 1e6


def patterns() -> None:
    """The longest search of an evil pattern, in 10 KiB."""
    for pattern in ("(a+)+$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$"):
        compiled = Patterns([pattern])
        text = "a" * 10_240 + "!"
        start = time.perf_counter()
        compiled.match(text)
        print(f"{pattern:34} on 10 KiB: {(time.perf_counter() - start) * 1e3:5.3f} ms")


def main() -> None:
    if len(sys.argv) > 1:

        def run(reactor: IReactorCore) -> Deferred[None]:
            return ensureDeferred(generation(reactor) if sys.argv[1] == "whole" else measure(reactor, sys.argv[1]))

        react(run)
        return
    for name in (*SIZES, "whole"):
        subprocess.run([sys.executable, "-m", "tests.benchmarks.tables", name], check=True)
    patterns()


if __name__ == "__main__":
    main()
