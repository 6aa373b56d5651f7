"""States that many envelopes have in common, kept once.

Mail for a host that is down fails together, comes due together, and fails alike again, for days. As long as it does, a try writes one row,
however many envelopes it is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from pysmtpd.model.ids import ENVELOPE_BITS, EnvelopeId

Step: TypeAlias = tuple[str, Sequence[object]]
"""A statement and its values."""

Own: TypeAlias = list[tuple[EnvelopeId, bytes]]

SMALLEST = 16
"""Envelopes. Fewer keep their states themselves."""

MOST = 65_536
"""Envelopes of which it is remembered what they share; 130 octets each. Others keep their states themselves."""

SCHEMA = (
    "CREATE TABLE share (id INTEGER PRIMARY KEY, state BLOB NOT NULL)",
    "CREATE INDEX shared ON envelope (share) WHERE share IS NOT NULL",
)

_ENVELOPES = (
    "SELECT message, number, record, CASE WHEN share IS NULL THEN state"
    " ELSE {} END FROM envelope WHERE message BETWEEN ? AND ? ORDER BY message, number"
)
ENVELOPES = _ENVELOPES.format("coalesce((SELECT state FROM share WHERE id = envelope.share), x'00')")
"""Of some messages, with their states, wherever these are. If a share has vanished that is a state that cannot be read, not none."""

UNREADABLE = _ENVELOPES.format("x'00'")
"""The same where shares are damaged: as if all had vanished."""

SWEEP = "DELETE FROM share WHERE NOT EXISTS (SELECT 1 FROM envelope WHERE envelope.share = share.id)"
"""What others have left behind: that a share is empty is known to the connection alone that made it."""

HIGHEST = (
    "SELECT max(id) FROM (SELECT max(id) AS id FROM share WHERE id < 1 << 62"
    " UNION ALL SELECT max(share) FROM envelope WHERE share < 1 << 62 UNION ALL SELECT 0)"
)
"""The highest number of a share that is there, or that an envelope names: one that has vanished is not replaced by what is another's. A
hand may have left numbers that nothing comes after."""

_INSERT = "INSERT INTO share VALUES (?, ?)"
_UPDATE = "UPDATE share SET state = ? WHERE id = ?"
_DELETE = "DELETE FROM share WHERE id = ?"

_WIDEST = 128
_NUMBER_MASK = (1 << ENVELOPE_BITS) - 1


# A join, for WHERE (message, number) IN (VALUES ...) looks at every envelope of the queue.
_JOINING = "WITH joining (message, number) AS (VALUES "
_JOIN = (
    ") UPDATE envelope SET share = ?, state = NULL FROM joining"
    " WHERE envelope.message = joining.message AND envelope.number = joining.number"
)

# For 1, 2, 4, 8, ... envelopes, so that each is compiled once and kept.
_JOINS = tuple(_JOINING + ", ".join(["(?, ?)"] * (1 << power)) + _JOIN for power in range(_WIDEST.bit_length()))


class Shares:
    """What the one connection that writes knows of the shares that it has made itself: who is in which. Of older ones envelopes only leave.

    What it says is to be done in one transaction; if that fails, call C{forget}.
    """

    __slots__ = ("_last", "_most", "_of", "_sizes")

    def __init__(self, last: int = 0, most: int = MOST) -> None:
        """
        @param last: the highest number of a share that the database knows of: see L{HIGHEST}.
        """
        self._last = last
        self._most = most
        self._of: dict[EnvelopeId, int] = {}
        self._sizes: dict[int, int] = {}

    def forget(self) -> None:
        """Nothing is known any more: the shares stay as they are until their envelopes have left them."""
        self._of.clear()
        self._sizes.clear()

    @property
    def isUsable(self) -> bool:
        """Is there none of them known to be damaged?"""
        return self._most > 0

    def giveUp(self) -> None:
        """They are damaged: nobody joins one any more."""
        self.forget()
        self._most = 0

    def turn(self, states: Mapping[EnvelopeId, bytes]) -> tuple[Own, list[Step]]:
        """Envelopes get new states.

        @return: those that keep them themselves, and are in no share from now on; and what is to be done for all others.
        """
        own: Own = []
        steps: list[Step] = []
        if len(states) < SMALLEST:
            own += states.items()
        else:
            for state, run in groupby(states.items(), itemgetter(1)):
                own += self._common(state, [envelope for envelope, _ in run], steps)
        steps += self.leave([envelope for envelope, _ in own])
        return own, steps

    def leave(self, envelopes: Iterable[EnvelopeId]) -> list[Step]:
        """They are gone, or will keep their states themselves."""
        of, sizes = self._of, self._sizes
        steps: list[Step] = []
        if not of:
            return steps
        for envelope in envelopes:
            share = of.pop(envelope, 0)
            if share:
                sizes[share] -= 1
                if not sizes[share]:
                    del sizes[share]
                    steps.append((_DELETE, (share,)))
        return steps

    def _common(self, state: bytes, envelopes: list[EnvelopeId], steps: list[Step]) -> Own:
        """All get the same state.

        @return: those for whom no share is worth it.
        """
        of, sizes = self._of, self._sizes
        if len(envelopes) >= SMALLEST:
            # A share that is here with all its envelopes stays one.
            whole = {
                share: count
                for share, count in Counter(map(of.get, envelopes)).items()
                if share is not None and count >= SMALLEST and count == sizes[share]
            }
            steps += [(_UPDATE, (state, share)) for share in whole]
            if sum(whole.values()) == len(envelopes):
                return []
            if whole:
                envelopes = [envelope for envelope in envelopes if of.get(envelope) not in whole]
        if len(envelopes) < SMALLEST or len(of) + len(envelopes) > self._most:
            return [(envelope, state) for envelope in envelopes]
        steps += self.leave(envelopes)
        self._last += 1
        steps.append((_INSERT, (self._last, state)))
        steps += _joining(self._last, envelopes)
        of.update(dict.fromkeys(envelopes, self._last))
        sizes[self._last] = len(envelopes)
        return []


def _joining(share: int, envelopes: Sequence[EnvelopeId]) -> list[Step]:
    steps: list[Step] = []
    for start in range(0, len(envelopes), _WIDEST):
        some = envelopes[start : start + _WIDEST]
        power = (len(some) - 1).bit_length()
        values: list[object] = []
        # To name one twice does no harm.
        for envelope in (*some, *[some[0]] * ((1 << power) - len(some))):
            values += (envelope >> ENVELOPE_BITS, envelope & _NUMBER_MASK)
        values.append(share)
        steps.append((_JOINS[power], values))
    return steps
