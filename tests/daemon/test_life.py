"""The daemon's own life: starting, pausing, stopping in order, and starting again."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol

from pysmtpd.model.events import DaemonStarted, DaemonStopped, DeliveryAttempted
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import CLIENT, World
from tests.daemon.story import STORE, StoryTestCase, rules


class Typist(Protocol):
    """Somebody who types by hand."""

    def __init__(self) -> None:
        self.heard = b""
        self.isGone = False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.isGone = True

    @property
    def codes(self) -> list[bytes]:
        return [line[:3] for line in self.heard.split(b"\r\n") if line[3:4] == b" "]


def typist(world: World, *lines: str) -> Typist:
    """A connection that has said these lines."""
    protocol = Typist()
    factory: Any = ClientFactory.forProtocol(lambda: protocol)
    factory.noisy = False
    world.client(CLIENT).connectTCP(world.platform.network.addresses[0], 25, factory)
    world.run(1)
    for line in lines:
        say(world, protocol, line)
    return protocol


def say(world: World, protocol: Typist, line: str) -> None:
    assert protocol.transport is not None
    protocol.transport.write(line.encode() + b"\r\n")
    world.run(0.5)


DIALOGUE = ("EHLO client.test", "MAIL FROM:<jane@client.test>", "RCPT TO:<joe@example.org>", "DATA")


class StopTests(StoryTestCase):
    def ending(self, world: World) -> list[object]:
        """Begin an orderly end."""
        ended: list[object] = []
        world.service.stopService().addBoth(ended.append)
        world.run(0.5)
        return ended

    def test_runningTransactionsFinish(self) -> None:
        world = self.begin()
        idle = typist(world, "EHLO client.test")
        busy = typist(world, *DIALOGUE)
        ended = self.ending(world)
        self.assertEqual((idle.codes[-1], idle.isGone), (b"421", True))
        self.assertEqual(ended, [])
        refused = world.send("jane@client.test", "joe@example.org")
        world.run(1)
        self.assertEqual((refused.isOver, refused.replies), (True, []))
        say(world, busy, "Subject: late\r\n\r\nHi.\r\n.")
        self.assertEqual(busy.codes[-2:], [b"250", b"421"])
        world.run(5)
        self.assertEqual(ended, [None])
        self.assertEqual(len(world.eventsOf(DaemonStopped)), 1)
        world.isUp = False
        world.restart()
        self.finish(world, "delivered")

    def test_whoDoesNotFinishReads421(self) -> None:
        world = self.begin()
        busy = typist(world, *DIALOGUE)
        began = world.now
        ended = self.ending(world)
        world.until(lambda: ended, 20, "the end")
        self.assertEqual((busy.codes[-1], busy.isGone), (b"421", True))
        self.assertLess(world.now - began, 13)
        world.isUp = False
        world.restart()
        self.assertEqual(self.operator(world).queue(), [])

    def test_deliveriesUnderWayAreRecorded(self) -> None:
        """A peer takes the message while we stop: it is delivered once, over the restart, too."""
        world = self.begin()
        remote = self.remote(world).slow(4, "BODY")
        self.accepted(world, "ann@remote.test")
        world.until(lambda: remote.attempts, 10, "the content is under way")
        world.stop()
        self.assertEqual(len(remote.messages), 1)
        world.restart()
        self.finish(world, "delivered", seconds=7200)
        self.assertEqual(len(remote.messages), 1)

    def test_aPeerThatDoesNotAnswerIsLeft(self) -> None:
        """After the grace period the attempt counts as failed for now, and is made again in the next life."""
        world = self.begin()
        remote = self.remote(world).slow(1000, "BODY")
        self.accepted(world, "ann@remote.test")
        world.until(lambda: remote.attempts, 10, "the content is under way")
        began = world.now
        world.stop()
        self.assertLess(world.now - began, 13)
        (event,) = world.eventsOf(DeliveryAttempted)
        self.assertEqual(event.result, "TempFail")
        self.assertIn("421 4.3.2", event.stat)
        remote.forget()
        world.restart()
        self.finish(world, "delivered", seconds=3600)

    def test_whatHadNotBegunCostsNoTry(self) -> None:
        world = self.begin(rules("mta limit max-conn-per-host 1"))
        remote = self.remote(world).slow(3, "BODY")
        for _ in range(5):
            self.accepted(world, "ann@remote.test")
        world.until(lambda: remote.attempts, 10, "one is under way")
        world.stop()
        self.assertEqual(self.results(world), ["Ok"])
        remote.forget()
        world.restart()
        world.run(30)
        self.assertEqual(self.results(world), ["Ok"] * 5, "at once, not after a back-off")
        self.finish(world)

    def test_localDeliveryUnderWayIsRecorded(self) -> None:
        world = self.begin()
        world.platform.workers.delays["mda.0"] = 3.0
        self.accepted(world, "joe@example.org")
        world.run(0.1)
        self.assertEqual(self.operator(world).queue()[0]["condition"], "inflight")
        world.stop()
        self.assertEqual(self.results(world), ["Ok"])
        world.restart()
        self.finish(world, "delivered")
        self.assertEqual(len(self.letters(world)), 1)

    def test_stoppingTwice(self) -> None:
        world = self.begin()
        first, second = self.ending(world), self.ending(world)
        world.run(20)
        self.assertEqual((first, second), ([None], [None]))


class RestartTests(StoryTestCase):
    def test_everythingIsFoundAgain(self) -> None:
        """What waits, what is held by an operator, what has failed: each goes on where it was."""
        for backend in ("sqlite:", "fs:"):
            world = self.begin(rules(f'queue backend "{backend}"'))
            remote = self.remote(world).set(Condition.REFUSING)
            home = self.remote(world, "client.test").set(Condition.REFUSING)
            self.remote(world, "bad.test").reject("RCPT")
            for number in range(250):
                world.send("jane@client.test", f"ann{number}@remote.test", source=f"198.51.100.{number + 1}")
            self.accepted(world, "bob@bad.test")
            world.run(20)
            operator = self.operator(world)
            first = operator.queue()
            self.assertEqual(len(first), 251)
            operator.ask("PauseEnvelope", selection=first[0]["evpid"])
            before = operator.queue()
            world.crash()
            world.restart(5)
            operator = self.operator(world)
            after = operator.queue()
            self.assertEqual(len(after), 251)
            for old, new in zip(before, after, strict=True):
                for key in ("evpid", "sender", "recipient", "created", "expires", "tries", "last_reply"):
                    self.assertEqual(new[key], old[key])
            self.assertEqual(after[0]["condition"], "suspended")
            self.assertIn("suspended", after[0]["why"])
            remote.set(Condition.NORMAL)
            home.set(Condition.NORMAL)
            world.run(3 * 3600)
            (left,) = operator.queue()
            self.assertEqual(left["evpid"], first[0]["evpid"])
            self.assertEqual(operator.ask("ResumeEnvelope", selection=left["msgid"]), {"count": 1})
            self.finish(world, seconds=7200)
            self.assertEqual(len(remote.recipients), 250)
            self.assertEqual(len(home.messages), 1)

    def test_mailIsTakenWhileTheQueueIsLoaded(self) -> None:
        world = self.begin()
        self.remote(world).set(Condition.REFUSING)
        for number in range(600):
            world.send("jane@client.test", f"ann{number}@remote.test", source=f"198.51.100.{number % 200 + 1}")
        world.run(60)
        world.stop()
        world.restart(0)
        world.until(lambda: len(world.eventsOf(DaemonStarted)) == 2)
        world.platform.workers.delays["queue.read"] = 0.5
        operator = self.operator(world)
        status = operator.status()
        self.assertTrue(status["loading"])
        self.accepted(world, "joe@example.org")
        world.run(1)
        self.assertEqual(len(self.letters(world)), 1)
        world.run(30)
        self.assertFalse(operator.status()["loading"])
        self.assertEqual(sum(operator.status()["envelopes"].values()), 600)


class PauseTests(StoryTestCase):
    def test_startPaused(self) -> None:
        """C{-P}: the daemon begins with these parts paused; C{resume} lets them go."""
        world = self.begin(settings={"paused": ("mta", "mda")})
        remote = self.remote(world)
        self.accepted(world, "ann@remote.test", "joe@example.org")
        world.run(600)
        self.assertEqual((remote.connections, self.letters(world) if world.disk.tree("/var/lib") else []), (0, []))
        operator = self.operator(world)
        self.assertEqual(operator.status()["paused"], ["mta", "mda"])
        operator.ask("Resume", part="mta")
        world.run(10)
        self.assertEqual(remote.recipients, ["ann@remote.test"])
        self.assertEqual(operator.status()["paused"], ["mda"])
        operator.ask("Resume", part="mda")
        self.finish(world, "delivered", "delivered")

    def test_smtpPaused(self) -> None:
        world = self.begin(settings={"paused": ("smtp",)})
        sent = world.send("jane@client.test", "joe@example.org")
        world.run(10)
        self.assertEqual(sent.replies, [])
        self.operator(world).ask("Resume", part="smtp")
        world.run(10)
        self.assertTrue(sent.isAccepted)
        self.finish(world, "delivered")

    def test_pausingLetsWhatIsUnderWayGoOn(self) -> None:
        world = self.begin()
        remote = self.remote(world).slow(5, "BODY")
        self.accepted(world, "ann@remote.test")
        world.until(lambda: remote.attempts, 10)
        operator = self.operator(world)
        operator.ask("Pause", part="mta")
        self.accepted(world, "bob@remote.test")
        world.run(3600)
        self.assertEqual(remote.recipients, ["ann@remote.test"])
        self.assertEqual(operator.queue()[0]["why"], "ready, but the mta is paused")
        operator.ask("Resume", part="mta")
        self.finish(world, "delivered", "delivered")


class StartTests(StoryTestCase):
    def test_itSaysWhatItPromises(self) -> None:
        for backend, promise in (("sqlite:", "durable"), ("ram:", "volatile"), ("null:", "discarding")):
            world = self.begin(rules(f'queue backend "{backend}"'))
            (event,) = world.eventsOf(DaemonStarted)
            self.assertEqual((event.queue, event.durability), (backend, promise))
            self.assertEqual(self.operator(world).status()["durability"], promise)
            world.stop()

    def cannotStart(self, world: World) -> str:
        """Why it ends by itself."""
        said: list[str] = []
        world._settings["ended"] = said.append
        world.start(5)
        (why,) = said
        world.stop()
        return why

    def test_aSecondDaemonOnTheSameSpool(self) -> None:
        world = self.world(rules())
        first = world.disk.lock("/var/spool/pysmtpd/queue.lock")
        why = self.cannotStart(world)
        self.assertIn("in use by another daemon", why)
        self.assertIn("/var/spool/pysmtpd", why)
        first.close()

    def test_aNewerSpoolIsLeftUntouched(self) -> None:
        for backend, newest in (("sqlite", 3), ("fs", 2)):
            place = "/var/spool/pysmtpd" + ("/queue" if backend == "fs" else "")
            world = self.world(rules(f'queue backend "{backend}:"'))
            world.disk.write(f"{place}/queue.format", f"pysmtpd queue {backend} {newest + 1}\n".encode())
            world.disk.write(f"{place}/queue.db", b"of the future")
            before = {path: world.disk.read(path) for path in world.disk.tree(place)}
            why = self.cannotStart(world)
            self.assertIn(f"has format {newest + 1}, this release knows format {newest}", why)
            self.assertEqual({path: world.disk.read(path) for path in world.disk.tree(place)}, before)

    def test_aPortThatIsTaken(self) -> None:
        world = self.world(rules())
        world.platform.network.listenTCP(25, ClientFactory(), interface="0.0.0.0")
        why = self.cannotStart(world)
        self.assertIn("25", why)

    def test_maildirIsMade(self) -> None:
        world = self.begin()
        self.accepted(world, "joe@example.org")
        self.finish(world, "delivered")
        self.assertTrue(all(path.startswith(f"{STORE}/Maildir/new/") for path in world.disk.tree(STORE)))
