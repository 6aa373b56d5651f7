"""Among many destinations, the mail for good ones is not kept waiting by those that are slow or dead."""

from __future__ import annotations

from pysmtpd.model.events import DeliveryAttempted
from pysmtpd.mta.turnstile import Turnstile
from pysmtpd.testing.case import WorldTestCase
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World

CONFIG = """
listen on 0.0.0.0 port 25
action "out" relay
match from any for any action "out"
"""

DOMAINS = 90
MESSAGES = 5
# Virtual seconds in which they come, in turn.
SPAN = 30.0
CONNECTIONS = 16
ENVELOPES = 48
# The bar is 1.2 times; the last message alone takes a second at most.
LATEST = 1.2 * SPAN
GOOD, SLOW, DEAD = range(3)


class PopulationTests(WorldTestCase):
    """A third is good, a third takes three seconds for each reply, a third is dead: drops SYNs, refuses, or accepts and is silent.

    There are fewer places than bad hosts, of connections and of envelopes.
    """

    def population(self) -> World:
        self.patch(Turnstile, "most", ENVELOPES)
        world = self.world(CONFIG, settings={"connections": CONNECTIONS})
        for number in range(DOMAINS):
            remote = world.remote(f"mx{number}.test", domains=(f"d{number}.test",))
            if number % 3 == SLOW:
                remote.slow(3.0)
            elif number % 3 == DEAD:
                kind = number // 3 % 3
                if kind < 2:
                    remote.set((Condition.SILENT, Condition.REFUSING)[kind])
                else:
                    remote.slow(1e7)
        world.start()
        return world

    def test_theGoodAreNotKeptWaiting(self) -> None:
        world = self.population()
        began = world.now
        mostOpen = 0
        for number in range(DOMAINS * MESSAGES):
            world.send("a@client.test", f"b{number}@d{number % DOMAINS}.test", source="127.0.0.1")
            world.run(SPAN / DOMAINS / MESSAGES)
            mostOpen = max(mostOpen, world.service.mta._board.slots.taken(""))
        self.assertLessEqual(mostOpen, CONNECTIONS)
        self.assertGreater(mostOpen, CONNECTIONS // 2, "there were not enough for all")
        world.run(began + LATEST - world.now)
        good = {f"d{number}.test" for number in range(GOOD, DOMAINS, 3)}
        delivered = [
            event
            for event in world.eventsOf(DeliveryAttempted)
            if event.result == "Ok" and event.to.partition("@")[2] in good
        ]
        self.assertEqual(len(delivered), len(good) * MESSAGES)

    def test_theSlowAreNotForgotten(self) -> None:
        """All that slow hosts get is taken in the end, once, and the dead have their verdicts."""
        world = self.population()
        for number in range(DOMAINS):
            world.send("a@client.test", f"b@d{number}.test", source="127.0.0.1")
        world.run(7200)
        slow = [world.remotes[f"mx{number}.test"] for number in range(SLOW, DOMAINS, 3)]
        self.assertEqual([len(remote.messages) for remote in slow], [1] * len(slow))
        failed = {event.to for event in world.eventsOf(DeliveryAttempted) if event.result == "TempFail"}
        self.assertEqual(failed, {f"b@d{number}.test" for number in range(DEAD, DOMAINS, 3)})
