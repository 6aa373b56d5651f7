"""A lease under way at its agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.logger import Logger
from zope.interface import implementer

from pysmtpd.interfaces.delivery import IOutcomes
from pysmtpd.interfaces.ready import unlessFailed
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.scheduler import IScheduler
from pysmtpd.model.envelope import Envelope, EnvelopeState, Message, Notify
from pysmtpd.model.events import DeliveryAttempted
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Entry, Kind, Lease, entryOf
from pysmtpd.scheduler.recorder import Recorder
from pysmtpd.scheduler.verdict import failed, lateness, succeeded, suspendedState, tempfailed

# Enum's value is a Python call.
WORDS = {(kind, result): (kind.value, result.value) for kind in (Kind.MTA, Kind.MDA) for result in Result}

_NO_OUTCOME = Reply(451, "Internal error", "4.3.0")


class Desk:
    """What all flights share.

    @ivar warnAfter: gives the ages in seconds at which a sender is told that mail is late, ascending.
    @ivar warn: tells the sender of one envelope that it is; False: not now.
    @ivar landed: called with a flight that has no envelope left, and after any outcome.
    @ivar isStopping: nobody will release what is held.
    """

    __slots__ = ("isStopping", "landed", "now", "recorder", "report", "scheduler", "warn", "warnAfter")

    def __init__(
        self,
        now: Callable[[], float],
        scheduler: IScheduler,
        recorder: Recorder,
        report: IReport,
        landed: Callable[[Flight], None],
        warnAfter: Callable[[], Sequence[float]],
        warn: Callable[[Message, Envelope], bool],
    ) -> None:
        self.now = now
        self.scheduler = scheduler
        self.recorder = recorder
        self.report = report
        self.landed = landed
        self.warnAfter = warnAfter
        self.warn = warn
        self.isStopping = False

    def remind(
        self, message: Message, envelope: Envelope, state: EnvelopeState, thresholds: Sequence[float], now: float
    ) -> EnvelopeState:
        """Tell the sender of an envelope that will be tried again, if it is late. At most one warning for each threshold: what was passed
        since the last one counts as one.

        @param state: its new one.
        @param thresholds: what C{warnAfter} gives.
        @return: with what was warned of.
        """
        if state.warned < len(thresholds) and now - envelope.created >= thresholds[state.warned]:
            late = state._replace(warned=lateness(envelope, thresholds, now))
            if self.warn(message, envelope.withState(late)):
                return late
        return state


def attempted(
    words: tuple[str, str], sender: str, message: Message, envelope: Envelope, outcome: Outcome, reply: str, now: float
) -> DeliveryAttempted:
    """
    @param words: of the agent and the result.
    @param reply: the outcome's, as text.
    """
    destination = envelope.destination
    to = str(destination.recipient)
    return DeliveryAttempted(
        words[0],
        envelope.id,
        sender,
        to,
        to if destination.original is destination.recipient else str(destination.original),
        outcome.source,
        outcome.relay,
        now - message.created,
        words[1],
        reply,
        outcome.session,
    )


@implementer(IOutcomes)
class Flight:
    """Each envelope gets one outcome. A second one is logged and ignored."""

    __slots__ = ("_desk", "_message", "_pending", "_sender", "lease")

    _log = Logger()

    def __init__(self, desk: Desk, lease: Lease, message: Message, envelopes: Sequence[Envelope]) -> None:
        self._desk = desk
        self._message = message
        self._sender = str(message.transaction.sender)
        self._pending = {envelope.id: envelope for envelope in envelopes}
        self.lease = lease

    @property
    def isOver(self) -> bool:
        return not self._pending

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        now = self._desk.now()
        for outcome in outcomes:
            envelope = self._pending.pop(outcome.envelope, None)
            if envelope is None:
                self._log.warn("ignored a second outcome for {envelope:024x}", envelope=outcome.envelope)
            else:
                self._land(envelope, outcome, now)
        self._desk.landed(self)

    def hold(self, envelopes: Sequence[EnvelopeId], key: str) -> None:
        desk = self._desk
        held = [envelope for id in envelopes if (envelope := self._pending.pop(id, None)) is not None]
        if len(held) < len(envelopes):
            self._log.warn("ignored a hold of envelopes that have their outcome")
        if desk.isStopping:
            unlessFailed(desk.scheduler.update(self.lease, [entryOf(envelope) for envelope in held]), self._lost)
        else:
            desk.scheduler.hold(self.lease, [envelope.id for envelope in held], key).addErrback(self._lost)
        desk.landed(self)

    def suspend(self, id: EnvelopeId, suspended: bool) -> None:
        """An operator has said so meanwhile."""
        envelope = self._pending.get(id)
        if envelope is not None:
            self._pending[id] = envelope.withState(suspendedState(envelope.state, suspended))

    def abandon(self) -> None:
        """The agent has failed: what has no outcome is tried again later."""
        self.finished([Outcome(id, Result.TEMPORARY, _NO_OUTCOME) for id in self._pending])

    def _land(self, envelope: Envelope, outcome: Outcome, now: float) -> None:
        desk, lease, result = self._desk, self.lease, outcome.result
        reply = str(outcome.reply)
        if result is Result.DELIVERED:
            if envelope.destination.notify is Notify.UNSET or not self._owesReport(envelope, outcome, reply, now):
                desk.recorder.finished(lease, envelope.id)
        elif result is Result.TEMPORARY:
            state = tempfailed(lease.kind, envelope, outcome, reply, now)
            self._keep(envelope, desk.remind(self._message, envelope, state, desk.warnAfter(), now), lease.kind)
        else:
            self._keep(envelope, failed(envelope, outcome, reply, now), Kind.BOUNCE)
        words = WORDS[lease.kind, result]
        desk.report.happened(attempted(words, self._sender, self._message, envelope, outcome, reply, now))

    def _owesReport(self, envelope: Envelope, outcome: Outcome, reply: str, now: float) -> bool:
        """Is there to be a report of this success (RFC 3461 5.2)? Then it takes the envelope's place."""
        action = "delivered" if self.lease.kind is Kind.MDA else outcome.success
        if not (action and envelope.destination.notify & Notify.SUCCESS) or self._message.isBounce or not self._sender:
            return False
        self._keep(envelope, succeeded(envelope, outcome, action, reply, now), Kind.BOUNCE)
        return True

    def _keep(self, envelope: Envelope, state: EnvelopeState, kind: Kind) -> None:
        entry = Entry(envelope.id, kind, envelope.created, envelope.expires, state.tries, state.nextTry)
        self._desk.recorder.changed(self.lease, state, entry)

    def _lost(self, failure: object) -> None:
        self._log.error("the scheduler did not take envelopes to hold: {failure}", failure=failure)
