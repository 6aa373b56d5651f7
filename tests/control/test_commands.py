"""Every command of the control socket, asked of a whole daemon by Twisted's AMP client."""

from __future__ import annotations

from typing import Any

from twisted.protocols.amp import AMP, UnhandledCommand

from pysmtpd.control.amp import AMP_COMMANDS, BadArgument, NoSuchItemError, Unavailable
from pysmtpd.control.schema import COMMANDS, PAGE
from pysmtpd.model.events import Commanded, DaemonStarted
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World
from tests.control.operator import Operator
from tests.daemon.story import StoryTestCase, rules

NOBODY = "00000000000000aa"


class CommandTestCase(StoryTestCase):
    def waiting(self, *recipients: str, **options: Any) -> tuple[World, Operator]:
        """A World with a message that cannot be delivered now."""
        world = self.begin(**options)
        self.mx = self.remote(world).set(Condition.REFUSING)
        self.accepted(world, *(recipients or ("ann@remote.test", "bob@remote.test")))
        world.run(10)
        return world, self.operator(world)


class ShowTests(CommandTestCase):
    def test_queue(self) -> None:
        world, operator = self.waiting()
        rows = operator.queue()
        self.assertEqual([row["recipient"] for row in rows], ["ann@remote.test", "bob@remote.test"])
        row = rows[0]
        self.assertEqual(row["evpid"][:16], row["msgid"])
        self.assertEqual((row["sender"], row["agent"], row["action"]), ("jane@client.test", "mta", "out"))
        self.assertEqual((row["condition"], row["why"], row["tries"]), ("waiting", "waits for its next try", 1))
        self.assertIn("4.4.1", row["last_reply"])
        self.assertIn("mx.remote.test", row["last_reply"])
        self.assertRegex(row["rule"], r"smtpd\.conf:\d+")
        self.assertGreater(row["next_try"], world.platform.wallTime())
        self.assertEqual(row["expires"] - row["created"], 4 * 86_400)

    def test_whyOfEachCondition(self) -> None:
        world, operator = self.waiting("ann@remote.test", "joe@example.org", settings={"paused": ("mda",)})
        remote, local = operator.queue()
        self.assertEqual(local["why"], "ready, but the mda is paused")
        operator.ask("PauseEnvelope", selection=remote["evpid"])
        self.assertEqual(operator.queue()[0]["why"], "suspended by an operator")
        operator.ask("ResumeEnvelope", selection=remote["evpid"])
        self.mx.set(Condition.NORMAL).slow(5, "BODY")
        operator.ask("Schedule", selection=remote["evpid"])
        world.until(lambda: self.mx.attempts, 3600)
        self.assertEqual(
            operator.queue()[0]["why"],
            "being delivered: at mx.remote.test [203.0.113.1]: waits for the answer to MAIL",
        )

    def test_failuresThatAreNotReportedYet(self) -> None:
        world, operator = self.waiting()
        self.mx.set(Condition.NORMAL).reject("RCPT", "550 5.1.1 no such box")
        operator.ask("Schedule", selection="all")
        world.until(lambda: self.results(world).count("PermFail") == 2, 600)
        world.run(0.3)
        for row in operator.queue():
            self.assertEqual(row["why"], "has failed; the report to its sender waits")
            self.assertEqual(row["last_reply"], "550 5.1.1 no such box")

    def test_message(self) -> None:
        _, operator = self.waiting()
        (first, _) = operator.queue()
        for id in (first["msgid"], first["evpid"]):
            message = operator.ask("Message", id=id)["message"]
            self.assertEqual((message["msgid"], message["sender"]), (first["msgid"], "jane@client.test"))
            self.assertEqual(message["envelopes"][0], first)
        self.assertEqual(operator.ask("Message", id=first["msgid"])["message"]["count"], 2)

    def test_content(self) -> None:
        world, operator = self.waiting()
        large = b"Subject: large\r\n\r\n" + b"line of a letter\r\n" * 20_000
        self.accepted(world, "joe@remote.test", content=large)
        for row, ending in ((operator.queue()[0], b"Hello.\r\n"), (operator.queue()[2], large)):
            content = b""
            start = True
            while data := operator.ask("Content", id=row["msgid"], start=start)["data"]:
                self.assertLessEqual(len(data), PAGE)
                content += data
                start = False
            self.assertEqual(len(content), row["size"])
            self.assertTrue(content.startswith(b"Received: "))
            self.assertTrue(content.endswith(ending))

    def test_envelope(self) -> None:
        _, operator = self.waiting()
        (first, _) = operator.queue()
        envelope = operator.ask("Envelope", id=first["evpid"])["envelope"]
        self.assertEqual({key: envelope[key] for key in first}, first)
        session = envelope["session"]
        self.assertEqual((session["peer"], session["helo"]), ("198.51.100.7", "client.test"))
        self.assertEqual((session["protocol"], session["listener"], session["tls"]), ("ESMTP", "0.0.0.0:25", ""))
        (attempt,) = envelope["attempts"]
        self.assertEqual(attempt["reply"], first["last_reply"])

    def test_status(self) -> None:
        world, operator = self.waiting()
        status = operator.status()
        self.assertEqual((status["durability"], status["queue"], status["paused"]), ("durable", "sqlite:", []))
        self.assertEqual((status["loading"], status["sessions"], status["stale"]), (False, 0, 0))
        self.assertEqual(status["listeners"], ["0.0.0.0:25", "socket"])
        self.assertEqual(status["configuration"], "/etc/pysmtpd/smtpd.conf")
        self.assertLess(abs(status["uptime"] - world.now), 1)
        self.assertEqual(status["envelopes"]["waiting"], 2)
        self.assertEqual(sum(status["envelopes"].values()), 2)

    def test_sessionsAreCounted(self) -> None:
        world, operator = self.waiting()
        for _ in range(3):
            world.send("jane@client.test", "ann@remote.test")
        world.run(0.02)
        world.until(lambda: operator.status()["sessions"] == 3, 1)
        world.run(10)
        self.assertEqual(operator.status()["sessions"], 0)

    def test_routesHostsAndRelays(self) -> None:
        world, operator = self.waiting()
        (relay,) = operator.rows("Relays")
        self.assertIn("remote.test", relay["relay"])
        self.assertIn("mx.remote.test", relay["error"])
        (route,) = operator.rows("Routes")
        self.assertEqual((route["address"], route["connections"]), ("203.0.113.1", 0))
        self.assertGreater(route["penalty"], 0)
        self.assertTrue(route["error"])
        self.mx.set(Condition.NORMAL)
        world.until(lambda: self.mx.messages, 3600)
        world.run(1)
        (host,) = operator.rows("Hosts")
        self.assertEqual((host["address"], host["connections"]), ("203.0.113.1", 1))

    def test_setAside(self) -> None:
        _, operator = self.waiting()
        self.assertEqual(operator.rows("SetAside"), [])


class PageTests(CommandTestCase):
    def test_aMessageWithManyRecipients(self) -> None:
        """Larger than many pages: each envelope is there once, in order; no page is larger than a box may be."""
        world = self.begin("smtp limit max-rcpt 2000\n" + rules())
        self.remote(world).set(Condition.REFUSING)
        names = [f"recipient-number-{number}@remote.test" for number in range(2000)]
        self.accepted(world, "first@remote.test")
        self.accepted(world, *names)
        self.accepted(world, "last@remote.test")
        world.run(30)
        operator = self.operator(world)
        pages = operator.pages("Queue")
        self.assertGreater(len(pages), 10)
        rows = [row for page in pages for row in page]
        self.assertEqual([row["recipient"] for row in rows], ["first@remote.test", *names, "last@remote.test"])
        message = operator.ask("Message", id=rows[1]["msgid"])["message"]
        self.assertEqual(message["count"], 2000)
        self.assertGreater(len(message["envelopes"]), 20)

    def test_manyMessages(self) -> None:
        world = self.begin()
        self.remote(world).set(Condition.REFUSING)
        for number in range(300):
            world.send("jane@client.test", f"r{number}@remote.test", source=f"198.51.100.{number % 100 + 1}")
        world.run(30)
        rows = self.operator(world).queue()
        self.assertEqual(len({row["evpid"] for row in rows}), 300)
        self.assertEqual(sorted(row["evpid"] for row in rows), [row["evpid"] for row in rows])

    def test_aMessageThatGoesBetweenTwoPages(self) -> None:
        world = self.begin("smtp limit max-rcpt 2000\n" + rules())
        self.remote(world).set(Condition.REFUSING)
        self.accepted(world, *(f"recipient-number-{number}@remote.test" for number in range(500)))
        self.accepted(world, "last@remote.test")
        world.run(30)
        operator = self.operator(world)
        answer = operator.ask("Queue", cursor="")
        operator.ask("Remove", selection=answer["rows"][0]["msgid"])
        world.run(5)
        answer = operator.ask("Queue", cursor=answer["cursor"])
        self.assertEqual([row["recipient"] for row in answer["rows"]], ["last@remote.test"])
        self.assertEqual(answer["cursor"], "")

    def test_anEmptyQueue(self) -> None:
        self.assertEqual(self.operator(self.begin()).ask("Queue", cursor=""), {"rows": [], "cursor": ""})

    def test_statsArePaged(self) -> None:
        world = self.begin()
        for number in range(3000):
            world.service.stat.increment(f"test.a-key-of-some-length.{number:05}")
        pages = self.operator(world).pages("Stats")
        self.assertGreater(len(pages), 1)
        keys = [key for page in pages for key, _ in page if key.startswith("test.")]
        self.assertEqual((len(keys), keys), (3000, sorted(keys)))


class DoTests(CommandTestCase):
    def test_schedule(self) -> None:
        for which in ("msgid", "evpid", ""):
            # What else waits for the host follows the first that gets through; here that is nobody else.
            world, operator = self.waiting(config=rules("mta max-deferred 1"))
            self.mx.set(Condition.NORMAL)
            self.assertEqual(self.mx.connections, 0)
            selection = operator.queue()[0][which] if which else "all"
            expected = 1 if which == "evpid" else 2
            self.assertEqual(operator.ask("Schedule", selection=selection), {"count": expected})
            world.run(5)
            self.assertEqual(len(self.mx.recipients), expected)

    def test_removeOne(self) -> None:
        world, operator = self.waiting()
        (first, second) = operator.queue()
        self.assertEqual(operator.ask("Remove", selection=first["evpid"]), {"count": 1})
        world.run(1)
        self.assertEqual(operator.queue(), [second])

    def test_removeAll(self) -> None:
        world, operator = self.waiting()
        self.accepted(world, "carl@remote.test")
        self.assertEqual(operator.ask("Remove", selection="all"), {"count": 3})
        self.finish(world, "removed", "removed", "removed", seconds=5)

    def test_pauseEnvelope(self) -> None:
        """What is suspended is not tried, not even when everything is scheduled."""
        world, operator = self.waiting()
        self.mx.set(Condition.NORMAL)
        (first, _) = operator.queue()
        self.assertEqual(operator.ask("PauseEnvelope", selection=first["evpid"]), {"count": 1})
        self.assertEqual(operator.ask("PauseEnvelope", selection=first["evpid"]), {"count": 0})
        operator.ask("Schedule", selection="all")
        world.run(7200)
        self.assertEqual(self.mx.recipients, ["bob@remote.test"])
        world.crash()
        world.restart(7200)
        operator = self.operator(world)
        self.assertEqual(operator.queue()[0]["condition"], "suspended")
        self.assertEqual(operator.ask("ResumeEnvelope", selection="all"), {"count": 1})
        self.finish(world, "delivered", "delivered", seconds=7200)

    def test_log(self) -> None:
        said: list[bool] = []
        operator = self.operator(self.begin(settings={"setVerbose": said.append}))
        operator.ask("Log", verbose=True)
        operator.ask("Log", verbose=False)
        self.assertEqual(said, [True, False])

    def test_stop(self) -> None:
        said: list[str] = []
        world = self.begin(settings={"ended": said.append})
        self.assertEqual(self.operator(world).ask("Stop"), {})
        world.run(0)
        self.assertEqual(said, [""], "the daemon's main program ends it, after the answer")

    def test_changesAreLogged(self) -> None:
        world, operator = self.waiting()
        operator.ask("Pause", part="mta")
        operator.ask("Resume", part="mta")
        operator.ask("Remove", selection="all")
        told = [(event.command, event.detail) for event in world.eventsOf(Commanded)]
        self.assertEqual(told, [("pause", "mta"), ("resume", "mta"), ("remove", "all (2)")])


class ErrorTests(CommandTestCase):
    def test_nothingOfThatId(self) -> None:
        _, operator = self.waiting()
        for name in ("Message", "Envelope"):
            self.assertRaises(NoSuchItemError, operator.ask, name, id=NOBODY + "00000000")
        self.assertRaises(NoSuchItemError, operator.ask, "Message", id=NOBODY)
        self.assertRaises(NoSuchItemError, operator.ask, "Content", id=NOBODY, start=True)
        for name in ("Schedule", "Remove", "PauseEnvelope", "ResumeEnvelope"):
            self.assertRaises(NoSuchItemError, operator.ask, name, selection=NOBODY)
        other = operator.queue()[0]["msgid"] + "00000077"
        self.assertRaises(NoSuchItemError, operator.ask, "Envelope", id=other)
        self.assertRaises(NoSuchItemError, operator.ask, "Remove", selection=other)

    def test_wrongArguments(self) -> None:
        _, operator = self.waiting()
        for id in (
            "",
            "1",
            "all",
            "-00000000000000a",
            "0x00000000000001",
            " 0000000000000aa",
            "zz" * 8,
            "zz" * 12,
            "é" * 16,
        ):
            self.assertRaises(BadArgument, operator.ask, "Message", id=id)
            self.assertRaises(BadArgument, operator.ask, "Envelope", id=id)
            if id != "all":
                self.assertRaises(BadArgument, operator.ask, "Remove", selection=id)
        self.assertRaises(BadArgument, operator.ask, "Envelope", id=operator.queue()[0]["msgid"])
        for cursor in ("x", "-1", "1", f"{NOBODY}/", f"{NOBODY}/x", f"{NOBODY}/-1", "/3", "9" * 16 + "/" + "9" * 40):
            for name in ("Queue", "Stats"):
                if (name, cursor) not in (("Stats", "1"), ("Queue", f"{NOBODY}/"), ("Queue", "/3")):
                    self.assertRaises(BadArgument, operator.ask, name, cursor=cursor)
        error = self.assertRaises(BadArgument, operator.ask, "Pause", part="queue")
        self.assertIn("mta, mda, smtp", str(error))
        self.assertEqual(len(operator.queue()), 2, "and the daemon goes on")

    def test_theQueueFails(self) -> None:
        world, operator = self.waiting()
        world.disk.fail("commit", times=None)
        (first, _) = operator.queue()
        error = self.assertRaises(Unavailable, operator.ask, "PauseEnvelope", selection=first["evpid"])
        self.assertIn("disk", str(error))

    def test_whatIsNotLoadedYet(self) -> None:
        """Right after a start an envelope may be in the queue and not in the schedule: the operator is told to try again."""
        world, _ = self.waiting()
        for number in range(400):
            world.send("jane@client.test", f"r{number}@remote.test", source=f"198.51.100.{number % 100 + 1}")
        world.run(60)
        last = self.operator(world).queue()[-1]
        world.stop()
        world.restart(0)
        world.until(lambda: len(world.eventsOf(DaemonStarted)) == 2)
        world.platform.workers.delays["queue.read"] = 1.0
        operator = self.operator(world)
        row = operator.ask("Envelope", id=last["evpid"])["envelope"]
        self.assertTrue(operator.status()["loading"])
        self.assertEqual(row["why"], "not loaded yet")
        error = self.assertRaises(Unavailable, operator.ask, "Remove", selection=row["evpid"])
        self.assertIn("still being loaded", str(error))
        world.platform.workers.delays.clear()
        world.run(10)
        self.assertEqual(operator.ask("Remove", selection=row["evpid"]), {"count": 1})

    def test_whatNobodySchedules(self) -> None:
        world = self.begin('scheduler backend "null:"\n' + rules())
        self.accepted(world, "joe@remote.test")
        (row,) = self.operator(world).queue()
        self.assertEqual(row["why"], "unknown to the scheduler")

    def test_garbage(self) -> None:
        """It costs that connection."""
        world, operator = self.waiting()
        rude = self.operator(world)
        assert rude.protocol.transport is not None
        rude.protocol.transport.write(b"GET / HTTP/1.1\r\n\r\n" * 10)
        world.run(1)
        self.flushLoggedErrors()
        self.assertEqual(len(operator.queue()), 2)

    def test_unknownCommand(self) -> None:
        world = self.begin()
        operator = self.operator(world)
        failures: list[Any] = []
        operator.protocol.callRemoteString(b"Explode").addErrback(failures.append)
        world.run(1)
        (failure,) = failures
        failure.trap(UnhandledCommand)
        self.assertEqual(operator.ask("Queue", cursor="")["rows"], [])


class SchemaTests(CommandTestCase):
    def test_everyCommandIsAnswered(self) -> None:
        """None of them is forgotten here, or in the server."""
        _, operator = self.waiting()
        row = operator.queue()[0]
        values = {
            "cursor": "",
            "id": row["evpid"],
            "selection": row["evpid"],
            "part": "mta",
            "verbose": True,
            "start": True,
            "dry": True,
            "supposed": {"recipients": ["ann@remote.test"]},
            "table": "<localnames>",
            "destination": "remote.test",
            "host": "all",
            "domain": "remote.test",
        }
        self.assertEqual(list(AMP_COMMANDS), list(COMMANDS))
        for command in sorted(COMMANDS.values(), key=lambda command: command.name in ("Remove", "Stop")):
            answer = operator.ask(command.name, **{key: values[key] for key, _ in command.arguments})
            self.assertEqual(sorted(answer), sorted(key for key, _ in command.response))
            self.assertTrue(command.doc.endswith("."))

    def test_argumentsThatAreMissing(self) -> None:
        world, operator = self.waiting()
        failures: list[Any] = []
        operator.protocol.callRemoteString(b"Remove").addErrback(failures.append)
        world.run(1)
        self.assertEqual(len(failures), 1)
        self.flushLoggedErrors()
        again = self.operator(world)
        self.assertIsInstance(again.protocol, AMP)
        self.assertEqual(len(again.queue()), 2)
