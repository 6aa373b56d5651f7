"""An envelope as the scheduler sees it."""

from __future__ import annotations

from pysmtpd.model.envelope import Agent, Envelope
from pysmtpd.model.schedule import Entry, Kind

_KINDS = {Agent.MTA: Kind.MTA, Agent.MDA: Kind.MDA}


def kindOf(envelope: Envelope) -> Kind:
    """What it asks for: a bounce when it has failed, else its delivery."""
    return Kind.BOUNCE if envelope.state.failed else _KINDS[envelope.destination.agent]


def entryOf(envelope: Envelope) -> Entry:
    """What the scheduler has to know of it."""
    state = envelope.state
    return Entry(
        envelope.id,
        kindOf(envelope),
        envelope.created,
        envelope.expires,
        state.tries,
        state.nextTry,
        0,
        bool(state.hold),
        state.suspended,
    )
