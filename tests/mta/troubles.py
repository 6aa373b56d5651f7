"""The plights of docs/troubleshooting.md, each in a world of its own, and what the operator's command says there.

    python -m tests.mta.troubles

writes what is said into the page: behind each command of a section stands its answer. tests/mta/test_troubles.py holds one against the
other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pysmtpd.control import render, routetext
from pysmtpd.testing.daemon import CONFIG_PATH
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World
from tests.control.operator import Operator

PAGE = Path(__file__).parent.parent.parent / "docs" / "troubleshooting.md"
CONFIG = """
listen on 0.0.0.0 port 25
action "out" relay
match from any for any action "out"
"""
_LISTS: dict[str, tuple[str, Callable[[Any, float], str]]] = {
    "show queue": ("Queue", render.envelope),
    "show relays": ("Relays", routetext.relay),
    "show routes": ("Routes", routetext.route),
    "show hosts": ("Hosts", routetext.host),
    "show hoststats": ("HostStats", routetext.hostStat),
    "show connections": ("Connections", routetext.connection),
    "show limits": ("Limits", routetext.limit),
}


def _world(more: str = "") -> World:
    return World(0, CONFIG + more)


def _mail(world: World, *recipients: str, count: int = 1) -> None:
    """One after the other: the order of the queue is theirs."""
    for _ in range(count):
        for recipient in recipients:
            world.send("ann@client.example", recipient)
            world.run(0.3)


def _refused() -> World:
    world = _world()
    world.remote("mx.example.org", domains=("example.org",)).tempfail("RCPT", 1, "450 4.2.1 Mailbox busy")
    world.start()
    _mail(world, "ben@example.org")
    world.run(5)
    return world


def _slow() -> World:
    world = _world()
    world.remote("mx.example.org", domains=("example.org",)).slow(400.0, "BODY")
    world.start()
    _mail(world, "ben@example.org")
    world.run(100)
    return world


def _silent() -> World:
    world = _world()
    world.remote("mx.example.org", domains=("example.org",)).set(Condition.SILENT)
    world.remote("mx.example.net", domains=("example.net",)).set(Condition.REFUSING)
    world.start()
    _mail(world, "ben@example.net", "carl@example.org")
    world.run(20)
    return world


def _dns() -> World:
    world = _world()
    world.dns.fail("example.org")
    world.dns.mx("example.net", "gone.example.net")
    world.dns.silence("example.com")
    world.start()
    _mail(world, "ben@example.org", "carl@example.net", "dora@example.com")
    world.run(2)
    return world


def _tls() -> World:
    world = World(0, CONFIG.replace("relay", "relay tls"))
    world.remote("mx.example.org", domains=("example.org",))
    world.start()
    _mail(world, "ben@example.org")
    world.run(1)
    return world


def _patience() -> World:
    world = _world()
    remote = world.remote("mx.example.org", domains=("example.org",)).tempfail(
        "MAIL", 1, "421 4.7.28 Too much from you"
    )
    world.start()
    _mail(world, "ben@example.org")
    world.run(16)
    remote.tempfail("MAIL", 1, "421 4.7.28 Too much from you")
    _mail(world, "carl@example.org", count=4)
    world.run(16)
    _mail(world, "dora@example.org", count=4)
    return world


def _crowd() -> World:
    world = _world("mta limit max-conn-per-host 1\n")
    world.remote("mx.example.org", domains=("example.org",)).slow(20.0, "BODY")
    world.start()
    _mail(world, "ben@example.org", "carl@example.org")
    world.run(5)
    return world


def _distance() -> World:
    world = _world("mta limit conn-delay-host 1m session-keepalive 1s\n")
    world.remote("mx.example.org", domains=("example.org",))
    world.start()
    _mail(world, "ben@example.org")
    world.run(5)
    _mail(world, "carl@example.org")
    world.run(5)
    return world


def _rate() -> World:
    world = _world('mta rate for domain "example.org" messages 2 per 1m\n')
    world.remote("mx.example.org", domains=("example.org",))
    world.start()
    _mail(world, "ben@example.org", count=3)
    return world


def _paused() -> World:
    world = _world()
    world.remote("mx.example.org", domains=("example.org",))
    world.start()
    Operator(world).ask("SuspendDestination", destination="example.org")
    _mail(world, "ben@example.org")
    Operator(world).ask("Pause", part="mta")
    _mail(world, "carl@example.net")
    Operator(world).ask("PauseEnvelope", selection=Operator(world).queue()[1]["evpid"])
    _mail(world, "dora@example.net")
    return world


def _much() -> World:
    world = _world("mta limit max-conn-per-host 1 task-hiwat 1\n")
    world.remote("mx.example.org", domains=("example.org",)).slow(60.0, "BODY")
    world.start()
    _mail(world, "ben@example.org", "carl@example.org")
    world.run(5)
    return world


def _configuration() -> World:
    world = _world()
    world.remote("mx.example.org", domains=("example.org",)).set(Condition.REFUSING)
    world.start()
    _mail(world, "ben@example.org")
    world.disk.write(CONFIG_PATH, CONFIG.replace('"out"', '"away"').encode())
    Operator(world).whole("Reload")
    world.run(60)
    return world


PLIGHTS: dict[str, Callable[[], World]] = {
    "The host has said no for now": _refused,
    "The host takes its time": _slow,
    "The host cannot be reached": _silent,
    "DNS does not say where": _dns,
    "The host has not the TLS that is asked of it": _tls,
    "The host has asked for patience": _patience,
    "A limit of connections is reached": _crowd,
    "Connections have to keep a distance": _distance,
    "A rate is used up": _rate,
    "Somebody has paused it": _paused,
    "There is more than may be under way": _much,
    "The configuration has no such action any more": _configuration,
}


def _said(operator: Operator, world: World, words: str) -> str:
    now = world.platform.wallTime()
    if words in _LISTS:
        command, text = _LISTS[words]
        return "\n".join(text(row, now) for row in operator.rows(command))
    verb, _, what = words.partition(" ")
    if verb == "probe":
        return routetext.probe(operator.whole("Probe", destination=what))
    raise ValueError(f"nobody says {words!r} here")


def _answers(heading: str, section: str) -> Iterator[str]:
    """The section's lines, with what is said now."""
    world: World | None = None
    isAnswer = False
    for line in section.splitlines():
        if not line.startswith("    "):
            isAnswer = False
        command = re.fullmatch(r"    \$ pysmtpctl (.*)", line)
        if command is None:
            if not isAnswer:
                yield line
            continue
        isAnswer = True
        if world is None:
            world = PLIGHTS[heading]()
            operator = Operator(world)
        yield line
        yield from (f"    {said}" for said in _said(operator, world, command[1]).splitlines())
    if world is not None:
        world.stop(3600)


def page(text: str) -> str:
    """The whole page, with what is said now."""
    head, *sections = re.split(r"(?m)^(?=## )", text)
    found = [head]
    for section in sections:
        heading = section.partition("\n")[0].removeprefix("## ")
        found.append("\n".join((*_answers(heading, section), "")) if heading in PLIGHTS else section)
    return "".join(found)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
