"""Rates by each key and each unit: who has the key waits, everybody else does not, and a restart changes neither."""

from __future__ import annotations

from base64 import b64encode

from pysmtpd.testing.remote import RemoteServer
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase
from tests.daemon.waiting import Waiter

CONFIG = """
table people {{ "ann" = "{{PLAIN}}secret", "ben" = "{{PLAIN}}secret" }}
listen on 0.0.0.0 port 25
listen on 0.0.0.0 port 587 auth <people> auth-without-tls tag "shop"
mta provider "big" "mx.one.test"
{rate}
action "here" relay src 192.0.2.25
action "there" relay src 192.0.2.26
match auth from any for any action "here"
match from any mail-from "there@client.test" for any action "there"
match from any for any action "here"
"""

Letter = tuple[str, str, str]
"""User (empty: nobody), sender, recipient."""

USUAL: Letter = ("", "a@client.test", "x@one.test")
LIMITED: dict[str, tuple[Letter, Letter | None]] = {
    "": (USUAL, None),
    'for domain "one.test"': (USUAL, ("", "a@client.test", "x@two.test")),
    'for host "mx.one.test"': (USUAL, ("", "a@client.test", "x@three.test")),
    "for provider big": (USUAL, ("", "a@client.test", "x@three.test")),
    'for src "192.0.2.25"': (USUAL, ("", "there@client.test", "x@one.test")),
    'for mail-from "news@client.test"': (("", "News@client.test", "x@one.test"), USUAL),
    "for auth ann": (("ann", "a@client.test", "x@one.test"), ("ben", "a@client.test", "x@one.test")),
    'for tag "shop"': (("ann", "a@client.test", "x@one.test"), USUAL),
}
"""For each key who is under it, and who is not."""


class KeyTests(StoryTestCase):
    def begun(self, rate: str) -> tuple[World, list[RemoteServer]]:
        world = self.begin(CONFIG.format(rate=rate), addresses=("192.0.2.25", "192.0.2.26"))
        remotes = [world.remote(f"mx.{name}.test", domains=(f"{name}.test",)) for name in ("one", "three")]
        world.dns.mx("two.test", "mx.one.test")
        return world, remotes

    def write(self, world: World, letter: Letter, local: str) -> None:
        user, sender, recipient = letter
        waiter = Waiter(world, port=587 if user else 25)
        lines = ["EHLO client.test"]
        if user:
            lines.append("AUTH PLAIN " + b64encode(f"\0{user}\0secret".encode()).decode())
        lines += [f"MAIL FROM:<{sender}>", f"RCPT TO:<{local}@{recipient.partition('@')[2]}>", "DATA"]
        replies = waiter.say(*lines, "Subject: x\r\n\r\nHello.\r\n.", "QUIT")
        self.assertEqual(replies[-2][:3], "250", replies)

    def arrived(self, remotes: list[RemoteServer]) -> list[str]:
        return [recipient.partition("@")[0] for remote in remotes for recipient in remote.recipients]

    def test_eachKey(self) -> None:
        for key, (limited, other) in LIMITED.items():
            for unit in ("messages", "recipients"):
                with self.subTest(key=key, unit=unit):
                    world, remotes = self.begun(f"mta rate {key} {unit} 1 per 10m")
                    for number in range(2):
                        self.write(world, limited, f"limited{number}")
                    if other is not None:
                        for number in range(2):
                            self.write(world, other, f"other{number}")
                    world.run(5)
                    expected = ["limited0", *(["other0", "other1"] if other is not None else [])]
                    self.assertEqual(sorted(self.arrived(remotes)), expected)
                    (row,) = self.operator(world).queue()
                    self.assertIn(f"{unit} 1 per 10m", row["why"])
                    world.crash()
                    world.restart()
                    world.run(400)
                    self.assertEqual(sorted(self.arrived(remotes)), expected, "a crash is no way around it")
                    world.run(250)
                    self.assertEqual(sorted(self.arrived(remotes)), sorted([*expected, "limited1"]))
                    self.finish(world)

    def test_connectionsByInterval(self) -> None:
        """Only a host, a provider, a source and everything bound them; a connection that stands may be used again."""
        for key in ("", 'for host "mx.one.test"', "for provider big", 'for src "192.0.2.25"'):
            with self.subTest(key=key):
                world, remotes = self.begun(f"mta limit session-keepalive 2s\nmta rate {key} connections 1 per 10m")
                self.write(world, USUAL, "first")
                self.write(world, USUAL, "second")
                world.run(30)
                self.assertEqual(self.arrived(remotes), ["first", "second"])
                self.write(world, USUAL, "third")
                world.run(30)
                bound = self.operator(world).rows("Relays")[0]["constraint"]
                self.assertEqual(bound["kind"], "rate")
                self.assertIn("connections 1 per 10m", bound["text"])
                world.run(300)
                self.assertEqual(len(self.arrived(remotes)), 2)
                world.stop()
                world.restart()
                world.run(100)
                self.assertEqual(len(self.arrived(remotes)), 2)
                world.run(200)
                self.assertEqual(self.arrived(remotes), ["first", "second", "third"])
                self.assertEqual(remotes[0].connections, 2)
                self.finish(world)
