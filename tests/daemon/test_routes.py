"""Where mail goes out: shared hosts, shared connections, one transaction, and what is never used."""

from __future__ import annotations

from pysmtpd.model.events import ConnectionOpened, DeliveryAttempted
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase, rules

DOMAINS = [f"d{number}.test" for number in range(100)]


class SharingTests(StoryTestCase):
    def shared(self, world: World, domains: list[str] = DOMAINS) -> None:
        """All these domains have the same MX host."""
        self.mx = world.remote("mx.shared.test", domains=domains)

    def took(self, world: World, *recipients: str) -> float:
        """Seconds from our 250 until the shared host has the message."""
        before = len(self.mx.messages)
        sent = world.send("jane@client.test", *recipients)
        world.until(lambda: len(self.mx.messages) > before, 60, "the message arrives")
        assert sent.acceptedAt is not None
        return world.now - sent.acceptedAt

    def test_oneMessageToManyDomainsOfOneHost(self) -> None:
        """One connection, one transaction, one body, though each domain's DNS answers at its own time."""
        world = self.begin()
        self.shared(world)
        for number, domain in enumerate(DOMAINS):
            world.dns.delay(domain, 0.001 * number)
        self.accepted(world, *(f"joe@{domain}" for domain in DOMAINS))
        self.finish(world)
        self.assertEqual((self.mx.connections, len(self.mx.messages)), (1, 1))
        self.assertEqual(sorted(self.mx.recipients), sorted(f"joe@{domain}" for domain in DOMAINS))

    def test_oneSilentDomainDelaysTheOthersByNoMoreThanGather(self) -> None:
        world = self.begin(rules('resolver "192.0.2.53"'))
        self.shared(world)
        others = [f"joe@{domain}" for domain in DOMAINS[:19]]
        self.took(world, *others)
        usual = self.took(world, *others)
        world.dns.silence(DOMAINS[19])
        self.assertLess(self.took(world, f"joe@{DOMAINS[19]}", *others), usual + 0.2 + 0.05)
        self.assertEqual(sorted(self.mx.recipients), sorted(others * 3))
        world.dns.silence(DOMAINS[19], False)
        self.finish(world, seconds=3600)
        self.assertEqual(len(self.mx.recipients), 58)

    def test_connectionsAreSharedByAllDomainsOfAHost(self) -> None:
        """Many messages to many domains: at most as many connections as one host may have."""
        world = self.begin()
        self.shared(world)
        self.mx.slow(0.2)
        for domain in DOMAINS:
            world.send("jane@client.test", f"joe@{domain}")
        self.finish(world, seconds=120)
        self.assertEqual(len(self.mx.messages), 100)
        self.assertLessEqual(self.mx.mostOpen, 20)
        self.assertLessEqual(self.mx.connections, 20)
        self.assertGreater(self.mx.mostOpen, 1)

    def test_whatAnAgentHasNoRoomForWaits(self) -> None:
        """Held without a try, told as such, and released as room comes: to a slow host, and for one user."""
        limits = "task-hiwat 5 task-lowat 2 task-release 3"
        world = self.begin(rules(f"mta limit {limits}\nmda limit {limits}"))
        self.shared(world)
        self.mx.slow(2, "BODY")
        world.platform.workers.delays.update({f"mda.{number}": 2.0 for number in range(4)})
        for _ in range(20):
            world.send("jane@client.test", "joe@d1.test", "joe@example.org")
        world.until(lambda: self.mx.attempts >= 5, 60)
        operator = self.operator(world)
        held = [row for row in operator.queue() if row["condition"] == "queued"]
        self.assertGreater(len(held), 5)
        self.assertEqual({row["tries"] for row in held}, {0})
        self.assertEqual({row["why"] for row in held}, {"its agent has no room now"})
        self.assertEqual({row["agent"] for row in held}, {"mta", "mda"})
        self.assertIn("mda:pysmtpd", {row["hold_queue"] for row in held})
        self.finish(world, seconds=300)
        self.assertEqual(self.results(world), ["Ok"] * 40)

    def test_connectionsAreReusedWithoutRset(self) -> None:
        world = self.begin()
        self.shared(world)
        for _ in range(3):
            self.accepted(world, "joe@d1.test")
            world.run(1)
        self.finish(world)
        commands = [line.split()[0] for _, direction, line in self.mx.transcript if direction == "<"]
        self.assertEqual(self.mx.connections, 1)
        self.assertNotIn("RSET", commands)
        self.assertEqual(commands.count("EHLO"), 1)

    def test_nextLevelWhenAHostIsDown(self) -> None:
        world = self.begin()
        first = world.remote("mx1.two.test").set(Condition.REFUSING)
        second = world.remote("mx2.two.test")
        world.dns.mx("two.test", (10, "mx1.two.test"), (20, "mx2.two.test"))
        self.accepted(world, "joe@two.test")
        self.finish(world, "delivered")
        self.assertEqual((first.messages, second.recipients), ([], ["joe@two.test"]))
        self.assertEqual(self.results(world), ["Ok"], "another host at once, not another try")

    def test_nullMxIsPermanent(self) -> None:
        world = self.begin()
        world.dns.mx("null.test", (0, ""))
        self.remote(world, "client.test")
        self.accepted(world, "joe@null.test")
        self.finish(world, "bounced", "delivered")
        (first, _) = world.eventsOf(DeliveryAttempted)
        self.assertIn("5.1.10", first.stat)
        self.assertEqual(first.relay, "null.test")

    def test_namedHosts(self) -> None:
        world = self.begin(rules(relay="host smtp://203.0.113.1:2525"))
        hub = world.remote("hub.test", port=2525)
        self.accepted(world, "joe@anywhere.test", "ann@elsewhere.test")
        self.finish(world, "delivered", "delivered")
        self.assertEqual((hub.connections, len(hub.messages)), (1, 1))
        self.assertNotIn("anywhere.test", [asked.name for asked in world.dns.queries])

    def test_lmtp(self) -> None:
        world = self.world(
            'table sink { "@" = "store" }\nlisten on 0.0.0.0 port 25\n'
            'action "store" lmtp "/run/store.sock" rcpt-to virtual <sink>\nmatch from any for domain "example.org" action "store"\n'
        )
        store = world.local("store", path="/run/store.sock", lmtp=True)
        store.reject("RCPT", "550 5.1.1 no such box", when="bad@")
        world.user("store")
        self.remote(world, "client.test")
        world.start()
        sent = world.send("jane@client.test", "good@example.org", "bad@example.org")
        world.run(5)
        self.assertTrue(sent.isAccepted, sent.replies)
        self.assertEqual(store.recipients, ["good@example.org"])
        self.assertEqual(self.results(world)[:2], ["Ok", "PermFail"])

    def test_opportunisticTls(self) -> None:
        world = self.begin()
        remote = self.remote(world, starttls=True)
        self.accepted(world, "joe@remote.test")
        self.finish(world, "delivered")
        self.assertIn("STARTTLS", [line for _, direction, line in remote.transcript if direction == "<"])

    def test_resolverOfOurOwn(self) -> None:
        """C{resolver} points DNS elsewhere; a World's names live at another address than the machine's."""
        world = self.begin(rules('resolver "192.0.2.200" port 5353'))
        self.remote(world)
        self.accepted(world, "joe@remote.test")
        world.run(60)
        self.assertEqual(world.dns.queries, [], "nobody asked the system's")
        self.assertEqual(self.results(world), ["TempFail"])
        (event,) = world.eventsOf(DeliveryAttempted)
        self.assertIn("4.4.3", event.stat)


class OwnAddressTests(StoryTestCase):
    """Records of others must not make us talk to ourselves, or to services of this machine."""

    NEVER = ("127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.1.1", "224.0.0.1", "192.0.2.1")

    def loop(self, address: str, config: str = "") -> World:
        world = self.begin(config)
        world.dns.mx("trap.test", "mx.trap.test")
        world.dns.addresses("mx.trap.test", address)
        self.remote(world, "client.test")
        self.accepted(world, "joe@trap.test")
        world.run(60)
        return world

    def test_neverUsed(self) -> None:
        for address in self.NEVER:
            world = self.loop(address)
            first = world.eventsOf(DeliveryAttempted)[0]
            self.assertEqual((first.result, "5.4.6" in first.stat), ("Loop", True), (address, first))
            self.assertNotIn(address, [event.address for event in world.eventsOf(ConnectionOpened)])
            self.finish(world, "bounced", "delivered")

    def test_allowed(self) -> None:
        """With C{mta allow-local-mx} other services of this machine may be reached; our own listeners never."""
        world = self.loop("127.0.0.1", rules("mta allow-local-mx"))
        first = world.eventsOf(DeliveryAttempted)[0]
        self.assertEqual((first.result, "5.4.6" in first.stat), ("Loop", True), "it is our own listener")

    def test_allowedElsewhere(self) -> None:
        config = rules("mta allow-local-mx").replace("listen on 0.0.0.0 port 25", "listen on 192.0.2.1 port 25")
        world = self.world(config)
        store = world.local("store", port=25)
        world.dns.mx("trap.test", "mx.trap.test")
        world.dns.addresses("mx.trap.test", "127.0.0.1")
        world.start()
        self.accepted(world, "joe@trap.test")
        self.finish(world, "delivered")
        self.assertEqual(store.recipients, ["joe@trap.test"])


class RelayingTests(StoryTestCase):
    def test_strangersDoNotRelay(self) -> None:
        """What no rule takes is refused; the reply does not say which rules there are."""
        world = self.begin('listen on 0.0.0.0 port 25\naction "out" relay\nmatch from local for any action "out"\n')
        remote = self.remote(world)
        stranger = world.send("jane@client.test", "joe@remote.test")
        own = world.send("jane@client.test", "joe@remote.test", source="127.0.0.1")
        world.run(60)
        self.assertEqual(stranger.reply("RCPT")[:9], "550 5.7.1")
        self.assertTrue(own.isAccepted)
        self.assertEqual(len(remote.messages), 1)
