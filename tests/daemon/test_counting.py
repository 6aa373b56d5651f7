"""One event for each fate; statistics that add up."""

from __future__ import annotations

from collections import Counter

from pysmtpd.model.events import (
    DeliveryAttempted,
    EnvelopeAccepted,
    MessageAccepted,
    SessionConnected,
    SessionDisconnected,
)
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase, rules
from tests.report import test_documentation as book

TWO = rules().replace("listen on 0.0.0.0 port 25", "listen on 0.0.0.0 port 25\nlisten on 0.0.0.0 port 2525")


class CountingTests(StoryTestCase):
    def day(self) -> World:
        """Three messages by two listeners, with every kind of end, a session that says nothing, and one that is refused."""
        world = self.begin(TWO)
        self.remote(world).tempfail("RCPT", times=1, when="late@")
        self.remote(world, "bad.test").reject("RCPT")
        self.remote(world, "client.test")
        self.accepted(world, "joe@example.org", "ann@remote.test", "late@remote.test")
        self.accepted(world, "bob@bad.test", port=2525)
        self.accepted(world, "joe@example.org", port=2525)
        refused = world.send("jane@client.test", "nobody@@", port=2525)
        world.run(3600)
        self.assertFalse(refused.isAccepted)
        return world

    def test_eachOnce(self) -> None:
        world = self.day()
        for ids in (
            [event.msgid for event in world.eventsOf(MessageAccepted)],
            [event.evpid for event in world.eventsOf(EnvelopeAccepted)],
            [event.session for event in world.eventsOf(SessionConnected)],
            [event.session for event in world.eventsOf(SessionDisconnected)],
        ):
            self.assertEqual(len(ids), len(dict.fromkeys(ids)))
        self.assertEqual(len(world.eventsOf(SessionConnected)), 4)
        self.assertEqual(len(world.eventsOf(SessionDisconnected)), 4)
        results = Counter((event.agent, event.result) for event in world.eventsOf(DeliveryAttempted))
        expected = {("mda", "Ok"): 2, ("mta", "Ok"): 3, ("mta", "TempFail"): 1, ("mta", "PermFail"): 1}
        self.assertEqual(dict(results), expected)
        self.finish(world)

    def test_statisticsAddUp(self) -> None:
        world = self.day()
        stats = self.operator(world).stats()
        expected = {
            "smtp.session": 0,
            "smtp.session.inet4": 4,
            "smtp.listener.0.0.0.0:25.session": 1,
            "smtp.listener.0.0.0.0:2525.session": 3,
            "smtp.listener.0.0.0.0:25.message": 1,
            "smtp.listener.0.0.0.0:2525.message": 2,
            "smtp.message": 4,
            "smtp.envelope": 6,
            "mta.session": 0,
            "mta.connection.ok": stats["mta.connection.ok"],
            "mta.delivery.ok": 3,
            "mta.delivery.tempfail": 1,
            "mta.delivery.permfail": 1,
            "mta.domain.remote.test.ok": 2,
            "mta.domain.remote.test.tempfail": 1,
            "mta.domain.bad.test.permfail": 1,
            "mta.domain.client.test.ok": 1,
            "mda.delivery.ok": 2,
            "bounce.envelope": 1,
        }
        self.assertEqual({key: stats.get(key) for key in expected}, expected)

    def test_everyKeyIsInTheBook(self) -> None:
        page = book.MetricsPageTests("test_everyKeyIsOfOneFamily")
        page.setUp()
        for key in self.operator(self.day()).stats():
            self.assertEqual(len(page.matching(key)), 1, key)

    def test_whoLeavesBeforeTheGreeting(self) -> None:
        """Names take long: the session is told of, once at its beginning and once at its end, and not counted any more."""
        world = self.begin()
        for code in ("silence", "delay"):
            if code == "silence":
                world.dns.silence("7.100.51.198.in-addr.arpa")
            else:
                world.dns.silence("7.100.51.198.in-addr.arpa", False)
                world.dns.delay("7.100.51.198.in-addr.arpa", 3.0)
            sent = world.send("jane@client.test", "joe@example.org")
            world.run(1)
            self.assertEqual(sent.replies, [])
            world.client().crash()
            world._clients.clear()
            world.run(60)
        self.assertEqual(len(world.eventsOf(SessionConnected)), 2)
        self.assertEqual(len(world.eventsOf(SessionDisconnected)), 2)
        operator = self.operator(world)
        self.assertEqual((operator.stats()["smtp.session"], operator.status()["sessions"]), (0, 0))
