"""When an envelope is tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from pysmtpd.interfaces.ready import Ready
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.model.schedule import Batch, Entry, Kind, Lease, Status


class IScheduler(Interface):
    """Envelopes enter a changeset per message, are schedulable only after its C{commit}, and vanish on C{rollback}.

    It never looks into the queue. All ready envelopes of one message and kind leave together, as one lease. Ids that are
    unknown are ignored by every method but C{query}. A lease that is stale is refused: the ids it names are ignored and counted.
    """

    def insert(entries: Sequence[Entry]) -> Ready[None]:
        """Add to the changesets of the entries' messages. An id that is known already is ignored (a walk meets new mail)."""

    def commit(message: MessageId) -> Ready[int]:
        """The changeset becomes schedulable; answers the number of its envelopes."""

    def rollback(message: MessageId) -> Deferred[int]:
        """The changeset vanishes."""

    def batch(worker: str, capacity: Mapping[Kind, int]) -> Deferred[Batch]:
        """Lease ready envelopes: of each kind at most about so many as C{capacity} says (a message is never split).

        Kinds absent from C{capacity} are not handed out. EXPIRE and REMOVE come for envelopes that are not in flight,
        suspended and held ones included.
        """

    def update(lease: Lease, entries: Sequence[Entry]) -> Ready[None]:
        """These come back: they were tried, or become another kind (BOUNCE). They wait for their C{nextTry} again."""

    def postpone(leases: Sequence[Lease], nextTry: float) -> Ready[None]:
        """These leases are over, all alike and in one step: what they hold was tried once more, and waits for C{nextTry}.

        @param nextTry: wall-clock seconds.
        """

    def delete(lease: Lease | None, envelopes: Sequence[EnvelopeId]) -> Ready[None]:
        """These are finished. Without a lease: whatever their condition."""

    def hold(lease: Lease, envelopes: Sequence[EnvelopeId], key: str) -> Deferred[None]:
        """Their agent has no room under C{key}: they wait in that hold queue, untried, until C{release}."""

    def release(key: str, count: int) -> Deferred[int]:
        """Make up to C{count} envelopes (oldest first) of a hold queue ready again; fires with how many are left in it."""

    def schedule(envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        """Try now, if they only wait; fires with how many that changed."""

    def remove(envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        """They will be handed out as REMOVE; those in flight when they come back undelivered."""

    def suspend(envelopes: Sequence[EnvelopeId]) -> Deferred[int]: ...

    def resume(envelopes: Sequence[EnvelopeId]) -> Deferred[int]: ...

    def query(envelopes: Sequence[EnvelopeId]) -> Deferred[tuple[Status, ...]]:
        """Of those that are known, in the order asked."""

    def counts() -> Deferred[Mapping[str, int]]:
        """How many envelopes are in each condition; keys are values of L{pysmtpd.model.schedule.Condition}, plus C{stale}."""

    def notify(ready: Callable[[], None]) -> None:
        """Call C{ready}, without arguments, whenever there may be new ready work or the next due time has moved nearer."""
