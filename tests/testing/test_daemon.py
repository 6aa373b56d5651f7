"""The whole daemon in the World: one seed, one story; and the power goes off at every moment."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.testing.case import WorldTestCase
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CONFIG = """
{backend}
listen on 0.0.0.0 port 25
table sink {{ "@" = "pysmtpd" }}
action "local" maildir virtual <sink>
action "out" relay
match from any for domain "example.org" action "local"
match from any for any action "out"
"""

IS_ABSENT = importlib.util.find_spec("pysmtpd.service") is None
WHY = "the daemon is not part of this tree"


def scenario(seed: int) -> World:
    """Hours with everything that may happen to mail."""
    world = World(seed, CONFIG.format(backend=""))
    world.remote("mx.good.test", domains=("good.test",)).tempfail("RCPT", times=3).slow(0.5)
    world.remote("mx.bad.test", domains=("bad.test",)).drop("BODY", times=2)
    world.remote("mx.dead.test", domains=("dead.test",)).set(Condition.SILENT)
    world.dns.fail("broken.test")
    world.internet.losses = 0.05
    world.internet.resets = 0.01
    world.start()
    for number in range(20):
        domain = ("good", "bad", "dead", "broken")[number % 4]
        world.send(f"a{number}@client.test", f"b{number}@{domain}.test", f"c{number}@example.org")
        world.run(3)
    world.run(900)
    world.crash()
    world.restart()
    world.run(900)
    world.crash(powerCut=True)
    world.restart()
    world.run(7200)
    world.stop()
    return world


class SeedTests(SynchronousTestCase):
    if IS_ABSENT:
        skip = WHY

    def test_theHashSeedChangesNothing(self) -> None:
        program = "from tests.testing.test_daemon import scenario; print(scenario(3).eventLog())"
        logs = [
            subprocess.run(
                [sys.executable, "-c", program],
                stdout=subprocess.PIPE,
                check=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": hashSeed, "PYTHONPATH": ROOT},
            ).stdout
            for hashSeed in ("1", "2")
        ]
        self.assertEqual(logs[0], logs[1])
        self.assertGreater(logs[0].count(b"\n"), 200)


class PowerTests(WorldTestCase):
    """C{250} means durable: whatever operation of the disk the power goes off in, what was acknowledged is delivered."""

    if IS_ABSENT:
        skip = WHY

    def lost(self, cuts: range, backend: str = "", lines: int = 1, isLying: bool = False) -> list[str]:
        """Acknowledged recipients that nothing reached, over Worlds whose power goes off at each of these operations."""
        lost: list[str] = []
        for cut in cuts:
            world = self.world(CONFIG.format(backend=backend), seed=self.seed + cut)
            remote = world.remote("mx.remote.test", domains=("remote.test",))
            world.start(2)
            world.disk.isLying = isLying
            world.disk.cutAfter = cut
            content = b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * lines
            sent = [world.send("a@client.test", f"b{number}@remote.test", content=content) for number in range(6)]
            world.run(20)
            if world.isUp:
                world.crash(powerCut=True)
            world.disk.isLying = False
            world.restart()
            world.run(3600)
            arrived = remote.recipients
            lost += [
                f"{cut}: {one.recipients[0]}" for one in sent if one.isAccepted and one.recipients[0] not in arrived
            ]
        return lost

    def test_sqlite(self) -> None:
        self.assertEqual(self.lost(range(30)), [])

    def test_sqliteWithBodiesInFiles(self) -> None:
        self.assertEqual(self.lost(range(0, 60, 3), lines=4000), [])

    def test_fs(self) -> None:
        self.assertEqual(self.lost(range(0, 80, 2), backend='queue backend "fs:"'), [])

    def test_aDiskThatLiesIsNoticed(self) -> None:
        """The tests above can fail: with syncs that do nothing, acknowledged mail is lost."""
        self.assertNotEqual(self.lost(range(3, 13), isLying=True), [])
        self.assertNotEqual(self.lost(range(3, 43, 4), backend='queue backend "fs:"', isLying=True), [])
        # Such a disk may leave a queue that the daemon rightly refuses to open.
        self.flushLoggedErrors()

    def test_maildir(self) -> None:
        """The Maildir is made by its first delivery, and its directories have to be durable with it."""
        lost: list[str] = []
        for cut in range(2, 32):
            world = self.world(CONFIG.format(backend=""), seed=self.seed + cut)
            world.start(2)
            world.disk.cutAfter = cut
            sent = [
                world.send("a@client.test", f"b{number}@example.org", content=b"Subject: %d\r\n\r\n" % number)
                for number in range(4)
            ]
            world.run(20)
            if world.isUp:
                world.crash(powerCut=True)
            world.restart()
            world.run(3600)
            letters = [world.disk.read(path) for path in world.disk.tree("/var/lib/pysmtpd") if "/new/" in path]
            for number, one in enumerate(sent):
                if one.isAccepted and not any(b"Subject: %d\n" % number in letter for letter in letters):
                    lost.append(f"{cut}: {number}")
        self.assertEqual(lost, [])
