"""Hosts that keep us waiting do not keep others waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.events import ConnectionClosed, ConnectionFailed
from pysmtpd.model.limits import MtaLimits
from pysmtpd.mta import pace
from pysmtpd.mta.turnstile import Turnstile
from tests.mta.fakes import Server, World

MOST = 16


class Hosts(World):
    """Domains with a host each: C{slow0.test}, C{good0.test}, ..."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(limits=MtaLimits(**{"maxConnPerSource": MOST, **limits}))
        self.named: dict[str, Server] = {}

    def add(self, name: str, count: int = 1, server: Any = Server) -> None:
        for number in range(count):
            domain = f"{name}{number}.test"
            address = f"192.0.2.{len(self.named) + 1}"
            self.dns.domain(domain, (10, f"mx.{domain}"))
            self.dns.hosts[f"mx.{domain}"] = (address,)
            self.named[domain] = self.host(address, server())

    def mute(self) -> Server:
        server = Server()
        server.isSilent = True
        return server

    def rows(self, what: str) -> list[Mapping[str, Any]]:
        return cast("list[Mapping[str, Any]]", getattr(self.agent.routes, f"show{what}")())

    def open(self, name: str) -> int:
        """Connections in use, or coming up."""
        rows = self.rows("Connections")
        return sum(row["host"].startswith(f"mx.{name}") and row["state"] not in ("idle", "quit") for row in rows)

    def shown(self, name: str) -> Mapping[str, Any]:
        (row,) = [row for row in self.rows("Hosts") if row["name"] == f"mx.{name}.test"]
        return row


def drip() -> Server:
    """Takes three seconds for each answer but its greeting."""
    server = Server()
    server.delay = 3.0
    return server


def late() -> Server:
    """Gets the whole message before it says anything about it, which it does when it is told to."""
    return Server("PIPELINING", "CHUNKING", DOT="")


class LaneTests(SynchronousTestCase):
    def test_muteHostsLeavePlacesToOthers(self) -> None:
        world = Hosts()
        world.add("mute", 40, world.mute)
        world.add("good", 10)
        mute = [id for number in range(40) for id in world.send(f"b@mute{number}.test")]
        world.run(8)
        self.assertLessEqual(world.open("mute"), MOST // 4)
        good = [id for number in range(10) for id in world.send(f"b@good{number}.test")]
        world.run(1)
        self.assertEqual([world.told(id)[:2] for id in good], ["Ok"] * 10)
        self.assertEqual([world.told(id) for id in mute], [""] * 40, "to give way costs no try")
        self.assertEqual(world.shown("mute0")["pace"], "mute")
        self.assertEqual(world.shown("good0")["pace"], "quick")
        waiting = [row for row in world.rows("Hosts") if row["pace"] == "mute" and not row["connections"]]
        self.assertEqual(len(waiting), 36)
        for row in waiting:
            self.assertEqual(row["constraint"]["kind"], "concurrency")
            self.assertIn("of which mute hosts have their share", row["constraint"]["text"])
        # Each gets its turn, and its verdict.
        world.run(40 * 300 / (MOST // 4) + 60)
        self.assertEqual([world.told(id)[:8] for id in mute], ["TempFail"] * 40)
        self.assertEqual(world.agent._board.slots.taken(""), 0)
        world.agent.stop()
        self.assertEqual(world.clock.getDelayedCalls(), [], "nothing ticks when nothing waits")

    def test_itIsTold(self) -> None:
        world = Hosts()
        world.add("mute", 6, world.mute)
        world.network.silent["192.0.2.6"] = True
        for number in range(6):
            world.send(f"b@mute{number}.test")
        world.run(5)
        ended = [event.reason for event in world.ears.events if isinstance(event, ConnectionClosed)]
        failed = [event.reason for event in world.ears.events if isinstance(event, ConnectionFailed)]
        self.assertEqual((len(ended), len(failed)), (1, 1))
        self.assertIn("Gave way", ended[0])
        self.assertIn("Gave way", failed[0])

    def test_slowHostsBorrowWhatNobodyWaitsFor(self) -> None:
        world = Hosts()
        world.add("slow", 40, drip)
        ids = [id for number in range(MOST - 2) for id in world.send(f"b@slow{number}.test")]
        world.run(9)
        self.assertEqual(world.open("slow"), MOST - 2)
        ids += [id for number in range(MOST - 2, 40) for id in world.send(f"b@slow{number}.test")]
        # New ones wait: the slow get no more than their share until a while after that.
        world.run(30)
        self.assertLessEqual(world.open("slow"), MOST // 2)
        world.add("good", 4)
        good = [id for number in range(4) for id in world.send(f"b@good{number}.test")]
        world.run(1)
        self.assertEqual([world.told(id)[:2] for id in good], ["Ok"] * 4)
        world.run(400)
        self.assertEqual([world.told(id)[:2] for id in ids], ["Ok"] * 40)
        self.assertEqual([len(world.named[f"slow{number}.test"].mails) for number in range(40)], [1] * 40)

    def test_whatMayBecomeAMessageIsNotTakenBack(self) -> None:
        """Hosts that take their time after the end of data: each message comes once, though they have more than their share."""
        world = Hosts()
        world.add("late", 40, late)
        ids = [id for number in range(40) for id in world.send(f"b@late{number}.test")]
        for _ in range(40):
            world.run(4)
            self.assertLessEqual(world.agent._board.slots.taken(""), MOST)
            for server in world.named.values():
                for link in server.connections[-1:]:
                    if link.commands[-1].startswith("BDAT"):
                        link._say("250 2.0.0 queued")
        self.assertEqual([world.told(id)[:2] for id in ids], ["Ok"] * 40)
        sent = [command for server in world.named.values() for talk in server.conversations for command in talk]
        self.assertEqual(sum(command.startswith("BDAT") for command in sent), 40)

    def test_aHostThatIsNewGetsFewConnections(self) -> None:
        world = Hosts(maxConnPerSource=100)
        world.add("slow", 1, lambda: Server(DOT=""))
        for _ in range(30):
            world.send("b@slow0.test")
        world.run(1)
        self.assertEqual(world.open("slow"), 5)
        world.add("good", 1)
        good = world.named["good0.test"]
        good.delay = 0.5
        for _ in range(30):
            world.send("b@good0.test")
        world.run(1.2)
        self.assertEqual(good.mostOpen, 5)
        world.run(1)
        self.assertEqual(good.mostOpen, 20)

    def test_itRecovers(self) -> None:
        world = Hosts()
        world.add("slow", 1, drip)
        world.send("b@slow0.test")
        world.run(20)
        self.assertEqual(world.shown("slow0")["pace"], "slow")
        world.named["slow0.test"].delay = 0.0
        world.send("b@slow0.test")
        world.run(2)
        self.assertEqual(world.shown("slow0")["pace"], "quick")
        self.assertEqual(len(world.named["slow0.test"].mails), 2)

    def test_operatorsAndTimeForget(self) -> None:
        world = Hosts()
        world.add("mute", 1, world.mute)
        for forget in (lambda: world.agent.routes.forgive("mx.mute0.test"), lambda: world.run(pace.REMEMBERED)):
            world.send("b@mute0.test")
            world.run(350)
            self.assertEqual(world.shown("mute0")["pace"], "mute")
            forget()
            self.assertEqual(world.shown("mute0")["pace"], "new")

    def test_anEqualHostIsPreferred(self) -> None:
        world = Hosts()
        world.dns.domain("y.test", (10, "one.test"), (10, "two.test"))
        one, two = drip(), Server()
        world.dns.hosts.update({"one.test": ("192.0.2.101",), "two.test": ("192.0.2.102",)})
        world.host("192.0.2.101", one)
        world.host("192.0.2.102", two)
        for _ in range(40):
            world.send("b@y.test", seconds=1)
        world.run(30)
        self.assertEqual(len(one.mails) + len(two.mails), 40)
        self.assertLess(len(one.mails), 8)

    def test_descriptorsAreUsedUp(self) -> None:
        """That is not held against a host."""
        world = Hosts()
        world.add("good")
        world.network.isUsedUp = True
        (id,) = world.send("b@good0.test", seconds=4)
        self.assertEqual(world.told(id), "")
        self.assertLess(len(world.network.tried), 6)
        world.network.isUsedUp = False
        world.run(2)
        self.assertIn("Ok", world.told(id))

    def test_stopping(self) -> None:
        world = Hosts()
        world.add("mute", 40, world.mute)
        ids = [id for number in range(40) for id in world.send(f"b@mute{number}.test")]
        world.run(5)
        stopped: list[object] = []
        world.agent.stop().addCallback(stopped.append)
        world.run(1)
        self.assertEqual(stopped, [None])
        held = [id for envelopes, _ in world.ears.held for id in envelopes]
        self.assertEqual(len(set(held)) + len(world.ears.outcomes), len(ids))
        self.assertEqual(world.clock.getDelayedCalls(), [])


class TurnstileTests(SynchronousTestCase):
    """Envelopes in the mta are places, too."""

    def setUp(self) -> None:
        self.patch(Turnstile, "most", 80)
        self.world = world = Hosts(maxConnPerSource=200)
        world.add("mute", 60, world.mute)
        world.add("good", 3)

    def send(self, name: str) -> None:
        self.world.send(f"b@{name}.test")

    def comeBack(self) -> None:
        """What is let in comes again, as the scheduler would have it; the oldest first."""
        ears = self.world.ears
        released, ears.released = ears.released, []
        for key, count in released:
            for _ in range(min(count, sum(kept == key for _, kept in ears.held))):
                index = next(at for at, (_, kept) in enumerate(ears.held) if kept == key)
                del ears.held[index]
                self.send(key.split()[0].removesuffix(".test"))

    def test_muteDestinationsLeavePlacesToOthers(self) -> None:
        world = self.world
        for number in range(60):
            self.send(f"mute{number}")
        world.run(4)
        for _ in range(2):
            for number in range(60):
                self.send(f"mute{number}")
        self.assertGreaterEqual(world.agent.capacity(), 20)
        (id,) = world.send("b@good0.test", seconds=1)
        self.assertIn("Ok", world.told(id))
        held = [row for row in world.rows("Relays") if row["held"]]
        self.assertGreater(len(held), 40)
        for row in held:
            if not row["backlog"]:
                self.assertEqual(row["constraint"]["kind"], "concurrency")
                self.assertIn("those for mute hosts have their share", row["constraint"]["text"])

    def test_eachHasItsTurn(self) -> None:
        """Destinations of which nothing is here any more are let in again, one after the other, until all have their verdict."""
        world = self.world
        for number in range(60):
            self.send(f"mute{number}")
        world.run(4)
        for _ in range(3):
            for number in range(60):
                self.send(f"mute{number}")
        for _ in range(100):
            world.run(20)
            self.comeBack()
        self.assertEqual(world.ears.held, [])
        self.assertEqual(len(world.ears.outcomes), 240)
        self.assertEqual({relay.envelopes for relay in world.agent._directory.relays.values()}, {0})

    def test_whoDoesNotComeBackIsNotWaitedFor(self) -> None:
        """An operator has removed what was let in."""
        world = self.world
        for number in range(60):
            self.send(f"mute{number}")
        world.run(4)
        for number in range(60):
            self.send(f"mute{number}")
        world.run(1000)
        first = {key for key, _ in world.ears.released}
        self.assertEqual(len(first), len({key for _, key in world.ears.held}), "all were let in, though none came")
