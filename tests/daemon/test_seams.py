"""Other people's parts in the whole daemon: a filter, tables, a codec, a scheduler; found and chosen as any plugin is."""

from __future__ import annotations

from pysmtpd.model.events import CommandFailed, EnvelopeAccepted
from pysmtpd.testing.internet import Condition
from tests.daemon import plugins
from tests.daemon.story import StoryTestCase, rules
from tests.listen.test_filter import Rewriter
from tests.queue.codec import SealingCodec


class SeamTests(StoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        plugins.install(self)

    def test_aFilterRewritesMailAndBody(self) -> None:
        for slow in (False, True):
            world = self.begin(settings={"filter": Rewriter(b"Hello", b"Good day", slow)})
            remote = self.remote(world)
            sent = world.send(
                "anna@example.org", "joe@example.org", "ann@remote.test", content=b"Subject: x\n\nHello Joe\n"
            )
            world.run(10)
            self.assertTrue(sent.isAccepted, sent.replies)
            (letter,) = self.letters(world)
            self.assertTrue(letter.startswith(b"Return-Path: <anna@rewritten.example>"), letter)
            self.assertTrue(letter.endswith(b"\n\nGood day Joe\n"), letter)
            (received,) = remote.messages
            self.assertEqual(received.sender, "anna@rewritten.example")
            self.assertTrue(received.content.endswith(b"\r\n\r\nGood day Joe\r\n"))
            self.assertEqual(world.eventsOf(EnvelopeAccepted)[0].sender, "anna@rewritten.example")
            self.finish(world, "delivered", "delivered")

    TABLES = """
table domains {0}
table people {0}
listen on 0.0.0.0 port 25
action "local" maildir virtual <people>
match from any for domain <domains> action "local"
"""

    def test_aTableThatAnswersLater(self) -> None:
        world = self.begin(self.TABLES.format("slow:50"))
        accepted = world.send("jane@client.test", "joe@example.org")
        unknown = world.send("jane@client.test", "ann@example.org")
        elsewhere = world.send("jane@client.test", "joe@elsewhere.test")
        world.run(10)
        self.assertTrue(accepted.isAccepted, accepted.replies)
        self.assertEqual(unknown.reply("RCPT")[:3], "550", unknown.replies)
        self.assertEqual(elsewhere.reply("RCPT")[:3], "550", elsewhere.replies)
        self.finish(world, "delivered")

    def test_aTableThatFails(self) -> None:
        """The peer reads 451 and comes again; it is not told why, the log is."""
        world = self.begin(self.TABLES.format("broken:"))
        sent = world.send("jane@client.test", "joe@example.org")
        world.run(10)
        self.assertEqual(sent.reply("RCPT")[:3], "451", sent.replies)
        self.assertNotIn("directory server", sent.reply("RCPT"))
        (event,) = world.eventsOf(CommandFailed)
        self.assertIn("no route to the directory server", event.reason)
        self.finish(world)

    def test_contentIsEncryptedAtRest(self) -> None:
        for backend in ("sqlite:", "fs:"):
            codec = SealingCodec({"1": b"k" * 32, "2": b"l" * 32}, "1")
            settings = {"codec": codec, "paused": ("mda",)}
            world = self.begin(rules(f'queue backend "{backend}"'), settings=settings)
            large = b"Subject: large\n\n" + b"a secret of many words\n" * 40_000
            self.accepted(world, "joe@example.org", content=b"Subject: small\n\na secret of few words\n")
            self.accepted(world, "joe@example.org", content=large)
            world.stop()
            kept = b"".join(world.disk.read(path) for path in world.disk.tree("/var/spool/pysmtpd"))
            self.assertNotIn(b"a secret of", kept)
            # The key was changed meanwhile; the old one still opens.
            world._settings |= {"codec": SealingCodec({"1": b"k" * 32, "2": b"l" * 32}, "2"), "paused": ()}
            world.restart()
            self.finish(world, "delivered", "delivered")
            letters = sorted(self.letters(world), key=len)
            self.assertTrue(letters[0].endswith(b"a secret of few words\n"))
            self.assertTrue(letters[1].endswith(large))

    def test_aLeasedScheduler(self) -> None:
        world = self.begin(rules('scheduler backend "leased:"'))
        remote = self.remote(world).tempfail("RCPT", times=2)
        dead = self.remote(world, "dead.test").set(Condition.SILENT)
        home = self.remote(world, "client.test")
        self.remote(world, "bad.test").reject("RCPT")
        self.accepted(world, "a@remote.test", "b@remote.test", "c@bad.test", "joe@example.org", "d@dead.test")
        world.run(3 * 3600)
        (row,) = self.operator(world).queue()
        self.assertEqual((row["recipient"], row["condition"]), ("d@dead.test", "waiting"))
        self.assertEqual(remote.recipients, ["a@remote.test", "b@remote.test"])
        self.assertEqual(len(home.messages), 1)
        world.stop()
        dead.set(Condition.NORMAL)
        world.restart()
        self.finish(world, seconds=7200)
        self.assertEqual(dead.recipients, ["d@dead.test"])
        self.assertEqual(len(self.letters(world)), 1)
