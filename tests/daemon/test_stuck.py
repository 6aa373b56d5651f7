"""Stopping while what is done in a lane does not end: the daemon ends without it, and says so. What the queue has is waited for."""

from __future__ import annotations

from pysmtpd.model.events import DaemonStopped
from pysmtpd.settings import GRACE
from pysmtpd.stopping import PATIENCE
from pysmtpd.testing.certificates import selfSigned
from pysmtpd.testing.daemon import CONFIG_PATH
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase, rules
from tests.daemon.waiting import Waiter

NEVER = 1e6
FILES = {"/etc/pysmtpd/domains": b"example.org\n"}
TABLES = """
table domains file:/etc/pysmtpd/domains
listen on 0.0.0.0 port 25
action "here" maildir
action "out" relay
match from any for domain <domains> action "here"
match from any for any action "out"
"""


class StuckTests(StoryTestCase):
    def stop(self, world: World) -> tuple[float, str]:
        """How long it took, and what was said of it."""
        began = world.now
        world.stop()
        (event,) = world.eventsOf(DaemonStopped)
        return world.now - began, event.reason

    def assertLeft(self, world: World, *left: str) -> None:
        took, reason = self.stop(world)
        self.assertEqual(reason, f"stopped without {', '.join(left)}" if left else "stopped")
        self.assertLess(took, GRACE + PATIENCE + 5)

    def test_anUpdateOfATable(self) -> None:
        world = self.begin(TABLES, files=FILES)
        world.platform.workers.delays["table-domains"] = NEVER
        world.service.operator.updateTable("domains").addErrback(lambda _: None)
        world.run(1)
        took, reason = self.stop(world)
        self.assertEqual(reason, "stopped")
        self.assertLess(took, 2)

    def test_aSessionThatWaitsForAUser(self) -> None:
        world = self.begin(TABLES, files=FILES)
        waiter = Waiter(world)
        world.platform.workers.delays["users"] = NEVER
        waiter.say("EHLO c.test", "MAIL FROM:<a@c.test>")
        waiter.transport.write(b"RCPT TO:<joe@example.org>\r\n")
        world.run(1)
        self.assertLeft(world)
        world.until(lambda: waiter.isOver, 1, "what was said last arrives")
        self.assertEqual(waiter.replies[-1][:3], "421")

    def test_aDelivery(self) -> None:
        """It is made again in the next life: what is not known to be delivered is not forgotten."""
        world = self.begin()
        world.platform.workers.delays["mda.0"] = NEVER
        self.accepted(world, "joe@example.org")
        world.run(1)
        self.assertLeft(world, "deliveries", "the mda", "delivery hosts")
        world.restart()
        self.finish(world, "delivered")
        self.assertEqual(len(self.letters(world)), 1)

    def test_aReload(self) -> None:
        world = self.begin(TABLES, files=FILES)
        world.platform.workers.delays["reload"] = NEVER
        world.disk.write(CONFIG_PATH, f"{TABLES}# more\n".encode())
        world.service.operator.hangUp()
        world.run(1)
        self.assertLeft(world)

    def test_certificates(self) -> None:
        certificate, key = selfSigned("mail.example.org")
        files = {"/c": certificate, "/k": key}
        text = f'pki p cert "/c" key "/k"\n{TABLES.replace("port 25", "port 25 tls pki p")}'
        world = self.begin(text, files={**FILES, **files}, settings={"readFile": files.__getitem__})
        world.platform.workers.delays["certificates"] = NEVER
        world.run(120)
        self.assertLeft(world, "certificates")

    def test_whatIsRememberedOfLimits(self) -> None:
        world = self.begin(rules("mta rate messages 100 per 1h"))
        self.remote(world)
        self.accepted(world, "ann@remote.test")
        world.platform.workers.delays["mta-limits"] = NEVER
        world.run(5)
        self.assertLeft(world, "limits")

    def test_theQueueIsWaitedFor(self) -> None:
        """Much longer than anything else."""
        world = self.begin()
        waiter = Waiter(world)
        waiter.say("EHLO c.test", "MAIL FROM:<a@c.test>", "RCPT TO:<joe@example.org>", "DATA")
        world.platform.workers.delays["queue.write"] = GRACE + PATIENCE + 10
        waiter.transport.write(b"Subject: x\r\n\r\nHi.\r\n.\r\n")
        world.run(1)
        took, reason = self.stop(world)
        self.assertEqual(reason, "stopped")
        self.assertGreater(took, GRACE + PATIENCE)
        world.restart()
        self.finish(world, "delivered")
        self.assertEqual(len(self.letters(world)), 1)

    def test_theQueueIsNotWaitedForWithoutEnd(self) -> None:
        world = self.begin()
        waiter = Waiter(world)
        waiter.say("EHLO c.test", "MAIL FROM:<a@c.test>", "RCPT TO:<joe@example.org>", "DATA")
        world.platform.workers.delays["queue.write"] = NEVER
        waiter.transport.write(b"Subject: x\r\n\r\nHi.\r\n.\r\n")
        world.run(1)
        began = world.now
        done: list[object] = []
        world.service.stopService().addBoth(done.append)
        world.until(lambda: done, 200, "the daemon stops")
        world.isUp = False
        self.assertLess(world.now - began, 95)
        (event,) = world.eventsOf(DaemonStopped)
        self.assertIn("queue", event.reason)
