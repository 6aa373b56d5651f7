"""Reports are what RFC 3464 says, whatever peers and senders have said. The standard library's parser is the judge."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage, Message

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.bounce.dsn import Fate, Report, build
from pysmtpd.model.address import Path

FAILURE = Fate(
    Path("bob", "example.net"),
    Path("robert", "example.com"),
    "5.1.1",
    "550 5.1.1 No such user here",
    "rfc822;robert@example.com",
    "mx.example.net [192.0.2.1]",
    1_700_000_100.0,
)
REPORT = Report(
    "mail.example.org",
    Path("ann", "example.org"),
    1_700_000_200.0,
    1_700_000_000.0,
    (FAILURE,),
    "1234@mail.example.org",
    "report-1234",
    b"From: ann@example.org\r\nSubject: Hello\r\n",
    envid="QQ314159",
)


def parse(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects, message.defects
    return message


def parts(report: Report) -> list[Message]:
    message = parse(build(report))
    payload = message.get_payload()
    assert isinstance(payload, list)
    assert all(isinstance(part, Message) for part in payload)
    return payload  # type: ignore[return-value]


def groups(report: Report) -> list[dict[str, str]]:
    """The fields of the delivery status: of the message, then of each recipient."""
    payload = parts(report)[1].get_payload()
    assert isinstance(payload, list)
    found = [dict(group.items()) for group in payload if isinstance(group, Message)]
    return [group for group in found if group]


class DsnTests(SynchronousTestCase):
    def test_header(self) -> None:
        message = parse(build(REPORT))
        self.assertEqual(message["From"], "Mail Delivery System <MAILER-DAEMON@mail.example.org>")
        self.assertIn(b"\r\nTo: <ann@example.org>\r\n", build(REPORT))
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual(message["Message-ID"], "<1234@mail.example.org>")
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message.get_param("report-type"), "delivery-status")
        self.assertEqual(message["Content-Transfer-Encoding"], "7bit")

    def test_parts(self) -> None:
        types = [part.get_content_type() for part in parts(REPORT)]
        self.assertEqual(types, ["text/plain", "message/delivery-status", "text/rfc822-headers"])
        whole = replace(REPORT, isFull=True, original=b"Subject: Hello\r\n\r\nHello\r\n")
        original = parts(whole)[2]
        self.assertEqual(original.get_content_type(), "message/rfc822")
        inner = original.get_payload(0)
        assert isinstance(inner, Message)
        self.assertEqual((inner["Subject"], inner.get_payload()), ("Hello", "Hello\r\n"))

    def test_status(self) -> None:
        self.assertEqual(
            groups(REPORT),
            [
                {
                    "Reporting-MTA": "dns; mail.example.org",
                    "Original-Envelope-Id": "QQ314159",
                    "Arrival-Date": "Tue, 14 Nov 2023 22:13:20 +0000",
                },
                {
                    "Original-Recipient": "rfc822; robert@example.com",
                    "Final-Recipient": "rfc822; bob@example.net",
                    "Action": "failed",
                    "Status": "5.1.1",
                    "Remote-MTA": "dns; mx.example.net",
                    "Diagnostic-Code": "smtp; 550 5.1.1 No such user here",
                    "Last-Attempt-Date": "Tue, 14 Nov 2023 22:15:00 +0000",
                },
            ],
        )

    def test_ourOwnWordsAreNotSmtp(self) -> None:
        own = replace(REPORT, envid="", fates=(replace(FAILURE, remote="", orcpt="", attempted=0.0),))
        self.assertEqual(
            groups(own)[1],
            {
                "Final-Recipient": "rfc822; bob@example.net",
                "Action": "failed",
                "Status": "5.1.1",
                "Diagnostic-Code": "x-pysmtpd; 550 5.1.1 No such user here",
            },
        )

    def test_noticeNamesEachRecipient(self) -> None:
        second = replace(FAILURE, address=Path("bob", "example.net"), words="552 5.2.2 Mailbox full")
        text = parts(replace(REPORT, fates=(FAILURE, second)))[0].get_payload()
        self.assertIn("<robert@example.com> (sent on as <bob@example.net>)", text)
        self.assertIn("No such user here", text)
        self.assertIn("Mailbox full", text)
        self.assertEqual(len(groups(replace(REPORT, fates=(FAILURE, second)))), 3)

    def test_noticeTellsTheWay(self) -> None:
        via = ("rob", "list@example.net\r\nX: y", "x" * 300)
        text = str(parts(replace(REPORT, fates=(replace(FAILURE, via=via),)))[0].get_payload())
        self.assertIn(
            "(sent on as <bob@example.net>)\n    by way of rob, list@example.net X: y,\n", text.replace("\r", "")
        )
        self.assertNotIn("by way of", parts(REPORT)[0].get_payload())

    def test_hostileWordsForgeNothing(self) -> None:
        words = "550 no\r\nStatus: 2.0.0\r\n\r\nFinal-Recipient: rfc822; eve@example.org\x00\x85x"
        hostile = replace(FAILURE, words=words, orcpt="rfc822;a\r\nAction: delivered", status="2.0.0\r\nX: y")
        found = groups(replace(REPORT, fates=(hostile,), envid="a\nSubject: b"))
        self.assertEqual(len(found), 2)
        self.assertEqual((found[1]["Status"], found[1]["Action"]), ("5.0.0", "failed"))
        self.assertNotIn("Subject", found[0])

    def test_whatSaysNothingHasNoField(self) -> None:
        """A peer's reply, or its name, of controls alone."""
        silent = replace(FAILURE, words="\x00\r\n", remote="\x01 [192.0.2.1]")
        fields = groups(replace(REPORT, fates=(silent,)))[1]
        self.assertNotIn("Diagnostic-Code", fields)
        self.assertNotIn("Remote-MTA", fields)

    def test_eightBitIsDeclared(self) -> None:
        content = build(replace(REPORT, original="Subject: Grüße\r\n".encode()))
        self.assertEqual(parse(content)["Content-Transfer-Encoding"], "8bit")
        encodings = [part["Content-Transfer-Encoding"] for part in parts(replace(REPORT, original=b"X: \xff\r\n"))]
        self.assertEqual(encodings, ["7bit", "7bit", "8bit"])

    def test_internationalised(self) -> None:
        """RFC 6533: with SMTPUTF8 addresses stand as they are; without, they are written in ASCII."""
        failure = replace(FAILURE, recipient=Path("jörg", "example.net"), orcpt="")
        report = replace(REPORT, fates=(failure,), sender=Path("änn", "example.org"), utf8=True)
        content = build(report)
        self.assertIn("To: <änn@example.org>".encode(), content)
        self.assertIn("Final-Recipient: utf-8; jörg@example.net".encode(), content)
        types = [part.get_content_type() for part in parts(report)]
        self.assertEqual(types, ["text/plain", "message/global-delivery-status", "message/global-headers"])
        self.assertEqual(
            groups(replace(REPORT, fates=(failure,)))[1]["Final-Recipient"], r"utf-8; j\x{F6}rg@example.net"
        )

    def test_boundaryIsNotInTheOriginal(self) -> None:
        tricky = replace(REPORT, isFull=True, original=b"Subject: x\r\n\r\n--report-1234--\r\n--report-1234x\r\n")
        self.assertEqual(len(parts(tricky)), 3)

    def test_longLinesAreCut(self) -> None:
        content = build(replace(REPORT, original=b"X: " + b"y" * 5000 + b"\r\n", envid="z" * 1500))
        self.assertLessEqual(max(len(line) for line in content.split(b"\r\n")), 998)

    def test_addressesAsLongAsTheyMayBe(self) -> None:
        """Two of them are more than a line may hold."""
        domain = ".".join(["d" * 63] * 3)
        long = replace(FAILURE, address=Path("\\" * 256, domain), recipient=Path("\u00e9" * 256, domain))
        for utf8 in (False, True):
            report = replace(REPORT, fates=(long,), utf8=utf8)
            self.assertLessEqual(max(len(line) for line in build(report).split(b"\r\n")), 998)
            self.assertIn("(sent on as", str(parts(report)[0].get_payload()))

    @given(
        words=st.text(max_size=300),
        envid=st.text(max_size=120),
        orcpt=st.text(max_size=60) | st.text(max_size=60).map(lambda text: "rfc822;" + text),
        remote=st.text(max_size=60),
        original=st.binary(max_size=300),
        isFull=st.booleans(),
        utf8=st.booleans(),
    )
    @settings(max_examples=150, deadline=None)
    def test_alwaysAReport(
        self, words: str, envid: str, orcpt: str, remote: str, original: bytes, isFull: bool, utf8: bool
    ) -> None:
        failure = replace(FAILURE, words=words, orcpt=orcpt, remote=remote)
        report = replace(REPORT, fates=(failure, failure), envid=envid, original=original, isFull=isFull, utf8=utf8)
        content = build(report)
        self.assertNotIn(b"\r", content.replace(b"\r\n", b""))
        self.assertNotIn(b"\n", content.replace(b"\r\n", b""))
        head, _, body = content.partition(b"\r\n\r\n")
        if not utf8:
            head.decode("ascii")
        self.assertEqual(body.count(b"--report-1234"), 4 + (0 if b"report-1234" not in original else 9))
        first, second, third = body.split(b"--report-1234")[1:4]
        status = second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        if not utf8:
            (first + second).decode("ascii")
        blocks = status.removesuffix(b"\r\n").split(b"\r\n\r\n")
        self.assertEqual(len(blocks), 3)
        known = {
            *("Reporting-MTA", "Original-Envelope-Id", "Arrival-Date", "Original-Recipient", "Final-Recipient"),
            *("Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date"),
        }
        for block in blocks:
            names = [line.split(b":")[0].decode() for line in block.split(b"\r\n") if not line.startswith(b" ")]
            self.assertTrue(known.issuperset(names), names)
            self.assertEqual(len(names), len(dict.fromkeys(names)))
        for line in (head + first + second).split(b"\r\n"):
            self.assertLessEqual(len(line), 998)
        self.assertIn(b"Content-Transfer-Encoding", third)
