"""Which envelope is tried when: everything that L{pysmtpd.interfaces.scheduler.IScheduler} promises, without a clock or a Deferred.

Each envelope is in exactly one place, a L{Condition}. It is placed anew whenever something about it changes or its due time
comes; everything is O(log n) in the number of envelopes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.ids import ENVELOPE_BITS, EnvelopeId, MessageId
from pysmtpd.model.schedule import AWAIT_CONFIGURATION, Batch, Condition, Entry, Kind, Lease, Status
from pysmtpd.scheduler.plan.changesets import Changesets
from pysmtpd.scheduler.plan.codes import (
    BOUNCE,
    CODES,
    CROWD,
    EXPIRE,
    HELD,
    INFLIGHT,
    KINDS,
    MDA,
    MTA,
    PLACES,
    QUEUED,
    READY,
    REMOVE,
    SUSPENDED,
    UNCOMMITTED,
    WAITING,
)
from pysmtpd.scheduler.plan.columns import Columns
from pysmtpd.scheduler.plan.crowd import Crowd
from pysmtpd.scheduler.plan.due import Due
from pysmtpd.scheduler.plan.groups import Groups
from pysmtpd.scheduler.plan.holds import Holds
from pysmtpd.scheduler.plan.index import Index
from pysmtpd.scheduler.plan.leases import Leases

# A batch takes one group of each in turn.
_TURNS = (REMOVE, EXPIRE, BOUNCE, MDA, MTA)

_FLAG_HELD, _FLAG_SUSPENDED, _FLAG_REMOVE = 1, 2, 4

_NUMBER_MASK = (1 << ENVELOPE_BITS) - 1
_MAX_TRIES = 0xFFFF_FFFF
_MAX_PRIORITY = 0x7FFF
# Due envelopes moved by one call: it may not hold up others for long when a whole queue comes due at once.
_MAX_DUE = 2000

_MINUTE = 60.0
_HOUR = 3600.0

# Greater than any message's id.
_NO_MESSAGE = 1 << 64


class Plan:
    """
    @ivar stirred: something may have become ready, or the next due time has moved nearer. Its owner resets it.
    """

    __slots__ = (
        *("_changesets", "_columns", "_counts", "_crowd", "_due", "_groups", "_holds", "_index", "_leases", "_limits"),
        *("_starved", "stirred"),
    )

    def __init__(self, limits: SchedulerLimits, now: float) -> None:
        self._limits = limits
        self._columns = columns = Columns()
        self._index = Index(columns.message, columns.number)
        self._groups = Groups(columns, len(KINDS))
        self._holds = Holds(columns, self._index, QUEUED)
        self._due = Due(now)
        self._crowd = Crowd(columns)
        self._changesets = Changesets(columns)
        self._counts = [0] * len(PLACES)
        self._leases = Leases(columns, self._index)
        self._starved = False
        self.stirred = False

    # --- changesets

    def insert(self, entries: Iterable[Entry]) -> None:
        columns, index, changesets = self._columns, self._index, self._changesets
        for entry in entries:
            message, number = entry.id >> ENVELOPE_BITS, entry.id & _NUMBER_MASK
            if index.find(message, number) >= 0:
                continue
            slot = columns.take()
            columns.message[slot] = message
            columns.number[slot] = number
            columns.flags[slot] = 0
            columns.owner[slot] = 0
            self._store(slot, entry)
            index.add(slot)
            columns.place[slot] = UNCOMMITTED
            self._counts[UNCOMMITTED] += 1
            changesets.join(slot)

    def commit(self, message: MessageId, now: float) -> int:
        slots = self._changesets.take(message)
        for slot in slots:
            self._counts[UNCOMMITTED] -= 1
            self._place(slot, now)
        return len(slots)

    def rollback(self, message: MessageId) -> int:
        slots = self._changesets.take(message)
        for slot in slots:
            self._counts[UNCOMMITTED] -= 1
            self._forget(slot)
        return len(slots)

    # --- leases

    def batch(self, capacity: Mapping[Kind, int], now: float) -> Batch:
        more = self._advance(now)
        room = self._limits.maxBatch
        left = [capacity.get(kind, 0) for kind in KINDS]
        active = [work for work in _TURNS if left[work] > 0]
        leases: list[Lease] = []
        while active and room > 0:
            for work in tuple(active):
                first = self._groups.top(work)
                isCrowd = work == MTA and bool(self._crowd.byMessage) and self._isCrowdNext(first)
                if (first >= 0 or isCrowd) and work < EXPIRE and self._free <= 0:
                    self._starved = True
                    first, isCrowd = -1, False
                if isCrowd:
                    # Nobody else has a turn meanwhile, if nobody else is there.
                    count = self._leaseCrowd(first, 1 if len(active) > 1 else min(room, left[work]), leases)
                elif first >= 0:
                    count = self._leaseGroup(first, work, leases)
                else:
                    active.remove(work)
                    continue
                room -= count
                left[work] -= count
                if left[work] <= 0:
                    active.remove(work)
                if room <= 0:
                    break
        if self._crowd.byMessage and (room > 0 or MTA not in active):
            more = self._disperse(now) or more
        if not room > 0:
            more = more or self._isAnyReady(active)
        return Batch(tuple(leases), now if more else self._due.next())

    @property
    def _free(self) -> int:
        """How many more may be in flight."""
        return self._limits.maxInflight - self._leases.count

    def _isAnyReady(self, works: Iterable[int]) -> bool:
        return any(self._groups.top(work) >= 0 or (work == MTA and bool(self._crowd.byMessage)) for work in works)

    def update(self, lease: Lease, entries: Iterable[Entry], now: float) -> None:
        flags = self._columns.flags
        # What an operator said while it was away holds, for the entry was made before. But expiry ends waiting for an operator.
        keeping = _FLAG_REMOVE if lease.kind is Kind.EXPIRE else _FLAG_REMOVE | _FLAG_HELD | _FLAG_SUSPENDED
        for entry in entries:
            slot = self._leases.find(lease, entry.id)
            if slot >= 0:
                kept = flags[slot] & keeping
                self._store(slot, entry)
                flags[slot] |= kept
                self._return()
                self._place(slot, now)

    def postpone(self, leases: Iterable[Lease], nextTry: float, now: float) -> None:
        columns = self._columns
        times, tries, expires = columns.nextTry, columns.tries, columns.expires
        kind, flags, priority = columns.kind, columns.flags, columns.priority
        crowd: list[int] = []
        slots = self._leases.takeBack(leases)
        if slots:
            self._roomMade()
        for slot in slots:
            times[slot] = nextTry
            if tries[slot] < _MAX_TRIES:
                tries[slot] += 1
            if kind[slot] != MTA or flags[slot] or priority[slot] or not now < nextTry < expires[slot]:
                self._place(slot, now)
            else:
                crowd.append(slot)
        self._counts[WAITING] += len(crowd)
        if self._due.setAll(crowd, nextTry):
            self.stirred = True

    def delete(self, lease: Lease | None, envelopes: Iterable[EnvelopeId]) -> None:
        for envelope in envelopes:
            if lease is None:
                slot = self._find(envelope)
                if slot >= 0:
                    self._displace(slot)
                    self._forget(slot)
            else:
                slot = self._leases.find(lease, envelope)
                if slot >= 0:
                    self._return()
                    self._forget(slot)

    def hold(self, lease: Lease, envelopes: Iterable[EnvelopeId], key: str, now: float) -> None:
        columns = self._columns
        for envelope in envelopes:
            slot = self._leases.find(lease, envelope)
            if slot < 0:
                continue
            self._return()
            if columns.flags[slot] or self._expired(slot, now):
                self._place(slot, now)
                continue
            columns.place[slot] = QUEUED
            self._counts[QUEUED] += 1
            self._holds.add(slot, key)
            self._await(slot, self._end(slot))

    def release(self, key: str, count: int, now: float) -> int:
        while count > 0 and (slot := self._holds.oldest(key)) >= 0:
            self._displace(slot)
            self._place(slot, now)
            count -= 1
        return self._holds.count(key)

    # --- the operator

    def schedule(self, envelopes: Iterable[EnvelopeId], now: float) -> int:
        changed = 0
        for slot in self._known(envelopes):
            if self._columns.place[slot] == WAITING:
                self._displace(slot)
                self._columns.nextTry[slot] = now
                self._place(slot, now)
                changed += 1
        return changed

    def remove(self, envelopes: Iterable[EnvelopeId], now: float) -> int:
        return self._flag(envelopes, _FLAG_REMOVE, now)

    def suspend(self, envelopes: Iterable[EnvelopeId], now: float) -> int:
        return self._flag(envelopes, _FLAG_SUSPENDED, now)

    def resume(self, envelopes: Iterable[EnvelopeId], now: float) -> int:
        flags = self._columns.flags
        changed = 0
        for slot in self._known(envelopes):
            if flags[slot] & (_FLAG_HELD | _FLAG_SUSPENDED):
                flags[slot] &= _FLAG_REMOVE
                self._replace(slot, now)
                changed += 1
        return changed

    # --- for people

    def query(self, envelopes: Sequence[EnvelopeId]) -> tuple[Status, ...]:
        return tuple(self._status(slot) for slot in self._known(envelopes))

    def counts(self) -> dict[str, int]:
        counts = {condition.value: self._counts[place] for place, condition in enumerate(Condition)}
        counts[Condition.READY.value] += self._counts[CROWD]
        held = self._holds.countOf(AWAIT_CONFIGURATION)
        counts[Condition.QUEUED.value] -= held
        counts[Condition.HELD.value] += held
        counts[Condition.INFLIGHT.value] = self._leases.count
        counts["stale"] = self._leases.stale
        return counts

    # --- slots

    def _find(self, envelope: EnvelopeId) -> int:
        return self._index.find(envelope >> ENVELOPE_BITS, envelope & _NUMBER_MASK)

    def _known(self, envelopes: Iterable[EnvelopeId]) -> Iterator[int]:
        for envelope in envelopes:
            slot = self._find(envelope)
            if slot >= 0:
                yield slot

    def _store(self, slot: int, entry: Entry) -> None:
        columns = self._columns
        columns.kind[slot] = CODES[entry.kind]
        columns.created[slot] = entry.created
        columns.expires[slot] = entry.expires
        columns.nextTry[slot] = entry.nextTry
        columns.tries[slot] = min(entry.tries, _MAX_TRIES)
        columns.priority[slot] = max(-_MAX_PRIORITY, min(entry.priority, _MAX_PRIORITY))
        columns.flags[slot] = (_FLAG_HELD if entry.held else 0) | (_FLAG_SUSPENDED if entry.suspended else 0)

    def _status(self, slot: int) -> Status:
        columns = self._columns
        place, flags = columns.place[slot], columns.flags[slot]
        number = columns.message[slot] << ENVELOPE_BITS | columns.number[slot]
        entry = Entry(
            EnvelopeId(number),
            KINDS[columns.kind[slot]],
            columns.created[slot],
            columns.expires[slot],
            columns.tries[slot],
            columns.nextTry[slot],
            columns.priority[slot],
            bool(flags & _FLAG_HELD),
            bool(flags & _FLAG_SUSPENDED),
        )
        due = (
            entry.nextTry
            if place == WAITING and (entry.kind is Kind.BOUNCE or entry.nextTry < entry.expires)
            else entry.expires
        )
        key = self._holds.keyOf(slot) if place == QUEUED else ""
        condition = Condition.HELD if key.startswith(AWAIT_CONFIGURATION) else PLACES[place]
        return Status(entry, condition, due, key)

    # --- moving

    def _place(self, slot: int, now: float) -> None:
        """Put a slot that is nowhere where it belongs now."""
        columns = self._columns
        kind, flags = columns.kind[slot], columns.flags[slot]
        if flags & _FLAG_REMOVE:
            self._ready(slot, REMOVE, 0)
            self._due.clear(slot)
        elif self._expired(slot, now):
            self._ready(slot, EXPIRE, 0)
            self._due.clear(slot)
        elif flags:
            place = SUSPENDED if flags & _FLAG_SUSPENDED else HELD
            columns.place[slot] = place
            self._counts[place] += 1
            self._await(slot, self._end(slot))
        elif columns.nextTry[slot] > now:
            columns.place[slot] = WAITING
            self._counts[WAITING] += 1
            self._await(slot, self._next(slot))
        else:
            self._ready(slot, kind, columns.priority[slot])
            self._await(slot, self._end(slot))

    def _ready(self, slot: int, work: int, rank: int) -> None:
        self._columns.place[slot] = READY
        self._counts[READY] += 1
        self._groups.join(slot, work, rank)
        self.stirred = True
        if work == MTA and self._crowd.byMessage:
            # They leave together.
            for other in self._crowd.takeOf(self._columns.message[slot]):
                self._counts[CROWD] -= 1
                self._ready(other, MTA, 0)
                self._await(other, self._end(other))

    def _await(self, slot: int, when: float) -> None:
        if self._columns.kind[slot] == BOUNCE and self._columns.place[slot] != WAITING:
            # What is owed to the sender does not expire.
            self._due.clear(slot)
        elif self._due.set(slot, when):
            self.stirred = True

    def _next(self, slot: int) -> float:
        """When one that waits is placed anew."""
        columns = self._columns
        nextTry = columns.nextTry[slot]
        return nextTry if columns.kind[slot] == BOUNCE else min(nextTry, self._end(slot))

    def _end(self, slot: int) -> float:
        """When it is looked whether it has expired. What lives for an hour or more has until the full minute: mail that came to a dead host
        within a minute then ends in one step, and so do the reports of it."""
        expires = self._columns.expires[slot]
        isLong = expires - self._columns.created[slot] >= _HOUR
        return -(-expires // _MINUTE) * _MINUTE if isLong else expires

    def _expired(self, slot: int, now: float) -> bool:
        columns = self._columns
        return columns.expires[slot] <= now and columns.kind[slot] != BOUNCE

    def _displace(self, slot: int) -> None:
        """Take a slot from where it is."""
        columns = self._columns
        place = columns.place[slot]
        if place == INFLIGHT:
            self._return()
            return
        self._counts[place] -= 1
        if place == READY:
            self._groups.leave(slot)
        elif place == CROWD:
            self._crowd.leave(slot)
        elif place == QUEUED:
            self._holds.leave(slot)
        elif place == UNCOMMITTED:
            self._changesets.leave(slot)

    def _replace(self, slot: int, now: float) -> None:
        """Something about it changed. Those in flight or not committed yet are placed when they come back, or at the commit."""
        if self._columns.place[slot] not in (INFLIGHT, UNCOMMITTED):
            self._displace(slot)
            self._place(slot, now)

    def _flag(self, envelopes: Iterable[EnvelopeId], flag: int, now: float) -> int:
        flags = self._columns.flags
        changed = 0
        for slot in self._known(envelopes):
            if not flags[slot] & flag:
                flags[slot] |= flag
                self._replace(slot, now)
                changed += 1
        return changed

    def _isCrowdNext(self, first: int) -> bool:
        """Does the crowd's oldest message leave before the group of this first member (-1: there is none)?"""
        rank = self._columns.rank[first] if first >= 0 else -1
        return rank < 0 or (rank == 0 and self._crowd.oldest() < self._columns.message[first])

    def _leaseCrowd(self, first: int, most: int, leases: list[Lease]) -> int:
        """Lease so many envelopes of the crowd, about: of messages that leave before the group of this first member.

        @return: how many.
        """
        columns = self._columns
        end = columns.message[first] if first >= 0 and not columns.rank[first] else _NO_MESSAGE
        count = self._leases.grant(self._crowd.take(min(most, self._free), end), MTA, leases)
        self._counts[CROWD] -= count
        return count

    def _leaseGroup(self, first: int, work: int, leases: list[Lease]) -> int:
        count = self._leases.grant([self._groups.take(first, work)], work, leases)
        self._counts[READY] -= count
        return count

    def _return(self) -> None:
        """One is in flight no more."""
        self._leases.count -= 1
        self._roomMade()

    def _roomMade(self) -> None:
        if self._starved:
            self._starved = False
            self.stirred = True

    def _forget(self, slot: int) -> None:
        self._due.clear(slot)
        self._index.discard(slot)
        self._columns.owner[slot] = 0
        self._columns.give(slot)

    def _advance(self, now: float) -> bool:
        """Place anew what is due; is there more?"""
        columns, due = self._columns, self._due
        for slot in self._crowd.expired(now):
            self._displace(slot)
            self._place(slot, now)
        together = due.popAll(now, _MAX_DUE)
        if together:
            self._gather(together, now)
        for _ in range(_MAX_DUE - len(together)):
            slot = due.pop(now)
            if slot < 0:
                return False
            if columns.place[slot] != INFLIGHT:
                self._displace(slot)
                self._place(slot, now)
        return True

    def _gather(self, slots: Sequence[int], now: float) -> None:
        """These have come due together: they are the crowd, but for those of messages that are ready already."""
        columns = self._columns
        place, expires, message = columns.place, columns.expires, columns.message
        isAlone = not self._groups.isAny(MTA)
        crowd: list[int] = []
        for slot in slots:
            if expires[slot] > now and (isAlone or not self._groups.has(message[slot], MTA)):
                place[slot] = CROWD
                crowd.append(slot)
            else:
                self._displace(slot)
                self._place(slot, now)
        self._counts[WAITING] -= len(crowd)
        self._counts[CROWD] += len(crowd)
        self._crowd.join(crowd)
        self.stirred = self.stirred or bool(crowd)

    def _disperse(self, now: float) -> bool:
        """The crowd has to wait for room after all: in groups, as others do; is there more of it?"""
        for _ in range(_MAX_DUE):
            slots = self._crowd.takeOf(self._crowd.oldest())
            if not slots:
                return False
            self._counts[CROWD] -= len(slots)
            for slot in slots:
                self._place(slot, now)
        return True
