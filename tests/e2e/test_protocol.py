"""Clients that others wrote, and hostile ones of our own, talk SMTP and LMTP to a real daemon over real sockets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.recorder import Recorder
from tests.e2e.support import Peer, certificate, run, running, say, waitFor

CONFIGURATION = """
pki mx.test cert "@PLACE@/cert.pem" key "@PLACE@/key.pem"
table users {{ joe = "{{PLAIN}}s3cret", jane = "{hash}" }}
smtp max-message-size 1M
listen on 127.0.0.1 port @PORT@ tls pki mx.test
listen on 127.0.0.1 port @PORT2@ smtps pki mx.test
listen on 127.0.0.1 port @PORT3@ tls-require pki mx.test auth <users>
listen on 127.0.0.1 port @PORT4@ lmtp
listen on 127.0.0.1 port @PORT5@ bare-newline normalise tag relayed
action "sink" maildir "@PLACE@/Maildir" virtual {{ "@" = "@USER@" }}
action "relayed" relay host "smtp://127.0.0.1:{relay}"
match from any for rcpt-to "refused@example.org" reject
match tag relayed from any for any action "relayed"
match from any for any action "sink"
"""

# Of "secret+".
HASH = "$6$rounds=1000$saltsalt$Y8B4jbMVIPMNzjO1LFr7pmTBQoWukVtpfkOU6lsu2E5BpSSRBvWtKaCM.bVC0LURvsLxcdqvHhs2erV5RX60w0"


class ProtocolTestCase(SynchronousTestCase):
    """A daemon with all kinds of listeners, and a host behind it."""

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.recorder = Recorder()
        stack.callback(self.recorder.close)
        configuration = CONFIGURATION.format(hash=HASH, relay=self.recorder.port)
        self.daemon = stack.enter_context(running(configuration, prepare=certificate))

    def letter(self, recipient: str) -> bytes:
        """The one letter for this recipient."""
        (letter,) = self.letters(recipient, 1)
        return letter

    def letters(self, recipient: str, count: int) -> list[bytes]:
        """So many letters, once they are there."""
        return waitFor(f"{count} letters for {recipient}", lambda: self._letters(recipient, count))

    def _letters(self, recipient: str, count: int) -> list[bytes]:
        line = f"\nDelivered-To: {recipient}\n".encode()
        letters = [path.read_bytes() for path in self.daemon.delivered()]
        found = [letter for letter in letters if line in letter]
        return found if len(found) == count else []


class SwaksTests(ProtocolTestCase):
    """swaks(1): its exit code says which step failed."""

    def swaks(self, recipient: str, *arguments: str, port: int = 1, isOk: bool = True) -> str:
        return run(
            "swaks", "-s", "127.0.0.1", "-p", str(self.daemon.ports[port]), "-h", "client.test",
            "-f", "sender@example.org", "-t", recipient, *arguments, isOk=isOk,
        )  # fmt: skip

    def trusting(self) -> tuple[str, ...]:
        return "--tls-verify", "--tls-ca-path", str(self.daemon.place / "cert.pem"), "--tls-sni", "mx.test"

    def test_plain(self) -> None:
        self.swaks("plain@example.org")
        self.assertIn(b"with ESMTP id", self.letter("plain@example.org"))

    def test_helo(self) -> None:
        self.swaks("helo@example.org", "--protocol", "SMTP")
        self.assertIn(b"with SMTP id", self.letter("helo@example.org"))

    def test_starttls(self) -> None:
        printed = self.swaks("starttls@example.org", "-tls", *self.trusting())
        self.assertIn("TLS started with cipher", printed)
        self.assertIn(b"with ESMTPS id", self.letter("starttls@example.org"))

    def test_implicitTls(self) -> None:
        self.swaks("smtps@example.org", "-tlsc", *self.trusting(), port=2)
        self.assertIn(b"with ESMTPS id", self.letter("smtps@example.org"))

    def test_authentication(self) -> None:
        for mechanism in ("PLAIN", "LOGIN"):
            for user, password in (("joe", "s3cret"), ("jane", "secret+")):
                recipient = f"{mechanism.lower()}-{user}@example.org"
                who = ("-a", mechanism, "-au", user, "-ap", password)
                printed = self.swaks(recipient, "-tls", *self.trusting(), *who, port=3)
                self.assertIn("235 2.7.0", printed)
                self.assertIn(b"with ESMTPSA id", self.letter(recipient))

    def test_wrongPassword(self) -> None:
        for mechanism in ("PLAIN", "LOGIN"):
            who = ("-a", mechanism, "-au", "joe", "-ap", "wrong")
            printed = self.swaks("nobody@example.org", "-tls", *who, port=3, isOk=False)
            self.assertIn("535 5.7.8", printed)

    def test_noPasswordsInTheClear(self) -> None:
        printed = self.swaks("nobody@example.org", "-a", "PLAIN", "-au", "joe", "-ap", "s3cret", port=3, isOk=False)
        self.assertIn("Host did not advertise authentication", printed)
        self.assertNotIn("250-AUTH", printed)
        self.assertIn("530 5.7.0 ", self.swaks("nobody@example.org", port=3, isOk=False))
        self.assertIn("530 5.7.0 ", self.swaks("nobody@example.org", "-tls", port=3, isOk=False))

    def test_pipelining(self) -> None:
        recipients = [f"pipe{number}@example.org" for number in range(20)]
        self.swaks(",".join((*recipients, "refused@example.org")), "--pipeline")
        for recipient in recipients:
            self.letter(recipient)

    def test_refusedRecipient(self) -> None:
        printed = self.swaks("refused@example.org", isOk=False)
        self.assertRegex(printed, r"<\*\* 550 5\.\d\.\d ")

    def test_tooLarge(self) -> None:
        large = self.daemon.place / "large"
        large.write_bytes(b"Subject: large\n\n" + b"x" * 70 + b"\n" + (b"y" * 70 + b"\n") * 20_000)
        printed = self.swaks("large@example.org", "--suppress-data", "-d", f"@{large}", isOk=False)
        self.assertRegex(printed, r"lines sent\n<\*\* 552 5\.3\.4 ")

    def test_lmtp(self) -> None:
        printed = self.swaks("lmtp1@example.org,lmtp2@example.org,refused@example.org", "--protocol", "LMTP", port=4)
        self.assertEqual(len(re.findall(r"<-  250 2\.0\.0 ", printed)), 2)
        self.assertIn(b"with LMTP id", self.letter("lmtp1@example.org"))
        self.letter("lmtp2@example.org")


class SmtpSourceTests(ProtocolTestCase):
    """smtp-source(1), which ends with the first reply that it does not like."""

    def source(self, recipient: str, *arguments: str, port: int = 1) -> None:
        run(
            "smtp-source",
            "-f",
            "sender@example.org",
            "-t",
            recipient,
            *arguments,
            f"127.0.0.1:{self.daemon.ports[port]}",
        )

    def test_manySessions(self) -> None:
        self.source("sessions@example.org", "-s", "50", "-m", "500", "-l", "4096")
        self.letters("sessions@example.org", 500)

    def test_reusedSessions(self) -> None:
        self.source("reused@example.org", "-d", "-s", "5", "-m", "200")
        self.letters("reused@example.org", 200)

    def test_manyRecipients(self) -> None:
        self.source("many@example.org", "-r", "100", "-m", "3")
        for number in (2, 50, 100):
            self.letters(f"{number}many@example.org", 3)

    def test_large(self) -> None:
        self.source("large@example.org", "-s", "4", "-m", "8", "-l", "900000")
        for letter in self.letters("large@example.org", 8):
            self.assertGreater(len(letter), 880_000)

    def test_lmtp(self) -> None:
        self.source("lmtp@example.org", "-L", "-r", "5", "-m", "20", "-s", "4", port=4)
        self.letters("3lmtp@example.org", 20)


# What others have taken for an end of data.
ENDINGS = (
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\r\n.\r\r\n", b"\n\r.\r\n", b"\r\n\r.\r\n",
    b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\r\n..\r\n", b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n\xe2\x80\xa8.\r\n", b"\x85.\x85",
    b"\x0b.\x0b", b"\x0c.\x0c",
)  # fmt: skip

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")

SMUGGLED = (
    b"MAIL FROM:<sender@example.org>\r\nRCPT TO:<smuggled@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled"
)


def segmentations(content: bytes, ending: bytes) -> Iterator[tuple[bytes, ...]]:
    """The whole at once, cut in two at each place around the ending, and octet by octet there."""
    start = content.index(ending) - 1
    end = start + len(ending) + 3
    yield (content,)
    for cut in range(start, end + 1):
        yield content[:cut], content[cut:]
    yield content[:start], *(content[at : at + 1] for at in range(start, end)), content[end:]


class SmugglingTests(ProtocolTestCase):
    """Whatever stands for an end of data elsewhere, here one transaction stays one."""

    def smuggle(self, port: int) -> list[tuple[bytes, str]]:
        """
        @return: each ending with the reply that its message got, for each way to cut it.
        """
        replies = []
        for ending in ENDINGS:
            content = b"Subject: first\r\n\r\nfirst" + ending + SMUGGLED + b"\r\n.\r\n"
            for segments in segmentations(content, ending):
                with Peer(self.daemon.ports[port]) as peer:
                    peer.begin("honest@example.org")
                    peer.say(*segments)
                    reply = peer.hear()
                    self.assertTrue(peer.ask("QUIT").startswith("221"), (ending, segments, reply))
                    self.assertEqual(peer.hear(), "")
                    replies.append((ending, reply))
        return replies

    def test_rejecting(self) -> None:
        replies = self.smuggle(1)
        taken = 0
        for ending, reply in replies:
            if _BARE.search(ending):
                self.assertTrue(reply.startswith("554 5.6.0"), (ending, reply))
            else:
                self.assertTrue(reply.startswith("250 2.0.0"), (ending, reply))
                taken += 1
        self.letters("honest@example.org", taken)
        self.assertEqual(self._letters("smuggled@example.org", 0), [])
        say(
            f"{len(ENDINGS)} endings in {len(replies)} segmentations: {taken} are content, the others refused, none ends a message"
        )

    def test_normalisingAndRelaying(self) -> None:
        """What was mended on the way in must not end a message at the next host either."""
        replies = self.smuggle(5)
        for ending, reply in replies:
            self.assertTrue(reply.startswith("250 2.0.0"), (ending, reply))
        waitFor("all messages at the next host", lambda: len(self.recorder.messages) >= len(replies))
        self.assertEqual(len(self.recorder.messages), len(replies))
        for each in self.recorder.messages:
            self.assertEqual(each.recipients, ("honest@example.org",))
            self.assertIn(b"Subject: smuggled\r\n", each.content)
            self.assertIsNone(_BARE.search(each.content))

    def test_theRealOne(self) -> None:
        """CRLF.CRLF ends a message wherever it is cut; what comes with it are commands."""
        content = b"Subject: real\r\n\r\nreal\r\n.\r\nNOOP\r\n"
        count = 0
        for segments in segmentations(content, b"\r\n.\r\n"):
            with Peer(self.daemon.port) as peer:
                peer.begin("real@example.org")
                peer.say(*segments)
                self.assertTrue(peer.hear().startswith("250 2.0.0"))
                self.assertTrue(peer.hear().startswith("250 2.0.0"))
                count += 1
        for letter in self.letters("real@example.org", count):
            self.assertTrue(letter.endswith(b"\n\nreal\n"), letter)


class BoundTests(ProtocolTestCase):
    """Sizes and lengths, and what does not belong where it stands."""

    def test_sizeAtMail(self) -> None:
        with Peer(self.daemon.port) as peer:
            peer.hear()
            self.assertIn("SIZE 1048576", peer.ask("EHLO client.test"))
            self.assertTrue(peer.ask("MAIL FROM:<a@example.org> SIZE=1048577").startswith("552 5.3.4"))
            self.assertTrue(peer.ask("MAIL FROM:<a@example.org> SIZE=1048576").startswith("250"))

    def test_sizeWhileReceiving(self) -> None:
        """It is read to its end, refused, and the session goes on."""
        with Peer(self.daemon.port) as peer:
            peer.begin()
            for _ in range(30):
                peer.say((b"x" * 998 + b"\r\n") * 40, pause=0)
            peer.say(b".\r\n")
            self.assertTrue(peer.hear().startswith("552 5.3.4"))
            self.assertTrue(peer.ask("NOOP").startswith("250"))

    def test_longTextLine(self) -> None:
        """A line of a message may be long. One that is too long costs its message, and is never taken for commands."""
        for length, expected in ((65_534, "250 2.0.0"), (65_535, "554 5.6.0"), (300_000, "554 5.6.0")):
            with Peer(self.daemon.port) as peer:
                peer.begin(f"line{length}@example.org")
                line = (b"RSET " * (length // 5 + 1))[:length]
                peer.say(b"Subject: long\r\n\r\n", line + b"\r\n", b".\r\n")
                reply = peer.hear()
                self.assertTrue(reply.startswith(expected), (length, reply))
                self.assertTrue(peer.ask("QUIT").startswith("221"))
        self.assertEqual(len(self.letter("line65534@example.org").splitlines()[-1]), 65_534)

    def test_longCommand(self) -> None:
        for length in (3_000, 1_000_000):
            with Peer(self.daemon.port) as peer:
                peer.hear()
                peer.say(b"NOOP " + b"x" * length + b"\r\n")
                self.assertRegex(peer.hear(), r"^500 5\.5\.\d ")

    def test_endlessCommand(self) -> None:
        """A line without an end is answered while it comes."""
        with Peer(self.daemon.port) as peer:
            peer.hear()
            peer.say(b"x" * 100_000)
            self.assertRegex(peer.hear(), r"^500 5\.5\.\d ")

    def test_injectionBeforeTls(self) -> None:
        """What came with STARTTLS in the clear is not obeyed under TLS."""
        with Peer(self.daemon.port) as peer:
            peer.hear()
            peer.ask("EHLO client.test")
            peer.say(b"STARTTLS\r\nEHLO client.test\r\nMAIL FROM:<injected@example.org>\r\n")
            self.assertTrue(peer.hear().startswith("220"))
            peer.startTls(self.daemon.place / "cert.pem")
            self.assertTrue(peer.ask("RCPT TO:<x@example.org>").startswith("503 5.5.1"))
            self.assertTrue(peer.ask("EHLO client.test").startswith("250"))
            self.assertTrue(peer.ask("RCPT TO:<x@example.org>").startswith("503 5.5.1"))

    def test_eightBitWithoutSayingSo(self) -> None:
        with Peer(self.daemon.port) as peer:
            peer.begin("eight@example.org")
            peer.say("Subject: gr\u00fc\u00dfe\r\n\r\nstra\u00dfe\r\n.\r\n".encode("latin-1"))
            self.assertTrue(peer.hear().startswith("250 2.0.0"))
        self.assertTrue(self.letter("eight@example.org").endswith("\n\nstra\u00dfe\n".encode("latin-1")))

    def test_binaryInChunks(self) -> None:
        """BDAT takes what DATA cannot carry: here, the pieces are cut through a CRLF and a dot."""
        content = b"Subject: chunks\r\n\r\n.\r\n..\r\nend\r\n"
        with Peer(self.daemon.port) as peer:
            peer.hear()
            self.assertIn("CHUNKING", peer.ask("EHLO client.test"))
            peer.ask("MAIL FROM:<a@example.org>")
            peer.ask("RCPT TO:<bdat@example.org>")
            for at in range(0, len(content), 5):
                piece = content[at : at + 5]
                peer.say(b"BDAT %d\r\n" % len(piece), piece, pause=0)
                self.assertTrue(peer.hear().startswith("250"))
            self.assertTrue(peer.ask("BDAT 0 LAST").startswith("250 2.0.0"))
        self.assertTrue(self.letter("bdat@example.org").endswith(b"Subject: chunks\n\n.\n..\nend\n"))

    def test_allInOneSegment(self) -> None:
        with Peer(self.daemon.port) as peer:
            peer.say(
                b"EHLO client.test\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<batch@example.org>\r\nDATA\r\n"
                b"Subject: batch\r\n\r\nx\r\n.\r\nQUIT\r\n"
            )
            codes = [peer.hear()[:3] for _ in range(7)]
        self.assertEqual(codes, ["220", "250", "250", "250", "354", "250", "221"])
        self.letter("batch@example.org")
