"""What senders, peers and operators see of limits."""

from __future__ import annotations

from pysmtpd.model.events import DeliveryAttempted
from pysmtpd.testing.case import WorldTestCase
from pysmtpd.testing.world import World

CONFIG = """
listen on 0.0.0.0 port 25
action "out" relay
match from any for any action "out"
"""


def delivered(world: World) -> list[float]:
    return [at for at, event in world.events if isinstance(event, DeliveryAttempted) and event.result == "Ok"]


def tried(world: World) -> list[str]:
    return [event.result for _, event in world.events if isinstance(event, DeliveryAttempted)]


class RateTests(WorldTestCase):
    def test_hundredAtTenAMinute(self) -> None:
        world = self.world(CONFIG + 'mta rate for domain "slow.test" messages 10 per 1m\n')
        slow = world.remote("mx.slow.test", domains=("slow.test",))
        quick = world.remote("mx.quick.test", domains=("quick.test",))
        world.start()
        for number in range(100):
            world.send(f"a{number}@client.test", "b@slow.test", "c@quick.test")
        world.run(30)
        self.assertEqual(len(quick.messages), 100)
        world.until(lambda: len(slow.messages) == 100, 660, "all are delivered")
        times = delivered(world)[-95:]
        self.assertEqual(set(tried(world)), {"Ok"})
        self.assertTrue(9 * 60 <= world.now <= 10 * 60 + 35, world.now)
        for start in range(len(times) - 11):
            self.assertGreater(times[start + 11] - times[start], 58)
        world.stop()

    def test_oneMessageOfManyRecipients(self) -> None:
        world = self.world(CONFIG + 'mta rate for domain "slow.test" recipients 10 per 1m\n')
        slow = world.remote("mx.slow.test", domains=("slow.test",))
        world.start()
        world.send("a@client.test", *(f"b{number}@slow.test" for number in range(25)))
        world.run(5)
        self.assertEqual(len(slow.recipients), 10)
        world.run(61)
        self.assertEqual(len(slow.recipients), 20)
        world.run(61)
        self.assertEqual(sorted(slow.recipients), sorted(f"b{number}@slow.test" for number in range(25)))
        self.assertEqual(set(tried(world)), {"Ok"})
        world.stop()

    def test_oneProviderForManyDomains(self) -> None:
        """They share a transaction, which counts once; and then they share the wait."""
        world = self.world(CONFIG + 'mta provider big "*.big.test"\nmta rate for provider big messages 6 per 1m\n')
        big = world.remote("mx.big.test", domains=("one.test", "two.test"))
        world.start()
        world.send("a@client.test", "b@one.test", "b@two.test")
        world.send("a@client.test", "c@one.test")
        world.run(3)
        self.assertEqual(len(big.messages), 1)
        world.run(10)
        self.assertEqual(
            sorted(map(sorted, (one.recipients for one in big.messages))),
            [["b@one.test", "b@two.test"], ["c@one.test"]],
        )
        world.stop()

    def test_restartKeepsWhatIsOwed(self) -> None:
        world = self.world(CONFIG + "mta rate messages 1 per 10m\n")
        remote = world.remote("mx.remote.test", domains=("remote.test",))
        world.start()
        for number in range(2):
            world.send("a@client.test", f"b{number}@remote.test")
        world.run(20)
        self.assertEqual(len(remote.messages), 1)
        world.stop()
        world.restart()
        world.run(500)
        self.assertEqual(len(remote.messages), 1)
        world.run(100)
        self.assertEqual(len(remote.messages), 2)
        world.stop()

    def test_connections(self) -> None:
        world = self.world(CONFIG + 'mta rate for host "*.remote.test" connections 2 at-once\n')
        remote = world.remote("mx.remote.test", domains=("remote.test",)).slow(0.5)
        world.start()
        for number in range(20):
            world.send(f"a{number}@client.test", "b@remote.test")
        world.until(lambda: len(remote.messages) == 20, 300, "all are delivered")
        self.assertEqual(remote.mostOpen, 2)
        world.stop()


class BackoffTests(WorldTestCase):
    def test_slowsAndRecovers(self) -> None:
        world = self.world(CONFIG)
        remote = world.remote("mx.remote.test", domains=("remote.test",))
        remote.tempfail("MAIL", times=1, reply="421 4.7.0 too fast")
        world.start()
        world.send("a@client.test", "first@remote.test")
        world.run(1)
        for number in range(100):
            world.send(f"a{number}@client.test", "b@remote.test")
        started = world.now
        world.run(20)
        self.assertTrue(5 <= len(remote.messages) <= 40, len(remote.messages))
        (row,) = world.service.shaper.show()
        self.assertEqual((row["kind"], row["complaints"]), ("back-off", 1))
        self.assertIn("too fast", str(row["reply"]))
        world.until(lambda: len(remote.messages) >= 100, 300, "all are delivered")
        self.assertGreater(world.now - started, 60)
        world.run(1200)
        self.assertEqual(world.service.shaper.show(), [])
        before = len(remote.messages)
        for number in range(50):
            world.send(f"a{number}@client.test", "c@remote.test")
        world.run(10)
        self.assertEqual(len(remote.messages), before + 50)
        world.stop()


class SuspensionTests(WorldTestCase):
    def test_waitsAloneUntilResumed(self) -> None:
        world = self.world(CONFIG)
        one = world.remote("mx.one.test", domains=("one.test", "other.test"))
        world.start()
        self.successResultOfIn(world, world.service.shaper.suspend("one.test"))
        world.send("a@client.test", "b@one.test", "b@other.test")
        world.run(60)
        self.assertEqual(one.recipients, ["b@other.test"])
        world.stop()
        world.restart()
        world.run(60)
        self.assertEqual(one.recipients, ["b@other.test"])
        self.successResultOfIn(world, world.service.shaper.resume("one.test"))
        world.run(5)
        self.assertEqual(one.recipients, ["b@other.test", "b@one.test"])
        self.assertEqual(tried(world), ["Ok", "Ok"])
        world.stop()

    def test_aHost(self) -> None:
        world = self.world(CONFIG)
        one = world.remote("mx.one.test", domains=("one.test",))
        world.start()
        self.successResultOfIn(world, world.service.shaper.suspend("MX.one.test"))
        world.send("a@client.test", "b@one.test")
        world.run(60)
        self.assertEqual(one.recipients, [])
        self.successResultOfIn(world, world.service.shaper.resume("mx.one.test"))
        world.run(5)
        self.assertEqual(one.recipients, ["b@one.test"])
        world.stop()

    def successResultOfIn(self, world: World, deferred: object) -> object:
        results: list[object] = []
        deferred.addBoth(results.append)  # type: ignore[attr-defined]
        world.until(lambda: results, 10, "it is done")
        self.assertTrue(results[0])
        return results[0]
