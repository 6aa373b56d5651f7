"""Domains whose name servers are dead do not keep good mail waiting, however many there are."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.events import DeliveryAttempted
from pysmtpd.testing.world import World

CONFIG = """
listen on 0.0.0.0 port 25
action "out" relay
match from any for any action "out"
"""

DEAD = 2000
GOOD = 40
SECONDS = 4.0
"""In which all of it comes."""


class DeadDnsTests(SynchronousTestCase):
    def delays(self, dead: int, answers: float | None = None) -> list[float]:
        """How long each message for the good took.

        @param dead: how many domains are, each with one message.
        @param answers: seconds after which the resolver says SERVFAIL of the dead; None: it says nothing.
        """
        world = World(1, CONFIG)
        for number in range(dead):
            for name in (f"d{number}.test", f"_mta-sts.d{number}.test"):
                if answers is None:
                    world.dns.silence(name)
                else:
                    world.dns.fail(name)
                    world.dns.delay(name, answers)
        for number in range(GOOD):
            world.remote(f"mx{number}.test", domains=(f"g{number}.test",))
        world.start()
        began = world.now
        sent = 0
        for place in range(5 * GOOD):
            world.run(began + place * SECONDS / (5 * GOOD) - world.now)
            while sent * 5 * GOOD < (place + 1) * dead:
                world.send("a@client.test", f"b@d{sent}.test", source="127.0.0.1")
                sent += 1
            if place % 5 == 0:
                world.send("a@client.test", f"b@g{place // 5}.test", source="127.0.0.1")
        world.run(60)
        tried = world.eventsOf(DeliveryAttempted)
        # The dead had their try, too.
        self.assertEqual(len({event.to for event in tried if event.to.startswith("b@d")}), dead)
        return sorted(event.delay for event in tried if event.result == "Ok")

    def assertGood(self, answers: float | None) -> None:
        alone, mixed = self.delays(0), self.delays(DEAD, answers)
        self.assertEqual(len(alone), GOOD)
        self.assertEqual(len(mixed), GOOD)
        self.assertLess(mixed[-1], 1.2 * alone[-1])

    def test_silence(self) -> None:
        self.assertGood(None)

    def test_failureThatTakesItsTime(self) -> None:
        self.assertGood(5.0)
