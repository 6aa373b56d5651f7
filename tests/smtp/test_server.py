"""What an owner of the server core sees, beside what dialogues show of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.address import Path
from pysmtpd.model.envelope import Notify
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    Authenticate,
    Connect,
    Content,
    ContentRefused,
    Data,
    EndOfData,
    Event,
    Hangup,
    Hello,
    Idle,
    Mail,
    Quit,
    Rcpt,
    Refused,
    Reset,
    ServerSettings,
    StartTls,
    Verify,
    Waiting,
)
from pysmtpd.smtp.lines import SKIP_MAX
from pysmtpd.smtp.progress import RCPT_OVERSHOOT
from pysmtpd.smtp.replies import encodePlain, encodeReply
from pysmtpd.smtp.server import ServerCore

WELCOME = Reply(220, "mx.example.org ESMTP")
OK = Reply(250, "Ok", "2.0.0")
NO = Reply(550, "No", "5.1.1")
GO = Reply(354, "Go on")
BUSY = Reply(421, "Busy", "4.3.2")


def begun(settings: ServerSettings | None = None) -> ServerCore:
    """A session that has been greeted."""
    core = ServerCore(settings or ServerSettings("mx.example.org"))
    core.nextEvent()
    core.answer(WELCOME)
    core.output()
    return core


def drive(core: ServerCore, octets: bytes, refuse: tuple[type[Event], ...] = ()) -> list[Event]:
    """Feed and answer everything.

    @return: the events.
    """
    events: list[Event] = []
    core.receive(octets)
    while not isinstance(event := core.nextEvent(), Idle):
        events.append(event)
        if event.asks:
            good = {Data: GO, StartTls: WELCOME}.get(type(event), OK)
            core.answer(NO if isinstance(event, refuse) else good)
    return events


class OrderTests(SynchronousTestCase):
    """One unanswered command at a time."""

    def test_nothingIsParsedBeforeTheGreeting(self) -> None:
        core = ServerCore(ServerSettings("mx.example.org"))
        core.receive(b"EHLO a\r\n")
        self.assertEqual(core.nextEvent(), Connect())
        self.assertIs(core.nextEvent(), PAUSED)
        self.assertEqual((core.output(), core.buffered), (b"", 8))
        core.answer(WELCOME)
        self.assertEqual(core.output(), b"220 mx.example.org ESMTP\r\n")
        self.assertEqual(core.nextEvent(), Hello("EHLO", "a"))

    def test_nothingIsParsedBeforeTheAnswer(self) -> None:
        core = begun()
        core.receive(b"VRFY a\r\nVRFY b\r\nNOOP\r\n")
        self.assertEqual(core.nextEvent(), Verify("a"))
        self.assertIs(core.nextEvent(), PAUSED)
        core.receive(b"VRFY c\r\n")
        self.assertIs(core.nextEvent(), PAUSED)
        core.answer(OK)
        self.assertEqual(core.nextEvent(), Verify("b"))
        core.answer(OK)
        self.assertEqual(core.nextEvent(), Verify("c"))
        self.assertEqual(core.output(), b"250 2.0.0 Ok\r\n" * 3)

    def test_answeringWhatWasNotAskedIsAnError(self) -> None:
        core = begun()
        self.assertRaises(RuntimeError, core.answer, OK)
        self.assertRaises(RuntimeError, core.answerEach, [OK])


class EventTests(SynchronousTestCase):
    def test_aMessage(self) -> None:
        core = begun()
        events = drive(
            core,
            b"EHLO a.example\r\n"
            b"MAIL FROM:<a@b.example> SIZE=7 BODY=8BITMIME RET=HDRS ENVID=x+3Dy SMTPUTF8 AUTH=c@d.example\r\n"
            b"RCPT TO:<e@f.example> NOTIFY=DELAY,FAILURE ORCPT=rfc822;E+2Bg@f.example\r\n"
            b"DATA\r\n\xc3\xa9\r\n.\r\nQUIT\r\n",
        )
        sender = Mail(Path("a", "b.example"), 7, "8BITMIME", "HDRS", "x=y", True, "c@d.example")
        recipient = Rcpt(Path("e", "f.example"), Notify.DELAY | Notify.FAILURE, "rfc822;E+g@f.example")
        content = [Data(), Content(b"\xc3\xa9\r\n"), EndOfData(4, eightBit=True)]
        self.assertEqual(events, [Hello("EHLO", "a.example"), sender, recipient, *content, Quit()])
        self.assertIs(core.nextEvent(), CLOSED)

    def test_credentials(self) -> None:
        core = begun(ServerSettings("mx", authMechanisms=("PLAIN", "LOGIN"), authWithoutTls=True))
        events = drive(core, b"EHLO a\r\nAUTH PLAIN Ym9zcwBhbGljZQBw\r\n", refuse=(Authenticate,))
        self.assertEqual(events[1], Authenticate("PLAIN", "alice", b"p", "boss"))
        events = drive(core, b"AUTH LOGIN\r\nYWxpY2U=\r\n/w==\r\n")
        self.assertEqual(events, [Authenticate("LOGIN", "alice", b"\xff")])
        self.assertNotIn("xff", repr(events))

    def test_inTransaction(self) -> None:
        core = begun()
        seen = []
        for octets in (b"HELO a\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b>\r\n", b"DATA\r\n", b"x\r\n", b".\r\n"):
            drive(core, octets)
            seen.append(core.inTransaction)
        self.assertEqual(seen, [False, True, True, True, True, False])

    def test_aTransactionLastsUntilItsEndIsAnswered(self) -> None:
        core = begun()
        drive(core, b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
        core.receive(b".\r\n")
        self.assertEqual(core.nextEvent(), EndOfData(0))
        self.assertTrue(core.inTransaction)
        core.answer(OK)
        self.assertFalse(core.inTransaction)

    def test_resetIsToldOnce(self) -> None:
        core = begun()
        drive(core, b"HELO a\r\nMAIL FROM:<>\r\n")
        self.assertEqual(drive(core, b"EHLO a\r\nEHLO a\r\n"), [Hello("EHLO", "a"), Reset(), Hello("EHLO", "a")])
        self.assertEqual(drive(core, b"RSET\r\n"), [Reset()])

    def test_aRefusedHelloChangesNothing(self) -> None:
        core = begun()
        drive(core, b"HELO a\r\nMAIL FROM:<>\r\n")
        self.assertEqual(drive(core, b"EHLO b\r\n", refuse=(Hello,)), [Hello("EHLO", "b")])
        self.assertTrue(core.inTransaction)

    def test_refusedContentIsNotHandedOn(self) -> None:
        core = begun(ServerSettings("mx", maxSize=4))
        drive(core, b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
        self.assertEqual(drive(core, b"12\r\n"), [Content(b"12")])
        self.assertEqual(drive(core, b"x" * 100), [])
        self.assertEqual([type(event) for event in drive(core, b"\r\n.\r\n")], [ContentRefused])

    def test_waiting(self) -> None:
        core = ServerCore(ServerSettings("mx", starttls=True, authMechanisms=("LOGIN",), authWithoutTls=True))
        core.nextEvent()
        self.assertIs(core.waiting, Waiting.US)
        core.answer(WELCOME)
        seen = [core.waiting]
        for octets in (
            *(b"HELO a\r\n", b"AUTH LOGIN\r\n", b"*\r\n", b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n", b"DATA\r\n", b".\r\n"),
            *(b"BDAT 6\r\nQU", b"IT\r\n", b"STARTTLS\r\n"),
        ):
            drive(core, octets)
            seen.append(core.waiting)
        command, data = Waiting.COMMAND, Waiting.DATA
        self.assertEqual(
            seen, [command, command, Waiting.AUTH, command, command, data, command, data, command, Waiting.TLS]
        )


class TlsTests(SynchronousTestCase):
    SETTINGS = ServerSettings("mx", starttls=True, authMechanisms=("PLAIN",))

    def test_whatCameWithStartTlsIsNeverRead(self) -> None:
        core = begun(self.SETTINGS)
        self.assertEqual(drive(core, b"EHLO a\r\nSTARTTLS\r\nNOOP\r\n")[-1], StartTls())
        self.assertIs(core.nextEvent(), NEED_DATA)
        drive(core, b"RSET\r\n")
        self.assertEqual(core.buffered, 0)
        core.output()
        core.tlsStarted()
        self.assertEqual(drive(core, b""), [])
        self.assertEqual((core.output(), core.buffered), (b"", 0))

    def test_startTlsCanBeRefused(self) -> None:
        core = begun(self.SETTINGS)
        drive(core, b"EHLO a\r\nSTARTTLS\r\nNOOP\r\n", refuse=(StartTls,))
        self.assertTrue(core.output().endswith(b"550 5.1.1 No\r\n250 2.0.0 Ok\r\n"))

    def test_authenticationIsForgotten(self) -> None:
        core = begun(
            ServerSettings("mx", starttls=True, authMechanisms=("PLAIN",), authWithoutTls=True, authRequired=True)
        )
        drive(core, b"EHLO a\r\nAUTH PLAIN AGEAYg==\r\nSTARTTLS\r\n")
        core.tlsStarted()
        core.output()
        drive(core, b"HELO a\r\nMAIL FROM:<>\r\n")
        self.assertIn(b"530 5.7.0 Authentication required", core.output())

    def test_implicitTls(self) -> None:
        core = ServerCore(self.SETTINGS)
        core.tlsStarted()
        self.assertEqual(core.nextEvent(), Connect())
        core.answer(WELCOME)
        drive(core, b"EHLO a\r\n")
        said = core.output()
        self.assertIn(b"AUTH PLAIN", said)
        self.assertNotIn(b"STARTTLS", said)


class EndTests(SynchronousTestCase):
    def test_hangupStandsInForAnAnswer(self) -> None:
        core = begun()
        core.receive(b"VRFY a\r\nVRFY b\r\n")
        core.nextEvent()
        core.hangup(BUSY)
        self.assertEqual(core.output(), b"421 4.3.2 Busy\r\n")
        self.assertEqual(core.nextEvent(), Hangup("Busy"))
        self.assertIs(core.nextEvent(), CLOSED)
        core.answer(OK)
        core.hangup(BUSY)
        core.receive(b"NOOP\r\n")
        self.assertIs(core.nextEvent(), CLOSED)
        self.assertEqual((core.output(), core.buffered), (b"", 0))

    def test_hangupDuringAHandshakeIsSilent(self) -> None:
        core = begun(ServerSettings("mx", starttls=True))
        drive(core, b"EHLO a\r\nSTARTTLS\r\n")
        core.output()
        core.hangup(BUSY)
        self.assertEqual((core.output(), core.nextEvent()), (b"", Hangup("Busy")))

    def test_anAnswerOf421Ends(self) -> None:
        core = begun()
        core.receive(b"HELO a\r\nNOOP\r\n")
        core.nextEvent()
        core.answer(BUSY)
        self.assertEqual((core.nextEvent(), core.output()), (Hangup("Busy"), b"421 4.3.2 Busy\r\n"))

    def test_recipientsWithoutEnd(self) -> None:
        core = begun(ServerSettings("mx", maxRcpt=2, maxErrors=2))
        drive(core, b"HELO a\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@b>\r\n" * (RCPT_OVERSHOOT + 2))
        self.assertEqual(core.output().count(b"452 4.5.3"), RCPT_OVERSHOOT)
        self.assertIs(core.nextEvent(), NEED_DATA)
        drive(core, b"RCPT TO:<a@b>\r\n" * 3)
        self.assertTrue(core.output().endswith(b"421 4.7.0 Too many errors, closing\r\n"))

    def test_temporaryRefusalsOfRecipientsAreNoErrors(self) -> None:
        core = begun(ServerSettings("mx", maxErrors=2, maxCommands=3))
        drive(core, b"HELO a\r\nMAIL FROM:<>\r\n")
        for _ in range(50):
            core.receive(b"RCPT TO:<a@b>\r\n")
            core.nextEvent()
            core.answer(Reply(450, "Greylisted", "4.7.1"))
        self.assertIs(core.nextEvent(), NEED_DATA)


class LmtpTests(SynchronousTestCase):
    def core(self) -> ServerCore:
        core = begun(ServerSettings("mx", lmtp=True))
        drive(core, b"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
        core.output()
        core.receive(b".\r\n")
        core.nextEvent()
        return core

    def test_oneReplyForEach(self) -> None:
        core = self.core()
        core.answerEach([OK, NO])
        self.assertEqual(core.output(), b"250 2.0.0 Ok\r\n550 5.1.1 No\r\n")

    def test_theirNumberMustBeRight(self) -> None:
        core = self.core()
        self.assertRaises(ValueError, core.answerEach, [OK])
        core.answer(NO)
        self.assertEqual(core.output(), b"550 5.1.1 No\r\n" * 2)

    def test_lateRepliesAreIgnored(self) -> None:
        core = self.core()
        core.hangup(BUSY)
        core.answerEach([OK, OK])
        self.assertEqual(core.output(), b"421 4.3.2 Busy\r\n")


class WatchTests(SynchronousTestCase):
    """What a policy may want to know of the client's manners, and what a log may be told."""

    def test_earlyTalkersAreSeen(self) -> None:
        core = ServerCore(ServerSettings("mx"))
        self.assertFalse(core.earlyTalker)
        core.nextEvent()
        core.receive(b"H")
        self.assertTrue(core.earlyTalker)
        self.assertFalse(begun().earlyTalker)

    def test_overrunningAGroupIsSeen(self) -> None:
        for octets in (b"EHLO a\r\nNOOP\r\n", b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\n"):
            core = begun()
            drive(core, octets)
            self.assertTrue(core.overran, octets)
        core = begun()
        for octets in (
            *(
                b"EHLO a\r\n",
                b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n",
                b"x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n",
            ),
            *(b"BDAT 1\r\nx", b"QUIT\r\n"),
        ):
            drive(core, octets)
        self.assertFalse(core.overran)

    def test_nothingOfAnAuthenticationIsTold(self) -> None:
        secret = b"c2VjcmV0"
        for settings in (
            ServerSettings("mx"),
            ServerSettings("mx", authMechanisms=("PLAIN",)),
            ServerSettings("mx", authMechanisms=("PLAIN", "LOGIN"), authWithoutTls=True),
        ):
            for octets in (
                *(b"AUTH PLAIN %b\r\n", b"AUTH %b\r\n", b"auth  %b PLAIN\r\n", b"AUTH\t%b\r\n", b"AUTHPLAIN %b\r\n"),
                *(b"AUTH=%b\r\n", b"AUTH LOGIN\r\n%b\r\n%b\r\n%b\r\n", b"AUTH PLAIN\r\n%b\r\n%b\r\n", b"AUTH %b\n"),
                *(b"AUTH PLAIN %b\0\r\n", b"AUTH PLAIN " + b"%b" * 2000 + b"\r\n", b"AUTH LOGIN\r\n*\r\n%b x\r\n"),
            ):
                for hello in (b"", b"EHLO a\r\n"):
                    core = begun(settings)
                    events = drive(core, hello + octets.replace(b"%b", secret), refuse=(Authenticate,))
                    told = [event for event in events if isinstance(event, Refused)]
                    self.assertNotIn("c2vjcmv0", repr(told).lower(), octets)
                    self.assertNotIn(secret, core.output())

    def test_whatIsToldIsShortAndPrintable(self) -> None:
        core = begun()
        [told] = drive(core, b"X\x1b[31m\xff" + b"y" * 500 + b"\r\n")
        assert isinstance(told, Refused)
        self.assertEqual(told.command, "X?[31m?" + "y" * 73)

    @given(
        st.lists(
            st.binary(max_size=40) | st.sampled_from((b"\r\n", b"HELO a\r\n", b"BDAT 5\r\n", b"DATA\r\n")), max_size=20
        )
    )
    def test_noOctetsAreTooMuchForIt(self, pieces: list[bytes]) -> None:
        core = begun(ServerSettings("mx", starttls=True, authMechanisms=("PLAIN", "LOGIN"), authWithoutTls=True))
        for piece in pieces:
            drive(core, piece)
            for line in core.output().splitlines():
                self.assertRegex(line, rb"\A[2345]\d\d[ -]")
        self.assertLessEqual(core.buffered, SKIP_MAX)


class ReplyTests(SynchronousTestCase):
    def test_aMissingEnhancedCodeIsSupplied(self) -> None:
        self.assertEqual(encodeReply(Reply(550, "No")), b"550 5.0.0 No\r\n")
        self.assertEqual(encodeReply(Reply(354, "Go")), b"354 Go\r\n")
        self.assertEqual(encodePlain(Reply(220, "mx", "2.0.0")), b"220 mx\r\n")

    def test_severalLines(self) -> None:
        self.assertEqual(encodeReply(Reply(550, "a\nb", "5.7.1")), b"550-5.7.1 a\r\n550 5.7.1 b\r\n")

    def test_longLinesAreCut(self) -> None:
        for text, utf8 in (("x" * 2000, False), ("ü" * 700, True), ("short\n" + "y" * 600, False), ("", False)):
            said = encodeReply(Reply(550, text, "5.7.1"), utf8=utf8)
            lines = said.split(b"\r\n")[:-1]
            self.assertLessEqual(max(map(len, lines)), 510)
            self.assertEqual(b"".join(line[10:] for line in lines), text.replace("\n", "").encode())
            self.assertEqual({line[:4] for line in lines[:-1]} | {b"550-"}, {b"550-"})
            self.assertEqual(lines[-1][:4], b"550 ")

    def test_noReplyCanForgeAnother(self) -> None:
        self.assertEqual(encodeReply(Reply(550, "a\r\n250 b", "5.7.1")), b"550-5.7.1 a\r\n550 5.7.1 250 b\r\n")

    def test_otherThanAsciiIsForThoseWhoAskedForIt(self) -> None:
        self.assertEqual(encodeReply(Reply(550, "ü", "5.7.1")), b"550 5.7.1 ?\r\n")
        core = begun()
        drive(core, b"HELO a\r\nMAIL FROM:<a@b> SMTPUTF8\r\n")
        core.output()
        core.receive("RCPT TO:<ü@b>\r\n".encode())
        core.nextEvent()
        core.answer(Reply(250, "ü", "2.1.5"))
        self.assertEqual(core.output(), "250 2.1.5 ü\r\n".encode())
