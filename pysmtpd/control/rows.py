"""Messages and envelopes as plain values for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from pysmtpd.model.envelope import Agent, Envelope, Message, formatVia
from pysmtpd.model.ids import EnvelopeId, formatEnvelopeId, formatMessageId, formatSessionId, messageOf
from pysmtpd.model.rematched import Rematched
from pysmtpd.model.schedule import CHANGED, SHAPED, VANISHED, Condition, Status
from pysmtpd.smtp.parameters import formatNotify

_WHY = {
    Condition.UNCOMMITTED: "being received",
    Condition.READY: "ready, waits for its turn",
    Condition.WAITING: "waits for its next try",
    Condition.INFLIGHT: "being delivered",
    Condition.QUEUED: "its agent has no room now",
    Condition.HELD: "held",
    Condition.SUSPENDED: "suspended by an operator",
}


_TO_COME = (Condition.READY, Condition.WAITING, Condition.QUEUED)


class Look(Protocol):
    """What is asked at most once for an answer, and only where it counts."""

    @property
    def underWay(self) -> Mapping[EnvelopeId, str]:
        """See L{pysmtpd.interfaces.IRoutes.underWay}."""

    @property
    def paused(self) -> Sequence[str]:
        """Parts of the daemon."""

    @property
    def actions(self) -> Collection[str]:
        """That the newest configuration has."""

    @property
    def isLoading(self) -> bool:
        """Has the scheduler not heard of all that is queued yet?"""


def _why(envelope: Envelope, status: Status | None, look: Look) -> str:
    if status is None:
        if envelope.state.failed:
            return "its end is about to be reported"
        return "not loaded yet" if look.isLoading else "unknown to the scheduler"
    why = _WHY[status.condition]
    if status.condition is Condition.INFLIGHT and envelope.destination.agent is Agent.MTA:
        what = look.underWay.get(envelope.id)
        why += f": {what}" if what else ""
    agent = envelope.destination.agent.value
    if status.condition is Condition.READY and agent in look.paused:
        why = f"ready, but the {agent} is paused"
    if status.condition is Condition.WAITING and not envelope.state.tries:
        why = "waits for its first try"
    action = envelope.destination.action
    if status.condition in _TO_COME and action not in look.actions:
        why = f'{why}; the configuration has no action "{action}" any more, so it is held then'
    if status.condition is Condition.HELD:
        if status.holdKey.startswith(VANISHED):
            why = f'held: the configuration has no action "{action}"; a reload that brings it back, or rematch, lets it go'
        elif status.holdKey.startswith(CHANGED):
            why = f'held: the action "{action}" delivers in another way than when it was chosen; rematch decides again'
    if status.condition is Condition.QUEUED and status.holdKey.startswith(SHAPED):
        why = f"waits for its turn: {status.holdKey.removeprefix(SHAPED)}"
    if envelope.state.hold:
        why = f"held: {envelope.state.hold}"
    if envelope.state.failed:
        end = "was delivered" if envelope.state.succeeded else "has failed"
        why = f"{end}; the report to its sender " + ("is being made" if why.startswith("being") else "waits")
    return why


def envelopeRow(message: Message, envelope: Envelope, status: Status | None, look: Look) -> dict[str, Any]:
    """One line of C{show queue}."""
    destination, state = envelope.destination, envelope.state
    return {
        "evpid": formatEnvelopeId(envelope.id),
        "msgid": formatMessageId(messageOf(envelope.id)),
        "agent": destination.agent.value,
        "sender": str(message.transaction.sender),
        "recipient": str(destination.recipient),
        "original": str(destination.original),
        "action": destination.action,
        "user": destination.user,
        "rule": destination.rule,
        "size": message.body.size,
        "created": envelope.created,
        "expires": envelope.expires,
        "tries": state.tries,
        "last_try": state.lastTry,
        "next_try": _nextTry(status) if status is not None else state.nextTry,
        "condition": status.condition.value if status is not None else "unknown",
        "hold_queue": status.holdKey if status is not None else "",
        "why": _why(envelope, status, look),
        "last_reply": state.failed or state.lastReply,
    }


def _nextTry(status: Status) -> float:
    """What does not wait for a time becomes due only to be looked at whether it has expired."""
    return status.due if status.condition is Condition.WAITING else 0.0


def envelopeDetail(message: Message, envelope: Envelope, status: Status | None, look: Look) -> dict[str, Any]:
    """C{show envelope}: the line, and what later decisions look at."""
    session = message.transaction.session
    tls = session.tls
    return envelopeRow(message, envelope, status, look) | {
        "notify": formatNotify(envelope.destination.notify),
        "orcpt": envelope.destination.orcpt,
        "via": formatVia(envelope.destination.via),
        "envid": message.transaction.envid,
        "ret": message.transaction.ret,
        "attempts": [
            {
                "since": attempt.began(envelope.created),
                "at": attempt.at,
                "times": attempt.times,
                "host": attempt.host,
                "address": attempt.address,
                "source": attempt.source,
                "tls": attempt.tls,
                "reply": attempt.reply,
            }
            for attempt in envelope.state.attempts
        ],
        "session": {
            "id": formatSessionId(session.session),
            "listener": session.listener,
            "peer": session.peer,
            "rdns": session.rdns,
            "helo": session.helo,
            "protocol": session.protocol,
            "user": session.user,
            "tag": session.tag,
            "tls": f"{tls.protocol}:{tls.cipher}:{tls.bits}" if tls is not None else "",
        },
    }


def rematchedRow(one: Rematched) -> dict[str, Any]:
    """One line of C{rematch}."""
    return {
        "evpid": formatEnvelopeId(one.envelope),
        "address": one.address,
        "old_action": one.oldAction,
        "old_rule": one.oldRule,
        "action": one.action,
        "rule": one.rule,
        "hold": one.hold,
        "busy": one.isBusy,
    }


def messageRow(message: Message, envelopes: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """One message with as many of its envelopes as fit.

    @param count: how many it has.
    """
    return {
        "msgid": formatMessageId(message.id),
        "sender": str(message.transaction.sender),
        "size": message.body.size,
        "created": message.created,
        "bounce": message.isBounce,
        "count": count,
        "envelopes": envelopes,
    }
