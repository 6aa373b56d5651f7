"""Records: how messages, envelopes and their states lie in a backend.

A record is one octet of version, four of CRC-32, and a JSON array in UTF-8. The checksum is seeded with the item's id, so a record
that strayed to another item is found out too; not so that of a state which is not one envelope's alone, and which has another version.
Fields are told apart by their place: a later release only appends, and a reader ignores what it does not know. Lone surrogates, which
undecodable input leaves in text, survive.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

from pysmtpd.model.address import Path
from pysmtpd.model.envelope import (
    Agent,
    Attempt,
    BodyRef,
    Destination,
    Envelope,
    EnvelopeState,
    Hop,
    Message,
    Notify,
    Route,
    routed,
)
from pysmtpd.model.facts import SessionFacts, TlsFacts, Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId

RECORD_VERSION = 1
COMMON_VERSION = 2
"""Of a state that is not one envelope's alone."""

_VERSION_OCTET = bytes((RECORD_VERSION,))
_COMMON_OCTET = bytes((COMMON_VERSION,))
# What the checksum of such a state is seeded with.
_COMMON = 0
_HEAD = 5
_MASK = 0xFFFFFFFF
_LARGE = 1e300


def _encoder() -> Callable[[object], str]:
    """The standard encoder makes a new inner one for each value, a third of the time that a record takes; here is one for all."""
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)
    inner: Any = getattr(json.encoder, "c_make_encoder", None)
    if inner is None:
        # Another Python than CPython.
        return encoder.encode
    encode = inner(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, True)
    return lambda value: "".join(encode(value, 0))


_toJson = _encoder()
_fromJson = json.JSONDecoder().raw_decode

_NEW_STATE = EnvelopeState()
_NO_WISHES = (False, False)
_AGENTS = {agent.value: agent for agent in Agent}
_NOTIFY = {int(value): value for value in map(Notify, range(16))}


class Damaged(ValueError):
    """A record cannot be read; the text says why."""


def encodeMessage(message: Message) -> bytes:
    """The record of a message; its id is not in it, but needed to read it."""
    transaction = message.transaction
    session = transaction.session
    tls = session.tls
    sender = transaction.sender
    body = message.body
    return _seal(
        message.id,
        (
            message.created,
            message.isBounce,
            message.eightBit,
            body.size,
            body.codec,
            body.place,
            sender.local,
            sender.domain,
            transaction.size,
            transaction.body,
            transaction.ret,
            transaction.envid,
            transaction.smtputf8,
            transaction.auth,
            session.session,
            session.listener,
            session.hostname,
            session.peer,
            session.peerPort,
            session.localAddress,
            session.localPort,
            session.rdns,
            session.helo,
            session.protocol,
            session.user,
            session.tag,
            None if tls is None else (tls.protocol, tls.cipher, tls.bits, tls.verified, tls.peerName, tls.sni),
            session.isLocal,
            session.isSocket,
            transaction.requireTls,
            message.isTlsOptional,
        ),
    )


def decodeMessage(message: MessageId, record: bytes) -> Message:
    """
    @raise Damaged:
    """
    values = _unseal(message, record)
    try:
        (
            created,
            isBounce,
            eightBit,
            size,
            codec,
            place,
            senderLocal,
            senderDomain,
            declared,
            body,
            ret,
            envid,
            smtputf8,
            auth,
            session,
            listener,
            hostname,
            peer,
            peerPort,
            localAddress,
            localPort,
            rdns,
            helo,
            protocol,
            user,
            tag,
            tls,
            isLocal,
            isSocket,
            *more,
        ) = values
        # Older records have none of these.
        requireTls, isTlsOptional = more[:2] or _NO_WISHES
        facts = SessionFacts(
            SessionId(session),
            listener,
            hostname,
            peer,
            peerPort,
            localAddress,
            localPort,
            rdns,
            helo,
            protocol,
            user,
            tag,
            None if tls is None else TlsFacts(*tls[:6]),
            isLocal,
            isSocket,
        )
        sender = Path(senderLocal, senderDomain)
        transaction = Transaction(facts, sender, declared, body, ret, envid, smtputf8, auth, requireTls)
        ref = BodyRef(message, size, codec, place)
        return Message(message, transaction, ref, created, isBounce, eightBit, isTlsOptional)
    except (TypeError, ValueError) as error:
        raise Damaged(f"message record does not fit: {error}") from error


def encodeEnvelope(envelope: Envelope) -> bytes:
    """The part of an envelope that never changes: all but its state."""
    destination = envelope.destination
    recipient = destination.recipient
    original = destination.original
    expanded = (destination.command, destination.file, destination.isForwarded, destination.via)
    return _seal(
        envelope.id,
        (
            envelope.created,
            envelope.expires,
            recipient.local,
            recipient.domain,
            original.local,
            original.domain,
            destination.agent.value,
            destination.action,
            destination.user,
            destination.rule,
            destination.ttl,
            int(destination.notify),
            destination.orcpt,
            # Most mail goes where it was sent to.
            *(expanded if any(expanded) else ()),
        ),
    )


def decodeEnvelope(envelope: EnvelopeId, record: bytes, state: EnvelopeState = _NEW_STATE) -> Envelope:
    """
    @raise Damaged:
    """
    values = _unseal(envelope, record)
    try:
        (
            created,
            expires,
            local,
            domain,
            originalLocal,
            originalDomain,
            agent,
            action,
            user,
            rule,
            ttl,
            notify,
            orcpt,
            *expanded,
        ) = values
        recipient = Path(local, domain)
        # Most mail is not forwarded: one Path then serves as both.
        isSame = local == originalLocal and domain == originalDomain
        original = recipient if isSame else Path(originalLocal, originalDomain)
        destination = Destination(recipient, original, _AGENTS[agent], action, user, rule, ttl, _NOTIFY[notify], orcpt)
        if expanded:
            command, file, isForwarded, *more = expanded
            via = tuple(Hop(*hop[:2]) for hop in more[0]) if more else ()
            destination = replace(destination, command=command, file=file, isForwarded=isForwarded, via=via)
        if state.route is not None:
            destination = routed(destination, state)
        return Envelope(envelope, destination, created, expires, state)
    except (TypeError, ValueError, KeyError) as error:
        raise Damaged(f"envelope record does not fit: {error}") from error


def encodeState(envelope: EnvelopeId, state: EnvelopeState) -> bytes:
    """The part of an envelope that changes."""
    return _sealed(_VERSION_OCTET, envelope, _statePayload(state))


def encodeStates(states: Mapping[EnvelopeId, EnvelopeState]) -> dict[EnvelopeId, bytes]:
    """Records for many. Neighbours whose state is one object get one record, which a backend may keep once for all."""
    if len(states) == 1:
        return {envelope: encodeState(envelope, state) for envelope, state in states.items()}
    times = Counter(map(id, states.values()))
    template = _Template()
    records: dict[EnvelopeId, bytes] = {}
    last: EnvelopeState | None = None
    record = b""
    for envelope, state in states.items():
        if state is not last:
            last = state
            version, item = (_COMMON_OCTET, _COMMON) if times[id(state)] > 1 else (_VERSION_OCTET, envelope)
            record = _sealed(version, item, template.payload(state))
        records[envelope] = record
    return records


def _statePayload(state: EnvelopeState) -> bytes:
    last = state.lastReply
    route = state.route
    return _payload(
        (
            state.tries,
            state.nextTry,
            state.lastTry,
            state.lastReply,
            state.hold,
            state.suspended,
            state.failed,
            state.failedStatus,
            state.warned,
            [
                # 0 stands for the last reply: this is written at each retry of a dead destination.
                (
                    attempt.at,
                    0 if attempt.reply == last else attempt.reply,
                    attempt.host,
                    attempt.times,
                    attempt.since,
                    *((attempt.source, attempt.tls) if attempt.source or attempt.tls else ()),
                )
                for attempt in state.attempts
            ],
            # Few are asked about again.
            *(() if route is None and not state.succeeded else (route and _routeValues(route), state.succeeded)),
        ),
    )


class _Template:
    """What failed alike, as all mail for a host that is down does, has most of its text in common: that is made once."""

    __slots__ = ("_begin", "_common", "_end", "_ended", "_middle")

    def __init__(self) -> None:
        self._common: tuple[object, ...] = ()
        self._ended: tuple[object, ...] = ()
        # Between the numbers that may differ, and behind them.
        self._middle = self._begin = self._end = ""

    def payload(self, state: EnvelopeState) -> bytes:
        """The same as C{_statePayload} gives."""
        attempts = state.attempts
        if len(attempts) != 1 or state.route is not None or state.succeeded or not -_LARGE < attempts[0].since < _LARGE:
            return _statePayload(state)
        # From the next try to the status of its failure.
        common = state[1:8]
        if common != self._common:
            self._common, self._ended = common, ()
            self._middle = f",{_toJson(common)[1:-1]},"
        at, last, host, times, since, source, tls = attempts[0]
        ended = (at, last, host, source, tls)
        if ended != self._ended:
            self._ended = ended
            self._begin = f",[[{_toJson((at, 0 if last == state.lastReply else last, host))[1:-1]},"
            self._end = f",{_toJson((source, tls))[1:]}]]" if source or tls else "]]]"
        text = f"[{state.tries}{self._middle}{state.warned}{self._begin}{times},{since!r}{self._end}"
        return text.encode("utf-8", "surrogatepass")


def decodeState(envelope: EnvelopeId, record: bytes) -> EnvelopeState:
    """Of an empty record: the state of a new envelope.

    @raise Damaged:
    """
    if not record:
        return _NEW_STATE
    values = _unseal(envelope, record, isState=True)
    try:
        tries, nextTry, lastTry, lastReply, hold, suspended, failed, failedStatus, warned, attempts, *more = values
        return EnvelopeState(
            tries,
            nextTry,
            lastTry,
            lastReply,
            hold,
            suspended,
            failed,
            failedStatus,
            warned,
            tuple(
                Attempt(at, lastReply if reply == 0 else reply, host, *last[:4]) for at, reply, host, *last in attempts
            ),
            _route(more[0]) if more and more[0] is not None else None,
            *more[1:2],
        )
    except (TypeError, ValueError, KeyError) as error:
        raise Damaged(f"state record does not fit: {error}") from error


def _routeValues(route: Route) -> tuple[object, ...]:
    recipient, agent, *rest = route
    return (recipient.local, recipient.domain, agent.value, *rest)


def _route(values: list[Any]) -> Route:
    local, domain, agent, action, user, rule, command, file, isForwarded, *_ = values
    return Route(Path(local, domain), _AGENTS[agent], action, user, rule, command, file, isForwarded)


def _checksum(item: int, payload: bytes) -> int:
    return crc32(payload, (item ^ item >> 32 ^ item >> 64) & _MASK)


def _payload(values: tuple[object, ...]) -> bytes:
    # surrogatepass: each lone surrogate is kept by itself, so even adjacent halves come back as they were.
    return _toJson(values).encode("utf-8", "surrogatepass")


def _seal(item: int, values: tuple[object, ...]) -> bytes:
    return _sealed(_VERSION_OCTET, item, _payload(values))


def _sealed(version: bytes, item: int, payload: bytes) -> bytes:
    return version + _checksum(item, payload).to_bytes(4, "big") + payload


def _unseal(item: int, record: bytes, isState: bool = False) -> list[Any]:
    if not isinstance(record, bytes):
        # SQLite lets anybody store text and numbers in a column of octets.
        raise Damaged("record is no octets")
    if isState and record[:1] == _COMMON_OCTET:
        item = _COMMON
    elif record[:1] != _VERSION_OCTET:
        raise Damaged(f"record of unknown version {record[0]}" if record else "record is empty")
    payload = record[_HEAD:]
    if int.from_bytes(record[1:_HEAD], "big") != _checksum(item, payload):
        raise Damaged("record has a wrong checksum")
    try:
        values, _ = _fromJson(payload.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise Damaged(f"record is no JSON: {error}") from error
    if not isinstance(values, list):
        raise Damaged("record is no array")
    return values
