"""Mail for a host that never answers: tried until it expires, and its sender is told once."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from pysmtpd.model.events import (
    ConnectionFailed,
    DeliveryAttempted,
    EnvelopeAccepted,
    EnvelopeBounced,
    EnvelopeExpired,
    Event,
    QueueLoaded,
)
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.testing.case import WorldTestCase
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World

CONFIG = """
listen on 0.0.0.0 port 25
table sink { "@" = "pysmtpd" }
action "local" maildir virtual <sink>
action "out" relay
match from any for domain "client.test" action "local"
match from any for any action "out"
"""

DAY = 86_400.0
# From a week of tries: the n-th failure in a row keeps a host out for 15 s * n**2, at most an hour; plus the time-out.
TIMEOUT = 30.0
# How long all others wait for the one that tries.
FOLLOW = 35.0
MESSAGES = 40


class DeadHostTests(WorldTestCase):
    def test_aWeek(self) -> None:
        world = self.world(CONFIG)
        remote = world.remote("mx.remote.test", domains=("remote.test",)).set(Condition.SILENT)
        world.start()
        sent = [
            world.send("" if number % 4 == 0 else f"a{number}@client.test", f"b{number}@remote.test")
            for number in range(MESSAGES)
        ]
        world.run(7 * DAY)
        self.assertTrue(all(one.isAccepted for one in sent))
        self.assertEqual(remote.connections, 0)
        fates: dict[EnvelopeId, list[tuple[float, Event]]] = defaultdict(list)
        for at, event in world.events:
            envelope = getattr(event, "evpid", None)
            if envelope is not None:
                fates[envelope].append((at, event))
        mine = [fates[event.evpid] for event in world.eventsOf(EnvelopeAccepted) if event.to.endswith("@remote.test")]
        self.assertEqual(len(mine), MESSAGES)
        for fate in mine:
            self.followsTheBackOff([at for at, event in fate if isinstance(event, DeliveryAttempted)])
            accepted, expired, last = fate[0][0], *(at for at, _ in fate[-2:])
            self.assertIsInstance(fate[-2][1], EnvelopeExpired)
            # On the full minute, unless it is being tried.
            self.assertTrue(4 * DAY <= expired - accepted < 4 * DAY + 65, expired - accepted)
            self.assertIsInstance(fate[-1][1], EnvelopeBounced)
            self.assertLess(last - expired, 5)
        self.sendersWereTold(world, mine)
        # One connection at a time finds out for all.
        tries = len(world.eventsOf(ConnectionFailed))
        self.assertLess(tries, 4 * 24 + 30)
        world.stop()
        world.restart()
        world.run(60)
        self.assertEqual([event.envelopes for event in world.eventsOf(QueueLoaded)], [0, 0])
        for fate in fates.values():
            end = fate[-1][1]
            isDelivered = isinstance(end, DeliveryAttempted) and end.result == "Ok"
            self.assertTrue(isDelivered or isinstance(end, EnvelopeBounced), end)

    def followsTheBackOff(self, times: list[float]) -> None:
        self.assertGreater(len(times), 80)
        waits = [later - earlier for earlier, later in pairwise(times)]
        self.assertGreater(min(waits), 14)
        self.assertLess(max(waits), 3600 + 3 * (FOLLOW + TIMEOUT))
        for earlier, later in zip(waits[:10], waits[2:], strict=False):
            self.assertGreater(later, earlier - FOLLOW - TIMEOUT)

    def sendersWereTold(self, world: World, mine: list[list[tuple[float, Event]]]) -> None:
        """One warning and one report for each message that has a sender; each of them is delivered."""
        delivered = [
            event.to for event in world.eventsOf(DeliveryAttempted) if event.agent == "mda" and event.result == "Ok"
        ]
        wanted = [f"a{number}@client.test" for number in range(MESSAGES) if number % 4]
        self.assertEqual(sorted(delivered), sorted(wanted * 2))
        reports = [event.bounce for fate in mine for _, event in fate if isinstance(event, EnvelopeBounced)]
        told = [bounce for bounce in reports if bounce]
        self.assertEqual(len(told), len(wanted))
        self.assertEqual(len(dict.fromkeys(told)), len(told))

    def test_itComesBack(self) -> None:
        """Everything arrives within the longest wait after the host is back, the rest soon after the first."""
        world = self.world(CONFIG)
        remote = world.remote("mx.remote.test", domains=("remote.test",)).set(Condition.SILENT)
        world.start()
        for number in range(300):
            world.send("a@client.test", f"b{number}@remote.test")
            world.run(1)
        world.run(DAY)
        remote.set(Condition.NORMAL)
        world.until(lambda: remote.messages, seconds=3600 + FOLLOW, what="the first arrives")
        world.run(FOLLOW + TIMEOUT)
        self.assertEqual(sorted(remote.recipients), sorted(f"b{number}@remote.test" for number in range(300)))
