"""What is told and counted of outgoing sessions."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import TableRef
from pysmtpd.model.events import (
    CommandAnswered,
    ConnectionClosed,
    ConnectionGreeted,
    ConnectionIdentified,
    ConnectionOpened,
    Event,
)
from pysmtpd.model.reply import Reply
from pysmtpd.mta.timings import MOST_ROUTES, Timings
from pysmtpd.report.bus import Bus
from tests.mta.fakes import Ears, Server, Table, World, explicit


class TimingTests(SynchronousTestCase):
    def test_histogram(self) -> None:
        ears = Ears()
        timings = Timings(ears)
        for seconds in (0.001, 0.01, 0.05, 59.0, 1000.0):
            timings.ended("192.0.2.9", "192.0.2.1", [Reply(250, "ok")], seconds)
        found = {key.rpartition("latency.")[2]: value for key, value in ears.counts.items() if "latency" in key}
        self.assertEqual(found, {"0.01s": 2, "0.1s": 1, "60s": 1, "more": 1})
        self.assertEqual(ears.counts["mta.route.192.0.2.9>192.0.2.1.ok"], 5)

    def test_ratios(self) -> None:
        ears = Ears()
        timings = Timings(ears)
        timings.connected()
        timings.ended("a", "b", [Reply(250, "ok"), Reply(450, "later"), Reply(550, "no")], 1.0)
        timings.ended("a", "b", [Reply(250, "ok")], 1.0)
        self.assertEqual(ears.counts["mta.ratio.recipients-per-transaction"], 2.0)
        self.assertEqual(ears.counts["mta.ratio.transactions-per-connection"], 2.0)
        self.assertEqual(ears.counts["mta.ratio.delivered"], 0.5)

    def test_keysAreBounded(self) -> None:
        ears = Ears()
        timings = Timings(ears)
        for number in range(MOST_ROUTES + 10):
            timings.ended("", f"host{number}", [Reply(250, "ok")], 0.5)
        self.assertEqual(ears.counts["mta.route.other.ok"], 10)
        self.assertLess(len(ears.counts), 2 * MOST_ROUTES + 10)


class SessionEventTests(SynchronousTestCase):
    def test_eachStepHasItsEvent(self) -> None:
        world = World()
        world.dns.hosts["x.test"] = ("192.0.2.1",)
        world.host("192.0.2.1", Server("PIPELINING", "SIZE 1000", greeting="220 welcome"))
        world.send("a@x.test", seconds=20)
        kinds = (ConnectionOpened, ConnectionGreeted, ConnectionIdentified, ConnectionClosed)
        told = [event for event in world.ears.events if isinstance(event, kinds)]
        self.assertEqual([type(event) for event in told], list(kinds))
        greeted, identified = told[1:3]
        assert isinstance(greeted, ConnectionGreeted) and isinstance(identified, ConnectionIdentified)
        closed = told[3]
        assert isinstance(closed, ConnectionClosed)
        # It was kept for ten seconds after the message.
        self.assertEqual((closed.messages, round(closed.seconds)), (1, 10))
        self.assertEqual((greeted.banner, identified.extensions), ("welcome", "PIPELINING SIZE=1000"))
        self.assertFalse(any(isinstance(event, CommandAnswered) for event in world.ears.events))
        self.assertEqual(world.ears.counts["mta.transaction"], 1)

    def test_stepsForWhoAsks(self) -> None:
        heard: list[CommandAnswered] = []

        def hear(event: Event) -> None:
            assert isinstance(event, CommandAnswered)
            heard.append(event)

        for extensions in (("PIPELINING",), ("8BITMIME",), ("PIPELINING", "CHUNKING")):
            heard.clear()
            world = World(steps=lambda: hear)
            world.dns.hosts["x.test"] = ("192.0.2.1",)
            world.host("192.0.2.1", Server(*extensions, RSET="250 2.0.0 ok", **{"b@x.test": "550 5.1.1 no"}))
            world.send("b@x.test", seconds=1)
            world.send("a@x.test", "b@x.test", seconds=1)
            steps = [event.step for event in heard if event.msgid and event.msgid == max(each.msgid for each in heard)]
            expected = ["reset", "mail", "rcpt", "rcpt", *(() if "CHUNKING" in extensions else ("data",)), "commit"]
            self.assertEqual([step for step in steps if step != "reset"], expected[1:])
            refused = [event for event in heard if event.command == "RCPT TO:<b@x.test>"]
            self.assertEqual([event.result for event in refused], ["550 5.1.1 no"] * 2)

    def test_eachStepOfASession(self) -> None:
        """From the greeting to QUIT, and no password."""
        heard: list[CommandAnswered] = []

        def hear(event: Event) -> None:
            assert isinstance(event, CommandAnswered)
            heard.append(event)

        actions = explicit("smtp+tls://me@192.0.2.1", 25, tlsVerify=False, authTable=TableRef("secrets"))
        world = World(actions, tables={"secrets": Table("secrets", {"me": "user:secret"})}, steps=lambda: hear)
        offers = ("PIPELINING", "STARTTLS", "AUTH LOGIN")
        sink = world.host("192.0.2.1", Server(*offers, AUTH="334 VXNlcm5hbWU6"))
        # By its verb, which is in upper case: the user, and then the password.
        sink.replies |= {"DXNLCG==": "334 UGFzc3dvcmQ6", "C2VJCMV0": "235 2.7.0 ok"}
        world.send("b@y.test", seconds=20)
        said = [(event.step, event.command, event.result[:3]) for event in heard]
        self.assertEqual(
            said,
            [
                ("greeting", "", "220"),
                ("hello", "EHLO me.test", "250"),
                ("starttls", "STARTTLS", "220"),
                ("hello", "EHLO me.test", "250"),
                ("auth", "AUTH LOGIN", "334"),
                ("auth", "AUTH LOGIN", "334"),
                ("auth", "AUTH LOGIN", "235"),
                ("mail", "MAIL FROM:<a@x.test>", "250"),
                ("rcpt", "RCPT TO:<b@y.test>", "250"),
                ("data", "DATA", "354"),
                ("commit", ".", "250"),
                ("quit", "QUIT", "221"),
            ],
        )
        heard.clear()
        world.send("b@y.test", seconds=1)
        sink.connections[-1].sayRaw(b"421 4.4.2 idle for too long\r\n")
        world.run(1)
        self.assertEqual((heard[-1].step, heard[-1].msgid, heard[-1].result[:3]), ("unasked", 0, "421"))

    def test_stepsBelongToTheirMessages(self) -> None:
        heard: list[CommandAnswered] = []
        world = World(steps=lambda: lambda event: heard.append(event))  # type: ignore[arg-type]
        world.dns.hosts["x.test"] = ("192.0.2.1",)
        world.host("192.0.2.1")
        world.send("a@x.test", seconds=20)
        self.assertEqual([bool(event.msgid) for event in heard], [False] * 2 + [True] * 4 + [False])
        self.assertEqual(len({event.session for event in heard}), 1)

    def test_theBus(self) -> None:
        bus = Bus(lambda: 0.0)
        usual: list[Event] = []
        bus.subscribe(lambda when, event: usual.append(event))
        self.assertIsNone(bus.steps())
        steps: list[Event] = []

        def broken(event: Event) -> None:
            raise RuntimeError("broken")

        ends = [bus.subscribeSteps(broken), bus.subscribeSteps(steps.append)]
        tell = bus.steps()
        assert tell is not None
        tell(Event())
        self.assertEqual((len(steps), usual), (1, []))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        for end in ends:
            end()
        self.assertIsNone(bus.steps())
