"""What senders are told besides failures: that mail is late, and that it arrived, if they ask (RFC 3461)."""

from __future__ import annotations

from collections.abc import Sequence
from email import message_from_bytes
from typing import Any

from pysmtpd.model.events import DeliveryAttempted, EnvelopeReported, MessageAccepted, QueueFailed
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.remote import RemoteServer
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase, rules

HOUR = 3600.0


def groups(content: bytes) -> Sequence[Any]:
    """Of a report: the fields of the message, then those of each recipient."""
    letter = message_from_bytes(content)
    assert letter.get_content_type() == "multipart/report", content
    parts: Any = letter.get_payload()
    return [group for group in parts[1].get_payload() if group.items()]


class ReportTestCase(StoryTestCase):
    def actions(self, home: RemoteServer) -> list[list[tuple[str, str, str]]]:
        """Action, status and recipient of each report that came."""
        return [
            [(group["Action"], group["Status"], group["Final-Recipient"]) for group in groups(message.content)[1:]]
            for message in home.messages
        ]


class WarningTests(ReportTestCase):
    def begun(self, words: str = "", **script: Any) -> tuple[World, RemoteServer, RemoteServer]:
        world = self.begin(rules(words))
        return world, self.remote(world, **script).set(Condition.REFUSING), self.remote(world, "client.test")

    def test_afterFourHours(self) -> None:
        """Once, with all recipients of the message; then it goes on."""
        world, remote, home = self.begun()
        self.accepted(world, "ann@remote.test", "bob@remote.test", mailParameters="ENVID=q1")
        world.run(4 * HOUR - 60)
        self.assertEqual(home.messages, [])
        world.run(20 * HOUR)
        (message,) = home.messages
        self.assertEqual((message.sender, message.recipients), ("", ("jane@client.test",)))
        self.assertIn(b"\r\nSubject: Mail is delayed\r\n", message.content)
        ofMessage, ann, bob = groups(message.content)
        self.assertEqual(ofMessage["Original-Envelope-Id"], "q1")
        self.assertEqual((ann["Action"], ann["Status"]), ("delayed", "4.4.1"))
        self.assertIn("Will-Retry-Until", ann)
        self.assertEqual(bob["Final-Recipient"], "rfc822; bob@remote.test")
        self.assertEqual([event.action for event in world.eventsOf(EnvelopeReported)], ["delayed", "delayed"])
        remote.set(Condition.NORMAL)
        self.finish(world, "delivered", "delivered", "delivered", seconds=12 * HOUR)
        self.assertEqual(len(home.messages), 1)

    def test_atEachInterval(self) -> None:
        world, _, home = self.begun("bounce warn-interval 1h, 6h, 2d")
        self.accepted(world, "ann@remote.test")
        for hours, warnings in ((1.8, 1), (3, 1), (4, 2), (36, 2), (20, 3)):
            world.run(hours * HOUR)
            self.assertEqual(len(home.messages), warnings, hours)
        world.run(48 * HOUR)
        self.assertEqual([found[0][0] for found in self.actions(home)], ["delayed"] * 3 + ["failed"])

    def test_outlastsARestart(self) -> None:
        world, _, home = self.begun("bounce warn-interval 1h")
        self.accepted(world, "ann@remote.test")
        world.run(6 * HOUR)
        world.crash()
        world.restart()
        world.run(24 * HOUR)
        self.assertEqual(len(home.messages), 1)

    def test_whoIsNotTold(self) -> None:
        """The null sender, and who asked for something else; but who asked for it is told."""
        world, _, home = self.begun("bounce warn-interval 1h")
        self.accepted(world, "ann@remote.test", sender="")
        for notify in ("NEVER", "SUCCESS", "FAILURE"):
            self.accepted(world, "ann@remote.test", rcptParameters=[f"NOTIFY={notify}"])
        world.run(6 * HOUR)
        self.assertEqual(home.messages, [])
        self.accepted(world, "bob@remote.test", rcptParameters=["NOTIFY=DELAY"])
        world.run(6 * HOUR)
        self.assertEqual(self.actions(home), [[("delayed", "4.4.1", "rfc822; bob@remote.test")]])

    def test_stopInTheMidst(self) -> None:
        """What was gathered is still sent."""
        world, _, home = self.begun("bounce warn-interval 1h")
        self.accepted(world, "ann@remote.test")
        world.run(6 * HOUR)
        accepted = len(world.eventsOf(MessageAccepted))
        world.stop()
        self.assertEqual((accepted, len(home.messages)), (2, 1))
        self.assertEqual(world.eventsOf(QueueFailed), [])


class SuccessTests(ReportTestCase):
    ASK = ["NOTIFY=SUCCESS ORCPT=rfc822;ann+40x.test"]

    def test_local(self) -> None:
        world = self.begin()
        home = self.remote(world, "client.test")
        self.accepted(
            world,
            "joe@example.org",
            rcptParameters=self.ASK,
            mailParameters="RET=FULL ENVID=q1",
            content=b"A: b\n\nsecret\n",
        )
        self.finish(world, "delivered", "delivered")
        (report,) = home.messages
        ofMessage, joe = groups(report.content)
        self.assertEqual(ofMessage["Original-Envelope-Id"], "q1")
        self.assertEqual((joe["Action"], joe["Status"]), ("delivered", "2.0.0"))
        self.assertEqual(joe["Original-Recipient"], "rfc822; ann@x.test")
        self.assertIn(b"Subject: Mail was delivered", report.content)
        self.assertNotIn(b"secret", report.content)
        (event,) = world.eventsOf(EnvelopeReported)
        self.assertEqual((event.action, event.report), ("delivered", world.eventsOf(MessageAccepted)[1].msgid))

    def test_relayed(self) -> None:
        """The next host sends no reports: that it has the mail is all that we can tell."""
        world = self.begin()
        self.remote(world).without("DSN")
        home = self.remote(world, "client.test")
        self.accepted(
            world, "ann@remote.test", "bob@remote.test", "eve@remote.test", rcptParameters=[*self.ASK, *self.ASK, ""]
        )
        self.finish(world, *["delivered"] * 4)
        self.assertEqual([action for action, _, _ in self.actions(home)[0]], ["relayed", "relayed"])
        self.assertIn(b"Remote-MTA: dns; mx.remote.test", home.messages[0].content)

    def test_handedOver(self) -> None:
        """The next host knows what to do."""
        world = self.begin()
        remote = self.remote(world)
        home = self.remote(world, "client.test")
        self.accepted(world, "ann@remote.test", rcptParameters=self.ASK, mailParameters="RET=HDRS ENVID=q1")
        self.finish(world, "delivered")
        self.assertEqual(home.connections, 0)
        said = [line for _, direction, line in remote.transcript if direction == "<"]
        self.assertIn("MAIL FROM:<jane@client.test> ", said[1])
        self.assertIn(" RET=HDRS ENVID=q1", said[1])
        self.assertIn("RCPT TO:<ann@remote.test> NOTIFY=SUCCESS ORCPT=rfc822;ann@x.test", said)

    def test_lmtpDelivers(self) -> None:
        world = self.begin(rules(relay='host "lmtp://store.test:24"'))
        world.remote("store.test", port=24, lmtp=True).without("DSN")
        self.accepted(world, "ann@remote.test", rcptParameters=self.ASK, sender="jane@example.org")
        world.run(60)
        (letter,) = self.letters(world)
        self.assertEqual(groups(letter)[1]["Action"], "delivered")

    def test_mixed(self) -> None:
        """One report for what one message came to."""
        world = self.begin()
        self.remote(world).without("DSN").reject("RCPT", "550 5.1.1 no", when="bob@")
        home = self.remote(world, "client.test")
        self.accepted(world, "ann@remote.test", "bob@remote.test", rcptParameters=["NOTIFY=SUCCESS,FAILURE"] * 2)
        self.finish(world, "delivered", "bounced", "delivered")
        self.assertEqual(
            self.actions(home),
            [[("relayed", "2.0.0", "rfc822; ann@remote.test"), ("failed", "5.1.1", "rfc822; bob@remote.test")]],
        )
        self.assertIn(b"Subject: Mail could not be delivered", home.messages[0].content)

    def test_neverForTheNullSender(self) -> None:
        world = self.begin()
        self.accepted(world, "joe@example.org", sender="", rcptParameters=["NOTIFY=SUCCESS"])
        self.finish(world, "delivered")
        self.assertEqual(world.eventsOf(EnvelopeReported), [])

    def test_noReportIsLost(self) -> None:
        """The delivery is done; its report waits until the sender can be resolved, over a restart, and nothing is delivered again."""
        world = self.begin()
        remote = self.remote(world).without("DSN")
        home = self.remote(world, "client.test").set(Condition.REFUSING)
        self.accepted(world, "ann@remote.test", rcptParameters=self.ASK)
        world.until(lambda: world.eventsOf(DeliveryAttempted), 5, "the letter is delivered")
        (row,) = self.operator(world).queue()
        self.assertIn("was delivered; the report to its sender ", row["why"])
        world.run(2.5)
        world.crash()
        world.restart()
        home.set(Condition.NORMAL)
        world.run(2 * HOUR)
        self.assertEqual(len(remote.messages), 1)
        self.assertEqual(len(home.messages), 1)
