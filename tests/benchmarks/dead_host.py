"""What failure costs: C{python -m tests.benchmarks.dead_host [MESSAGES] [--profile]}.

The whole daemon in the World: messages to one domain whose only host never answers, for seven virtual days, with the queue in
SQLite and retries until each message expires after four days and its sender is told. Prints attempts, and CPU seconds for 50,000
of them; everything counts: the daemon, the World, SQLite. The collector of garbage is set as the daemon sets it.

Measured on one of two shared cores, whose speed varies by a third: 0.71 to 0.87 s, 0.77 in the middle of seven runs, for 50,000 of 102,768
attempts. An attempt takes 8 to 9 us (handing out 4, states and their records 2, events and what is reported of them 1, the one real try and
its questions to DNS 1.5, SQLite 0.5: those who fail alike share a row); a warning takes 0.2 ms, an expiry with its bounce 0.25 to 0.3, a
quarter of all.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import time
from collections import Counter

from pysmtpd.model.events import DeliveryAttempted, EnvelopeBounced
from pysmtpd.running import COLLECT
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World

CONFIG = """
listen on 0.0.0.0 port 25
table sink { "@" = "pysmtpd" }
action "local" maildir virtual <sink>
action "out" relay
match from any for domain "client.test" action "local"
match from any for any action "out"
"""

DAYS = 7
BAR = 1.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("messages", type=int, nargs="?", default=1000)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    world = World(1, CONFIG)
    world.remote("mx.remote.test", domains=("remote.test",)).set(Condition.SILENT)
    world.start()
    sent = []
    for number in range(options.messages):
        sent.append(world.send("a@client.test", f"b{number}@remote.test"))
        world.run(1)
    world.run(10)
    accepted = sum(one.isAccepted for one in sent)
    before = Counter(type(event) for _, event in world.events)
    profile = cProfile.Profile()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    began = time.process_time()
    if options.profile:
        profile.enable()
    world.run(DAYS * 86_400)
    profile.disable()
    seconds = time.process_time() - began
    counts = Counter(type(event) for _, event in world.events)
    counts.subtract(before)
    attempts = counts[DeliveryAttempted]
    print(f"messages accepted       {accepted}")
    print(f"attempts                {attempts}")
    print(f"envelopes bounced       {counts[EnvelopeBounced]}")
    print(f"CPU seconds             {seconds:.2f}")
    print(f"CPU s, 50,000 attempts  {seconds / attempts * 50_000:.2f} (bar: {BAR})")
    world.stop()
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
