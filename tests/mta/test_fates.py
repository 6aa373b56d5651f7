"""Whatever peers do: each envelope has exactly one outcome, and nothing is left behind."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import MtaLimits
from pysmtpd.model.events import ConnectionClosed, ConnectionOpened
from pysmtpd.model.ids import EnvelopeId
from tests.mta.fakes import Server, World

ANSWERS = st.sampled_from(
    [
        "250 2.0.0 ok",
        "354 go",
        "421 4.3.2 stopping",
        "452 4.5.3 too many",
        "550 5.1.1 no",
        "HANGUP",
        "",
        "nonsense",
        "250-x",
    ]
)
VERBS = st.sampled_from(["EHLO", "HELO", "MAIL", "RCPT", "DATA", "DOT", "RSET", "STARTTLS", "BDAT", "b@d0.test"])


class FateTests(SynchronousTestCase):
    @given(
        st.lists(st.dictionaries(VERBS, ANSWERS, max_size=3), min_size=1, max_size=3),
        st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=8),
        st.sampled_from([("PIPELINING",), ("8BITMIME",), ("PIPELINING", "CHUNKING"), ("STARTTLS", "LIMITS RCPTMAX=1")]),
        st.sampled_from(["220 sink", "554 no", "421 busy"]),
        st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def test_oneEach(
        self,
        servers: list[dict[str, str]],
        messages: list[list[int]],
        extensions: tuple[str, ...],
        greeting: str,
        stops: bool,
    ) -> None:
        world = World(limits=MtaLimits(taskHiwat=3, taskLowat=1, maxConnPerHost=2))
        for number, replies in enumerate(servers):
            address = f"192.0.2.{number + 1}"
            server = world.host(address, Server(*extensions, greeting=greeting if number else "220 sink", **replies))
            server.tls = "fails" if number else ""
            world.dns.hosts[f"mx{number}.test"] = (address,)
        for number in range(4):
            hosts = [(10 * (index % 2), f"mx{(number + index) % len(servers)}.test") for index in range(2)]
            world.dns.domain(f"d{number}.test", *hosts)
        envelopes: list[EnvelopeId] = []
        for domains in messages:
            delivery = world.delivery(*(f"b@d{domain}.test" for domain in domains))
            world.agent.deliver(delivery, world.ears)
            envelopes += delivery.lease.envelopes
        if stops:
            stopped = world.agent.stop()
            world.run(30)
            self.successResultOf(stopped)
        world.run(6000)
        held = [envelope for ids, _ in world.ears.held for envelope in ids]
        self.assertEqual(sorted([*world.ears.outcomes, *held]), sorted(envelopes))
        self.assertEqual([server.open for server in world.network.servers.values()], [0] * len(servers))
        world.agent.stop()
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertTrue(all(body.isClosed for body in world.bodies.opened))
        self.assertTrue(all(relay["backlog"] == 0 for relay in world.agent.routes.showRelays()))
        self.assertTrue(all(outcome.reply.enhanced for outcome in world.ears.outcomes.values()))
        events = world.ears.events
        opened = [event.session for event in events if isinstance(event, ConnectionOpened)]
        closed = [event.session for event in events if isinstance(event, ConnectionClosed)]
        self.assertEqual(sorted(opened), sorted(closed))
        self.assertLessEqual({outcome.session for outcome in world.ears.outcomes.values()}, {0, *opened})
        self.assertFalse(any(type(event).__name__ == "InternalError" for event in world.ears.events))
