"""CPU time of one decision: C{python -m tests.benchmarks.rules}. Tables in memory; no rule's answer is kept."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import process_time
from typing import cast

from twisted.internet.task import Clock

from pysmtpd.config import Environment, load
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import ITable
from pysmtpd.model.address import Path
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import SessionId
from pysmtpd.router.router import Router
from pysmtpd.ruleset import decide
from pysmtpd.table import static
from tests.table.platform import SmallPlatform

SINK = 'action "sink" maildir virtual { "@" = "vmail" }\nmatch from any for any action "sink"\n'
THREE = """
action "local" maildir
action "out" relay
match from local for any action "out"
match from any for domain { "example.org", "*.example.net" } action "local"
match from auth for any action "out"
"""
FIFTY = 'action "local" maildir\n' + "".join(
    f'match from any for domain {{ "d{n}.example.org", "*.d{n}.example.net" }} action "local"\n' for n in range(50)
)
TRANSACTION = Transaction(
    SessionFacts(SessionId(1), "l", "mx.example.org", "192.0.2.9", helo="c.example.com"), Path("s", "example.com")
)


def decisions(text: str, paths: list[Path]) -> Callable[[], None]:
    """Decides about each path once, with users known."""
    config = load("smtpd.conf", {"smtpd.conf": text}.__getitem__, Environment("mx.example.org", ("127.0.0.1",)))
    platform = SmallPlatform()
    platform.users.names |= {"vmail", "ann"}
    tables: dict[str, ITable] = {
        name: static.make("", cast(IPlatform, platform), {"spec": spec}) for name, spec in config.tables.items()
    }
    router = Router(cast(IPlatform, platform), decide, lambda config: tables)
    assert isinstance(platform.clock, Clock)

    def run() -> None:
        for path in paths:
            router.expand(config, path, TRANSACTION)

    return run


def measure(what: str, run: Callable[[], None], count: int) -> None:
    run()
    times = []
    for _ in range(5):
        start = process_time()
        for _ in range(max(1, 5000 // count)):
            run()
        times.append((process_time() - start) / max(1, 5000 // count) / count)
    print(f"{what:44}{median(times) * 1e6:8.1f} us")


def main() -> None:
    misses = [Path("ann", f"e{n}.example.org") for n in range(21)]
    hits = [Path("ann", f"d{n}.example.org") for n in range(50)]
    measure("sink: one rule, virtual catch-all", decisions(SINK, [Path("who", "example.org")]), 1)
    measure("3 rules, a user", decisions(THREE, [Path("ann", "example.org")]), 1)
    measure("3 rules, no match", decisions(THREE, [Path("ann", "example.com")]), 1)
    measure("50 rules, matching one uniform", decisions(FIFTY, hits), len(hits))
    measure("50 rules, 30 % no match", decisions(FIFTY, hits + misses), len(hits + misses))
    measure("50 rules, no match", decisions(FIFTY, misses), len(misses))


if __name__ == "__main__":
    main()
