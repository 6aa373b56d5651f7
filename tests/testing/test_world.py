"""The World itself, with a toy in the daemon's place."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from typing import Any
from unittest import TestResult

from twisted.internet.protocol import ClientFactory, Protocol
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pysmtpd.testing.case import VARIABLE, WorldTestCase
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.processes import ScriptedProcess
from pysmtpd.testing.world import Unreached, World
from tests.testing.toy import Happened, buildToy

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def scenario(seed: int) -> World:
    """A day with everything that may happen to mail."""
    world = World(seed, build=buildToy)
    good = world.remote("mx.good.test", domains=("good.test",)).tempfail("RCPT", times=3).slow(0.5)
    world.remote("mx.bad.test", domains=("bad.test",)).drop("BODY", times=2)
    world.remote("mx.dead.test", domains=("dead.test",)).set(Condition.SILENT)
    world.dns.fail("broken.test")
    world.internet.losses = 0.05
    world.internet.resets = 0.01
    world.start()
    for number in range(20):
        domain = ("good", "bad", "dead", "broken")[number % 4]
        world.send(f"a{number}@client.test", f"b{number}@{domain}.test")
        world.run(3)
    world.run(900)
    world.crash()
    world.restart()
    world.run(900)
    world.crash(powerCut=True)
    good.forget()
    world.restart()
    world.dns.fail("broken.test", "NOERROR")
    world.run(3600)
    world.stop()
    return world


class LifeTests(WorldTestCase):
    def test_fromSenderToRemote(self) -> None:
        world = self.world(build=buildToy)
        remote = world.remote("mx.remote.test", domains=("remote.test",))
        world.start()
        sent = world.send("a@client.test", "b@remote.test")
        world.until(lambda: remote.messages, what="it arrives")
        self.assertTrue(sent.isAccepted)
        self.assertEqual(remote.recipients, ["b@remote.test"])
        self.assertLess(world.now, 5)
        world.run(1)
        self.assertEqual([event.what for event in world.eventsOf(Happened)], ["accepted", "delivered"])
        world.stop()
        self.assertFalse(world.isUp)

    def test_aDeadHostComesBackAfterDays(self) -> None:
        world = self.world(build=buildToy)
        remote = world.remote("mx.remote.test", domains=("remote.test",)).set(Condition.SILENT)
        world.start()
        world.send("a@client.test", "b@remote.test")
        world.run(2 * 86_400)
        self.assertEqual(remote.connections, 0)
        self.assertTrue(500 < len(world.events) < 600)
        remote.set(Condition.NORMAL)
        world.run(600)
        self.assertEqual(remote.recipients, ["b@remote.test"])

    def test_aKillLosesNothing(self) -> None:
        world = self.world(build=buildToy)
        remote = world.remote("mx.remote.test", domains=("remote.test",)).set(Condition.REFUSING)
        world.start()
        sent = [world.send("a@client.test", f"b{number}@remote.test") for number in range(10)]
        world.run(10)
        self.assertTrue(all(one.isAccepted for one in sent))
        remote.set(Condition.NORMAL)
        world.crash()
        world.run(3600)
        self.assertEqual(remote.messages, [])
        world.restart()
        world.run(3600)
        self.assertEqual(sorted(remote.recipients), [f"b{number}@remote.test" for number in range(10)])

    def lostAtPowerCuts(self, isCareful: bool) -> int:
        """Cut the power at each operation of the disk; how many acknowledged messages are gone?"""
        lost = 0
        for cut in range(1, 40):
            world = self.world(seed=self.seed + cut, build=buildToy, settings={"isCareful": isCareful})
            remote = world.remote("mx.remote.test", domains=("remote.test",))
            world.start()
            world.disk.cutAfter = cut
            sent = [world.send("a@client.test", f"b{number}@remote.test") for number in range(10)]
            world.run(60)
            self.assertFalse(world.isUp)
            world.restart()
            world.run(3600)
            arrived = [
                recipient for message in remote.messages for recipient in message.recipients if message.content != b""
            ]
            lost += sum(one.isAccepted and one.recipients[0] not in arrived for one in sent)
        return lost

    def test_thePowerGoesAtEveryOperation(self) -> None:
        self.assertEqual(self.lostAtPowerCuts(True), 0)

    def test_withoutSyncMailIsLost(self) -> None:
        self.assertGreater(self.lostAtPowerCuts(False), 0)

    def test_writeErrorsReachTheSender(self) -> None:
        world = self.world(build=buildToy)
        world.start()
        world.disk.fail("sync")
        sent = world.send("a@client.test", "b@remote.test")
        world.run(10)
        self.assertEqual(sent.reply("BODY"), "451 later")

    def test_wallClockSteps(self) -> None:
        world = self.world(build=buildToy)
        before = world.platform.wallTime()
        world.platform.wallOffset -= 3600
        world.run(10)
        self.assertEqual(world.platform.wallTime() - before, 10 - 3600)
        self.assertEqual(world.platform.clock.seconds(), 10)

    def test_fromThisMachine(self) -> None:
        world = self.world(build=buildToy)
        world.start()
        sent = world.send("a@example.org", "b@remote.test", source="127.0.0.1")
        world.run(5)
        self.assertTrue(sent.isAccepted)

    def test_serversOnThisMachineOutliveTheDaemon(self) -> None:
        world = self.world(build=buildToy)
        byPath = world.local("store", path="/run/lmtp", lmtp=True)
        byPort = world.local("filter", port=10_025)
        world.start()
        world.crash()
        world.restart()
        network: Any = world.platform.network
        network.connectUNIX("/run/lmtp", ClientFactory.forProtocol(Protocol))
        network.connectTCP("127.0.0.1", 10_025, ClientFactory.forProtocol(Protocol))
        world.run(1)
        self.assertEqual((byPath.open, byPort.open), (1, 1))
        self.assertEqual(byPath.transcript, [(1, ">", "220 store LMTP ready")])

    def test_usersFilesAndMisuse(self) -> None:
        world = self.world("text of the configuration\n", files={"/etc/pysmtpd/table": b"a b\n"}, build=buildToy)
        home = world.user("jane")
        jane = world.users.byName("jane")
        assert jane is not None
        self.assertEqual(jane.home, home)
        self.assertEqual(world.disk.listDirectory(home), [])
        self.assertEqual(world.disk.listDirectory("/etc/pysmtpd"), ["smtpd.conf", "table"])
        world.start()
        self.assertRaises(RuntimeError, world.start)
        self.assertRaises(RuntimeError, world.restart)
        error = self.assertRaises(Unreached, world.until, lambda: False, 10)
        self.assertIn(str(self.seed), str(error))

    def test_manyRemotesHaveTheirOwnAddresses(self) -> None:
        world = self.world()
        addresses = [world.remote(f"mx{number}.test").addresses[0] for number in range(600)]
        self.assertEqual(len(dict.fromkeys(addresses)), 600)

    def test_programsArePlayed(self) -> None:
        world = self.world()
        said: list[tuple[int, bytes]] = []

        class Parent:
            ended = ""

            def makeConnection(self, process: Any) -> None:
                process.write(b"question")

            def childDataReceived(self, descriptor: int, data: bytes) -> None:
                said.append((descriptor, data))

            def childConnectionLost(self, descriptor: int) -> None:
                """Of each of the three."""

            def processExited(self, reason: Any) -> None:
                """Before its end."""

            def processEnded(self, reason: Any) -> None:
                self.ended = reason.type.__name__

        def play(process: ScriptedProcess) -> None:
            def answer(descriptor: int, data: bytes) -> None:
                process.output(b"answer to " + data)
                process.exit(1)

            process.received = answer

        processes = world.platform.processes
        processes.programs["/bin/answer"] = play
        parent = Parent()
        processes.spawn(parent, ["/bin/answer", "-v"], {}, {})
        world.run(1)
        self.assertEqual(said, [(1, b"answer to question")])
        self.assertEqual(parent.ended, "ProcessTerminated")
        self.assertEqual(processes.spawned[0].argv, ("/bin/answer", "-v"))
        self.assertRaises(FileNotFoundError, processes.spawn, parent, ["/bin/other"], {}, {})


class SeedTests(SynchronousTestCase):
    def test_oneSeedOneStory(self) -> None:
        self.assertEqual(scenario(1).eventLog(), scenario(1).eventLog())
        self.assertNotEqual(scenario(1).eventLog(), scenario(2).eventLog())

    def test_theHashSeedChangesNothing(self) -> None:
        program = "from tests.testing.test_world import scenario; print(scenario(3).eventLog())"
        logs = [
            subprocess.run(
                [sys.executable, "-c", program],
                capture_output=True,
                check=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": hashSeed, "PYTHONPATH": ROOT},
            ).stdout
            for hashSeed in ("1", "2")
        ]
        self.assertEqual(logs[0], logs[1])
        self.assertGreater(logs[0].count(b"\n"), 50)

    def case(self, name: str) -> TestResult:
        class Cases(WorldTestCase):
            def test_fails(self) -> None:
                world = self.world(seed=f"{self.seed}/1")
                self.fail(f"in the world of {world.platform.secret(4).hex()}")

            def test_logs(self) -> None:
                world = self.world()
                world.platform.clock.callLater(1, lambda: 1 // 0)
                world.run(2)

            def test_skips(self) -> None:
                raise SkipTest("not here")

            def test_passes(self) -> None:
                self.assertEqual(self.world().seed, 99)

        result = TestResult()
        Cases(name).run(result)
        return result

    def test_aFailureTellsItsSeed(self) -> None:
        self.patch(sys, "stderr", io.StringIO())
        self.patch(os, "environ", {name: value for name, value in os.environ.items() if name != VARIABLE})
        (failed,) = self.case("test_fails").failures
        told = re.search(r"PYSMTPD_SEED=(\S+)", str(failed[1]))
        assert told is not None
        # Another time, under another name, it is the same story.
        for seed, isSame in ((told[1], True), ("1", False)):
            self.patch(os, "environ", {**os.environ, VARIABLE: seed})
            (replayed,) = self.case("test_fails").failures
            stories = [re.findall("in the world of [0-9a-f]+", str(each[1])) for each in (failed, replayed)]
            self.assertEqual(stories[0] == stories[1], isSame, stories)
        (logged,) = self.case("test_logs").errors
        self.assertIn("ZeroDivisionError", str(logged[1]))
        self.assertEqual(len(self.case("test_skips").skipped), 1)

    def test_theSeedOfAnEarlierRun(self) -> None:
        self.patch(os, "environ", {**os.environ, VARIABLE: "99"})
        self.assertTrue(self.case("test_passes").wasSuccessful())


class CostTests(WorldTestCase):
    def test_theWorldItselfIsCheap(self) -> None:
        """Of the second for 50,000 attempts, the World may take little: here, connections to a dead host for seven days."""
        world = self.world(build=buildToy)
        world.remote("mx.remote.test").set(Condition.SILENT)
        attempts = 0

        class Trying(ClientFactory):
            noisy = False

            def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
                world.platform.clock.callLater(90, again)

        def again() -> None:
            nonlocal attempts
            attempts += 1
            world.platform.network.connectTCP("203.0.113.1", 25, Trying(), timeout=30)

        again()
        before = time.process_time()
        world.run(7 * 86_400)
        cost = (time.process_time() - before) / attempts
        self.assertEqual(attempts, 7 * 86_400 // 120 + 1)
        self.assertLess(cost, 0.0003)
