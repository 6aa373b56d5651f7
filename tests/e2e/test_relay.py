"""Mail goes out: through real DNS to mail exchangers, to a real Postfix under TLS, over LMTP; and what is refused comes back.

Mail exchangers are on port 25, so those tests need root; each has a loopback address of its own.
"""

from __future__ import annotations

import email
import email.policy
import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from email.message import EmailMessage
from typing import cast
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.recorder import Recorder
from tests.e2e.servers import muteSocket, nameServer, postfix
from tests.e2e.support import Daemon, Place, certificate, needsRoot, running, say, waitFor

DOMAINS = [f"domain{number:03d}.test" for number in range(100)]
MESSAGES = 1500

# Seconds; the default of the configuration.
GATHER = 0.2

# Seconds that two runs of the same thing may differ by on a machine that has other things to do.
SLACK = 0.3

OUT = """
listen on 127.0.0.1 port @PORT@
action "out" relay
match from local for any action "out"
mta allow-local-mx
resolver 127.0.0.1 port {dns}
"""


class RelayTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        place = Place()
        self.stack.callback(place.remove)
        self.place = place.path

    def recorder(self, refuse: Callable[[str], str] = lambda recipient: "") -> Recorder:
        recorder = Recorder(refuse=refuse)
        self.stack.callback(recorder.close)
        return recorder

    def daemon(self, configuration: str) -> Daemon:
        return self.stack.enter_context(running(configuration))

    def send(self, daemon: Daemon, *recipients: str, sender: str = "sender@example.org") -> float:
        """
        @return: when it was accepted.
        """
        with daemon.client() as client:
            client.sendmail(sender, recipients, b"Subject: one\r\n\r\nOne body.\r\n")
            return time.monotonic()


class MxTests(RelayTestCase):
    """100 domains whose mail exchanger is the same host."""

    def setUp(self) -> None:
        super().setUp()
        # Others may test here at the same time.
        self.address = f"127.{os.getpid() // 250 % 200 + 10}.{os.getpid() % 250 + 1}.25"
        try:
            self.exchanger = Recorder(self.address, 25)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise SkipTest(f"no mail exchanger on port 25 of {self.address}: {error.strerror}") from error
            raise
        self.stack.callback(self.exchanger.close)

    def out(self, stack: ExitStack, *lines: str) -> Daemon:
        """A daemon with a name server that knows the domains."""
        records = [f"mx-host={domain},mx.test,10" for domain in DOMAINS]
        port = stack.enter_context(nameServer(self.place, [*records, f"host-record=mx.test,{self.address}", *lines]))
        return stack.enter_context(running(OUT.format(dns=port)))

    def commands(self, *verbs: str) -> int:
        return sum(command.upper().startswith(verbs) for command in self.exchanger.commands)

    def test_manyMessages(self) -> None:
        """They share a few connections, whatever their domains."""
        daemon = self.out(self.stack)
        began = time.monotonic()

        def send(part: int) -> None:
            with daemon.client() as client:
                for number in range(part, MESSAGES, 4):
                    recipient = f"user{number}@{DOMAINS[number % len(DOMAINS)]}"
                    client.sendmail("sender@example.org", [recipient], b"Subject: many\r\n\r\n" + b"x" * 70 + b"\r\n")

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(send, range(4)))
        waitFor(f"{MESSAGES} messages", lambda: len(self.exchanger.messages) >= MESSAGES)
        seconds = time.monotonic() - began
        waitFor("an empty queue", lambda: not daemon.queued())
        self.assertEqual(len(self.exchanger.messages), MESSAGES)
        self.assertEqual(len({each.recipients for each in self.exchanger.messages}), MESSAGES)
        self.assertLessEqual(self.exchanger.connections, 20)
        say(
            f"{MESSAGES} messages to {len(DOMAINS)} domains behind one host: {self.exchanger.connections} connections, "
            f"{self.exchanger.mostOpen} at a time; {seconds:.1f} s from the first command on"
        )

    def test_oneMessage(self) -> None:
        """One connection, one transaction, one body for recipients in all of the domains."""
        daemon = self.out(self.stack)
        recipients = [f"user@{domain}" for domain in DOMAINS]
        accepted = self.send(daemon, *recipients)
        waitFor("the message", lambda: self.exchanger.messages)
        waitFor("an empty queue", lambda: not daemon.queued())
        (message,) = self.exchanger.messages
        self.assertEqual(sorted(message.recipients), recipients)
        self.assertEqual(self.exchanger.connections, 1)
        self.assertEqual(self.commands("MAIL"), 1)
        self.assertEqual(self.commands("DATA", "BDAT"), 1)
        say(
            f"one message to {len(DOMAINS)} domains: 1 connection, 1 transaction, 1 body, {message.at - accepted:.3f} s after its 250"
        )

    def test_oneDomainIsSilent(self) -> None:
        """The name server answers for all domains but one: the others wait for it as long as C{gather} says."""
        mute = self.stack.enter_context(muteSocket())
        usual = self.delay(mute)
        withSilence = self.delay(mute, "user@silent.example")
        say(f"with one silent domain the others came {withSilence:.3f} s after their 250, without it {usual:.3f} s")
        self.assertLess(withSilence - usual, GATHER + SLACK)

    def delay(self, mute: int, *more: str) -> float:
        """A message to all the domains, and to C{more}, by a daemon that has asked for none of them before.

        @return: seconds from its 250 to its end at the mail exchanger.
        """
        recipients = [f"user@{domain}" for domain in DOMAINS]
        del self.exchanger.messages[:]
        with ExitStack() as stack:
            daemon = self.out(stack, f"server=/silent.example/127.0.0.1#{mute}")
            accepted = self.send(daemon, *recipients, *more)
            waitFor("the message", lambda: self.exchanger.messages)
            (message,) = self.exchanger.messages
            self.assertEqual(sorted(message.recipients), recipients)

            def left() -> list[str]:
                return [row["recipient"] for row in daemon.queued()]

            waitFor("all others to leave the queue", lambda: left() == list(more))
            return message.at - accepted


RELAYED = """
listen on 127.0.0.1 port @PORT@
action "sink" maildir "@PLACE@/Maildir" virtual {{ "@" = "@USER@" }}
action "out" {out}
match from any for domain "here.test" action "sink"
match from local for any action "out"
"""


class NextHostTests(RelayTestCase):
    """To a host that the configuration names."""

    def test_starttlsToPostfix(self) -> None:
        """Opportunistic, and required; Postfix tells in its Received field what it saw, and passes the messages on."""
        needsRoot("start Postfix")
        certificate(self.place)
        recorder = self.recorder()
        port = self.stack.enter_context(postfix(self.place / "postfix", self.place, recorder.port))
        for url, options in (("smtp", ""), ("smtp+tls", "tls no-verify")):
            with running(RELAYED.format(out=f'relay host "{url}://127.0.0.1:{port}" {options}')) as daemon:
                self.send(daemon, f"{url}@remote.test")
                waitFor(f"the message by {url}", lambda: recorder.messages)
                content = recorder.messages.pop().content
                self.assertRegex(content, rb"\(using TLSv1\.[23] with cipher [^)]*\)")
                self.assertRegex(content, rb"by postfix\.test \(Postfix\) with ESMTPS id")
                self.assertIn(b"\r\n\r\nOne body.\r\n", content)

    def test_unverifiedCertificate(self) -> None:
        """Where TLS has to be verified and cannot be, nothing is sent, and the queue says why."""
        needsRoot("start Postfix")
        certificate(self.place)
        recorder = self.recorder()
        port = self.stack.enter_context(postfix(self.place / "postfix", self.place, recorder.port))
        daemon = self.daemon(RELAYED.format(out=f'relay host "smtp+tls://127.0.0.1:{port}" tls'))
        self.send(daemon, "user@remote.test")
        (attempt,) = waitFor("an attempt", lambda: daemon.events("delivery"))
        self.assertEqual(attempt["result"], "TempFail")
        self.assertRegex(attempt["stat"], r"(?i)certificate")
        self.assertEqual(recorder.messages, [])
        (row,) = daemon.queued()
        self.assertEqual(row["recipient"], "user@remote.test")

    def test_lmtp(self) -> None:
        """Each recipient has an answer of its own; who was refused at RCPT comes back as a bounce."""
        recorder = self.recorder(lambda recipient: "550 5.1.1 no such mailbox" if recipient.startswith("no") else "")
        daemon = self.daemon(
            RELAYED.format(out=f'lmtp "127.0.0.1:{recorder.port}" rcpt-to user @USER@ virtual {{ "@" = "@USER@" }}')
        )
        self.send(daemon, "one@remote.test", "nobody@remote.test", "two@remote.test", sender="sender@here.test")
        waitFor("the message", lambda: recorder.messages)
        (message,) = recorder.messages
        self.assertEqual(sorted(message.recipients), ["one@remote.test", "two@remote.test"])
        self.assertEqual(recorder.commands[0][:4], "LHLO")
        self.assertBounce(daemon, "nobody@remote.test", "no such mailbox")

    def test_bounce(self) -> None:
        recorder = self.recorder(lambda recipient: "550 5.1.1 no such user here" if recipient.startswith("no") else "")
        daemon = self.daemon(RELAYED.format(out=f'relay host "smtp://127.0.0.1:{recorder.port}"'))
        self.send(daemon, "one@remote.test", "nobody@remote.test", sender="sender@here.test")
        waitFor("the message", lambda: recorder.messages)
        self.assertEqual(recorder.messages[0].recipients, ("one@remote.test",))
        self.assertBounce(daemon, "nobody@remote.test", "no such user here")

    def assertBounce(self, daemon: Daemon, recipient: str, reason: str) -> None:
        """One report has come to the sender; the standard library finds in it what RFC 3464 wants there."""
        (letter,) = daemon.letters(1).values()
        self.assertTrue(letter.startswith(b"Return-Path: <>\nDelivered-To: sender@here.test\n"), letter[:200])
        report = email.message_from_bytes(letter, policy=email.policy.default)
        assert isinstance(report, EmailMessage)
        self.assertEqual(report.defects, [])
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        self.assertIn("MAILER-DAEMON@", report["From"])
        self.assertEqual(report["Auto-Submitted"], "auto-replied")
        text, status, original = report.iter_parts()
        self.assertEqual(text.get_content_type(), "text/plain")
        self.assertIn(recipient, text.get_content())
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        ofMessage, ofRecipient = cast("list[EmailMessage]", status.get_payload())
        self.assertTrue(ofMessage["Reporting-MTA"].startswith("dns;"))
        self.assertEqual(ofRecipient["Final-Recipient"].replace(" ", ""), f"rfc822;{recipient}")
        self.assertEqual(ofRecipient["Action"], "failed")
        self.assertEqual(ofRecipient["Status"], "5.1.1")
        self.assertIn(reason, ofRecipient["Diagnostic-Code"])
        self.assertIn(original.get_content_type(), ("message/rfc822", "text/rfc822-headers", "message/rfc822-headers"))
        self.assertIn("Subject: one", original.as_string())
        waitFor("an empty queue", lambda: not daemon.queued())
