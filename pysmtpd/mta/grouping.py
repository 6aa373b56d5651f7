"""Which parts of a message go together: as few transactions as their hosts allow. Pure but for what parts are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pysmtpd.mta.keys import ConnectionKey, Target, TransactionKey
from pysmtpd.mta.security import Level, Policy
from pysmtpd.mta.task import Part

MOST_SETS = 50
MOST_STEPS = 500
"""How many different sets of hosts, and how long, it is tried to do with fewer transactions than the first way of sharing gives; beyond
that it stands. Domains whose hosts overlap without being the same are few."""

Place: TypeAlias = "tuple[ConnectionKey, Policy | Level]"
"""A host, and what is asked of it: who asks for the same there may share. Its name counts only where it has to prove it."""

Ready: TypeAlias = "tuple[Part, Sequence[Target]]"


def group(ready: Sequence[Ready]) -> list[tuple[TransactionKey, list[Part], Sequence[Target]]]:
    """Put the parts of one message into as few transactions as their hosts allow; order is kept.

    @param ready: with each part the hosts that are equally good for it, never none.
    @return: with each transaction the hosts that all of its parts have in common.
    """
    if len(ready) == 1:
        part, targets = ready[0]
        return [(TransactionKey(part.sender), [part], targets)]
    senders: dict[str, list[Ready]] = {}
    for part, targets in ready:
        senders.setdefault(part.sender, []).append((part, targets))
    return [
        (TransactionKey(sender), [part for part, _ in members], targets)
        for sender, mine in senders.items()
        for members, targets in _share(mine)
    ]


def _share(ready: Sequence[Ready]) -> list[tuple[list[Ready], Sequence[Target]]]:
    """Likewise, for one sender."""
    places = [{_place(target): target for target in targets} for _, targets in ready]
    rank = {place: index for index, place in enumerate(_fewest(places))}
    members: dict[Place, list[int]] = {}
    for index, each in enumerate(places):
        place = min((place for place in each if place in rank), key=rank.__getitem__)
        members.setdefault(place, []).append(index)
    found: list[tuple[list[Ready], Sequence[Target]]] = []
    for indices in members.values():
        first = places[indices[0]]
        common = [target for place, target in first.items() if all(place in places[index] for index in indices)]
        found.append(([ready[index] for index in indices], common))
    return found


def _place(target: Target) -> Place:
    policy = target.policy
    return target.key, policy if policy.isAuthenticated else policy.level


def _fewest(ready: Sequence[Mapping[Place, Target]]) -> Sequence[Place]:
    """The fewest places such that each part has one."""
    different = list({frozenset(each): each for each in ready}.values())
    uses = Counter(place for each in different for place in each)
    first: dict[Place, None] = {}
    # Those that have nothing in common need one each.
    apart: dict[Place, None] = {}
    least = 0
    for each in different:
        if first.keys().isdisjoint(each):
            first[max(each, key=uses.__getitem__)] = None
        if apart.keys().isdisjoint(each):
            apart.update(dict.fromkeys(each))
            least += 1
    if len(first) > least and len(different) <= MOST_SETS:
        steps = [MOST_STEPS]
        for count in range(least, len(first)):
            found = _search(different, count, steps)
            if found is not None:
                return found
    return list(first)


def _search(ready: Sequence[Mapping[Place, Target]], count: int, steps: list[int]) -> list[Place] | None:
    """C{count} places such that each part has one; None: there are none, or it took too long."""
    if not ready:
        return []
    if not count or steps[0] <= 0:
        return None
    steps[0] -= 1
    for place in min(ready, key=len):
        rest = _search([each for each in ready if place not in each], count - 1, steps)
        if rest is not None:
            return [place, *rest]
    return None
