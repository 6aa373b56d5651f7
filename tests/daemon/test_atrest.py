"""C{queue compression} and C{queue encryption} in the whole daemon: what lies on the disk, and who reads it again."""

from __future__ import annotations

from pysmtpd.interfaces import ReloadRefused
from pysmtpd.model.events import DeliveryAttempted, ItemSetAside, QueueFailed
from pysmtpd.testing.daemon import CONFIG_PATH
from pysmtpd.testing.world import World
from tests.daemon.processes import PYSMTPD, ProcessTestCase
from tests.daemon.story import StoryTestCase, rules

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
SECRET = b"a secret of many words"


class AtRestTests(StoryTestCase):
    def queued(self, *settings: str) -> World:
        """Two messages, one of them large, wait in the queue of a daemon that has stopped."""
        world = self.begin(rules("\n".join(settings)), settings={"paused": ("mda",)})
        self.accepted(world, "joe@example.org", content=b"Subject: small\n\n" + SECRET + b"\n")
        self.accepted(world, "joe@example.org", content=b"Subject: large\n\n" + (SECRET + b"\n") * 40_000)
        world.stop()
        return world

    def kept(self, world: World) -> bytes:
        return b"".join(world.disk.read(path) for path in world.disk.tree("/var/spool/pysmtpd"))

    def again(self, world: World, *settings: str) -> None:
        world.disk.write(CONFIG_PATH, rules("\n".join(settings)).encode())
        world._settings |= {"paused": ()}
        world.restart()

    def assertDelivered(self, world: World) -> None:
        self.finish(world, "delivered", "delivered")
        letters = sorted(self.letters(world), key=len)
        self.assertEqual([letter.count(SECRET) for letter in letters], [1, 40_000])

    def test_whatLiesOnTheDisk(self) -> None:
        for backend in ("sqlite:", "fs:"):
            for settings, isLegible, isSmall in (
                ((), True, False),
                (("queue compression",), False, True),
                ((f"queue encryption {KEY}",), False, False),
                (("queue compression", f"queue encryption {KEY}"), False, True),
            ):
                world = self.queued(f'queue backend "{backend}"', *settings)
                kept = self.kept(world)
                self.assertEqual((SECRET in kept, len(kept) < 500_000), (isLegible, isSmall), (backend, settings))
                # Envelopes stay as they are.
                self.assertTrue(b"client.test" in kept, (backend, settings))
                self.again(world, f'queue backend "{backend}"', *settings)
                self.assertDelivered(world)

    def test_theSettingIsTakenBack(self) -> None:
        """What was compressed is read by whoever comes after; what was encrypted, with the key before this one."""
        world = self.queued("queue compression", f"queue encryption {KEY}")
        self.again(world, f"queue encryption {OTHER}", f"queue encryption backup {KEY}")
        self.assertDelivered(world)
        world = self.queued("queue compression")
        self.again(world)
        self.assertDelivered(world)

    def test_withoutItsKeyMailWaits(self) -> None:
        world = self.queued(f"queue encryption {KEY}")
        self.again(world, f"queue encryption {OTHER}")
        world.run(3600)
        self.assertEqual(world.eventsOf(ItemSetAside), [])
        self.assertIn(
            'say it with "queue encryption" or "queue encryption backup"', world.eventsOf(QueueFailed)[0].reason
        )
        self.assertEqual({event.result for event in world.eventsOf(DeliveryAttempted)} - {"TempFail"}, set())
        self.assertEqual(len(self.operator(world).queue()), 2)
        world.stop()
        self.again(world, f"queue encryption {KEY}")
        world.run(3600)
        self.assertDelivered(world)

    def test_aReloadCannotChangeIt(self) -> None:
        world = self.begin(rules(f"queue encryption {KEY}"))
        world.disk.write(CONFIG_PATH, rules(f"queue encryption {KEY}\nqueue encryption backup {OTHER}").encode())
        reloading = world.service.operator.reload()
        world.run(1)
        (said,) = self.failureResultOf(reloading, ReloadRefused).value.messages
        self.assertIn("how the queue is stored is changed; that needs a restart", said)
        self.finish(world)


class StandardInputTests(ProcessTestCase):
    def test_theKeyComesByStandardInput(self) -> None:
        """The configuration file names no key; without it the daemon does not start."""
        path = self.write(before="queue encryption stdin")
        for said, why in (("", "0"), ("short\n", "5"), (KEY + "x\n", "33")):
            ran = self.run_(*PYSMTPD, "-f", str(path), "--spool", str(self.spool), stdin=said)
            self.assertEqual((ran.returncode, ran.stdout), (78, ""), ran.stderr)
            self.assertIn(f"has exactly 32 octets, not {why}", ran.stderr)
            self.assertNotIn("Traceback", ran.stderr)
        daemon = self.start(stdin=f"{KEY}\n")
        self.send(content=b"Subject: secret\r\n\r\nSecret.\r\n")
        (row,) = self.ctl("--json", "show", "queue").stdout.splitlines()
        self.assertIn("ann@example.net", row)
        self.assertEqual(self.stopped(daemon), 0)
        kept = b"".join(file.read_bytes() for file in self.spool.rglob("*") if file.is_file())
        self.assertNotIn(b"Secret.", kept)
