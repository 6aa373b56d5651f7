"""A crowd: mail for a host that is down has one state for all, whatever operators and the power do to some of it meanwhile."""

from __future__ import annotations

from random import Random

from pysmtpd.model.events import EnvelopeAccepted
from pysmtpd.queue.shares import SMALLEST
from pysmtpd.testing.daemon import SPOOL
from pysmtpd.testing.internet import Condition
from tests.daemon.story import StoryTestCase

PAUSED = ("suspended", "inflight")
"""Who is paused while it is tried is so from the end of that try on."""


class CrowdTests(StoryTestCase):
    def test_someAreTreatedApart(self) -> None:
        world = self.begin()
        mx = self.remote(world).set(Condition.REFUSING)
        for number in range(2 * SMALLEST):
            self.accepted(world, f"{number}@remote.test", f"list{number}@remote.test", sender="jane@example.org")
        # New mail has no try in common with anybody.
        world.run(3600)
        database = world.disk.database(f"{SPOOL}/queue.db")
        shared = "SELECT count(*) FROM envelope WHERE share IS NOT NULL"
        self.assertGreater(database.execute(shared).fetchone()[0], SMALLEST)
        database.close()
        random = Random(f"{world.seed} crowd")
        paused: set[str] = set()
        removed: set[str] = set()
        operator = self.operator(world)
        for step in range(16):
            world.run(random.choice((1, 600, 1800)))
            queue = {row["evpid"]: row for row in operator.queue()}
            self.assertFalse(removed.intersection(queue))
            for id, row in queue.items():
                if id in paused:
                    self.assertIn(row["condition"], PAUSED)
                else:
                    self.assertNotEqual("suspended", row["condition"])
            some = random.sample(sorted(queue), 5)
            if step % 4 == 0:
                for id in some:
                    operator.ask("PauseEnvelope", selection=id)
                paused.update(some)
            elif step % 4 == 1:
                for id in some:
                    operator.ask("ResumeEnvelope", selection=id)
                paused.difference_update(some)
            elif step % 4 == 2:
                operator.ask("Remove", selection=some[0])
                world.run(10)
                removed.add(some[0])
            else:
                # What was asked for may be on its way to the disk yet.
                world.run(3)
                queue = {row["evpid"]: row for row in operator.queue()}
                world.crash(powerCut=random.random() < 0.5)
                world.restart()
                operator = self.operator(world)
                # At most the try under way is forgotten, and nobody has the tries of another.
                for row in operator.queue():
                    tries = queue[row["evpid"]]["tries"]
                    self.assertIn(row["tries"], range(tries - 1, tries + 2))
        operator.ask("ResumeEnvelope", selection="all")
        mx.set(Condition.NORMAL)
        self.finish(world, seconds=86_400)
        # Whom jane is told about lies beside.
        crowd = [event.evpid for event in world.eventsOf(EnvelopeAccepted) if "remote.test" in event.to]
        ends = [end for (end,) in map(self.ends(world).__getitem__, crowd)]
        self.assertEqual(len(removed), ends.count("removed"))
        self.assertEqual(4 * SMALLEST - len(removed), ends.count("delivered"))
