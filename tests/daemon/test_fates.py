"""How mail ends: delivered, reported, expired, removed."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from typing import Any

from pysmtpd.model.events import EnvelopeBounced, EnvelopeExpired, MessageAccepted
from pysmtpd.testing.internet import Condition
from tests.daemon.story import StoryTestCase, rules

DAY = 86_400.0


def report(content: bytes) -> tuple[Message, Message]:
    """The two groups of fields of a delivery status (RFC 3464 2.1): of the message, and of its one recipient."""
    letter = message_from_bytes(content)
    assert letter.get_content_type() == "multipart/report", content
    parts: Any = letter.get_payload()
    _, status, _ = parts
    ofMessage, ofRecipient = status.get_payload()
    return ofMessage, ofRecipient


class FateTests(StoryTestCase):
    def test_delivered(self) -> None:
        world = self.begin()
        remote = self.remote(world)
        self.accepted(world, "joe@example.org", "ann@remote.test", content=b"Subject: hello\n\nHi.\n")
        self.finish(world, "delivered", "delivered")
        (letter,) = self.letters(world)
        self.assertTrue(letter.endswith(b"Subject: hello\n\nHi.\n"), letter)
        self.assertEqual(remote.recipients, ["ann@remote.test"])
        (received,) = remote.messages
        self.assertTrue(received.content.endswith(b"Subject: hello\r\n\r\nHi.\r\n"), received.content)
        self.assertEqual(received.content.count(b"Received: "), 1)

    def test_temporaryThenDelivered(self) -> None:
        world = self.begin()
        remote = self.remote(world).tempfail("RCPT", times=2, reply="451 4.2.0 greylisted")
        self.accepted(world, "ann@remote.test")
        world.run(10)
        (row,) = self.operator(world).queue()
        self.assertEqual((row["condition"], row["tries"]), ("waiting", 1))
        self.assertEqual(row["why"], "waits for its next try")
        self.assertIn("451 4.2.0 greylisted", row["last_reply"])
        self.assertEqual(row["next_try"], row["created"] + 400)
        world.run(400)
        self.assertEqual(self.results(world), ["TempFail", "TempFail"])
        self.finish(world, "delivered", seconds=3600)
        self.assertEqual(remote.recipients, ["ann@remote.test"])

    def test_permanentFailureIsReported(self) -> None:
        world = self.begin()
        self.remote(world).reject("RCPT", "550 5.1.1 nobody of that name")
        home = self.remote(world, "client.test")
        self.accepted(
            world, "ann@remote.test", mailParameters="RET=HDRS ENVID=q1", content=b"Subject: hello\n\nsecret\n"
        )
        self.finish(world, "bounced", "delivered")
        (bounce,) = home.messages
        self.assertEqual((bounce.sender, bounce.recipients), ("", ("jane@client.test",)))
        ofMessage, ofRecipient = report(bounce.content)
        self.assertEqual(ofMessage["Reporting-MTA"], "dns; mail.example.org")
        self.assertEqual(ofMessage["Original-Envelope-Id"], "q1")
        self.assertEqual(ofRecipient["Final-Recipient"], "rfc822; ann@remote.test")
        self.assertEqual((ofRecipient["Action"], ofRecipient["Status"]), ("failed", "5.1.1"))
        self.assertIn("550 5.1.1 nobody of that name", ofRecipient["Diagnostic-Code"])
        self.assertEqual(ofRecipient["Remote-MTA"], "dns; mx.remote.test")
        self.assertIn(b"Subject: hello", bounce.content)
        self.assertNotIn(b"secret", bounce.content)
        (event,) = world.eventsOf(EnvelopeBounced)
        self.assertEqual(event.bounce, world.eventsOf(MessageAccepted)[1].msgid)

    def test_failuresOfOneMessageMakeOneReport(self) -> None:
        world = self.begin()
        remote = self.remote(world)
        for name in ("b1", "b2", "b3"):
            remote.reject("RCPT", "550 5.1.1 no", when=name)
        home = self.remote(world, "client.test")
        self.accepted(world, *(f"{name}@remote.test" for name in ("a1", "b1", "a2", "b2", "b3")))
        self.finish(world)
        self.assertEqual(remote.recipients, ["a1@remote.test", "a2@remote.test"])
        (bounce,) = home.messages
        self.assertEqual(bounce.content.count(b"Final-Recipient: "), 3)

    def test_nobodyIsToldOfABounce(self) -> None:
        """The null sender, and a bounce that fails itself: never a report, and the log says how it ended."""
        world = self.begin()
        self.remote(world).reject("RCPT")
        self.remote(world, "client.test").reject("RCPT")
        self.accepted(world, "ann@remote.test", sender="")
        world.run(30)
        self.accepted(world, "bob@remote.test")
        self.finish(world, "unreported", "bounced", "unreported")
        self.assertEqual(len(world.eventsOf(MessageAccepted)), 3)
        self.assertEqual([event.sender for event in world.eventsOf(MessageAccepted)], ["", "jane@client.test", ""])

    def test_notifyNever(self) -> None:
        world = self.begin()
        self.remote(world).reject("RCPT")
        home = self.remote(world, "client.test")
        self.accepted(world, "ann@remote.test", rcptParameters=["NOTIFY=NEVER"])
        self.finish(world, "unreported")
        self.assertEqual(home.connections, 0)

    def test_expired(self) -> None:
        world = self.begin(rules("queue ttl 4h"))
        remote = self.remote(world).set(Condition.REFUSING)
        home = self.remote(world, "client.test")
        self.accepted(world, "ann@remote.test")
        world.run(4 * 3600 - 60)
        self.assertEqual(home.messages, [])
        self.finish(world, "bounced", "delivered", seconds=3600)
        self.assertEqual(len(world.eventsOf(EnvelopeExpired)), 1)
        (bounce,) = home.messages
        _, ofRecipient = report(bounce.content)
        self.assertEqual((ofRecipient["Action"], ofRecipient["Status"]), ("failed", "5.4.7"))
        self.assertEqual(remote.messages, [])
        self.assertNotIn("Ok", self.results(world)[:-1])

    def test_fourDaysIsTheDefault(self) -> None:
        world = self.begin(rules("bounce warn-interval 30d"))
        self.remote(world).set(Condition.REFUSING)
        home = self.remote(world, "client.test")
        self.accepted(world, "ann@remote.test")
        world.run(4 * DAY - 60)
        self.assertEqual(home.messages, [])
        self.finish(world, "bounced", "delivered", seconds=120)

    def test_removed(self) -> None:
        world = self.begin()
        self.remote(world).set(Condition.REFUSING)
        home = self.remote(world, "client.test")
        self.accepted(world, "ann@remote.test", "bob@remote.test")
        world.run(10)
        operator = self.operator(world)
        self.assertEqual(operator.ask("Remove", selection=operator.queue()[0]["msgid"]), {"count": 2})
        self.finish(world, "removed", "removed")
        self.assertEqual(home.connections, 0)

    def test_partsOfAMessageEndApart(self) -> None:
        """One is delivered, one fails, one waits: each keeps its own story."""
        world = self.begin()
        remote = self.remote(world).reject("RCPT", when="bad@").tempfail("RCPT", when="late@", times=1)
        self.remote(world, "client.test")
        self.accepted(world, "good@remote.test", "bad@remote.test", "late@remote.test")
        world.run(30)
        (row,) = self.operator(world).queue()
        self.assertEqual(row["recipient"], "late@remote.test")
        self.finish(world, "delivered", "bounced", "delivered", "delivered", seconds=3600)
        self.assertEqual(remote.recipients, ["good@remote.test", "late@remote.test"])

    def test_hundredReceivedFieldsAreALoop(self) -> None:
        world = self.begin()
        for fields, answer in ((99, "250"), (100, "554 5.4.6")):
            content = b"Received: from a by b; now\n" * fields + b"Subject: x\n\nHi.\n"
            sent = world.send("jane@client.test", "joe@example.org", content=content)
            world.run(5)
            self.assertTrue(sent.reply("BODY").startswith(answer), sent.replies)
        self.finish(world, "delivered")

    def test_loopsThroughUsAreNoticedInTheMaildir(self) -> None:
        world = self.begin()
        self.remote(world, "client.test")
        self.accepted(world, "joe@example.org", content=b"Delivered-To: joe@example.org\nSubject: x\n\nHi.\n")
        self.finish(world, "bounced", "delivered")
        self.assertEqual(self.results(world)[0], "Loop")
