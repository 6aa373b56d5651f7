"""Mail that goes on from here: aliases, .forward, rewritten senders, and what the sender's wishes become."""

from __future__ import annotations

from pysmtpd.model.events import EnvelopeAccepted, SrsRefused
from pysmtpd.testing.remote import RemoteServer
from pysmtpd.testing.world import World
from tests.daemon.story import STORE, StoryTestCase

CONFIG = """
listen on 0.0.0.0 port 25
srs key "secret"
table aliases { staff = "pysmtpd, ann@remote.test", one = "ann@remote.test", cc = ":include:/etc/pysmtpd/cc" }
action "local" maildir alias <aliases>
action "out" relay srs
match from any for domain "example.org" action "local"
match from any for local action "local"
match from local for any action "out"
"""


class ExpansionTests(StoryTestCase):
    def start(self) -> World:
        world = self.begin(CONFIG)
        self.mx = self.remote(world, extensions=("PIPELINING", "DSN", "8BITMIME"))
        return world

    def said(self, server: RemoteServer, verb: str) -> list[str]:
        return [line for _, way, line in server.transcript if line.startswith(verb)]

    def test_oneAliasKeepsTheSendersWishes(self) -> None:
        world = self.start()
        self.accepted(world, "one@example.org", rcptParameters=["NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;one@example.org"])
        self.finish(world, "delivered")
        self.assertEqual(
            self.said(self.mx, "RCPT"),
            ["RCPT TO:<ann@remote.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;one@example.org"],
        )

    def test_severalCopiesTellNobodyOfTheirSuccess(self) -> None:
        """RFC 3461 5.2.7."""
        for wish, rest in (
            ("SUCCESS,FAILURE", "FAILURE"),
            ("SUCCESS", "NEVER"),
            ("DELAY", "DELAY"),
            ("NEVER", "NEVER"),
        ):
            world = self.start()
            self.accepted(world, "staff@example.org", rcptParameters=[f"NOTIFY={wish} ORCPT=rfc822;staff@example.org"])
            self.finish(world, "delivered", "delivered")
            self.assertEqual(
                self.said(self.mx, "RCPT"), [f"RCPT TO:<ann@remote.test> NOTIFY={rest} ORCPT=rfc822;staff@example.org"]
            )

    def test_forward(self) -> None:
        world = self.start()
        world.disk.write(f"{STORE}/.forward", b"# away\nann@remote.test, \\pysmtpd\n")
        self.accepted(world, "pysmtpd+x@example.org")
        self.finish(world, "delivered", "delivered")
        self.assertEqual(len(self.letters(world)), 1)
        self.assertEqual(
            [event.to for event in world.eventsOf(EnvelopeAccepted)], ["ann@remote.test", "pysmtpd+x@example.org"]
        )

    def test_theWayIsShown(self) -> None:
        """In the log, in the queue, over a restart, and in the report; but the sender learns nothing of files and commands."""
        world = self.begin(CONFIG.replace("{ staff", '{ lost = "pysmtpd, |/bin/prog", staff'))
        self.remote(world).reject("RCPT", "451 4.2.1 busy")
        client = self.remote(world, "client.test")
        world.disk.write(f"{STORE}/.forward", b"# away\nann@remote.test\n")
        self.accepted(world, "lost@example.org")
        way = f'pysmtpd by aliases["lost"] (/etc/pysmtpd/smtpd.conf:4) > ann@remote.test by {STORE}/.forward:2'
        self.assertEqual(
            [event.via for event in world.eventsOf(EnvelopeAccepted)],
            [way, '|/bin/prog by aliases["lost"] (/etc/pysmtpd/smtpd.conf:4)'],
        )
        world.run(60)
        world.crash()
        world.restart()
        row = self.operator(world).queue()[0]
        self.assertEqual(self.operator(world).ask("Envelope", id=row["evpid"])["envelope"]["via"], way)
        world.run(5 * 86_400)
        text = b"".join(report.content for report in client.messages).replace(b"\r\n", b"\n")
        # That it is late, and that it has failed.
        self.assertEqual(text.count(b"<lost@example.org> (sent on as <ann@remote.test>)\n    by way of pysmtpd\n"), 2)
        self.assertEqual(text.count(b"<lost@example.org>\n    by way of a command\n"), 2)
        self.assertNotIn(b".forward", text)

    def test_include(self) -> None:
        world = self.start()
        world.disk.write("/etc/pysmtpd/cc", b"pysmtpd\nann@remote.test\nbob@remote.test\n")
        self.accepted(world, "cc@example.org")
        self.finish(world)
        self.assertEqual(len(self.mx.recipients), 2)

    def test_duplicatesOfAMessage(self) -> None:
        """Two recipients lead to the same place: one copy."""
        world = self.start()
        self.accepted(world, "one@example.org", "staff@example.org")
        self.finish(world, "delivered", "delivered")
        self.assertEqual(self.mx.recipients, ["ann@remote.test"])

    def test_aBounceComesBack(self) -> None:
        world = self.start()
        client = self.remote(world, "client.test")
        self.accepted(world, "one@example.org", sender="jane@client.test")
        world.run(5)
        (mail,) = self.said(self.mx, "MAIL")
        address = mail.partition("<")[2].partition(">")[0]
        self.assertRegex(address, r"\ASRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=client\.test=jane@")
        self.accepted(world, address, sender="")
        self.finish(world, "delivered", "delivered")
        self.assertEqual(client.recipients, ["jane@client.test"])

    def test_aForgedBounce(self) -> None:
        world = self.start()
        name = world.platform.hostname
        sent = world.send("", f"SRS0=AAAAAAAA=AA=client.test=jane@{name}")
        world.until(lambda: sent.isOver, 60, "the session ends")
        self.assertIn("550 5.1.1 Invalid recipient", str(sent.replies))
        self.assertEqual(len(world.eventsOf(SrsRefused)), 1)

    def test_postmaster(self) -> None:
        """RFC 5321 4.5.1."""
        world = self.begin(CONFIG.replace("{ staff", '{ postmaster = "pysmtpd", staff'))
        self.accepted(world, "postmaster")
        self.finish(world, "delivered")
        self.assertEqual(len(self.letters(world)), 1)
