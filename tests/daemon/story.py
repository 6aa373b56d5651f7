"""What the stories share: a usual configuration, letters, and the law that every envelope has one end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pysmtpd.model.events import DeliveryAttempted, EnvelopeAccepted, EnvelopeBounced, EnvelopeRemoved
from pysmtpd.testing.case import WorldTestCase
from pysmtpd.testing.remote import RemoteServer
from pysmtpd.testing.world import World
from tests.control.operator import Operator

RULES = """
table sink {{ "@" = "pysmtpd" }}
listen on 0.0.0.0 port 25
{before}
action "local" maildir virtual <sink>
action "out" relay {relay}
match from any for domain "example.org" action "local"
match from any for any action "out"
"""

STORE = "/var/lib/pysmtpd"


def rules(before: str = "", relay: str = "") -> str:
    """Mail for example.org stays here, all else goes out. C{before} stands before the actions."""
    return RULES.format(before=before, relay=relay)


class StoryTestCase(WorldTestCase):
    """Every envelope that a story accepts ends at most once; C{finish} says that it has ended."""

    def begin(self, config: str = "", **options: Any) -> World:
        """A World whose daemon runs."""
        world = self.world(config or rules(), **options)
        world.start()
        return world

    def remote(self, world: World, domain: str = "remote.test", **script: Any) -> RemoteServer:
        return world.remote(f"mx.{domain}", domains=[domain], **script)

    def operator(self, world: World) -> Operator:
        return Operator(world)

    def accepted(self, world: World, *recipients: str, sender: str = "jane@client.test", **options: Any) -> None:
        """Somebody sends a message, and reads 250."""
        sent = world.send(sender, *recipients, **options)
        world.until(lambda: sent.isOver, 3600, "the session ends")
        self.assertTrue(sent.isAccepted, sent.replies)

    def letters(self, world: World) -> list[bytes]:
        """What lies in the Maildir, in the order of arrival."""
        paths = [path for path in world.disk.tree(STORE) if "/new/" in path]
        return [world.disk.read(path) for path in sorted(paths, key=lambda path: path.rpartition("/")[2])]

    def ends(self, world: World) -> dict[int, list[str]]:
        """How each accepted envelope ended, by the events."""
        ends: dict[int, list[str]] = {event.evpid: [] for event in world.eventsOf(EnvelopeAccepted)}
        for event in world.eventsOf(DeliveryAttempted, EnvelopeBounced, EnvelopeRemoved):
            if isinstance(event, EnvelopeRemoved):
                ends[event.evpid].append("removed")
            elif isinstance(event, EnvelopeBounced):
                ends[event.evpid].append("bounced" if event.bounce else "unreported")
            elif event.result == "Ok":
                ends[event.evpid].append("delivered")
        return ends

    def finish(self, world: World, *expected: str, seconds: float = 60.0) -> None:
        """Let time pass, then stop: nothing is queued, and each envelope has ended once, in these ways in the order of acceptance."""
        world.run(seconds)
        if world.isUp:
            self.assertEqual(self.operator(world).queue(), [])
            world.stop()
        ends = self.ends(world)
        self.assertEqual([len(end) for end in ends.values()], [1] * len(ends), ends)
        if expected:
            self.assertEqual([end[0] for end in ends.values()], list(expected))

    def results(self, world: World) -> Sequence[str]:
        """Of all attempts, in order."""
        return [event.result for event in world.eventsOf(DeliveryAttempted)]
