"""Disks, tables and names that fail: who is told, what is kept, and that everything else goes on."""

from __future__ import annotations

import errno

from pysmtpd.interfaces.platform import Space
from pysmtpd.model.events import ItemSetAside, QueueFailed
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase, rules

BACKENDS = ("sqlite:", "fs:")
LARGE = b"Subject: large\n\n" + (b"x" * 70 + b"\n") * 8000


class DiskTests(StoryTestCase):
    def empty(self, world: World) -> None:
        """Nothing is queued, in this life and in the next, and no file is left over."""
        self.assertEqual(self.operator(world).queue(), [])
        world.stop()
        world.restart(5)
        self.assertEqual(self.operator(world).queue(), [])
        left = [path for path in world.disk.tree("/var/spool/pysmtpd") if "/bodies/" in path or "/messages/" in path]
        self.assertEqual(left, [])

    def test_aDiskThatIsFull(self) -> None:
        for backend in BACKENDS:
            for content in (b"Subject: small\n\nHi.\n", LARGE):
                world = self.begin(rules(f'queue backend "{backend}"'))
                world.disk.free = Space(0.0, 0.0)
                sent = world.send("jane@client.test", "joe@example.org", content=content)
                world.run(30)
                self.assertEqual(sent.reply("BODY")[:9], "452 4.3.1", (backend, sent.replies))
                self.assertGreater(len(world.eventsOf(QueueFailed)), 0)
                world.disk.free = Space(1.0, 1.0)
                self.empty(world)
                self.accepted(world, "joe@example.org", content=content)
                self.finish(world, "delivered")

    def test_theFloorIsToldBeforeTheContent(self) -> None:
        """Free space or inodes below 5 %: MAIL is answered 452, the content is not even sent; mail flows again when there is room."""
        for free in (Space(0.04, 1.0), Space(1.0, 0.04)):
            world = self.begin()
            self.accepted(world, "joe@example.org")
            world.disk.free = free
            world.run(10)
            world.send("jane@client.test", "joe@example.org")
            world.run(10)
            sent = world.send("jane@client.test", "joe@example.org")
            world.run(10)
            verbs = {verb: reply[:9] for verb, reply in sent.replies}
            self.assertNotIn("DATA", verbs)
            self.assertIn("452 4.3.1", verbs.values())
            world.disk.free = Space(1.0, 1.0)
            world.send("jane@client.test", "joe@example.org")
            world.run(10)
            self.accepted(world, "joe@example.org")
            self.finish(world)

    def test_writeErrors(self) -> None:
        """Whatever write or sync fails, the peer reads 451 or 452, or its mail is delivered; nothing is half done."""
        for backend in BACKENDS:
            for after in range(8):
                for operation in ("write", "sync"):
                    world = self.begin(rules(f'queue backend "{backend}"'))
                    world.disk.fail(operation, errno.EIO, after=after, path="/var/spool")
                    sent = world.send("jane@client.test", "joe@example.org", content=LARGE)
                    world.run(60)
                    reply = sent.reply("BODY")
                    self.assertIn(reply[:3], ("250", "451", "452"), sent.replies)
                    world.disk.failures.clear()
                    world.crash()
                    world.restart(30)
                    if sent.isAccepted:
                        self.assertEqual(len(self.letters(world)), 1)
                    self.assertEqual(self.operator(world).queue(), [])
                    world.stop()

    def test_damagedItemsAreSetAside(self) -> None:
        """Kept, listed with the reason, not tried; the rest goes on."""
        world = self.begin(rules('queue backend "fs:"'), settings={"paused": ("mda",)})
        for number in range(3):
            self.accepted(world, "joe@example.org", content=b"Subject: %d\n\nHi.\n" % number)
        ids = [row["msgid"] for row in self.operator(world).queue()]
        world.stop()
        (damaged,) = [path for path in world.disk.tree("/var/spool/pysmtpd") if path.endswith(ids[1])]
        octets = bytearray(world.disk.read(damaged))
        octets[60] ^= 255
        world.disk.write(damaged, bytes(octets))
        world.restart(5)
        operator = self.operator(world)
        self.assertEqual([row["msgid"] for row in operator.queue()], [ids[0], ids[2]])
        (aside,) = operator.rows("SetAside")
        self.assertIn(ids[1], aside["item"])
        self.assertTrue(aside["reason"])
        self.assertGreaterEqual(len(world.eventsOf(ItemSetAside)), 1)
        operator.ask("Resume", part="mda")
        world.run(10)
        subjects = [letter[letter.index(b"Subject: ") + 9 :][:1] for letter in self.letters(world)]
        self.assertEqual(sorted(subjects), [b"0", b"2"])
        world.stop()
        world.restart(5)
        self.assertEqual(len(self.operator(world).rows("SetAside")), 1, "it is still listed")

    def test_damagedContentIsSetAside(self) -> None:
        world = self.begin(rules('queue backend "sqlite:"'), settings={"paused": ("mda",)})
        self.accepted(world, "joe@example.org", content=LARGE)
        self.accepted(world, "joe@example.org")
        world.stop()
        (body,) = [path for path in world.disk.tree("/var/spool/pysmtpd") if "/bodies/" in path]
        content = world.disk.read(body)
        world.disk.write(body, content.replace(b"xxx", b"xyx", 1))
        world.restart(5)
        operator = self.operator(world)
        operator.ask("Resume", part="mda")
        world.run(30)
        (aside,) = operator.rows("SetAside")
        self.assertIn("check", aside["reason"])
        self.assertEqual(len(self.letters(world)), 1)
        self.assertEqual(operator.queue(), [])

    def test_aMaildirThatCannotBeWritten(self) -> None:
        world = self.begin()
        failing = world.disk.fail("create", errno.EACCES, times=None, path="/Maildir/")
        self.accepted(world, "joe@example.org")
        world.run(5)
        (row,) = self.operator(world).queue()
        self.assertEqual((row["tries"], row["condition"]), (1, "waiting"))
        self.assertIn("4.", row["last_reply"])
        world.disk.failures.remove(failing)
        self.finish(world, "delivered", seconds=600)

    def test_deliveryIsRecordedThoughTheQueueFails(self) -> None:
        """The remote took it, the queue cannot forget it: it is not sent again, and forgotten when the queue can."""
        world = self.begin(rules('queue backend "fs:"'))
        remote = self.remote(world).slow(5, "BODY")
        self.accepted(world, "ann@remote.test")
        world.until(lambda: remote.attempts, 10)
        failures = [
            world.disk.fail(operation, times=None, path="/var/spool") for operation in ("unlink", "write", "append")
        ]
        world.run(3600)
        self.assertEqual(len(remote.messages), 1)
        self.assertEqual(len(self.operator(world).queue()), 1)
        for failure in failures:
            world.disk.failures.remove(failure)
        self.finish(world, "delivered")
        self.assertEqual(len(remote.messages), 1)


class TableTests(StoryTestCase):
    def test_aTableThatIsNotThere(self) -> None:
        world = self.world('table users "/etc/pysmtpd/users"\n' + rules("match from any for rcpt-to <users> reject"))
        said: list[str] = []
        world._settings["ended"] = said.append
        world.start()
        (why,) = said
        self.assertIn("users", why)
        self.assertIn("/etc/pysmtpd/users", why)
