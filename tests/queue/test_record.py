"""Records come back as they were, whatever peers put into them, or are found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

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
from pysmtpd.queue.record import (
    Damaged,
    _seal,
    _unseal,
    decodeEnvelope,
    decodeMessage,
    decodeState,
    encodeEnvelope,
    encodeMessage,
    encodeState,
    encodeStates,
)
from tests.queue.values import FACTS, REMOTE, TRANSACTION

# All of Unicode, with lone surrogates, alone and adjacent.
text = st.text(st.characters(exclude_categories=()), max_size=12)
number = st.integers(0, 2**63 - 1)
moment = st.floats(allow_nan=False)
paths = st.builds(Path, text, text)
messageIds = st.integers(1, 2**63 - 1).map(MessageId)
envelopeIds = st.integers(1, 2**95 - 1).map(EnvelopeId)
tls = st.builds(TlsFacts, text, text, number, st.booleans(), text, text)
sessions = st.builds(
    SessionFacts,
    number.map(SessionId),
    text,
    text,
    text,
    number,
    text,
    number,
    text,
    text,
    text,
    text,
    text,
    st.none() | tls,
    st.booleans(),
    st.booleans(),
)
transactions = st.builds(Transaction, sessions, paths, number, text, text, text, st.booleans(), text, st.booleans())
messages = messageIds.flatmap(
    lambda id: st.builds(
        Message,
        st.just(id),
        transactions,
        st.builds(BodyRef, st.just(id), number, text, text),
        moment,
        st.booleans(),
        st.booleans(),
        st.booleans(),
    )
)
notifications = st.integers(0, 15).map(Notify)
destinations = st.builds(
    Destination,
    *(paths, paths, st.sampled_from(Agent), text, text, text, st.none() | moment, notifications, text),
    *(text, text, st.booleans(), st.lists(st.builds(Hop, text, text), max_size=3).map(tuple)),
)
routes = st.builds(Route, paths, st.sampled_from(Agent), text, text, text, text, text, st.booleans())
states = st.builds(
    EnvelopeState,
    number,
    moment,
    moment,
    text,
    text,
    st.booleans(),
    text,
    text,
    number,
    st.lists(st.builds(Attempt, moment, text, text, st.integers(0, 2**31), moment), max_size=3).map(tuple),
    st.none() | routes,
    text,
)


def _envelope(
    id: EnvelopeId, destination: Destination, created: float, expires: float, state: EnvelopeState
) -> Envelope:
    return Envelope(id, routed(destination, state), created, expires, state)


envelopes = st.builds(_envelope, envelopeIds, destinations, moment, moment, states)

ID = MessageId(77)
MESSAGE = Message(ID, TRANSACTION, BodyRef(ID, 5, "", "00000000"), 1.5)


class RoundTripTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(messages)
    def test_message(self, message: Message) -> None:
        self.assertEqual(message, decodeMessage(message.id, encodeMessage(message)))

    @settings(max_examples=150, deadline=None)
    @given(envelopes)
    def test_envelopeAndState(self, envelope: Envelope) -> None:
        state = decodeState(envelope.id, encodeState(envelope.id, envelope.state))
        self.assertEqual(envelope, decodeEnvelope(envelope.id, encodeEnvelope(envelope), state))

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(states, st.integers(1, 3)), min_size=1, max_size=4), st.data())
    def test_manyStatesAreEncodedAsEachAlone(self, some: list[tuple[EnvelopeState, int]], data: st.DataObject) -> None:
        """However much neighbours have in common."""
        many: dict[EnvelopeId, EnvelopeState] = {}
        for state, count in some:
            for _ in range(count):
                attempts = state.attempts[:1] if data.draw(st.booleans()) else state.attempts
                attempts = tuple(
                    attempt._replace(
                        times=data.draw(number),
                        since=data.draw(moment),
                        reply=data.draw(st.sampled_from((attempt.reply, state.lastReply))),
                        source=data.draw(st.sampled_from(("", "192.0.2.1"))),
                        tls=data.draw(st.sampled_from(("", "TLSv1.3"))),
                    )
                    for attempt in attempts
                )
                one = state._replace(
                    tries=data.draw(number),
                    warned=data.draw(st.integers(0, 3)),
                    suspended=data.draw(st.booleans()),
                )
                many[EnvelopeId(len(many) + 1)] = one._replace(attempts=attempts)
        self.assertEqual(encodeStates(many), {id: encodeState(id, state) for id, state in many.items()})

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(states, st.integers(1, 3)), min_size=1, max_size=4))
    def test_neighboursThatShareAStateShareItsRecord(self, some: list[tuple[EnvelopeState, int]]) -> None:
        many: dict[EnvelopeId, EnvelopeState] = {}
        for state, count in some:
            # Another object in each run.
            state = EnvelopeState(*state)
            many.update({EnvelopeId(len(many) + each): state for each in range(count)})
        encoded = encodeStates(many)
        self.assertEqual(many, {id: decodeState(id, record) for id, record in encoded.items()})
        self.assertEqual(len(some), len(set(map(id, encoded.values()))))

    def test_aCommonRecordIsCheckedToo(self) -> None:
        state = EnvelopeState(3, 1.0, 2.0, "451 later")
        record = encodeStates({EnvelopeId(1): state, EnvelopeId(2): state})[EnvelopeId(1)]
        self.assertEqual(state, decodeState(EnvelopeId(3), record))
        damaged = record.replace(b"451", b"551")
        self.assertRaisesRegex(Damaged, "checksum", decodeState, EnvelopeId(1), damaged)
        for value in (5, 1.5, "451", record.decode("latin-1")):
            # What a hand may leave in a column of octets.
            self.assertRaisesRegex(Damaged, "no octets", decodeState, EnvelopeId(1), cast(Any, value))
        # Only a state may be anybody's.
        self.assertRaisesRegex(Damaged, "version 2", decodeEnvelope, EnvelopeId(1), record)
        self.assertRaisesRegex(Damaged, "version 2", decodeMessage, MessageId(1), record)

    def test_noStateIsANewOne(self) -> None:
        self.assertEqual(EnvelopeState(), decodeState(EnvelopeId(1), b""))

    def test_recordsBeforeViaWasKept(self) -> None:
        """A release that knew three of the four fields has written them."""
        destination = replace(REMOTE, command="/bin/prog", isForwarded=True, via=(Hop("a", "b"),))
        envelope = Envelope(EnvelopeId(9), destination, 1.0, 2.0)
        record = encodeEnvelope(envelope)
        older = _seal(envelope.id, tuple(_unseal(envelope.id, record)[:-1]))
        self.assertEqual(decodeEnvelope(envelope.id, older).destination, replace(destination, via=()))


class DamageTests(SynchronousTestCase):
    def refused(self, decode: Callable[[], object]) -> str:
        try:
            decode()
        except Damaged as error:
            return str(error)
        raise AssertionError("it was read")

    def test_anyFlippedBitIsFound(self) -> None:
        record = encodeMessage(MESSAGE)
        for place in range(len(record)):
            for bit in (0, 3, 7):
                broken = bytearray(record)
                broken[place] ^= 1 << bit
                self.refused(lambda data=bytes(broken): decodeMessage(ID, data))  # type: ignore[misc]

    def test_cutAnywhere(self) -> None:
        record = encodeEnvelope(Envelope(EnvelopeId(9), REMOTE, 1.0, 2.0))
        for length in range(len(record)):
            self.refused(lambda data=record[:length]: decodeEnvelope(EnvelopeId(9), data))  # type: ignore[misc]

    def test_recordOfAnotherItem(self) -> None:
        self.assertIn("checksum", self.refused(lambda: decodeMessage(MessageId(78), encodeMessage(MESSAGE))))

    def test_unknownVersion(self) -> None:
        self.assertIn("version 2", self.refused(lambda: decodeMessage(ID, b"\x02" + encodeMessage(MESSAGE)[1:])))

    def test_aRecordOfTheWrongKind(self) -> None:
        self.refused(lambda: decodeState(EnvelopeId(ID), encodeMessage(MESSAGE)))

    def test_noOctets(self) -> None:
        self.refused(lambda: decodeMessage(ID, "text"))  # type: ignore[arg-type]

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=60))
    def test_garbage(self, data: bytes) -> None:
        self.refused(lambda: decodeMessage(ID, data))

    def test_laterFieldsAreIgnored(self) -> None:
        """A later release of the same format appends; ours still reads it."""
        from pysmtpd.queue import record

        values = record._unseal(ID, encodeMessage(MESSAGE))
        self.assertEqual(MESSAGE, decodeMessage(ID, record._seal(ID, (*values, "later"))))
        # What an older release has written ends earlier: it knew nothing of wishes about TLS.
        self.assertEqual(MESSAGE, decodeMessage(ID, record._seal(ID, tuple(values[:-2]))))
        self.assertEqual(FACTS, decodeMessage(ID, record._seal(ID, tuple(values))).transaction.session)
