"""What is known of hosts that are down is said to many messages at once, and is what each would have been told."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.outcome import Outcome
from pysmtpd.model.schedule import Delivery
from tests.mta.fakes import World


class ForegoneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        for domain, host, address in (("y.test", "a.test", "192.0.2.1"), ("z.test", "b.test", "192.0.2.2")):
            self.world.dns.domain(domain, (10, host))
            self.world.dns.hosts[host] = (address,)

    def down(self, *recipients: str) -> list[Outcome]:
        """Find out that their hosts are; what the first to try was told."""
        ids = self.world.send(*recipients, seconds=0.2)
        return [self.world.ears.outcomes[id] for id in ids]

    def ask(self, *deliveries: Delivery) -> list[tuple[Outcome, list[Delivery]]]:
        return [(outcome, list(some)) for outcome, some in self.world.agent.foregone(deliveries)]

    def test_nothingIsKnownOfHostsThatNobodyTried(self) -> None:
        self.assertEqual(self.ask(self.world.delivery("b@y.test"), self.world.delivery("c@y.test")), [])

    def test_allAreToldWhatEachWouldBeTold(self) -> None:
        self.down("b@y.test")
        some = [self.world.delivery(f"b{number}@y.test", f"c{number}@Y.test") for number in range(5)]
        tried = len(self.world.network.tried)
        # Where mail for a domain goes is known as soon as somebody has asked, in this spelling.
        self.world.send("b@Y.test")
        ((outcome, deliveries),) = self.ask(*some)
        self.assertEqual(deliveries, some)
        (alone,) = (self.world.ears.outcomes[id] for id in self.world.send("b@y.test"))
        self.assertEqual(outcome._replace(envelope=alone.envelope), alone)
        self.assertEqual(outcome.envelope, some[0].envelopes[0].id)
        self.assertEqual(len(self.world.network.tried), tried)
        (row,) = self.world.agent.routes.showHostStats()
        self.assertEqual((row["domain"], row["deferred"]), ("y.test", 13))

    def test_eachRelayHasItsOwn(self) -> None:
        self.down("b@y.test", "b@z.test")
        self.world.host("192.0.2.3")
        self.world.dns.domain("up.test", (10, "up.test"))
        self.world.dns.hosts["up.test"] = ("192.0.2.3",)
        self.world.send("b@up.test", seconds=0.2)
        y, z, up = (self.world.delivery(f"b@{domain}.test") for domain in ("y", "z", "up"))
        both = self.world.delivery("b@y.test", "b@z.test")
        found = self.ask(y, up, z, both, y)
        self.assertEqual([some for _, some in found], [[y, y], [z]])
        self.assertIn("a.test [192.0.2.1]", found[0][0].reply.text)
        self.assertIn("b.test [192.0.2.2]", found[1][0].reply.text)

    def test_wishesOfAMessageAreItsOwn(self) -> None:
        self.down("b@y.test")
        self.assertEqual(self.ask(self.world.delivery("b@y.test", requireTls=True)), [])

    def test_whatIsSuspendedWaits(self) -> None:
        self.down("b@y.test")
        delivery = self.world.delivery("b@y.test")
        self.successResultOf(self.world.agent.routes.suspendDestination("y.test"))
        self.assertEqual(self.ask(delivery), [])
        self.successResultOf(self.world.agent.routes.resumeDestination("y.test"))
        self.assertEqual(len(self.ask(delivery)), 1)

    def test_itEndsWhenOneIsToTryAgain(self) -> None:
        (outcome,) = self.down("b@y.test")
        delivery = self.world.delivery("b@y.test")
        ((known, _),) = self.ask(delivery)
        self.assertGreater(known.retryAt, outcome.retryAt)
        self.world.run(outcome.retryAt - 1e9 - self.world.clock.seconds() + 0.1)
        self.assertEqual(self.ask(delivery), [])

    def test_itEndsWithAnOperatorsWord(self) -> None:
        self.down("b@y.test")
        self.world.agent.routes.forgive()
        self.assertEqual(self.ask(self.world.delivery("b@y.test")), [])

    def test_itEndsWithTheConfiguration(self) -> None:
        """What is known of an action is known of that of one generation."""
        self.down("b@y.test")
        self.world.config = World({}).config
        self.assertEqual(self.ask(self.world.delivery("b@y.test")), [])

    def test_nothingIsSaidWhileStopping(self) -> None:
        self.down("b@y.test")
        self.world.agent.stop()
        self.assertEqual(self.ask(self.world.delivery("b@y.test")), [])
