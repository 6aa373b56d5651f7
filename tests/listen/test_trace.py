"""The trace field."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.listen.trace import protocolName, received
from pysmtpd.model.address import Path
from pysmtpd.model.facts import SessionFacts, TlsFacts, Transaction
from pysmtpd.model.ids import MessageId, SessionId

SESSION = SessionFacts(
    SessionId(1), "192.0.2.1:25", "mx.example.org", "192.0.2.7", helo="client.example.org", protocol="ESMTP"
)


def field(session: SessionFacts = SESSION, smtputf8: bool = False, recipient: Path | None = None) -> str:
    return received(Transaction(session, smtputf8=smtputf8), MessageId(0xABC), recipient, 0.0).decode()


class TraceTests(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(
            field(),
            "Received: from client.example.org (unknown [192.0.2.7])\r\n"
            "\tby mx.example.org with ESMTP id 0000000000000abc;\r\n"
            "\tThu, 01 Jan 1970 00:00:00 +0000\r\n",
        )

    def test_ipv6(self) -> None:
        self.assertIn("(unknown [IPv6:2001:db8::1])", field(replace(SESSION, peer="2001:db8::1")))

    def test_tls(self) -> None:
        tls = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, verified=True)
        self.assertIn("\r\n\t(TLSv1.3:TLS_AES_256_GCM_SHA384:256:YES);\r\n", field(replace(SESSION, tls=tls)))

    def test_smtputf8(self) -> None:
        """RFC 6531 3.7.3: UTF8SMTP says that the field may hold UTF-8; without it, no UTF-8 address is shown."""
        rosa = Path("rosé", "example.org")
        self.assertNotIn("for", field(recipient=rosa))
        text = field(smtputf8=True, recipient=rosa)
        self.assertIn(" with UTF8SMTP id ", text)
        self.assertIn("for <rosé@example.org>", text)
        self.assertIn(" with UTF8SMTPSA id ", field(replace(SESSION, protocol="ESMTPSA"), smtputf8=True))
        self.assertIn(" with UTF8LMTP id ", field(replace(SESSION, protocol="LMTP"), smtputf8=True))

    def test_protocolNames(self) -> None:
        self.assertEqual(
            [
                protocolName("HELO", False, False),
                protocolName("EHLO", False, False),
                protocolName("EHLO", True, False),
                protocolName("EHLO", False, True),
                protocolName("EHLO", True, True),
                protocolName("LHLO", True, True),
            ],
            ["SMTP", "ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA", "LMTPSA"],
        )

    @settings(max_examples=100, deadline=None)
    @given(helo=st.text(max_size=400), utf8=st.booleans())
    def test_whateverIsSaid(self, helo: str, utf8: bool) -> None:
        """No name that a peer gives itself breaks out of the field."""
        raw = received(
            Transaction(replace(SESSION, helo=helo), smtputf8=utf8), MessageId(1), Path("bert", "example.org"), 0.0
        )
        message = message_from_bytes(raw + b"Subject: x\r\n\r\n")
        self.assertEqual(message.keys(), ["Received", "Subject"])
        self.assertTrue(raw.endswith(b"\r\n"))
        self.assertEqual(raw.count(b"\r\n\t"), raw.count(b"\n") - 1)
