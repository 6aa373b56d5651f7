"""What senders, peers and operators see of limits."""

from __future__ import annotations

from pysmtpd.control.amp import BadArgument
from pysmtpd.model.events import DeliveryAttempted, EnvelopeAccepted
from pysmtpd.testing.case import WorldTestCase
from pysmtpd.testing.daemon import CONFIG_PATH
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World
from tests.control.operator import Operator

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


class KindnessTests(WorldTestCase):
    """What is shipped."""

    def burst(self, action: str) -> int:
        """How many connections a large provider's host sees at one time."""
        world = self.world(CONFIG.replace('action "out" relay', action))
        host = world.remote("smtp-in.orange.fr", domains=("orange.test",)).slow(0.5)
        world.start()
        for number in range(40):
            world.send(f"a{number}@client.test", "b@orange.test")
        world.until(lambda: len(host.messages) == 40, 300, "all are delivered")
        self.assertEqual(set(tried(world)), {"Ok"})
        world.stop()
        return host.mostOpen

    def test_byMx(self) -> None:
        self.assertEqual(self.burst('action "out" relay'), 2)

    def test_notForANextHopOfOnesOwn(self) -> None:
        self.assertGreater(self.burst('action "out" relay host "smtp-in.orange.fr"'), 2)

    def test_unlimited(self) -> None:
        self.assertGreater(self.burst('mta rate for provider orange unlimited\naction "out" relay'), 2)


class FairnessTests(WorldTestCase):
    def test_twoLimitsAndNobodyStarves(self) -> None:
        """Under limits of their own and one that they share, all get through, and hardly a place is wasted."""
        world = self.world(
            CONFIG
            + 'mta rate for mail-from "news@client.test" messages 6 per 1m\n'
            + 'mta rate for domain "slow.test" messages 30 per 1m\n'
        )
        slow = world.remote("mx.slow.test", domains=("slow.test",))
        world.start()
        for number in range(10):
            world.send("news@client.test", f"n{number}@slow.test")
            world.send("ann@client.test", f"a{number}@slow.test")
        world.run(35)
        self.assertEqual(len([one for one in slow.recipients if one.startswith("a")]), 10)
        for number in range(10, 20):
            world.send("ann@client.test", f"a{number}@slow.test")
        world.run(100)
        accepted = [event.to for event in world.eventsOf(EnvelopeAccepted)]
        self.assertEqual(sorted(slow.recipients), sorted(accepted))
        self.assertEqual(set(tried(world)), {"Ok"})
        world.stop()

    def test_whatIsRemovedHoldsNobodyUp(self) -> None:
        world = self.world(CONFIG + 'mta rate for domain "slow.test" messages 6 per 1m\n')
        slow = world.remote("mx.slow.test", domains=("slow.test",))
        world.start()
        for number in range(8):
            world.send("a@client.test", f"b{number}@slow.test")
            world.run(0.5)
        operator = Operator(world)
        first = operator.rows("Queue")[0]
        self.assertEqual(first["recipient"], "b1@slow.test")
        self.assertEqual(first["why"], "waits for its turn: domain slow.test: messages 6 per 1m")
        operator.ask("Remove", selection=first["evpid"])
        world.run(70)
        self.assertEqual(slow.recipients, [f"b{number}@slow.test" for number in (0, 2, 3, 4, 5, 6, 7)])
        world.stop()


class BackoffTests(WorldTestCase):
    def test_outlastsARestart(self) -> None:
        world = self.world(CONFIG)
        remote = world.remote("mx.remote.test", domains=("remote.test",))
        remote.tempfail("MAIL", times=1, reply="451 4.7.1 slow down")
        world.start()
        world.send("a@client.test", "first@remote.test")
        world.run(3)
        world.stop()
        world.restart()
        (row,) = Operator(world).rows("Limits")
        self.assertEqual(
            (row["limit"], row["complaints"], row["reply"]), ("back-off of mx.remote.test", 1, "451 4.7.1 slow down")
        )
        world.stop()

    def test_whatIsAComplaint(self) -> None:
        """What is said of us slows all mail to the host; what is said of a recipient or a message, as greylisting does, slows nothing."""
        for verb, reply, isComplaint in (
            ("CONNECT", "450 4.7.0 too many of you", True),
            ("EHLO", "450 4.7.1 who are you", True),
            ("MAIL", "450 4.7.1 too much mail from you", True),
            ("MAIL", "451 4.7.1 Greylisting in action", False),
            ("MAIL", "451 4.3.2 later", False),
            ("RCPT", "451 4.7.1 Please try again in 5 minutes", False),
            ("RCPT", "450 4.7.0 not yet", False),
            ("RCPT", "421 4.7.0 too fast", True),
            ("DATA", "451 4.7.0 too fast", True),
            ("BODY", "451 4.7.1 Try again later", False),
            ("BODY", "451 4.7.28 too fast", True),
            ("BODY", "421 4.7.1 too fast", True),
            ("BODY", "550 5.7.1 no", False),
        ):
            world = self.world(CONFIG)
            remote = world.remote("mx.remote.test", domains=("remote.test",)).tempfail(verb, 1, reply)
            world.start()
            world.send("a@client.test", "first@remote.test")
            world.run(3)
            operator = Operator(world)
            found = [(row["limit"], row["reply"]) for row in operator.rows("Limits")]
            self.assertEqual(found, [("back-off of mx.remote.test", reply)] * isComplaint, (verb, reply))
            (host,) = operator.rows("Hosts")
            self.assertEqual(host["asked_for_patience"], reply if isComplaint else "")
            if not isComplaint:
                for number in range(20):
                    world.send(f"a{number}@client.test", "b@remote.test")
                world.run(2)
                self.assertEqual(len(remote.recipients), 20)
            world.stop()

    def test_slowsAndRecovers(self) -> None:
        world = self.world(CONFIG)
        remote = world.remote("mx.remote.test", domains=("remote.test",))
        remote.tempfail("MAIL", times=1, reply="421 4.7.0 too fast")
        world.start()
        world.send("a@client.test", "first@remote.test")
        world.run(3)
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

    def test_byAnOperator(self) -> None:
        """A provider, by the control socket: what is said of it, and what becomes of its mail."""
        world = self.world(CONFIG + 'mta provider big "*.big.test"\n')
        big = world.remote("mx.big.test", domains=("one.test",))
        world.start()
        operator = Operator(world)
        self.assertTrue(operator.ask("SuspendDestination", destination="big")["changed"])
        self.assertFalse(operator.ask("SuspendDestination", destination="BIG")["changed"])
        with self.assertRaises(BadArgument):
            operator.ask("SuspendDestination", destination="a b")
        world.send("a@client.test", "b@one.test")
        world.run(5)
        (row,) = operator.rows("Queue")
        self.assertEqual(
            (row["condition"], row["tries"], row["why"]), ("queued", 0, "waits for its turn: big is suspended")
        )
        (relay,) = operator.rows("Relays")
        self.assertEqual((relay["constraint"]["kind"], relay["constraint"]["text"]), ("suspended", "big is suspended"))
        (limit,) = operator.rows("Limits")
        self.assertEqual((limit["kind"], limit["waiting"]), ("suspended", 1))
        self.assertTrue(operator.ask("ResumeDestination", destination="big")["changed"])
        world.run(2)
        self.assertEqual(big.recipients, ["b@one.test"])
        world.stop()

    def test_hostsThatAreDownCostNoTry(self) -> None:
        world = self.world(CONFIG)
        remote = world.remote("mx.one.test", domains=("one.test",)).set(Condition.REFUSING)
        world.start()
        world.send("a@client.test", "x@one.test")
        world.run(1)
        self.successResultOfIn(world, world.service.shaper.suspend("one.test"))
        world.send("a@client.test", "b@one.test")
        world.run(3600)
        self.assertEqual(tried(world), ["TempFail"])
        remote.set(Condition.NORMAL)
        self.successResultOfIn(world, world.service.shaper.resume("one.test"))
        world.run(5)
        self.assertEqual(sorted(remote.recipients), ["b@one.test", "x@one.test"])
        world.stop()

    def test_aReloadLooksAgain(self) -> None:
        """Whoever waits for a rate that is gone leaves."""
        config = CONFIG + 'mta rate for domain "slow.test" messages 1 per 1h\n'
        world = self.world(config)
        slow = world.remote("mx.slow.test", domains=("slow.test",))
        world.start()
        for number in range(5):
            world.send("a@client.test", f"b{number}@slow.test")
        world.run(10)
        self.assertEqual(len(slow.messages), 1)
        world.disk.write(CONFIG_PATH, CONFIG.encode())
        Operator(world).whole("Reload")
        world.send("a@client.test", "other@slow.test")
        world.run(10)
        self.assertEqual(len(slow.messages), 6)
        world.stop()

    def successResultOfIn(self, world: World, deferred: object) -> object:
        results: list[object] = []
        deferred.addBoth(results.append)  # type: ignore[attr-defined]
        world.until(lambda: results, 10, "it is done")
        self.assertTrue(results[0])
        return results[0]
