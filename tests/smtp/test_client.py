from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.envelope import Notify
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.client import ClientCore
from pysmtpd.smtp.client_events import (
    ClientSettings,
    ContentWanted,
    Credentials,
    Ended,
    Established,
    Finished,
    OutgoingMail,
    OutgoingRcpt,
    Stage,
    StartTls,
)
from pysmtpd.smtp.client_extensions import parseExtensions
from tests.smtp.client_dialogue import PLAIN, Act, Script, mail, play, told

PIPELINING: Script = (
    ("S", "220 mx.test ESMTP\n"),
    ("C", "EHLO me.test\n"),
    ("S", "250-mx.test hello\n250-PIPELINING\n250-8BITMIME\n250 SIZE 1000\n"),
    ("E", "Established"),
)
SIMPLE: Script = (
    ("S", "220 mx.test\n"),
    ("C", "EHLO me.test\n"),
    ("S", "500 what?\n"),
    ("C", "HELO me.test\n"),
    ("S", "250 mx.test\n"),
    ("E", "Established"),
)
LOST = Reply(451, "connection lost", "4.4.2")


def start(message: OutgoingMail, content: bytes | None = b"a\r\n.b") -> Act:
    return lambda core: core.start(message, content)


def greeted(*extensions: str, verb: str = "EHLO") -> Script:
    return (
        ("S", "220 mx.test\n"),
        ("C", f"{verb} me.test\n"),
        ("S", "\n".join(["250-mx.test", *(f"250-{word}" for word in extensions), "250 HELP\n"])),
    )


DIALOGUES: dict[str, tuple[Script, ClientSettings]] = {
    "pipelined": (
        (
            *PIPELINING,
            start(mail("b@y.test", "c@y.test")),
            ("C", "MAIL FROM:<a@x.test> SIZE=5\nRCPT TO:<b@y.test>\nRCPT TO:<c@y.test>\nDATA\n"),
            ("S", "250 2.1.0 ok\n250 2.1.5 ok\n550 5.1.1 nobody\n354 go\n"),
            ("C", "a\n..b\n.\n"),
            ("S", "250 2.0.0 queued as 7\n"),
            ("E", "250 2.0.0 queued as 7 | 550 5.1.1 nobody reached"),
            start(mail("d@y.test", body="8BITMIME", ret="FULL"), b"x\r\n"),
            ("C", "MAIL FROM:<a@x.test> SIZE=5 BODY=8BITMIME\nRCPT TO:<d@y.test>\nDATA\n"),
            ("S", "250 ok\n250 ok\n354 go\n"),
            ("C", "x\n.\n"),
            ("S", "554 no\n"),
            ("E", "554 5.0.0 no reached"),
            lambda core: core.quit(),
            ("C", "QUIT\n"),
            ("S", "221 2.0.0 bye\n"),
            ("E", "ended in quit: 221 2.0.0 bye"),
        ),
        PLAIN,
    ),
    "one at a time": (
        (
            *SIMPLE,
            start(mail("b@y.test", "c@y.test", body="8BITMIME", ret="HDRS", envid="z"), None),
            ("C", "MAIL FROM:<a@x.test>\n"),
            ("S", "250 ok\n"),
            ("C", "RCPT TO:<b@y.test>\n"),
            ("S", "451 later\n"),
            ("C", "RCPT TO:<c@y.test>\n"),
            ("S", "250 ok\n"),
            ("C", "DATA\n"),
            ("S", "354 go\n"),
            ("E", "ContentWanted"),
            lambda core: core.content(b".x\r\n"),
            ("C", "..x\n"),
            lambda core: core.content(b".y"),
            lambda core: core.content(b"", last=True),
            ("C", "..y\n.\n"),
            ("S", "250 ok\n"),
            ("E", "451 4.0.0 later | 250 2.0.0 ok reached"),
        ),
        PLAIN,
    ),
    "all refused, one at a time": (
        (
            *SIMPLE,
            start(mail("b@y.test")),
            ("C", "MAIL FROM:<a@x.test>\n"),
            ("S", "250 ok\n"),
            ("C", "RCPT TO:<b@y.test>\n"),
            ("S", "550 no\n"),
            ("E", "550 5.0.0 no"),
            start(mail("b@y.test")),
            ("C", "RSET\n"),
            ("S", "250 ok\n"),
            ("C", "MAIL FROM:<a@x.test>\n"),
            ("S", "550 5.7.1 not you\n"),
            ("E", "550 5.7.1 not you"),
        ),
        PLAIN,
    ),
    "RSET refused": (
        (
            *PIPELINING,
            start(mail("b@y.test")),
            ("C", "MAIL FROM:<a@x.test> SIZE=5\nRCPT TO:<b@y.test>\nDATA\n"),
            ("S", "250 ok\n450 no\n503 no recipient\n"),
            ("E", "450 4.0.0 no"),
            start(mail("c@y.test")),
            ("C", "RSET\nMAIL FROM:<a@x.test> SIZE=5\nRCPT TO:<c@y.test>\nDATA\n"),
            ("S", "500 5.5.1 no such command\n503 5.5.1 nested MAIL\n250 ok\n354 go\n"),
            ("E", "451 4.5.0 RSET was refused: 500 5.5.1 no such command"),
            ("E", "ended in mail: 451 4.5.0 RSET was refused: 500 5.5.1 no such command"),
        ),
        PLAIN,
    ),
    "354 though all were refused": (
        (
            *PIPELINING,
            start(mail("b@y.test")),
            ("C", "MAIL FROM:<a@x.test> SIZE=5\nRCPT TO:<b@y.test>\nDATA\n"),
            ("S", "250 ok\n550 no\n354 go\n"),
            ("C", ".\n"),
            ("S", "554 no valid recipients\n"),
            ("E", "550 5.0.0 no"),
            start(mail("c@y.test")),
            ("C", "RSET\nMAIL FROM:<a@x.test> SIZE=5\nRCPT TO:<c@y.test>\nDATA\n"),
            ("S", "250 ok\n250 ok\n250 ok\n450 4.3.2 busy\n"),
            ("E", "450 4.3.2 busy"),
            start(mail("c@y.test")),
            ("C", "RSET\nMAIL FROM:<a@x.test> SIZE=5\nRCPT TO:<c@y.test>\nDATA\n"),
            ("S", "250 ok\n530 5.7.0 no\n503 mail first\n503 mail first\n"),
            ("E", "530 5.7.0 no"),
        ),
        PLAIN,
    ),
    "whole message by BDAT": (
        (
            *greeted("chunking", "PipeLining", "SMTPUTF8", "dsn"),
            ("E", "Established"),
            lambda core: core.start(
                OutgoingMail(
                    "",
                    [OutgoingRcpt("b@y.test", Notify.SUCCESS | Notify.DELAY, "rfc822;b+c@y.test")],
                    5,
                    smtputf8=True,
                    ret="HDRS",
                    envid="a b",
                ),
                b"a\r\n.b",
            ),
            (
                "C",
                "MAIL FROM:<> SMTPUTF8 RET=HDRS ENVID=a+20b\n"
                "RCPT TO:<b@y.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@y.test\nBDAT 5 LAST\na\n.b",
            ),
            ("S", "250 ok\n250 ok\n250 2.0.0 taken\n"),
            ("E", "250 2.0.0 taken reached"),
        ),
        PLAIN,
    ),
    "binary needs BDAT": (
        (
            *greeted("CHUNKING", "BINARYMIME"),
            ("E", "Established"),
            start(mail("b@y.test", body="BINARYMIME"), None),
            ("C", "MAIL FROM:<a@x.test> BODY=BINARYMIME\n"),
            ("S", "250 ok\n"),
            ("C", "RCPT TO:<b@y.test>\n"),
            ("S", "250 ok\n"),
            ("E", "ContentWanted"),
            ("C", "BDAT 5 LAST\n"),
            lambda core: core.content(b"\n.\n.", last=False),
            lambda core: core.content(b"\r", last=True),
            lambda core: [] if core.output() == b"\n.\n.\r" else [ContentWanted()],
            ("S", "250 ok\n"),
            ("E", "250 2.0.0 ok reached"),
        ),
        PLAIN,
    ),
    "lmtp": (
        (
            *greeted("PIPELINING", verb="LHLO"),
            ("E", "Established"),
            start(mail("b@y.test", "c@y.test", "d@y.test"), b"x\r\n"),
            ("C", "MAIL FROM:<a@x.test>\nRCPT TO:<b@y.test>\nRCPT TO:<c@y.test>\nRCPT TO:<d@y.test>\nDATA\n"),
            ("S", "250 ok\n250 ok\n550 no\n250 ok\n354 go\n"),
            ("C", "x\n.\n"),
            ("S", "250 2.1.5 b has it\n452 4.2.2 d is full\n"),
            ("E", "250 2.1.5 b has it | 550 5.0.0 no | 452 4.2.2 d is full reached"),
        ),
        ClientSettings("me.test", lmtp=True, starttls=StartTls.NEVER),
    ),
    "starttls forgets, then AUTH PLAIN": (
        (
            *greeted("STARTTLS", "AUTH PLAIN", "SIZE 10"),
            ("C", "STARTTLS\n"),
            ("S", "220 go\n"),
            ("E", "TlsWanted"),
            lambda core: core.tlsStarted(),
            ("C", "EHLO me.test\n"),
            ("S", "250-mx.test\n250 AUTH=LOGIN PLAIN\n"),
            ("C", "AUTH PLAIN AHUAcA==\n"),
            ("S", "235 2.7.0 welcome\n"),
            ("E", "Established"),
        ),
        ClientSettings("me.test", starttls=StartTls.REQUIRED, credentials=Credentials("u", b"p")),
    ),
    "AUTH LOGIN": (
        (
            *greeted("AUTH LOGIN CRAM-MD5"),
            ("C", "AUTH LOGIN\n"),
            ("S", "334 VXNlcm5hbWU6\n"),
            ("C", "dQ==\n"),
            ("S", "334 UGFzc3dvcmQ6\n"),
            ("C", "cA==\n"),
            ("S", "535 5.7.8 no\n"),
            ("E", "ended in auth: 535 5.7.8 no"),
        ),
        ClientSettings("me.test", starttls=StartTls.NEVER, secured=True, credentials=Credentials("u", b"p")),
    ),
    "EHLO is neither taken nor refused": (
        (
            ("S", "220 mx.test\n"),
            ("C", "EHLO me.test\n"),
            ("S", "354 go\n"),
            ("E", "ended in hello: 451 4.5.0 Protocol error: 354 in answer to EHLO"),
        ),
        PLAIN,
    ),
    "AUTH is neither taken nor refused": (
        (
            *greeted("AUTH LOGIN"),
            ("C", "AUTH LOGIN\n"),
            ("S", "250 2.0.0 whatever\n"),
            ("E", "ended in auth: 451 4.5.0 Protocol error: 250 in answer to AUTH"),
        ),
        ClientSettings("me.test", starttls=StartTls.NEVER, secured=True, credentials=Credentials("u", b"p")),
    ),
    "no password in the clear": (
        (*greeted("AUTH PLAIN"), ("E", "ended in hello: 451 4.7.11 Passwords are not sent without TLS")),
        ClientSettings("me.test", credentials=Credentials("u", b"p")),
    ),
    "TLS required and not offered": (
        (*greeted(), ("E", "ended in hello: 451 4.7.4 TLS is required and the host does not offer STARTTLS")),
        ClientSettings("me.test", starttls=StartTls.REQUIRED),
    ),
    "opportunistic TLS refused": (
        (*greeted("STARTTLS"), ("C", "STARTTLS\n"), ("S", "454 no\n"), ("E", "Established")),
        PLAIN,
    ),
    "refused at the door": (
        (("S", "554-go\n554 away\n"), ("E", "ended in greeting: 554 5.0.0 go away")),
        PLAIN,
    ),
    "421 between recipients": (
        (
            *PIPELINING,
            start(mail("b@y.test", "c@y.test", "d@y.test")),
            ("C", "MAIL FROM:<a@x.test> SIZE=5\nRCPT TO:<b@y.test>\nRCPT TO:<c@y.test>\nRCPT TO:<d@y.test>\nDATA\n"),
            ("S", "250 ok\n250 ok\n550 no\n421 4.3.2 stopping\n"),
            ("E", "421 4.3.2 stopping | 550 5.0.0 no | 421 4.3.2 stopping"),
            ("E", "ended in rcpt: 421 4.3.2 stopping"),
        ),
        PLAIN,
    ),
    "lost after the dot": (
        (
            *PIPELINING,
            start(mail("b@y.test")),
            ("C", "MAIL FROM:<a@x.test> SIZE=5\nRCPT TO:<b@y.test>\nDATA\n"),
            ("S", "250 ok\n250 ok\n354 go\n"),
            ("C", "a\n..b\n.\n"),
            lambda core: core.abort(LOST),
            ("E", "451 4.4.2 connection lost reached"),
            ("E", "ended in end of data: 451 4.4.2 connection lost"),
        ),
        PLAIN,
    ),
    "refusal while the content goes out": (
        (
            *PIPELINING,
            start(mail("b@y.test"), None),
            ("C", "MAIL FROM:<a@x.test> SIZE=5\nRCPT TO:<b@y.test>\nDATA\n"),
            ("S", "250 ok\n250 ok\n354 go\n"),
            ("E", "ContentWanted"),
            lambda core: core.content(b"x"),
            ("C", "x"),
            ("S", "552 5.3.4 enough\n"),
            ("E", "552 5.3.4 enough"),
            ("E", "ended in content: 552 5.3.4 enough"),
            lambda core: core.content(b"x", last=True),
        ),
        PLAIN,
    ),
}

# What a peer may do to us, and what we make of it. Not all of it can be told apart when it comes octet by octet.
HOSTILE: dict[str, tuple[bytes, str]] = {
    "endless line": (b"220 " + b"x" * 5000, "ended in greeting: 451 4.5.0 Protocol error: reply line too long"),
    "endless reply": (b"220-x\r\n" * 200, "ended in greeting: 451 4.5.0 Protocol error: endless reply"),
    "mixed codes": (
        b"220-x\r\n554 y\r\n",
        "ended in greeting: 451 4.5.0 Protocol error: different codes in one reply",
    ),
    "garbage": (
        b"\x16\x03\x01\x00\xff\r\n",
        "ended in greeting: 451 4.5.0 Protocol error: not an SMTP reply: ?????",
    ),
    "code out of range": (b"199 x\r\n", "ended in greeting: 451 4.5.0 Protocol error: not an SMTP reply: 199 x"),
    "answer before the question": (
        b"220 x\r\n250 y\r\n",
        "ended in hello: 451 4.5.0 Protocol error: reply before its command",
    ),
    "data before the greeting": (
        b"250-y\r\n250 z\r\n220 x\r\n",
        "ended in greeting: 451 4.5.0 Protocol error: 250 in place of a greeting",
    ),
    "NUL and 8 bit": (b"554 a\x00\x1b[2J\xc3\xa9\r\n", "ended in greeting: 554 5.0.0 a??[2J??"),
    "class of the enhanced code": (b"554 2.0.0 fine\r\n", "ended in greeting: 554 5.0.0 2.0.0 fine"),
}


class DialogueTests(SynchronousTestCase):
    def test_asWritten(self) -> None:
        for name, (script, how) in DIALOGUES.items():
            with self.subTest(name):
                play(script, how)

    def test_octetByOctet(self) -> None:
        for name, (script, how) in DIALOGUES.items():
            with self.subTest(name):
                play(script, how, step=1)

    @given(st.sampled_from(sorted(DIALOGUES)), st.integers(min_value=2, max_value=40))
    @settings(max_examples=60, deadline=None)
    def test_anySegmentation(self, name: str, step: int) -> None:
        script, how = DIALOGUES[name]
        play(script, how, step)


class HostileTests(SynchronousTestCase):
    def test_goesOnSpeakingAfter354(self) -> None:
        """Nothing is sent to a peer that refuses in the same breath; what it says first of all is no acceptance."""
        for said, end in (
            ("550 5.7.1 enough", "ended in content: 550 5.7.1 enough"),
            ("250 2.0.0 queued", "ended in content: 451 4.5.0 Reply before the end of data: 250 2.0.0 queued"),
        ):
            core = ClientCore(PLAIN)
            core.receive(b"220 mx.test\r\n")
            core.receive(b"250-mx.test\r\n250 PIPELINING\r\n")
            core.start(mail("b@y.test"), b"a\r\n")
            core.output()
            events = core.receive(f"250 ok\r\n250 ok\r\n354 go\r\n{said}\r\n".encode())
            self.assertEqual(core.output(), b"")
            self.assertEqual(told(events[-1]), end)

    def test_namedAndEnded(self) -> None:
        for name, (data, end) in HOSTILE.items():
            with self.subTest(name):
                core = ClientCore(PLAIN)
                self.assertEqual(told(core.receive(data)[-1]), end)
                self.assertIs(core.stage, Stage.CLOSED)
                self.assertEqual(list(core.receive(b"250 more\r\n")), [])

    def test_commandsAreNotInjectedBeforeTls(self) -> None:
        play(
            (
                *greeted("STARTTLS"),
                ("C", "STARTTLS\n"),
                ("S", "220 go\n250-evil\n"),
                ("E", "ended in starttls: 451 4.5.0 Protocol error: data after the answer to STARTTLS"),
            )
        )

    def test_unsolicitedWhenIdle(self) -> None:
        play((*PIPELINING, ("S", "250 hi\n"), ("E", "ended in idle: 451 4.5.0 Unsolicited reply: 250 2.0.0 hi")))
        play((*PIPELINING, ("S", "421 4.4.2 idle\n"), ("E", "ended in idle: 421 4.4.2 idle")))

    def test_whatCannotBeSent(self) -> None:
        core = play((*PIPELINING,))
        cases = (
            (mail("b@y.test", size=1001), "552 5.3.4"),
            (mail("b@y.test", smtputf8=True), "550 5.6.7"),
            (mail("\N{LATIN SMALL LETTER E WITH ACUTE}@y.test"), "550 5.6.7"),
            (mail("b@y.test", body="BINARYMIME"), "554 5.6.3"),
            (mail("b@y.test>\r\nDATA"), "553 5.1.3"),
        )
        for message, code in cases:
            (event,) = core.start(message, b"x")
            self.assertIn(code, told(event))
            self.assertEqual(core.output(), b"")
            self.assertIs(core.stage, Stage.IDLE)

    def test_contentOfWrongSize(self) -> None:
        core = play(greeted("CHUNKING", "BINARYMIME", "PIPELINING")[:-1])
        core.receive(b"250-mx\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 BINARYMIME\r\n")
        core.start(mail("b@y.test", body="BINARYMIME"), None)
        core.receive(b"250 ok\r\n250 ok\r\n")
        self.assertRaises(ValueError, core.content, b"123456")

    @given(st.binary(max_size=300), st.integers(0, 3))
    @settings(max_examples=150, deadline=None)
    def test_anyOctetsAreSurvived(self, data: bytes, how: int) -> None:
        """Whatever comes, each recipient has one reply at the end and the session ends once."""
        core = ClientCore(PLAIN)
        for line in (b"220 x\r\n", b"250-x\r\n250 PIPELINING\r\n", b"250 ok\r\n250 ok\r\n")[:how]:
            core.receive(line)
            if core.stage is Stage.IDLE:
                core.start(mail("b@y.test"), b"x\r\n")
        started = core.stage in (Stage.MAIL, Stage.RCPT, Stage.DATA)
        events = [*core.receive(data), *core.abort(LOST)]
        self.assertEqual(sum(isinstance(event, Ended) for event in events), 1)
        self.assertEqual(sum(isinstance(event, Finished) for event in events), int(started))


class ExtensionTests(SynchronousTestCase):
    def test_limits(self) -> None:
        core = ClientCore(PLAIN)
        core.receive(b"220 x\r\n")
        (event,) = core.receive(
            b"250-x PIPELINING\r\n250-limits MAILMAX=5 rcptmax=7 RCPTDOMAINMAX=bad X=1\r\n250-Size\r\n"
            b"250-AUTH login\r\n250-\r\n250 auth=PLAIN LOGIN\r\n"
        )
        assert isinstance(event, Established)
        offered = event.extensions
        self.assertEqual((offered.mailMax, offered.rcptMax, offered.rcptDomainMax), (5, 7, 0))
        self.assertEqual((offered.size, offered.auth), (0, ("LOGIN", "PLAIN")))
        self.assertFalse(offered.pipelining, "the first line is a greeting")

    def test_requireTlsIsOfferedUnderTlsOnly(self) -> None:
        """RFC 8689 2; who says it in plain text may be anybody."""
        lines = [b"mx.test", b"REQUIRETLS"]
        self.assertFalse(parseExtensions(lines).requireTls)
        self.assertTrue(parseExtensions(lines, secured=True).requireTls)
