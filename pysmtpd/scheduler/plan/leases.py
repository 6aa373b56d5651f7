"""What is in flight, and under which lease."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pysmtpd.model.ids import ENVELOPE_BITS, EnvelopeId
from pysmtpd.model.schedule import Lease
from pysmtpd.scheduler.plan.codes import INFLIGHT, KINDS, WAITING
from pysmtpd.scheduler.plan.columns import Columns
from pysmtpd.scheduler.plan.index import Index

_NUMBER_MASK = (1 << ENVELOPE_BITS) - 1
# A token is a serial number and the slot of the lease's first envelope, so that nobody has to look for it.
_SLOT_BITS = 30
_SLOT_MASK = (1 << _SLOT_BITS) - 1


class Leases:
    """A slot is in flight while its column C{place} says so; its owner is the token of its lease.

    @ivar count: how many are in flight. Whoever takes a slot that L{find} gave counts it off.
    @ivar stale: how many ids were named under leases that are not theirs.
    """

    __slots__ = ("_columns", "_index", "_serial", "count", "stale")

    def __init__(self, columns: Columns, index: Index) -> None:
        self._columns = columns
        self._index = index
        self._serial = 0
        self.count = 0
        self.stale = 0

    def grant(self, groups: Iterable[Sequence[int]], work: int, leases: list[Lease]) -> int:
        """One more lease for the slots of each message.

        @return: of how many envelopes.
        """
        columns = self._columns
        place, owner, number, messages = columns.place, columns.owner, columns.number, columns.message
        kind = KINDS[work]
        count = 0
        for slots in groups:
            first = slots[0]
            self._serial += 1
            token = self._serial << _SLOT_BITS | first
            message = messages[first]
            for slot in slots:
                place[slot] = INFLIGHT
                owner[slot] = token
            count += len(slots)
            base = message << ENVELOPE_BITS
            if len(slots) == 1:
                # Most messages have one recipient, and an iterator costs as much as all that is above.
                envelopes: tuple[int, ...] = (base | number[first],)
            else:
                envelopes = tuple([base | number[slot] for slot in slots])
            # Its own constructor takes twice as long.
            leases.append(tuple.__new__(Lease, (token, kind, message, envelopes, None)))
        self.count += count
        return count

    def find(self, lease: Lease, envelope: EnvelopeId) -> int:
        """The slot of an envelope that is in flight under this very lease; else -1, counted if the envelope is known."""
        columns = self._columns
        token = lease.token
        slot = token & _SLOT_MASK
        if (
            slot < len(columns.owner)
            and columns.owner[slot] == token
            and columns.place[slot] == INFLIGHT
            and columns.message[slot] << ENVELOPE_BITS | columns.number[slot] == envelope
        ):
            return slot
        slot = self._index.find(envelope >> ENVELOPE_BITS, envelope & _NUMBER_MASK)
        if slot >= 0 and (columns.place[slot] != INFLIGHT or columns.owner[slot] != token):
            self.stale += 1
            return -1
        return slot

    def takeBack(self, leases: Iterable[Lease]) -> list[int]:
        """The slots of all envelopes of which L{find} gives one; they are in flight no more, but to be placed."""
        owner, place = self._columns.owner, self._columns.place
        slots: list[int] = []
        for lease in leases:
            token, envelopes = lease.token, lease.envelopes
            slot = token & _SLOT_MASK
            if len(envelopes) == 1 and slot < len(owner) and owner[slot] == token and place[slot] == INFLIGHT:
                # The only one of a lease is the first, which the token names.
                place[slot] = WAITING
                slots.append(slot)
                continue
            for envelope in envelopes:
                slot = self.find(lease, envelope)
                if slot >= 0:
                    place[slot] = WAITING
                    slots.append(slot)
        self.count -= len(slots)
        return slots
