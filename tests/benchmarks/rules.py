"""CPU time of one decision: C{python -m tests.benchmarks.rules [large]}. Tables in memory; no rule's answer is kept.

C{large} is the bar: 50 rules, each with a table of its own, the matching one uniform, 30 % without a match, an alias for those that match;
1,000,000 domains, 1,000,000 addresses and 100,000 networks in all: in one table of each kind beside 47 small ones, then spread over all 50.
It takes a minute to set up.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle
from random import Random
from statistics import median
from time import process_time
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pysmtpd.config import Environment, load
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import ITable
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import SessionId
from pysmtpd.model.question import Service
from pysmtpd.router.router import Router
from pysmtpd.ruleset import decide
from pysmtpd.table import static
from pysmtpd.table.screen import Screen, makeScreen
from pysmtpd.table.uses import servicesOf
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


def routerOf(config: Config, platform: SmallPlatform, tables: Mapping[str, ITable]) -> Router:
    """As a daemon has it."""
    made: list[Screen | None] = []
    making = Deferred.fromCoroutine(makeScreen(platform.asPlatform, tables, servicesOf(config)))
    making.addCallback(made.append)
    assert made
    return Router(platform.asPlatform, decide, lambda config: tables, screen=lambda config: made[0])


def decisions(text: str, paths: list[Path]) -> Callable[[], None]:
    """Decides about each path once, with users known."""
    config = load("smtpd.conf", {"smtpd.conf": text}.__getitem__, Environment("mx.example.org", ("127.0.0.1",)))
    platform = SmallPlatform()
    platform.users.names |= {"vmail", "ann"}
    tables: dict[str, ITable] = {
        name: static.make("", cast(IPlatform, platform), {"spec": spec}) for name, spec in config.tables.items()
    }
    router = routerOf(config, platform, tables)
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


SERVICES = {"domain": Service.DOMAIN, "address": Service.MAILADDR, "net": Service.NETADDR}


def entries(kind: str, part: int, isSpread: bool) -> Iterator[str]:
    """One table's entries: 50,000 domains or addresses, or 10,000 networks; or else all of them in the first table, and 2 in others."""
    parts = range(part, part + 1)
    share = 10_000 if kind == "net" else 50_000
    if not isSpread:
        parts, share = (range(10 if kind == "net" else 20), share) if part == 0 else (parts, 2)
    for number in (each * 50_000 + at for each in parts for at in range(share)):
        if kind == "domain":
            yield f"{'*.' if number % 100 == 0 else ''}d{number}.example-{number % 977}.org"
        elif kind == "address":
            yield f"user{number}@m{number % 9973}.example.net"
        else:
            yield f"{11 + number // 50_000}.{number % 50_000 >> 8}.{number & 255}.0/{24 if number % 3 else 25}"


def large(isSpread: bool) -> None:
    kinds = [("domain", part) for part in range(20)] + [("address", part) for part in range(20)]
    kinds += [("net", part) for part in range(10)]
    random = Random(1)
    random.shuffle(kinds)
    words = {"domain": "for domain", "address": "for rcpt-to", "net": "for any from src"}
    lines = ["table aliases { staff = ann }", 'action "local" maildir alias <aliases>']
    lines += [f'table {kind}{part} {{ "placeholder" }}' for kind, part in kinds]
    for kind, part in kinds:
        source = "" if kind == "net" else "from any "
        lines.append(f'match {source}{words[kind]} <{kind}{part}> action "local"')
    text = "\n".join(lines)
    config = load("smtpd.conf", {"smtpd.conf": text}.__getitem__, Environment("mx.example.org", ("127.0.0.1",)))
    platform = SmallPlatform()
    platform.users.names |= {"ann"}
    tables: dict[str, ITable] = {}
    for name, spec in config.tables.items():
        found = next((each for each in kinds if name == f"{each[0]}{each[1]}"), None)
        keys = spec.entries if found is None else tuple((key, "") for key in entries(*found, isSpread))
        services = () if found is None else (SERVICES[found[0]],)
        tables[name] = static.make(
            "", cast(IPlatform, platform), {"spec": replace(spec, entries=keys), "services": services}
        )
    router = routerOf(config, platform, tables)
    gc.freeze()
    session = TRANSACTION.session
    cases: list[tuple[Path, Transaction]] = []
    for round in range(40 if isSpread else 1):
        for kind, part in kinds:
            number = part * 50_000 + 7 * round + (part != 0 or isSpread)
            peer, to = f"192.0.2.{round}", Path("staff", f"x{round}.example.com")
            if kind == "domain":
                to = Path("staff", f"d{number}.example-{number % 977}.org")
            elif kind == "address":
                # An entry without a tag stands for addresses with one; the alias is found by the local part.
                to = Path(f"user{number}", f"m{number % 9973}.example.net")
            else:
                peer = f"{11 + part}.{number % 50_000 >> 8}.{number & 255}.9"
            cases.append((to, replace(TRANSACTION, session=replace(session, peer=peer))))
    misses = len(cases) * 3 // 7
    cases += [
        (
            Path("staff", f"y{number}.example.com"),
            replace(TRANSACTION, session=replace(session, peer=f"198.51.100.{number % 250}")),
        )
        for number in range(misses)
    ]
    users = {to.local: "ann" for to, _ in cases}
    aliases = replace(config.tables["aliases"], entries=tuple(users.items()))
    tables["aliases"] = static.make("", cast(IPlatform, platform), {"spec": aliases})
    random.shuffle(cases)
    for to, sent in cases:
        # The first who matches asks for the user.
        router.expand(config, to, sent)
    outcomes = [router.expand(config, to, sent) for to, sent in cases]
    assert all(isinstance(each, Decision) for each in outcomes)
    refused = sum(isinstance(each, Decision) and each.refusal is not None for each in outcomes)
    turn = cycle(cases)
    count = 5_000
    rates = []
    for _ in range(9):
        start = process_time()
        for _ in range(count):
            router.expand(config, *next(turn))
        rates.append(count / (process_time() - start))
    how = "spread over all" if isSpread else "one of each kind"
    print(f"large tables, {how}, {refused / len(cases):.0%} without a match")
    print(f"    {median(rates):,.0f} decisions a second, {max(rates):,.0f} in the best of {len(rates)} runs")


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
    if sys.argv[1:] == ["large"]:
        large(False)
        large(True)
    else:
        main()
