"""Values and neighbours for the front's tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.address import Path
from pysmtpd.model.envelope import Agent, Destination, Notify
from pysmtpd.model.events import Event
from pysmtpd.model.facts import SessionFacts, TlsFacts, Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId, messageOf
from pysmtpd.model.schedule import Batch, Entry, Kind, Lease, Status

FACTS = SessionFacts(
    SessionId(0x1234),
    "192.0.2.1:25",
    "mx.example.org",
    "198.51.100.7",
    40_000,
    "192.0.2.1",
    25,
    "client.example.net",
    "client",
    "ESMTPSA",
    "alice",
    "tag",
    TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, True, "client.example.net", "mx.example.org"),
    True,
    False,
)
TRANSACTION = Transaction(FACTS, Path("sender", "example.net"), 1000, "8BITMIME", "HDRS", "envid", True, "<>")
LOCAL = Destination(
    Path("bob", "example.org"),
    Path("postmaster", "example.org"),
    Agent.MDA,
    "local",
    "bob",
    "smtpd.conf:7",
    3600.0,
    Notify.FAILURE | Notify.DELAY,
    "rfc822;postmaster@example.org",
)
REMOTE = Destination(Path("carol", "example.com"), Path("carol", "example.com"), Agent.MTA, "outbound")


@implementer(IReport)
class Recorder:
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def happened(self, event: Event) -> None:
        self.events.append(event)

    def allHappened(self, events: Sequence[Event]) -> None:
        for event in events:
            self.happened(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@implementer(IScheduler)
class ChangesetScheduler:
    """Keeps changesets, and what was committed; hands nothing out."""

    def __init__(self) -> None:
        self.open: dict[MessageId, list[Entry]] = {}
        self.committed: list[Entry] = []
        self.log: list[str] = []
        self.error: Exception | None = None

    def insert(self, entries: Sequence[Entry]) -> Deferred[None]:
        if self.error is not None:
            return fail(self.error)
        self.log.append("insert")
        for entry in entries:
            self.open.setdefault(messageOf(entry.id), []).append(entry)
        return succeed(None)

    def commit(self, message: MessageId) -> Deferred[int]:
        self.log.append("commit")
        entries = self.open.pop(message)
        self.committed.extend(entries)
        return succeed(len(entries))

    def rollback(self, message: MessageId) -> Deferred[int]:
        self.log.append("rollback")
        return succeed(len(self.open.pop(message, [])))

    def batch(self, worker: str, capacity: Mapping[Kind, int]) -> Deferred[Batch]:
        return succeed(Batch((), None))

    def update(self, lease: Lease, entries: Sequence[Entry]) -> Deferred[None]:
        return succeed(None)

    def postpone(self, leases: Sequence[Lease], nextTry: float) -> Deferred[None]:
        return succeed(None)

    def delete(self, lease: Lease | None, envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        return succeed(None)

    def hold(self, lease: Lease, envelopes: Sequence[EnvelopeId], key: str) -> Deferred[None]:
        return succeed(None)

    def release(self, key: str, count: int) -> Deferred[int]:
        return succeed(0)

    def schedule(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return succeed(0)

    def remove(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return succeed(0)

    def suspend(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return succeed(0)

    def resume(self, envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        return succeed(0)

    def query(self, envelopes: Sequence[EnvelopeId]) -> Deferred[tuple[Status, ...]]:
        return succeed(())

    def counts(self) -> Deferred[Mapping[str, int]]:
        return succeed({})

    def notify(self, ready: Callable[[], None]) -> None:
        pass
