"""A scheduler as simple as can be: dictionaries, and everything found by looking at everything.

It is the model that the plan is compared with. With C{leaseSeconds} its leases end: what was not given back in time is handed out
again, and the old token is stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pysmtpd.model.config import SchedulerLimits
from pysmtpd.model.ids import EnvelopeId, MessageId, messageOf
from pysmtpd.model.schedule import Batch, Condition, Entry, Kind, Lease, Status

TURNS = (Kind.REMOVE, Kind.EXPIRE, Kind.BOUNCE, Kind.MDA, Kind.MTA)


@dataclass
class Item:
    entry: Entry
    committed: bool = False
    removing: bool = False
    lease: Lease | None = None
    hold: str | None = None


class Naive:
    def __init__(self, limits: SchedulerLimits, leaseSeconds: float | None = None) -> None:
        self.limits = limits
        self.leaseSeconds = leaseSeconds
        self.items: dict[EnvelopeId, Item] = {}
        self.token = 0
        self.stale = 0
        # A group keeps the highest priority of those that joined it until it is empty.
        self.ranks: dict[tuple[MessageId, Kind], int] = {}
        self.ready: dict[EnvelopeId, Kind] = {}

    def insert(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.items.setdefault(entry.id, Item(entry))

    def changeset(self, message: MessageId) -> list[EnvelopeId]:
        return [id for id, item in self.items.items() if not item.committed and messageOf(id) == message]

    def commit(self, message: MessageId, now: float) -> int:
        ids = self.changeset(message)
        for id in ids:
            self.items[id].committed = True
        self.settle(now, ids)
        return len(ids)

    def rollback(self, message: MessageId) -> int:
        ids = self.changeset(message)
        for id in ids:
            del self.items[id]
        return len(ids)

    def work(self, item: Item, now: float) -> Kind | None:
        """What it is ready for."""
        if not item.committed or item.lease:
            return None
        if item.removing:
            return Kind.REMOVE
        if item.entry.expires <= now and item.entry.kind is not Kind.BOUNCE:
            return Kind.EXPIRE
        if item.entry.held or item.entry.suspended or item.hold is not None or item.entry.nextTry > now:
            return None
        return item.entry.kind

    def settle(self, now: float, ids: Sequence[EnvelopeId]) -> None:
        """Note which of these joined or left a group."""
        for id in ids:
            item = self.items.get(id)
            work = self.work(item, now) if item else None
            if id in self.ready:
                was = self.ready.pop(id)
                group = (messageOf(id), was)
                if not any(messageOf(other) == group[0] and kind is was for other, kind in self.ready.items()):
                    del self.ranks[group]
            if item and work is not None:
                if work in (Kind.EXPIRE, Kind.REMOVE):
                    item.hold = None
                self.ready[id] = work
                rank = 0 if work in (Kind.EXPIRE, Kind.REMOVE) else item.entry.priority
                group = (messageOf(id), work)
                self.ranks[group] = max(rank, self.ranks.get(group, rank))

    def batch(self, capacity: Mapping[Kind, int], now: float) -> Batch:
        for item in self.items.values():
            if item.lease and item.lease.deadline is not None and item.lease.deadline <= now:
                item.lease = None
        self.settle(now, [id for id, item in self.items.items() if self.work(item, now) is not self.ready.get(id)])
        leases: list[Lease] = []
        room = self.limits.maxBatch
        left = {kind: capacity.get(kind, 0) for kind in TURNS}
        active = [kind for kind in TURNS if left[kind] > 0]
        while active and room > 0:
            for kind in list(active):
                groups = sorted((-rank, message) for (message, work), rank in self.ranks.items() if work is kind)
                full = kind not in (Kind.EXPIRE, Kind.REMOVE) and self.inflight() >= self.limits.maxInflight
                if not groups or full:
                    active.remove(kind)
                    continue
                message = groups[0][1]
                ids = sorted(id for id, work in self.ready.items() if work is kind and messageOf(id) == message)
                self.token += 1
                deadline = None if self.leaseSeconds is None else now + self.leaseSeconds
                lease = Lease(self.token, kind, message, tuple(ids), deadline)
                for id in ids:
                    self.items[id].lease = lease
                self.settle(now, ids)
                leases.append(lease)
                room -= len(ids)
                left[kind] -= len(ids)
                if left[kind] <= 0:
                    active.remove(kind)
                if room <= 0:
                    break
        if room <= 0 and any(work in active for _, work in self.ranks):
            return Batch(tuple(leases), now)
        due = [self.due(item) for item in self.items.values() if self.waits(item, now)]
        due += [item.lease.deadline for item in self.items.values() if item.lease and item.lease.deadline is not None]
        return Batch(tuple(leases), min(due, default=None))

    def inflight(self) -> int:
        return sum(1 for item in self.items.values() if item.lease)

    def waits(self, item: Item, now: float) -> bool:
        """Will time alone change it? (In flight: the plan may or may not have it in mind.)"""
        if not item.committed or item.lease or self.work(item, now) in (Kind.EXPIRE, Kind.REMOVE):
            return False
        return item.entry.kind is not Kind.BOUNCE or self.condition(item, now) is Condition.WAITING

    def due(self, item: Item) -> float:
        if item.entry.kind is Kind.BOUNCE:
            return item.entry.nextTry
        parked = item.entry.held or item.entry.suspended or item.hold is not None
        waiting = (
            item.entry.nextTry if not parked and messageOf(item.entry.id) and item.entry.id not in self.ready else 1e15
        )
        return min(item.entry.expires, waiting)

    def leased(self, lease: Lease, id: EnvelopeId) -> Item | None:
        item = self.items.get(id)
        if item is None:
            return None
        if item.lease is None or item.lease.token != lease.token:
            self.stale += 1
            return None
        return item

    def update(self, lease: Lease, entries: Sequence[Entry], now: float) -> None:
        for entry in entries:
            item = self.leased(lease, entry.id)
            if item:
                kept = lease.kind is not Kind.EXPIRE
                held = entry.held or (item.entry.held and kept)
                suspended = entry.suspended or (item.entry.suspended and kept)
                item.entry = entry._replace(held=held, suspended=suspended)
                item.lease = None
                self.settle(now, [entry.id])

    def postpone(self, leases: Sequence[Lease], nextTry: float, now: float) -> None:
        for lease in leases:
            for id in lease.envelopes:
                item = self.leased(lease, id)
                if item:
                    item.entry = item.entry._replace(tries=item.entry.tries + 1, nextTry=nextTry)
                    item.lease = None
                    self.settle(now, [id])

    def delete(self, lease: Lease | None, ids: Sequence[EnvelopeId], now: float) -> None:
        for id in ids:
            if lease is None or self.leased(lease, id):
                self.items.pop(id, None)
                self.settle(now, [id])

    def hold(self, lease: Lease, ids: Sequence[EnvelopeId], key: str, now: float) -> None:
        for id in ids:
            item = self.leased(lease, id)
            if item:
                item.lease = None
                expired = item.entry.expires <= now and item.entry.kind is not Kind.BOUNCE
                if not (item.removing or item.entry.held or item.entry.suspended or expired):
                    item.hold = key
                self.settle(now, [id])

    def release(self, key: str, count: int, now: float) -> int:
        waiting = sorted(id for id, item in self.items.items() if item.hold == key)
        for id in waiting[: max(count, 0)]:
            self.items[id].hold = None
            self.settle(now, [id])
        return len([id for id in waiting if self.items[id].hold == key])

    def condition(self, item: Item, now: float) -> Condition:
        if not item.committed:
            return Condition.UNCOMMITTED
        if item.lease:
            return Condition.INFLIGHT
        if item.entry.id in self.ready:
            return Condition.READY
        if item.hold is not None:
            return Condition.QUEUED
        if item.entry.suspended:
            return Condition.SUSPENDED
        return Condition.HELD if item.entry.held else Condition.WAITING

    def schedule(self, ids: Sequence[EnvelopeId], now: float) -> int:
        changed = 0
        for id in ids:
            item = self.items.get(id)
            if item and self.condition(item, now) is Condition.WAITING:
                item.entry = item.entry._replace(nextTry=now)
                self.settle(now, [id])
                changed += 1
        return changed

    def remove(self, ids: Sequence[EnvelopeId], now: float) -> int:
        changed = 0
        for id in ids:
            item = self.items.get(id)
            if item and not item.removing:
                item.removing = True
                self.settle(now, [id])
                changed += 1
        return changed

    def suspend(self, ids: Sequence[EnvelopeId], now: float) -> int:
        changed = 0
        for id in ids:
            item = self.items.get(id)
            if item and not item.entry.suspended:
                item.entry = item.entry._replace(suspended=True)
                if item.committed and not item.lease:
                    item.hold = None
                    self.settle(now, [id])
                changed += 1
        return changed

    def resume(self, ids: Sequence[EnvelopeId], now: float) -> int:
        changed = 0
        for id in ids:
            item = self.items.get(id)
            if item and (item.entry.suspended or item.entry.held):
                item.entry = item.entry._replace(suspended=False, held=False)
                self.settle(now, [id])
                changed += 1
        return changed

    def query(self, ids: Sequence[EnvelopeId], now: float) -> tuple[Status, ...]:
        found = []
        for id in ids:
            item = self.items.get(id)
            if item:
                condition = self.condition(item, now)
                due = self.due(item) if condition is Condition.WAITING else item.entry.expires
                found.append(Status(item.entry, condition, due, item.hold or ""))
        return tuple(found)

    def counts(self, now: float) -> dict[str, int]:
        counts = {condition.value: 0 for condition in Condition}
        for item in self.items.values():
            counts[self.condition(item, now).value] += 1
        counts["stale"] = self.stale
        return counts
