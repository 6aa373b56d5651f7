"""Connections: how many, for how long, and what becomes of the mail when they fail."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import MtaLimits, TableRef
from pysmtpd.model.events import (
    ConnectionClosed,
    ConnectionFailed,
    ConnectionGreeted,
    ConnectionIdentified,
    ConnectionOpened,
    ConnectionTls,
    InternalError,
)
from pysmtpd.mta.pool import Pool
from tests.mta.fakes import Server, Table, World, explicit


class Relay(World):
    """Everything goes to one host."""

    def __init__(self, *extensions: str, limits: MtaLimits | None = None, **replies: str) -> None:
        super().__init__(explicit("smtp://192.0.2.1", 25), limits)
        self.sink = self.host("192.0.2.1", Server(*extensions, **replies))

    def burst(self, count: int, **more: Any) -> None:
        for _ in range(count):
            self.agent.deliver(self.delivery("b@y.test", **more), self.ears)


class ReuseTests(SynchronousTestCase):
    def test_oneConnectionForMailInTurn(self) -> None:
        world = Relay()
        for _ in range(5):
            world.send("b@y.test")
        (commands,) = world.sink.conversations
        self.assertEqual([command[:4] for command in commands], ["EHLO", *["MAIL", "RCPT", "DATA"] * 5])
        self.assertEqual(len(world.sink.segments[0]), 11, "EHLO, then two segments for each message")
        world.run(13)
        self.assertEqual(commands[-1], "QUIT")
        self.assertEqual(world.sink.open, 0)
        world.run(200)
        self.assertEqual(world.agent.routes.showRelays(), [])
        self.assertEqual(world.clock.getDelayedCalls(), [], "nothing ticks when nothing is open")

    def test_wholeMessageInOneSegment(self) -> None:
        world = Relay("PIPELINING", "CHUNKING")
        world.send("b@y.test")
        segments = world.sink.segments[0]
        self.assertEqual(len(segments), 2)
        self.assertTrue(segments[1].endswith(b"BDAT 25 LAST\r\nSubject: hello\r\n\r\n.dots\r\n"))

    def test_nothingIsSaidBeforeTheMessageBeforeIsDecided(self) -> None:
        """Several wait for one connection: each goes out in one segment, once the reply to the one before is there."""
        for extensions, last, opening in (
            (("PIPELINING",), b"..dots\r\n.\r\n", b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n"),
            (("PIPELINING", "CHUNKING"), b".dots\r\n", b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nBDAT "),
        ):
            world = Relay(*extensions, limits=MtaLimits(maxConnPerHost=1), DOT="", BDAT="")
            world.burst(4)
            world.run(5)
            (link,) = world.sink.connections
            for number in range(1, 5):
                said = b"".join(link.segments)
                self.assertTrue(said.endswith(last), said)
                self.assertEqual(said.count(b"MAIL"), number)
                self.assertEqual(sum(segment.startswith(opening) for segment in link.segments), number)
                self.assertNotIn(b"RSET", said)
                world.run(30)
                self.assertEqual(b"".join(link.segments), said, "it waits, however long that takes")
                link.sayRaw(b"250 2.0.0 queued\r\n")
                world.run(1)
            self.assertEqual(len(world.ears.outcomes), 4)

    def test_afterARefusalTheResetGoesWithTheNext(self) -> None:
        world = Relay("PIPELINING", limits=MtaLimits(maxConnPerHost=1), **{"c@y.test": "550 5.1.1 nobody"})
        world.send("c@y.test")
        world.send("b@y.test", seconds=1)
        (link,) = world.sink.connections
        opening = b"RSET\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n"
        self.assertEqual([segment for segment in link.segments if b"b@y.test" in segment], [opening])

    def test_backlogOpensConnections(self) -> None:
        world = Relay()
        world.burst(200)
        world.run(0.5)
        self.assertEqual(len(world.sink.mails), 200)
        self.assertLessEqual(world.sink.mostOpen, 20)
        self.assertGreater(world.sink.mostOpen, 1)

    def test_limits(self) -> None:
        for name in ("maxConnPerHost", "maxConnPerRoute", "maxConnPerSource", "maxConnPerConnector"):
            limits: dict[str, Any] = {name: 3}
            world = Relay(limits=MtaLimits(**limits))
            world.burst(50)
            world.run(0.5)
            self.assertEqual((len(world.sink.mails), world.sink.mostOpen), (50, 3))

    def test_mailsPerSession(self) -> None:
        world = Relay("PIPELINING", "LIMITS MAILMAX=2")
        world.burst(5)
        world.run(3)
        self.assertEqual(len(world.sink.mails), 5)
        for commands in world.sink.conversations:
            self.assertLessEqual(sum(command.startswith("MAIL") for command in commands), 2)

    def test_idleOfOthersMakesRoom(self) -> None:
        world = World(explicit("smtp://192.0.2.1", 25), MtaLimits(maxConnPerHost=1))
        world.host("192.0.2.1")
        other = world.host("192.0.2.1", port=26)
        world.send("b@y.test")
        world.config = World(explicit("smtp://192.0.2.1", 26), MtaLimits(maxConnPerHost=1)).config
        world.send("b@y.test", seconds=0.1)
        self.assertEqual(len(other.mails), 1)

    def test_resetRefused(self) -> None:
        """What a host says to the next transaction while the one before is still open is not held against the message."""
        for extension in ("PIPELINING", "8BITMIME"):
            world = Relay(extension, RSET="500 5.5.1 no such command")
            world.sink.replies["b@y.test"] = "450 4.2.0 later"
            (refused,) = world.send("b@y.test")
            (taken,) = world.send("c@y.test", seconds=6)
            self.assertEqual(world.told(refused), "TempFail 450 4.2.0 later")
            self.assertIn("Ok", world.told(taken))
            self.assertEqual(len(world.sink.conversations), 2)

    def test_hungUpWhileIdle(self) -> None:
        """The race of a reused connection costs nobody a try."""
        world = Relay()
        world.send("b@y.test")
        world.sink.replies["MAIL"] = "421 4.4.2 you were idle"
        delivery = world.delivery("b@y.test")
        world.agent.deliver(delivery, world.ears)
        world.clock.advance(0)
        self.assertEqual(world.told(delivery.lease.envelopes[0]), "")
        del world.sink.replies["MAIL"]
        world.run(6)
        self.assertIn("Ok", world.told(delivery.lease.envelopes[0]))
        self.assertEqual(len(world.sink.conversations), 2)

    def test_lostWhileIdle(self) -> None:
        world = Relay()
        world.send("b@y.test")
        world.sink.connections[0].lose(ConnectionLost())
        world.run()
        (envelope,) = world.send("b@y.test")
        self.assertIn("Ok", world.told(envelope))

    def test_onlyOneIsTriedBeforeTheHostIsKnownToWork(self) -> None:
        world = World(explicit("smtp://192.0.2.1", 25))
        for _ in range(50):
            world.agent.deliver(world.delivery("b@y.test"), world.ears)
        world.run(0.2)
        self.assertEqual(len(world.network.tried), 1)
        self.assertEqual(len(world.ears.outcomes), 50)

    def test_patienceAfter421(self) -> None:
        world = Relay(DOT="421 4.7.0 slow down")
        (envelope,) = world.send("b@y.test")
        self.assertEqual(world.told(envelope), "TempFail 421 4.7.0 slow down")
        del world.sink.replies["DOT"]
        (envelope,) = world.send("c@y.test", seconds=0.1)
        self.assertEqual(world.ears.held[-1], ([envelope], "limit: back-off of 192.0.2.1"))
        world.run(1.5)
        world.send("c@y.test", seconds=0.1)
        self.assertEqual(len(world.sink.conversations), 2)
        world.sink.connections[1].lose(ConnectionLost())
        world.run(1.5)
        (envelope,) = world.send("d@y.test", seconds=1)
        self.assertEqual(world.told(envelope), "", "five seconds between connections now")
        world.run(6)
        self.assertIn("Ok", world.told(envelope))

    def test_crowdedHost(self) -> None:
        """A host that takes two connections gets two."""
        world = Relay()
        original = world.network._connect

        def connect(place: tuple[str, int], factory: Any) -> None:
            world.sink.greeting = "220 sink" if world.sink.open < 2 else "421 4.3.2 too many connections"
            original(place, factory)

        world.network._connect = connect  # type: ignore[method-assign]
        world.burst(60)
        world.run(60)
        self.assertEqual(len(world.sink.mails), 60)
        self.assertTrue(all(outcome.reply.code == 250 for outcome in world.ears.outcomes.values()))


class TlsTests(SynchronousTestCase):
    def test_opportunistic(self) -> None:
        world = Relay("STARTTLS", "PIPELINING")
        (envelope,) = world.send("b@y.test")
        self.assertIn("Ok", world.told(envelope))
        self.assertEqual([one[:4] for one in world.sink.conversations[0][:3]], ["EHLO", "STAR", "EHLO"])
        self.assertEqual(sum(isinstance(event, ConnectionTls) for event in world.ears.events), 1)

    def test_fallsBackToPlain(self) -> None:
        world = Relay("STARTTLS")
        world.sink.tls = "fails"
        envelopes = [*world.send("b@y.test", seconds=0.1), *world.send("b@y.test")]
        self.assertTrue(all("Ok" in world.told(one) for one in envelopes))
        self.assertEqual(len(world.sink.conversations), 2)
        self.assertNotIn("STARTTLS", world.sink.conversations[1])

    def test_required(self) -> None:
        world = World(explicit("smtp+tls://192.0.2.1", 25, tlsVerify=False))
        sink = world.host("192.0.2.1")
        (envelope,) = world.send("b@y.test", seconds=0.1)
        self.assertIn("TLS is required and the host does not offer STARTTLS", world.told(envelope))
        self.assertIn("TempFail", world.told(envelope))
        sink.extensions = ("STARTTLS",)
        world.run(20)
        (envelope,) = world.send("b@y.test")
        self.assertIn("Ok", world.told(envelope))

    def test_never(self) -> None:
        world = World(explicit("smtp+notls://192.0.2.1", 25))
        sink = world.host("192.0.2.1", Server("STARTTLS"))
        (envelope,) = world.send("b@y.test")
        self.assertIn("Ok", world.told(envelope))
        self.assertNotIn("STARTTLS", sink.conversations[0])

    def test_credentials(self) -> None:
        actions = explicit("smtp+tls://me@192.0.2.1", 25, tlsVerify=False, authTable=TableRef("secrets"))
        world = World(actions, tables={"secrets": Table("secrets", {"me": "user:pass"})})
        sink = world.host("192.0.2.1", Server("STARTTLS", "AUTH PLAIN", AUTH="235 2.7.0 ok"))
        (envelope,) = world.send("b@y.test")
        self.assertIn("Ok", world.told(envelope))
        self.assertIn("AUTH PLAIN AHVzZXIAcGFzcw==", sink.conversations[0])
        world = World(actions, tables={"secrets": Table("secrets", {})})
        (envelope,) = world.send("b@y.test")
        self.assertIn("TempFail 451 4.4.1", world.told(envelope))
        self.assertIn("Credentials: nothing under secrets:me", world.told(envelope))


class FailureTests(SynchronousTestCase):
    def test_perRecipient(self) -> None:
        world = Relay()
        world.sink.replies = {"c@y.test": "550 5.1.1 nobody", "d@y.test": "450 busy"}
        told = [world.told(one) for one in world.send("b@y.test", "c@y.test", "d@y.test")]
        self.assertEqual(told, ["Ok 250 2.0.0 queued", "PermFail 550 5.1.1 nobody", "TempFail 450 4.0.0 busy"])

    def test_tooManyRecipients(self) -> None:
        """The rest goes in the next transaction, not in an hour."""
        world = Relay()
        world.sink.replies = {"c@y.test": "452 4.5.3 too many recipients", "d@y.test": "452 4.2.2 full"}
        delivery = world.delivery("b@y.test", "c@y.test", "d@y.test")
        world.ears.onFinished = world.sink.replies.clear
        world.agent.deliver(delivery, world.ears)
        world.run()
        told = [world.told(one)[:8] for one in delivery.lease.envelopes]
        self.assertEqual(told, ["Ok 250 2", "Ok 250 2", "TempFail"])
        self.assertEqual(len(world.sink.conversations), 1)

    def test_lostAfterTheDot(self) -> None:
        world = Relay(DOT="HANGUP")
        (envelope,) = world.send("b@y.test")
        self.assertEqual(
            world.told(envelope),
            "TempFail 451 4.4.2 Connection lost after the end of data; the message may have been delivered",
        )

    def test_lostInBetween(self) -> None:
        world = Relay(DATA="HANGUP")
        (envelope,) = world.send("b@y.test")
        self.assertEqual(world.told(envelope), "TempFail 451 4.4.2 Connection lost while waiting for data")

    def test_refusedAtTheDoorOthersAtOnce(self) -> None:
        world = World()
        world.dns.domain("y.test", (10, "a.test"), (20, "b.test"))
        world.dns.hosts.update({"a.test": ("192.0.2.1",), "b.test": ("192.0.2.2",)})
        world.host("192.0.2.1", Server(greeting="554 5.7.1 go away"))
        world.host("192.0.2.2")
        (envelope,) = world.send("b@y.test", seconds=0.1)
        self.assertIn("Ok", world.told(envelope))
        self.assertEqual(sum(isinstance(event, ConnectionFailed) for event in world.ears.events), 1)

    def test_timeouts(self) -> None:
        world = Relay()
        world.sink.isSilent = True
        (envelope,) = world.send("b@y.test", seconds=295)
        self.assertEqual(world.told(envelope), "")
        world.run(20)
        self.assertIn("4.4.2 Time-out waiting for greeting", world.told(envelope))
        self.assertEqual(world.sink.open, 0)

    def test_timeoutAfterTheDot(self) -> None:
        world = Relay()
        world.sink.replies["DOT"] = ""
        (envelope,) = world.send("b@y.test", seconds=595)
        self.assertEqual(world.told(envelope), "")
        world.run(20)
        self.assertIn("Time-out after the end of data; the message may have been", world.told(envelope))
        self.assertEqual(world.sink.open, 0)

    def test_hostilePeers(self) -> None:
        for data in (
            b"x" * 10000,
            b"250-" + b"y\r\n250-" * 1000,
            b"220 a\r\n250 b\r\n250 c\r\n",
            b"220-a\r\n554 b\r\n",
            b"\x00\xff\r\n",
        ):
            world = Relay()
            world.sink.isSilent = True
            delivery = world.delivery("b@y.test")
            world.agent.deliver(delivery, world.ears)
            world.run()
            world.sink.isSilent = False
            world.sink.connections[0].sayRaw(data)
            world.run(1)
            told = world.told(delivery.lease.envelopes[0])
            self.assertIn("TempFail", told)
            self.assertTrue(told.isprintable())
            self.assertLess(len(told), 1000)

    def test_manyRefusalsEndTheSession(self) -> None:
        world = Relay(RCPT="550 5.1.1 no", limits=MtaLimits(maxFailuresPerSession=5))
        world.burst(12)
        world.run(1)
        self.assertEqual(len(world.ears.outcomes), 12)
        self.assertGreater(len(world.sink.conversations), 1)

    def test_unreadableMessage(self) -> None:
        world = Relay()
        world.bodies.isBroken = True
        (envelope,) = world.send("b@y.test")
        self.assertEqual(world.told(envelope), "TempFail 451 4.3.0 disk")
        world.bodies.isBroken = False
        (envelope,) = world.send("b@y.test")
        self.assertIn("Ok", world.told(envelope))

    def test_faultWhileConnecting(self) -> None:
        """It is told, and costs the one try: mail goes when it is mended."""
        world = Relay()

        def connectTCP(*arguments: Any) -> Any:
            raise LookupError("unknown encoding: idna")

        broken = self.patch(world.network, "connectTCP", connectTCP)
        (first,) = world.send("b@y.test")
        broken.restore()
        self.assertIn("TempFail 451 4.4.1", world.told(first))
        self.assertIn("It cannot be connected to: unknown encoding: idna", world.told(first))
        told = [event.doing for event in world.ears.events if isinstance(event, InternalError)]
        self.assertEqual(told, ["connecting"])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        world.run(60)
        (second,) = world.send("c@y.test")
        self.assertIn("Ok", world.told(second))

    def test_events(self) -> None:
        world = Relay()
        world.send("b@y.test", seconds=15)
        kinds = [type(event) for event in world.ears.events]
        self.assertEqual(kinds, [ConnectionOpened, ConnectionGreeted, ConnectionIdentified, ConnectionClosed])


class ContentTests(SynchronousTestCase):
    def test_streamed(self) -> None:
        world = Relay()
        world.bodies.chunk = 1000
        content = b"Subject: big\r\n\r\n" + b".line\r\n" * 3000
        (envelope,) = world.send("b@y.test", content=content)
        self.assertIn("Ok", world.told(envelope))
        self.assertEqual(world.sink.mails[0][1], content.replace(b"\r\n.", b"\r\n.."))
        self.assertTrue(world.bodies.opened[0].isClosed)
        self.assertIsNone(world.sink.connections[0].producer)

    def test_backPressure(self) -> None:
        world = Relay()
        world.bodies.chunk = 1000
        world.sink.isSlow = True
        (envelope,) = world.send("b@y.test", content=b"x" * 9998 + b"\r\n")
        link = world.sink.connections[0]
        self.assertLess(len(b"".join(link.segments)), 4000)
        for _ in range(8):
            link.producer.resumeProducing()
        world.run()
        self.assertIn("Ok", world.told(envelope))

    def test_truncatedContentIsNeverAMessage(self) -> None:
        world = Relay()
        world.bodies.chunk = 1000
        delivery = world.delivery("b@y.test", content=b"x" * 5000)
        world.bodies.contents[delivery.message.id] = b"x" * 3000
        world.agent.deliver(delivery, world.ears)
        world.run()
        self.assertIn("TempFail 451 4.3.0", world.told(delivery.lease.envelopes[0]))
        self.assertEqual((world.sink.mails, world.sink.open), ([], 0))

    def test_eightBit(self) -> None:
        world = Relay()
        world.send("b@y.test", content="Subject: \N{LATIN SMALL LETTER E WITH ACUTE}\r\n".encode())
        self.assertIn("MAIL FROM:<a@x.test> SIZE=13 BODY=8BITMIME", world.sink.conversations[0])

    def test_smtputf8(self) -> None:
        content = "Subject: \N{LATIN SMALL LETTER E WITH ACUTE}\r\n\r\n".encode()
        plain = Relay()
        (envelope,) = plain.send("b@y.test", content=content, smtputf8=True)
        self.assertIn("PermFail 550 5.6.7", plain.told(envelope))
        (envelope,) = plain.send("b@y.test", smtputf8=True)
        self.assertIn("Ok", plain.told(envelope), "nothing in it needs SMTPUTF8")
        world = Relay("SMTPUTF8", "8BITMIME")
        (envelope,) = world.send("b@y.test", content=content, smtputf8=True)
        self.assertIn("Ok", world.told(envelope))
        self.assertIn("MAIL FROM:<a@x.test> BODY=8BITMIME SMTPUTF8", world.sink.conversations[0])

    def test_mailFrom(self) -> None:
        world = World(explicit("smtp://192.0.2.1", 25, mailFrom=Path("", "z.test")))
        sink = world.host("192.0.2.1")
        world.send("b@y.test")
        world.send("b@y.test", sender=NULL_PATH)
        mails = [command.split()[1] for command in sink.conversations[0] if command.startswith("MAIL")]
        self.assertEqual(mails, ["FROM:<a@z.test>", "FROM:<>"])


class BacklogTests(SynchronousTestCase):
    def test_holdAndRelease(self) -> None:
        world = Relay(limits=MtaLimits(taskHiwat=10, taskLowat=5, taskRelease=4))
        world.burst(15)
        self.assertEqual(len(world.ears.held), 5)
        (key,) = {key for _, key in world.ears.held}
        world.run(1)
        self.assertEqual(len(world.ears.outcomes), 10)
        self.assertEqual(world.ears.released[0], (key, 4))
        self.assertGreaterEqual(sum(count for _, count in world.ears.released), 5)

    def test_pauseAndCapacity(self) -> None:
        world = Relay()
        self.assertGreater(world.agent.capacity(), 0)
        world.agent.pause()
        self.assertEqual(world.agent.capacity(), 0)
        world.agent.resume()
        self.assertGreater(world.agent.capacity(), 0)

    def test_stopWaitsForWhatIsUnderWay(self) -> None:
        world = Relay(limits=MtaLimits(maxConnPerHost=1))
        world.send("b@y.test")
        world.burst(3)
        stopped = world.agent.stop()
        self.assertNoResult(stopped)
        world.run()
        self.successResultOf(stopped)
        told = [str(outcome.reply) for outcome in world.ears.outcomes.values()]
        self.assertEqual(told, ["250 2.0.0 queued"] * 2)
        world.send("c@y.test")
        self.assertEqual(len(world.ears.held), 3, "what was not begun goes back without a try")
        world.run(10)
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_stopDoesNotWaitForDns(self) -> None:
        """A domain that nobody answers for has not begun: it goes back at once, and the answer comes too late."""
        world = World()
        answer = world.dns.silent["y.test"] = Deferred()
        world.dns.domain("y.test", (10, "mx.test"))
        world.send("b@y.test", seconds=1)
        stopped = world.agent.stop()
        self.successResultOf(stopped)
        self.assertEqual(len(world.ears.held), 1)
        self.assertEqual(world.ears.outcomes, {})
        answer.callback(None)
        world.run(10)
        self.assertEqual(world.network.tried, [])
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_graceEnds(self) -> None:
        world = Relay()
        world.sink.replies["DOT"] = ""
        (envelope,) = world.send("b@y.test")
        stopped = world.agent.stop()
        world.run(9)
        self.assertNoResult(stopped)
        world.run(2)
        self.successResultOf(stopped)
        self.assertIn("TempFail 421 4.3.2", world.told(envelope))
        self.assertEqual(world.sink.open, 0)

    def test_deadHostIsCheap(self) -> None:
        world = World(explicit("smtp://192.0.2.1", 25))
        for _ in range(3):
            world.send("b@y.test", seconds=0.1)
        self.assertEqual(len(world.network.tried), 1)
        self.assertEqual(len(world.ears.outcomes), 3)

    def test_shows(self) -> None:
        world = Relay()
        world.send("b@y.test")
        (route,) = world.agent.routes.showRoutes()
        self.assertEqual(
            (route["address"], route["connections"], route["idle"], route["delivered"]), ("192.0.2.1", 1, 1, 1)
        )
        (host,) = world.agent.routes.showHosts()
        self.assertEqual(host["connections"], 1)
        (relay,) = world.agent.routes.showRelays()
        self.assertEqual(relay["relay"], "smtp://192.0.2.1:25")


class HostilePeerTests(SynchronousTestCase):
    def test_octetsThatDripBuyNoTime(self) -> None:
        """A reply has to be whole within its time; a peer that sends an octet now and then would keep a message for ever."""
        world = Relay()
        (one,) = world.send("b@y.test", seconds=0)
        world.run(0.5)
        self.assertIn("Ok", world.told(one))
        world.sink.isSilent = True
        (two,) = world.send("b@y.test")
        link = world.sink.connections[0]
        for octet in b"250-" + b"x" * 400:
            if world.told(two):
                break
            link._protocol.dataReceived(bytes((octet,)))
            world.run(20)
        self.assertIn("Time-out", world.told(two))

    def test_linesThatDripBuyNoTime(self) -> None:
        world = Relay()
        world.send("b@y.test", seconds=0.5)
        world.sink.isSilent = True
        (two,) = world.send("b@y.test")
        link = world.sink.connections[0]
        for _ in range(20):
            if not link._isLost:
                link._protocol.dataReceived(b"250-still here\r\n")
            world.run(60)
        self.assertIn("Time-out", world.told(two))

    def test_aTransactionEnds(self) -> None:
        """A peer that answers each command just in time keeps a place for half an hour, not for a day."""
        world = Relay("8BITMIME")
        world.send("b@y.test", seconds=0.5)
        world.sink.isSilent = True
        ids = world.send(*[f"b{number}@y.test" for number in range(40)])
        link = world.sink.connections[0]
        for _ in range(7):
            world.run(290)
            if not link._isLost:
                link._protocol.dataReceived(b"250 2.0.0 in a while\r\n")
        self.assertIn("takes too long", world.told(ids[-1]))

    def test_contentThatIsReadDropByDrop(self) -> None:
        world = Relay()
        world.bodies.chunk = 1000
        world.sink.isSlow = True
        (id,) = world.send("b@y.test", content=b"x" * 99_998 + b"\r\n")
        link = world.sink.connections[0]
        for _ in range(14):
            world.run(150)
            if not link._isLost:
                link.producer.resumeProducing()
        self.assertIn("takes too long", world.told(id))
        self.assertEqual(world.sink.mails, [])


class SharesTests(SynchronousTestCase):
    """Slow hosts must not keep others waiting."""

    def test_envelopes(self) -> None:
        world = World(limits=MtaLimits(taskHiwat=100_000, taskLowat=100_000))
        for name in ("slow1", "slow2", "slow3", "quick"):
            world.dns.domain(f"{name}.test", (10, f"mx.{name}.test"))
            world.dns.hosts[f"mx.{name}.test"] = (f"192.0.2.{len(world.dns.hosts) + 1}",)
            world.host(world.dns.hosts[f"mx.{name}.test"][0]).isSilent = name != "quick"
        for number in (1, 2, 3):
            for _ in range(100):
                world.send(*[f"b{index}@slow{number}.test" for index in range(min(100, world.agent.capacity()))])
        self.assertGreater(world.agent.capacity(), 300)
        self.assertTrue(world.ears.held)
        (id,) = world.send("b@quick.test", seconds=1)
        self.assertIn("Ok", world.told(id))
        # What is held comes again, once there is room.
        world.run(330)
        self.assertEqual({key for _, key in world.ears.held}, {key for key, _ in world.ears.released})
        self.assertEqual(world.agent._ledger.envelopes, 0)
        self.assertEqual({relay.envelopes for relay in world.agent._directory.relays.values()}, {0})

    def test_connections(self) -> None:
        """Three hosts that answer slowly may not have all places of our address."""
        world = World(limits=MtaLimits(maxConnPerSource=20, maxConnPerHost=10, maxConnPerRoute=10))
        for name in ("slow1", "slow2", "slow3", "quick"):
            world.dns.domain(f"{name}.test", (10, f"mx.{name}.test"))
            world.dns.hosts[f"mx.{name}.test"] = (f"192.0.2.{len(world.dns.hosts) + 1}",)
            world.host(world.dns.hosts[f"mx.{name}.test"][0], Server(DOT="" if name != "quick" else "250 ok"))
        for number in (1, 2, 3):
            for _ in range(30):
                world.send(f"b@slow{number}.test")
        world.run(30)
        self.assertLess(sum(server.open for server in world.network.servers.values()), 20)
        (id,) = world.send("b@quick.test", seconds=2)
        self.assertIn("Ok", world.told(id))


class ManyHostsTests(SynchronousTestCase):
    def world(self, hosts: int, **limits: Any) -> World:
        world = World(limits=MtaLimits(**limits))
        for number in range(hosts):
            name = f"d{number}.test"
            world.dns.domain(name, (10, f"mx.{name}"))
            world.dns.hosts[f"mx.{name}"] = (f"192.0.{number // 250 + 2}.{number % 250 + 1}",)
            world.host(f"192.0.{number // 250 + 2}.{number % 250 + 1}")
        return world

    def test_idleConnectionsMakeRoomForOtherHosts(self) -> None:
        """Keep-alive serves speed; it must not keep a hundred places from five hundred hosts."""
        world = self.world(60, maxConnPerSource=5)
        ids = [id for number in range(60) for id in world.send(f"b@d{number}.test")]
        world.run(14)
        self.assertEqual([], [id for id in ids if "Ok" not in world.told(id)])
        self.assertLessEqual(sum(server.mostOpen for server in world.network.servers.values()), 60)

    def test_whatWaitsIsNotComparedWithEverythingElse(self) -> None:
        """Hosts that are silent, and many more that wait for a place: a tick looks at each once."""
        hosts = 1500
        world = self.world(hosts, maxConnPerSource=10)
        for server in world.network.servers.values():
            server.isSilent = True
        for number in range(hosts):
            world.agent.deliver(world.delivery(f"b@d{number}.test"), world.ears)
        world.run(0.5)
        board = world.agent._board
        looked = 0
        mayOpen = board.mayOpen

        def counted(*arguments: Any) -> bool:
            nonlocal looked
            looked += 1
            return mayOpen(*arguments)

        grow = Pool.grow

        def grown(pool: Pool, now: float, isImpatient: bool = False) -> None:
            nonlocal looked
            looked += 1
            grow(pool, now, isImpatient)

        self.patch(Pool, "grow", grown)
        self.patch(board, "mayOpen", counted)
        world.clock.advance(1.0)
        self.assertLess(looked, 5 * hosts)

    def test_aThousandDeadAddressesEndInAnOutcome(self) -> None:
        world = World()
        hosts = [f"mx{number}.y.test" for number in range(50)]
        world.dns.domain("y.test", *((10, host) for host in hosts))
        for number, host in enumerate(hosts):
            world.dns.hosts[host] = tuple(f"192.0.{number}.{place}" for place in range(1, 21))
            for address in world.dns.hosts[host]:
                world.host(address).isSilent = True
        (one,) = world.send("b@y.test")
        while not world.told(one):
            world.run(20)
        self.assertIn("None of 20 hosts could be reached", world.told(one))
        self.assertEqual(20, len(world.network.tried))
        (relay,) = world.agent.routes.showRelays()
        self.assertEqual(50, len(cast(list[str], relay["hosts"])))
        self.assertIn("None of 20 hosts could be reached", cast(str, relay["error"]))
        world.run(2 * 3600)
        (two,) = world.send("b@y.test")
        world.run(2 * 3600)
        self.assertIn("4.4.1", world.told(two))
        self.assertGreater(len(dict.fromkeys(world.network.tried)), 35, "the next attempt tries others")
