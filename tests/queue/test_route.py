"""The way that a rematch has given an envelope: kept in its state, and honoured wherever the envelope is read."""

from __future__ import annotations

from dataclasses import replace

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
    Message,
    Route,
    routeOf,
)
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId
from pysmtpd.queue.cache import FreshCache
from pysmtpd.queue.record import decodeEnvelope, decodeState, encodeEnvelope, encodeState

ID = EnvelopeId(7 << 32)
TEXT = st.text(max_size=20)
ROUTES = st.builds(
    Route,
    st.builds(Path, TEXT, TEXT),
    st.sampled_from(Agent),
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    st.booleans(),
)
BEFORE = Destination(Path("ann", "a.test"), Path("list", "b.test"), Agent.MTA, "out", orcpt="rfc822;list@b.test")


class RouteTests(SynchronousTestCase):
    @settings(max_examples=100)
    @given(ROUTES)
    def test_roundTrip(self, route: Route) -> None:
        state = EnvelopeState(3, 5.0, 4.0, "451 no", attempts=(Attempt(4.0, "451 no"),), route=route)
        self.assertEqual(decodeState(ID, encodeState(ID, state)), state)
        record = encodeEnvelope(Envelope(ID, BEFORE, 1.0, 2.0))
        after = decodeEnvelope(ID, record, state).destination
        self.assertEqual(routeOf(after), route)
        # What is no part of a way stays.
        self.assertEqual((after.original, after.orcpt), (BEFORE.original, BEFORE.orcpt))

    def test_withoutOneNothingIsWritten(self) -> None:
        """States are as they were before there were ways, and as short."""
        state = EnvelopeState(3, 5.0, 4.0, "451 no")
        self.assertTrue(encodeState(ID, state).endswith(b",0,[]]"))
        self.assertIsNone(decodeState(ID, encodeState(ID, state)).route)

    def test_inMemory(self) -> None:
        cache = FreshCache()
        session = SessionFacts(SessionId(1), "l", "h", "192.0.2.1")
        message = Message(MessageId(7), Transaction(session), BodyRef(MessageId(7), 1), 1.0)
        cache.put(message, [Envelope(ID, BEFORE, 1.0, 2.0)], None)
        route = routeOf(replace(BEFORE, action="smart", rule="f:1"))
        cache.update({ID: EnvelopeState(route=route)})
        cache.update({ID: EnvelopeState(tries=1, route=route)})
        found = cache.get(MessageId(7))
        assert found is not None
        (envelope,) = found[1]
        self.assertEqual((envelope.destination.action, envelope.state.tries), ("smart", 1))
