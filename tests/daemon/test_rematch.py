"""Rematch: the rules are asked again about mail that waits."""

from __future__ import annotations

from typing import Any

from pysmtpd.control import render
from pysmtpd.control.amp import AMP_COMMANDS
from pysmtpd.model.events import EnvelopeBounced
from pysmtpd.testing.daemon import CONFIG_PATH
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase

CONFIG = """
table aliases { "list" = "carol@remote.test, bob", "ann" = "bob, joe" }
listen on 0.0.0.0 port 25
action "local" maildir alias <aliases>
action "other" maildir "~/Other" alias <aliases>
action "out" relay
action "smart" relay host "smtp://smart.test"
"""
RULES = """
match from any for domain "example.org" action "local"
match from src 198.51.100.0/24 for any action "out"
match from local for any action "out"
"""


class RematchTestCase(StoryTestCase):
    def waiting(self, *recipients: str, rules: str = RULES, **options: Any) -> World:
        """Mail waits for a host that is down."""
        world = self.begin(CONFIG + rules, **options)
        self.mx = self.remote(world).set(Condition.REFUSING)
        self.smart = world.remote("smart.test")
        for name in ("bob", "joe"):
            world.user(name)
        self.accepted(world, *(recipients or ("ann@remote.test",)))
        world.run(10)
        return world

    def ruled(self, world: World, rules: str) -> None:
        """The configuration has other rules now."""
        world.disk.write(CONFIG_PATH, (CONFIG + rules).encode())
        self.assertEqual(self.operator(world).whole("Reload")["errors"], [])

    def rematch(self, world: World, selection: str = "all", dry: bool = False) -> list[dict[str, Any]]:
        done = self.operator(world).whole("Rematch", selection=selection, dry=dry)
        self.assertEqual(done["count"], len([row for row in done["envelopes"] if not row["busy"]]))
        rows: list[dict[str, Any]] = done["envelopes"]
        return rows


SMART = RULES.replace('for any action "out"', 'for any action "smart"')


class RematchTests(RematchTestCase):
    def test_anotherAction(self) -> None:
        world = self.waiting()
        self.ruled(world, SMART)
        (row,) = self.rematch(world)
        self.assertEqual((row["old_action"], row["old_rule"]), ("out", f"{CONFIG_PATH}:10"))
        self.assertEqual((row["action"], row["rule"], row["hold"]), ("smart", f"{CONFIG_PATH}:10", ""))
        world.until(lambda: self.smart.messages, 60, "it goes there at once")
        self.finish(world, "delivered")

    def test_dryRun(self) -> None:
        world = self.waiting()
        self.ruled(world, SMART)
        (row,) = self.rematch(world, dry=True)
        self.assertEqual(row["action"], "smart")
        (queued,) = self.operator(world).queue()
        self.assertEqual(queued["action"], "out")
        text = render.rematch({"count": 1, "envelopes": [row]}, True)
        self.assertEqual(
            text,
            f'{row["evpid"]} <ann@remote.test>: action "out" ({CONFIG_PATH}:10) -> "smart" ({CONFIG_PATH}:10)\n'
            "1 envelope would change",
        )

    def test_nothingChanges(self) -> None:
        world = self.waiting()
        self.assertEqual(self.rematch(world), [])
        self.ruled(world, "\n\n" + RULES)
        self.assertEqual(self.rematch(world), [])

    def test_aRejectionHolds(self) -> None:
        """It is shown, never bounced; another rematch, or an operator, lets it go."""
        world = self.waiting()
        self.ruled(world, 'match from any for domain "remote.test" reject\n' + RULES)
        (row,) = self.rematch(world)
        self.assertEqual((row["action"], row["hold"][:9]), ("", "rematch: "))
        self.mx.set(Condition.NORMAL)
        world.run(86400)
        (queued,) = self.operator(world).queue()
        self.assertEqual(queued["condition"], "held")
        self.assertIn(f"held: rematch: ann@remote.test is rejected at {CONFIG_PATH}:8", queued["why"])
        self.assertEqual(world.eventsOf(EnvelopeBounced), [])
        self.assertEqual(self.rematch(world), [])
        self.ruled(world, SMART)
        self.rematch(world)
        world.until(lambda: self.smart.messages, 60, "it goes")

    def test_whatIsHeldCanBeResumed(self) -> None:
        world = self.waiting()
        self.ruled(world, 'match from any for domain "example.org" action "local"\n')
        self.rematch(world)
        self.mx.set(Condition.NORMAL)
        self.operator(world).ask("ResumeEnvelope", selection="all")
        self.ruled(world, RULES)
        world.until(lambda: self.mx.messages, 86400, "it goes its old way")

    def test_itOutlastsARestart(self) -> None:
        for how in (SMART, 'match from any for domain "x.test" action "out"\n'):
            world = self.waiting()
            self.ruled(world, how)
            (row,) = self.rematch(world)
            if row["action"]:
                self.smart.set(Condition.REFUSING)
            world.crash(powerCut=True)
            world.restart(10)
            (queued,) = self.operator(world).queue()
            self.assertEqual(queued["action"], row["action"] or "out")
            self.assertEqual(queued["condition"] == "held", not row["action"])
            world.stop()

    def test_theWayOutlastsFurtherTries(self) -> None:
        """A try that fails does not lead it back."""
        world = self.waiting()
        self.ruled(world, SMART)
        self.smart.set(Condition.REFUSING)
        self.rematch(world)
        world.run(7200)
        world.crash()
        world.restart(10)
        (queued,) = self.operator(world).queue()
        self.assertGreater(queued["tries"], 2)
        self.assertEqual(queued["action"], "smart")
        self.smart.set(Condition.NORMAL)
        world.until(lambda: self.smart.messages, 86400, "it goes")

    def test_theCurrentAddressIsMatched(self) -> None:
        """An alias is not followed again, and what it gave counts as local, as it did."""
        world = self.waiting("list@example.org", rules=RULES.replace("198.51.100.0/24", "192.0.2.0/24"))
        queued = self.operator(world).queue()[0]
        self.assertEqual((queued["recipient"], queued["original"]), ("carol@remote.test", "list@example.org"))
        self.ruled(world, SMART.replace("198.51.100.0/24", "192.0.2.0/24").replace("carol@", "other@"))
        self.rematch(world)
        world.until(lambda: self.smart.messages, 60, "it goes")
        self.assertEqual(self.smart.recipients, ["carol@remote.test"])

    def test_localStaysItsUsers(self) -> None:
        world = self.begin(CONFIG + RULES)
        world.user("bob")
        world.user("joe")
        self.operator(world).ask("Pause", part="mda")
        self.accepted(world, "ann@example.org")
        self.ruled(world, RULES.replace('action "local"', 'action "other"'))
        rows = self.rematch(world)
        self.assertEqual([row["action"] for row in rows], ["other", "other"])
        self.assertEqual([row["user"] for row in self.operator(world).queue()], ["bob", "joe"])

    def test_oneCopyOfAnAddressThatIsRelayedNow(self) -> None:
        world = self.begin(CONFIG + RULES)
        smart = world.remote("smart.test")
        world.user("bob")
        world.user("joe")
        self.operator(world).ask("Pause", part="mda")
        self.accepted(world, "ann@example.org")
        self.ruled(world, RULES.replace('action "local"', 'action "smart"'))
        first, second = self.rematch(world)
        self.assertEqual((first["action"], second["action"]), ("smart", ""))
        self.assertIn("goes there already", second["hold"])
        world.run(60)
        self.assertEqual(smart.recipients, ["ann@example.org"])

    def test_relayedAndLocalNow(self) -> None:
        """To one user: it goes there. To several: a queued envelope does not multiply."""
        local = 'match from any for domain "remote.test" action "local"\n'
        world = self.waiting("joe@remote.test", "ann@remote.test", "nobody@remote.test")
        self.ruled(world, local + RULES)
        joe, ann, nobody = self.rematch(world)
        self.assertEqual((joe["action"], ann["action"], nobody["action"]), ("local", "", ""))
        self.assertIn("2 deliveries", ann["hold"])
        self.assertIn("no user", nobody["hold"])
        world.run(60)
        queued = self.operator(world).queue()
        self.assertEqual(
            [(row["agent"], row["user"], row["condition"] == "held") for row in queued[:2]],
            [("mda", "joe", False), ("mta", "", True)],
        )
        # The mda has tried it: here it delivers to one user alone.
        self.assertIn("as user joe", queued[0]["last_reply"])

    def test_whatIsBeingDeliveredIsLeftAlone(self) -> None:
        world = self.waiting()
        self.mx.set(Condition.SILENT)
        self.operator(world).ask("Schedule", selection="all")
        world.run(5)
        (queued,) = self.operator(world).queue()
        self.assertEqual(queued["condition"], "inflight")
        self.ruled(world, SMART)
        (row,) = self.rematch(world)
        self.assertTrue(row["busy"])
        (queued,) = self.operator(world).queue()
        self.assertEqual(queued["action"], "out")

    def test_anActionThatVanished(self) -> None:
        """What waits for its action finds another one."""
        world = self.waiting()
        text = (CONFIG + SMART).replace('action "out" relay', "")
        world.disk.write(CONFIG_PATH, text.encode())
        self.operator(world).whole("Reload")
        self.operator(world).ask("Schedule", selection="all")
        world.run(10)
        (queued,) = self.operator(world).queue()
        self.assertIn("no action", queued["why"])
        self.rematch(world)
        world.until(lambda: self.smart.messages, 60, "it goes")
        self.finish(world, "delivered")


class CrashTests(RematchTestCase):
    def rematched(self, world: World) -> bool:
        """Has it come to an end before the power failed?"""
        done: list[object] = []
        command = AMP_COMMANDS["Rematch"]
        answer = self.operator(world).protocol.callRemote(command, selection="all", dry=False, cursor="")
        answer.addBoth(done.append)
        world.until(lambda: done or not world.isUp, 5, "all is matched again, or the power is gone")
        return world.isUp

    def test_thePowerFailsAtAnyMoment(self) -> None:
        """Each envelope goes the old way or the new one, and is delivered once."""
        ways: dict[str, int] = {}
        for moment in range(1, 40):
            world = self.waiting("ann@remote.test", "bob@remote.test", seed=f"{self.seed}/{moment}")
            self.ruled(world, SMART)
            world.disk.cutAfter = moment
            isCut = not self.rematched(world)
            if not isCut:
                world.disk.cutAfter = 0
                world.crash(powerCut=True)
            self.mx.set(Condition.NORMAL)
            world.restart(5)
            world.run(86400)
            self.assertEqual(self.operator(world).queue(), [])
            got = sorted(self.mx.recipients + self.smart.recipients)
            self.assertEqual(sorted(dict.fromkeys(got)), ["ann@remote.test", "bob@remote.test"])
            way = f"{len(self.mx.recipients)}/{len(self.smart.recipients)}"
            ways[way] = ways.get(way, 0) + 1
            self.flushLoggedErrors()
            if not isCut:
                break
        self.assertIn("0/2", ways)
