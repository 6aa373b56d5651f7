"""Whether the good suffer from the slow and the dead: C{python -m tests.benchmarks.population [DOMAINS] [--messages N] [--memory] ...}.

The whole daemon in the World: mail for so many domains, each with a mail exchanger of its own, comes in interleaved. A third of
them is good, a third takes seconds for each reply, a third is dead: of these a third drops SYNs, a third refuses, a third accepts and
says nothing. Limits are the defaults, unless C{--limits} has others. First the mail for the good third alone, then all of it, each
message at the same moment as before. Times are virtual: they show what waits for what, not what it costs. C{--memory} counts
octets that the mta and the resolver hold for each known host when nothing is under way, which takes several times as long: 1,809 with 2,000
hosts, of which a third is down.

Connections are bounded by what 1,024 descriptors allow. Measured at 500 messages a second, 5 for each domain, times what the good
third takes alone: 900 domains 1.03, 3,000 domains 1.00, 10,000 domains 1.00 (half of its messages within 0.4 s, 99 of 100 within
14 s: those that have to wait until the first contacts are made). Before hosts had lanes it was 48 with 900 domains.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pysmtpd.model.events import DeliveryAttempted
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World

CONFIG = """
listen on 0.0.0.0 port 25
action "out" relay
match from any for any action "out"
"""

BAR = 1.2
MEMORY_BAR = 2048.0
GOOD, SLOW, DEAD = range(3)
MUTE_FOR = 1e7
# Virtual seconds.
PATIENCE = 6 * 3600.0
# After which octets are counted, when there was no attempt for so long: what can be found again has been let go by then.
REST = 900.0
QUIET = 150.0


@dataclass
class Run:
    """
    @ivar seconds: from the first message to the delivery of the last one for the good third.
    @ivar delays: of these messages, from acceptance to delivery, in order of size.
    @ivar mostOpen: connections to remote servers at one time.
    """

    seconds: float = 0.0
    delays: Sequence[float] = ()
    mostOpen: int = 0
    cpu: float = 0.0
    octets: float = 0.0
    hosts: int = 0
    results: Counter[str] = field(default_factory=Counter)


def run(
    domains: int, messages: int, over: float, reply: float, limits: str, only: Callable[[int], bool], withMemory: bool
) -> Run:
    """
    @param over: virtual seconds in which all messages come.
    @param reply: seconds for each reply of the slow.
    @param only: which domains get mail.
    """
    world = World(1, CONFIG + (f"mta limit {limits}\n" if limits else ""))
    for number in range(domains):
        remote = world.remote(f"mx{number}.test", domains=(f"d{number}.test",))
        if number % 3 == SLOW:
            remote.slow(reply)
        elif number % 3 == DEAD:
            kind = number // 3 % 3
            if kind < 2:
                remote.set((Condition.SILENT, Condition.REFUSING)[kind])
            else:
                remote.slow(MUTE_FOR)
    world.start()
    done = Run()
    began, cpu = world.now, time.process_time()
    good = {f"d{number}.test" for number in range(0, domains, 3)}
    wanted = messages * len(good)
    delays: list[float] = []
    seen = 0

    def look() -> None:
        nonlocal seen
        for at, event in world.events[seen:]:
            if isinstance(event, DeliveryAttempted):
                domain = event.to.partition("@")[2]
                done.results[event.result] += 1
                if event.result == "Ok" and domain in good:
                    delays.append(event.delay)
                    done.seconds = at - began
        seen = len(world.events)
        done.mostOpen = max(done.mostOpen, sum(remote.open for remote in world.remotes.values()))

    if withMemory:
        tracemalloc.start(2)
    total = domains * messages
    step = 0.2
    sent = 0
    while sent < total:
        until = min(total, int((world.now - began + step) / over * total) + 1)
        for number in range(sent, until):
            if only(number % domains):
                world.send("a@client.test", f"b{number}@d{number % domains}.test", source="127.0.0.1")
        sent = until
        world.run(step)
        look()
    while len(delays) < wanted and world.now - began < PATIENCE:
        world.run(1.0)
        look()
    if len(delays) < wanted:
        sys.exit(f"{wanted - len(delays)} messages for good hosts were not delivered within {PATIENCE:g} s")
    done.delays = sorted(delays)
    done.cpu = time.process_time() - cpu
    if withMemory:
        done.hosts, done.octets = _memory(world)
    return done


def _memory(world: World) -> tuple[int, float]:
    """Hosts that the mta knows, and octets that its files, and those of the resolver, have had allocated and not freed, with nothing under
    way: by then the slow were mended, and the dead refuse."""
    for number, remote in enumerate(world.remotes.values()):
        remote.forget()
        if number % 3 == DEAD:
            remote.set(Condition.REFUSING)
    world.run(REST)
    world.events.clear()
    world.run(QUIET)
    while world.eventsOf(DeliveryAttempted):
        world.events.clear()
        world.run(QUIET)
    busy = sum(remote.open for remote in world.remotes.values())
    if busy:
        sys.exit(f"{busy} connections are open still: what is under way would count")
    # What the test keeps is not the daemon's.
    world.events.clear()
    gc.collect()
    hosts = len(world.service.mta.routes.showHosts())
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    rooms = [tracemalloc.Filter(True, f"*/pysmtpd/{room}/*", all_frames=True) for room in ("mta", "dns")]
    # What the World keeps for them lies on a disk.
    elsewhere = tracemalloc.Filter(False, "*/pysmtpd/testing/*")
    statistics = snapshot.filter_traces(rooms).filter_traces([elsewhere]).statistics("filename")
    for line in statistics[:6]:
        print(f"    {line.size:10} octets in {line.traceback[0].filename.rpartition('/pysmtpd/')[2]}")
    return hosts, sum(line.size for line in statistics)


def percentile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def tell(name: str, done: Run) -> None:
    parts = ", ".join(f"{share:.0%} {percentile(done.delays, share):.2f}" for share in (0.5, 0.9, 0.99))
    print(
        f"{name:6} {done.seconds:8.1f} s for the good; their delays in s: {parts}, most {done.delays[-1]:.2f}; "
        f"{done.mostOpen} connections at most; {done.cpu:.0f} s of CPU; {dict(done.results)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("domains", type=int, nargs="?", default=900)
    parser.add_argument("--messages", type=int, default=5, help="for each domain")
    parser.add_argument("--over", type=float, default=0.0, help="seconds in which they come; default: 500 a second")
    parser.add_argument("--reply", type=float, default=3.0, help="seconds for each reply of the slow")
    parser.add_argument("--limits", default="", help="of the mta, such as: max-conn-per-source 800")
    parser.add_argument("--memory", action="store_true", help="count octets for each host")
    options = parser.parse_args()
    over = options.over or options.domains * options.messages / 500.0
    common = (options.domains, options.messages, over, options.reply, options.limits)
    print(f"{options.domains} domains, {options.messages} messages each, coming over {over:g} s")
    alone = run(*common, lambda domain: domain % 3 == GOOD, False)
    tell("alone", alone)
    mixed = run(*common, lambda domain: True, options.memory)
    tell("mixed", mixed)
    ratio = mixed.seconds / alone.seconds
    print(f"the good third takes {ratio:.2f} times the time that it takes alone (bar: {BAR})")
    if options.memory:
        print(f"{mixed.octets / max(1, mixed.hosts):.0f} octets for each of {mixed.hosts} hosts (bar: {MEMORY_BAR:g})")
    sys.exit(ratio > BAR)


if __name__ == "__main__":
    main()
