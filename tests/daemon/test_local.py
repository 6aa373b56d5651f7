"""Stories of mailboxes and commands."""

from __future__ import annotations

import errno

from pysmtpd.model.task import Exit
from pysmtpd.testing.processes import Called
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase

CONFIG = """
table sink { "@" = "pysmtpd" }
listen on 0.0.0.0 port 25
mda wrapper "checked" "/usr/bin/check %{mda}"
action "command" mda "/usr/bin/filter -f %{sender} %{dest.user}" virtual <sink>
action "checked" mda "/usr/bin/filter" wrapper "checked" virtual <sink>
action "mbox" mbox virtual <sink>
action "alias" maildir user pysmtpd alias { piped = "|/usr/bin/filter 'a b'", kept = "/var/lib/pysmtpd/kept", lost = "/dev/null" }
action "out" relay
match from any for domain "command.test" action "command"
match from any for domain "checked.test" action "checked"
match from any for domain "mbox.test" action "mbox"
match from any for domain "alias.test" action "alias"
match from any for any action "out"
"""

MAILBOX = "/var/mail/pysmtpd"


class LocalStories(StoryTestCase):
    def begin(self, config: str = CONFIG, **options: object) -> World:
        return super().begin(config, **options)

    def test_aCommand(self) -> None:
        world = self.begin()
        world.platform.processes.commands["/usr/bin/filter"] = lambda called: Exit()
        self.accepted(world, "Ann+x@command.test")
        self.finish(world, "delivered")
        (called,) = world.platform.processes.called
        self.assertEqual(called.argv, ("/usr/bin/filter", "-f", "jane@client.test", "Ann+x"))
        self.assertEqual((called.directory, called.limit), ("/var/lib/pysmtpd", 300.0))
        self.assertEqual(called.environment["EXTENSION"], "x")
        self.assertTrue(
            called.content.startswith(b"Return-Path: <jane@client.test>\nDelivered-To: Ann+x@command.test\nReceived: ")
        )

    def test_aCommandThatComesRound(self) -> None:
        """Later it is tried again; what it says in the end goes to the sender."""
        world = self.begin()
        remote = self.remote(world, "client.test")
        exits = [Exit(75), Exit(isLate=True), Exit(signal=9), Exit(67, output="no mailbox of that name")]
        world.platform.processes.commands["/usr/bin/filter"] = lambda called: exits.pop(0)
        self.accepted(world, "ann@command.test")
        self.finish(world, "bounced", "delivered", seconds=36_000)
        self.assertEqual(self.results(world)[:4], ["TempFail", "TempFail", "TempFail", "PermFail"])
        self.assertIn(b"no mailbox of that name", remote.messages[0].content)

    def test_aCommandThatIsMissing(self) -> None:
        """An operator's fault costs nobody a message."""
        world = self.begin()
        self.accepted(world, "ann@command.test")
        world.run(60)
        self.assertEqual(set(self.results(world)), {"TempFail"})
        world.platform.processes.commands["/usr/bin/filter"] = lambda called: Exit()
        self.finish(world, "delivered", seconds=3600)
        self.flushLoggedErrors()

    def test_anAddressThatLooksLikeAnOption(self) -> None:
        world = self.begin()
        world.platform.processes.commands["/usr/bin/filter"] = lambda called: Exit()
        self.accepted(world, "-rf@command.test")
        world.run(60)
        self.assertEqual((set(self.results(world)), world.platform.processes.called), ({"TempFail"}, []))
        self.flushLoggedErrors()

    def test_aWrapper(self) -> None:
        world = self.begin()
        world.platform.processes.commands["/usr/bin/check"] = lambda called: Exit()
        self.accepted(world, "ann@checked.test")
        self.finish(world, "delivered")
        self.assertEqual(world.platform.processes.called[0].argv, ("/usr/bin/check", "/usr/bin/filter"))

    def test_aMailbox(self) -> None:
        world = self.begin()
        for number in range(3):
            self.accepted(world, "ann@mbox.test", content=b"Subject: %d\r\n\r\nFrom me\r\n" % number)
        self.finish(world, "delivered", "delivered", "delivered")
        text = world.disk.read(MAILBOX)
        self.assertEqual(text.count(b"From jane@client.test Thu Jan  1 "), 3)
        self.assertEqual(text.count(b"\n\n>From me\n\n"), 3)

    def test_aFullDisk(self) -> None:
        """Nothing half is left, and it is tried again."""
        world = self.begin()
        world.disk.write(MAILBOX, b"From x\n\nbefore\n\n")
        world.disk.fail("write", errno.ENOSPC, after=1, path=MAILBOX)
        self.accepted(world, "ann@mbox.test")
        world.until(lambda: self.results(world), 60)
        self.assertEqual(world.disk.read(MAILBOX), b"From x\n\nbefore\n\n")
        self.finish(world, "delivered", seconds=3600)

    def test_aPowerCut(self) -> None:
        """What was delivered is there; what comes next stands for itself whatever the cut has left."""
        for seed in range(8):
            world = self.begin(seed=seed)
            self.accepted(world, "ann@mbox.test", content=b"Subject: 1\r\n\r\nfirst\r\n")
            world.until(lambda: self.results(world), 60)  # noqa: B023
            self.accepted(world, "ann@mbox.test", content=b"Subject: 2\r\n\r\nsecond\r\n")
            world.crash(powerCut=True)
            world.restart()
            self.accepted(world, "ann@mbox.test", content=b"Subject: 3\r\n\r\nthird\r\n")
            world.run(3600)
            messages = (b"\n" + world.disk.read(MAILBOX)).split(b"\nFrom jane@")
            for body in (b"\nfirst\n", b"\nsecond\n", b"\nthird\n"):
                self.assertTrue(
                    [message for message in messages if message.rstrip(b"\n").endswith(body.rstrip(b"\n"))], body
                )
            world.stop()

    def test_nodes(self) -> None:
        world = self.begin()
        called: list[Called] = []

        def filter(call: Called) -> Exit:
            called.append(call)
            return Exit()

        world.platform.processes.commands["/usr/bin/filter"] = filter
        self.accepted(world, "piped@alias.test", "kept@alias.test", "lost@alias.test")
        self.finish(world, "delivered", "delivered", "delivered")
        self.assertEqual(called[0].argv, ("/usr/bin/filter", "a b"))
        self.assertTrue(world.disk.read("/var/lib/pysmtpd/kept").startswith(b"From jane@client.test "))
        self.assertNotIn("/dev/null", world.disk.tree())
