"""Deliveries that come to the same, all in one step."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from pysmtpd.model.envelope import EnvelopeState
from pysmtpd.model.events import DeliveryAttempted
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.outcome import Outcome
from pysmtpd.model.schedule import Delivery
from pysmtpd.scheduler.flight import WORDS, Desk, attempted
from pysmtpd.scheduler.verdict import retried


def postpone(desk: Desk, outcome: Outcome, deliveries: Sequence[Delivery]) -> None:
    """Each of their envelopes has failed for now, and is tried again when the outcome says.

    A queue full of mail for a host that is down passes here at every try. So nothing is under way meanwhile, and what all have in common is
    made once; but each has its own history, its own warning, and its own line in the log.
    """
    now = desk.now()
    reply = str(outcome.reply)
    thresholds = desk.warnAfter()
    words = WORDS[deliveries[0].lease.kind, outcome.result]
    states: dict[EnvelopeId, EnvelopeState] = {}
    events: list[DeliveryAttempted] = []
    before = after = EnvelopeState()
    # Seconds since an envelope came after which its sender is warned.
    lateAge = inf
    for _, message, envelopes in deliveries:
        sender = str(message.transaction.sender)
        for envelope in envelopes:
            if envelope.state is not before or before.tries < 2:
                before = envelope.state
                state = retried(envelope, outcome.retryAt, outcome, reply, now)
                if state != after:
                    # Neighbours that have failed alike from the beginning share one state from now on.
                    after = state
                    lateAge = thresholds[state.warned] if state.warned < len(thresholds) else inf
            isLate = now - envelope.created >= lateAge
            states[envelope.id] = desk.remind(message, envelope, after, thresholds, now) if isLate else after
            events.append(attempted(words, sender, message, envelope, outcome, reply, now))
    desk.report.allHappened(events)
    desk.recorder.postponed([lease for lease, _, _ in deliveries], states, outcome.retryAt)
