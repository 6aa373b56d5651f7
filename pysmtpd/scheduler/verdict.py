"""What an outcome makes of an envelope's state. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import ceil

from pysmtpd.model.envelope import MAX_ATTEMPTS, Attempt, Envelope, EnvelopeState, Route
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.schedule import Kind
from pysmtpd.scheduler.backoff import nextTry

# Seconds in which the failures of one message are gathered, so that its sender gets one report of them.
GATHER = 1.0

# Seconds. What fails so soon has failed since it came: then messages that came one after the other can share a state.
_SOON = 1.0

EXPIRED_STATUS = "5.4.7"
_LOOP_STATUS = "5.4.6"
_UNKNOWN_STATUS = "5.0.0"


def tempfailed(kind: Kind, envelope: Envelope, outcome: Outcome, reply: str, now: float) -> EnvelopeState:
    """It will be tried again: when the outcome says, else by the back-off.

    @param reply: the outcome's, as text.
    """
    at = outcome.retryAt if outcome.retryAt > now else nextTry(kind, envelope.created, envelope.state.tries + 1, now)
    return retried(envelope, at, outcome, reply, now)


def retried(envelope: Envelope, at: float, outcome: Outcome, reply: str, now: float) -> EnvelopeState:
    """It will be tried again at that time; wall-clock seconds. What this makes of a state that has failed twice does not depend on the
    envelope."""
    state = envelope.state
    tries, _, _, _, hold, suspended, _, _, warned, _, route, _ = state
    attempts = _attempts(envelope, outcome, reply, now)
    # Spelled out: this is the hot path of a queue full of dead destinations. Its own constructor takes twice as long, _replace() six times.
    return tuple.__new__(
        EnvelopeState, (tries + 1, at, now, reply, hold, suspended, "", "", warned, attempts, route, "")
    )


def failed(envelope: Envelope, outcome: Outcome, reply: str, now: float) -> EnvelopeState:
    """It is not tried again; a bounce is owed from C{nextTry} on."""
    state = envelope.state
    status = outcome.reply.enhanced or (_LOOP_STATUS if outcome.result is Result.LOOP else _UNKNOWN_STATUS)
    return state._replace(
        tries=state.tries + 1,
        nextTry=reportAt(now),
        lastTry=now,
        lastReply=reply,
        failed=reply or "failed",
        # Whatever class a peer has put in its code: this failure is permanent (RFC 3463 2).
        failedStatus="5" + status[1:],
        attempts=_attempts(envelope, outcome, reply, now),
    )


def succeeded(envelope: Envelope, outcome: Outcome, action: str, reply: str, now: float) -> EnvelopeState:
    """It was reached, and its sender is to be told.

    @param action: RFC 3464 2.3.3: delivered or relayed.
    """
    return failed(envelope, outcome, reply, now)._replace(failedStatus="2.0.0", succeeded=action)


def lateness(envelope: Envelope, thresholds: Sequence[float], now: float) -> int:
    """How many warnings its sender should have had by now.

    @param thresholds: ages in seconds, ascending.
    """
    return bisect_right(thresholds, now - envelope.created)


def expired(envelope: Envelope, now: float) -> EnvelopeState:
    """Its time is over; a bounce is owed."""
    state = envelope.state
    last = state.attempts[-1].reply if state.attempts else state.lastReply
    text = f"Not delivered in time; the last reply was: {last}" if last else "Not delivered in time"
    return state._replace(nextTry=reportAt(now), failed=text, failedStatus=EXPIRED_STATUS)


def reroutedState(state: EnvelopeState, route: Route | None, hold: str) -> EnvelopeState:
    """Its rules were asked again: it goes by C{route} from now on, at once; or it waits for an operator."""
    if hold:
        return state._replace(hold=hold)
    return state._replace(route=route, hold="", nextTry=0.0)


def suspendedState(state: EnvelopeState, suspended: bool) -> EnvelopeState:
    """Resuming also ends a hold: an operator has let it go."""
    return state._replace(suspended=suspended, hold=state.hold if suspended else "")


def reportAt(now: float) -> float:
    """When failures of now are reported. Whole seconds, so that those which come close together come due together."""
    return float(ceil(now + GATHER))


def _attempts(envelope: Envelope, outcome: Outcome, reply: str, now: float) -> tuple[Attempt, ...]:
    before = envelope.state.attempts
    if before:
        at, last, host, times, since, _, _ = before[-1]
        if last == reply and host == outcome.remote:
            # A destination that is dead for days takes no more room than one that failed once, and its history says more.
            if times == 1 and (len(before) > 1 or at - envelope.created > _SOON):
                since = since or at
            same = tuple.__new__(Attempt, (now, reply, host, times + 1, since, outcome.source, outcome.tls))
            return (*before[:-1], same) if len(before) > 1 else (same,)
    return (
        *before[1 - MAX_ATTEMPTS :],
        Attempt(now, reply, outcome.remote, source=outcome.source, tls=outcome.tls),
    )
