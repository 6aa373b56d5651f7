"""The door between routes and connections: which parts of a transaction may start now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pysmtpd.model.envelope import Envelope
from pysmtpd.mta.keys import Target
from pysmtpd.mta.relay import Relay
from pysmtpd.mta.shaping.keys import Facts
from pysmtpd.mta.shaping.shaper import Binding, Shaper
from pysmtpd.mta.task import Part, Task


class Waiting(NamedTuple):
    """Envelopes of a part that wait alone, and for what.

    @ivar isWhole: the part has no others.
    """

    part: Part
    envelopes: Sequence[Envelope]
    binding: Binding
    isWhole: bool


def factsOf(part: Part, target: Target) -> Facts:
    transaction = part.message.transaction
    session = transaction.session
    host = target.host
    return Facts(
        nextHop(part.relay),
        host if host.islower() else host.lower(),
        target.key.source,
        str(transaction.sender).lower(),
        session.user.lower(),
        session.tag.lower(),
        not part.relay.key.domain,
    )


def nextHop(relay: Relay) -> str:
    """The name that limits of a domain count for: the recipients' domain, or the first host that the configuration names."""
    key = relay.key
    return key.domain or (key.hosts[0].host.lower() if key.hosts else "")


def enter(
    shaper: Shaper, parts: Sequence[Part], target: Target, now: float, wait: Callable[[Waiting], None]
) -> list[Part]:
    """Those that may start in one transaction now; they are counted.

    What was counted in this attempt already, and has only come to another host, is not counted again where it is the same limit.

    @param wait: told of those that may not; they are counted as waiting.
    """
    counted: dict[str, None] = {}
    started: list[Part] = []
    for part in parts:
        facts = factsOf(part, target)
        before = part.counted or {}
        binding = shaper.mayStart(facts, now, counted | before if before else counted)
        if binding is not None:
            _hold(shaper, Waiting(part, part.envelopes, binding, True), now, wait)
            continue
        most = shaper.most(facts)
        if len(part.envelopes) > most:
            rest, part.envelopes = part.envelopes[most:], part.envelopes[:most]
            left = shaper.bindingOf(facts)
            _hold(shaper, Waiting(part, rest, left, False), now, wait)
        if before:
            mine = counted | before
            shaper.started(facts, 0, now, mine)
            counted |= mine
        else:
            shaper.started(facts, len(part.envelopes), now, counted)
        started.append(part)
    for part in started:
        part.counted = counted
    return started


def _hold(shaper: Shaper, waiting: Waiting, now: float, wait: Callable[[Waiting], None]) -> None:
    shaper.held(waiting.binding, waiting.part.message.id, len(waiting.envelopes), now)
    wait(waiting)


def countRest(shaper: Shaper, task: Task, now: float) -> None:
    """A transaction that was split off from one that had entered: one message more."""
    counted: dict[str, None] = {}
    for part in task.parts:
        if part.counted is None:
            shaper.started(factsOf(part, task.target), 0, now, counted)
            part.counted = counted
