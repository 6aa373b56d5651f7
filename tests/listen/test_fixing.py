"""Messages from their authors' programs are completed; others are not touched."""

from __future__ import annotations

import email
import email.policy
from email.utils import getaddresses
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysmtpd.interfaces import PROCEED, IBodyPipe, IFilter, Phase, Ready, Verdict
from pysmtpd.listen.addresses import addressSpans, qualified, replaced
from pysmtpd.listen.fixing import MAX_HEADER, Fixing, FixingPipe, fixHeader
from pysmtpd.model.address import Path
from pysmtpd.model.config import AuthMode, ListenerSpec, TableRef
from pysmtpd.model.facts import SessionFacts, Transaction
from tests.listen.fakes import LOCALHOST, STRANGER, House, Peer

# A machine that is busy with others is no reason to fail.

FIXING = Fixing("mx.example.org", 1_700_000_000.0, "00000000000000ff")
DATE = b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
ID = b"Message-ID: <00000000000000ff@mx.example.org>\r\n"


class AddressTests(SynchronousTestCase):
    def test_qualified(self) -> None:
        for field, wanted in [
            (b" anna\r\n", b" anna@h\r\n"),
            (b" anna@example.org\r\n", None),
            (b" anna, bert@x ,cid\r\n", b" anna@h, bert@x ,cid@h\r\n"),
            (b" Anna <anna>, <bert>,\r\n\tcid\r\n", b" Anna <anna@h>, <bert@h>,\r\n\tcid@h\r\n"),
            (b' "a, b" <c>\r\n', b' "a, b" <c@h>\r\n'),
            (b' "a b"\r\n', b' "a b"@h\r\n'),
            (b' "a b"@x\r\n', None),
            (b" anna (her, own (nested) comment)\r\n", b" anna@h (her, own (nested) comment)\r\n"),
            (b" friends: anna, b@x; , cid\r\n", b" friends: anna@h, b@x; , cid@h\r\n"),
            (b" undisclosed-recipients:;\r\n", None),
            (b" Anna Miller\r\n", None),
            (b" =?utf-8?q?anna?=\r\n", None),
            (b" =?utf-8?q?anna?= <anna>\r\n", b" =?utf-8?q?anna?= <anna@h>\r\n"),
            (b" anna@[192.0.2.1], bert\r\n", b" anna@[192.0.2.1], bert@h\r\n"),
            (b" <@route.example:anna@x>\r\n", None),
            (b" <>\r\n", None),
            (b" <anna> <bert>\r\n", b" <anna@h> <bert>\r\n"),
            (b" <anna\r\n", None),
            (b" anna>\r\n", None),
            (b' "anna\r\n', None),
            (b" anna\\\r\n", None),
            (b"\r\n", None),
            (b" ,,;\r\n", None),
        ]:
            self.assertEqual(qualified(field, b"h"), field if wanted is None else wanted, field)

    def test_replaced(self) -> None:
        for field, wanted in [
            (b" anna\r\n", b" a@h\r\n"),
            (b' "Anna, M." <x@y> (at home)\r\n', b' "Anna, M." <a@h> (at home)\r\n'),
            (b" Anna\r\n", b" a@h\r\n"),
            (b" x@y, Z <z@y>\r\n", b" a@h, Z <a@h>\r\n"),
            (b" Anna Miller\r\n", b" Anna Miller\r\n"),
        ]:
            self.assertEqual(replaced(field, b"a@h"), wanted, field)

    @given(st.lists(st.sampled_from(list(b'<>()[]",;:\\@ ab\r\n\xff')), max_size=40).map(bytes))
    def test_anyField(self, field: bytes) -> None:
        """Only insertions; and what is complete stays so."""
        once = qualified(field, b"h")
        self.assertEqual(qualified(once, b"h"), once)
        spans = list(addressSpans(field))
        self.assertEqual(len(once) - len(field), 2 * sum(not span.hasDomain for span in spans))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("", "Anna", '"M., Anna"', "=?utf-8?q?=C3=A4?=")),
                st.from_regex(r"[a-z][a-z0-9.+-]{0,8}", fullmatch=True),
                st.sampled_from(("", "example.org")),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def test_asOthersReadIt(self, people: list[tuple[str, str, str]]) -> None:
        def written(name: str, local: str, domain: str) -> str:
            address = f"{local}@{domain}" if domain else local
            return f"{name} <{address}>" if name else address

        field = ", ".join(written(*person) for person in people)
        found = getaddresses([qualified(field.encode(), b"h").decode()])
        self.assertEqual([address for _, address in found], [f"{local}@{domain or 'h'}" for _, local, domain in people])


class HeaderTests(SynchronousTestCase):
    def test_whatLacksIsAdded(self) -> None:
        self.assertEqual(fixHeader(b"Subject: x\r\n", FIXING), DATE + ID + b"Subject: x\r\n")
        self.assertEqual(fixHeader(b"", FIXING), DATE + ID)

    def test_whatIsThereStays(self) -> None:
        header = b"date: yesterday\r\nMESSAGE-ID:<a@b>\r\nX-Odd : a\r\n b\r\n"
        self.assertEqual(fixHeader(header, FIXING), header)

    def test_hiddenRecipientsGo(self) -> None:
        header = DATE + ID + b"Bcc: a@x,\r\n\tb@x\r\nTo: c@x\r\nbcc:\r\nResent-Bcc: d@x\r\nSubject: x\r\n"
        self.assertEqual(fixHeader(header, FIXING), DATE + ID + b"To: c@x\r\nSubject: x\r\n")

    def test_masquerade(self) -> None:
        fixing = Fixing("mx.example.org", 0.0, "1", Path("anna", "example.org"))
        header = DATE + ID + b"From: Boss <boss@example.net>\r\nTo: c\r\n"
        self.assertEqual(
            fixHeader(header, fixing), DATE + ID + b"From: Boss <anna@example.org>\r\nTo: c@mx.example.org\r\n"
        )


def piped(content: bytes, size: int = 1 << 20, then: IBodyPipe | None = None) -> bytes:
    pipe = FixingPipe(FIXING, then)
    parts: list[bytes] = []
    for at in range(0, len(content), size):
        answer = pipe.write(content[at : at + size])
        assert isinstance(answer, bytes)
        parts.append(answer)
    rest = pipe.finish()
    assert isinstance(rest, bytes)
    return b"".join((*parts, rest))


@implementer(IBodyPipe)
class Doubling:
    """A stage that answers late."""

    def __init__(self) -> None:
        self.got = b""

    def write(self, chunk: bytes) -> Ready[bytes]:
        self.got += chunk
        return succeed(chunk)

    def finish(self) -> Ready[bytes]:
        return succeed(b"end")


class PipeTests(SynchronousTestCase):
    def test_theContentStays(self) -> None:
        body = b"\r\nBcc: not a field\r\nFrom: here\r\n"
        self.assertEqual(piped(b"Bcc: a@x\r\nSubject: x\r\n" + body), DATE + ID + b"Subject: x\r\n" + body)

    def test_textWithoutAHeader(self) -> None:
        for text in (b"Hello\r\nworld: x\r\n", b" x\r\n", b"\xe4: x\r\n"):
            self.assertEqual(piped(text), DATE + ID + b"\r\n" + text)
        self.assertEqual(piped(b"Subject: x\r\nHello\r\n"), DATE + ID + b"Subject: x\r\n\r\nHello\r\n")
        self.assertEqual(piped(b"\r\nHello\r\n"), DATE + ID + b"\r\nHello\r\n")

    def test_noContent(self) -> None:
        self.assertEqual(piped(b""), DATE + ID)
        self.assertEqual(piped(b"Subject: x\r\n"), DATE + ID + b"Subject: x\r\n")

    def test_theFirstLineOfAnMbox(self) -> None:
        self.assertEqual(
            piped(b"From anna Tue Nov 14\r\nSubject: x\r\n\r\nb\r\n"), DATE + ID + b"Subject: x\r\n\r\nb\r\n"
        )

    def test_aHeaderThatIsTooLong(self) -> None:
        content = b"Bcc: a@x\r\n" + b"X: y\r\n" * (MAX_HEADER // 6 + 1) + b"\r\nbody\r\n"
        self.assertEqual(piped(content), content)
        self.assertEqual(piped(content, 1000), content)

    def test_slowDripsCostNoMore(self) -> None:
        """A megabyte of header, octet by octet, would take minutes if each were looked at anew."""
        content = b"X: y\r\n" * (MAX_HEADER // 6) + b"\r\nbody\r\n"
        self.assertEqual(piped(content, 1), DATE + ID + content)
        evil = b"To: " + b"[" * 100_000 + b'"' + b"(" * 50_000 + b"\r\n\r\n"
        self.assertEqual(piped(evil), DATE + ID + evil)

    @given(
        st.lists(st.sampled_from((b"Subject: x", b" folded", b"", b"Bcc: a", b"no field", b"From x", b"To: a"))).map(
            lambda lines: b"".join(line + b"\r\n" for line in lines)
        ),
        st.integers(1, 9),
    )
    @example(b"\r\n", 1)
    def test_anyPieces(self, content: bytes, size: int) -> None:
        whole = piped(content)
        self.assertEqual(piped(content, size), whole)
        message = email.message_from_bytes(whole, policy=email.policy.compat32)
        self.assertEqual((len(message.get_all("Date", [])), message.get_all("Bcc")), (1, None))
        self.assertEqual(message.defects, [])

    def test_theNextStage(self) -> None:
        then = Doubling()
        pipe = FixingPipe(FIXING, then)
        self.assertEqual(pipe.write(b"Subject: x"), b"")
        last = pipe.finish()
        assert isinstance(last, Deferred)
        self.assertEqual(self.successResultOf(last), DATE + ID + b"Subject: x\r\nend")
        self.assertEqual(then.got, DATE + ID + b"Subject: x\r\n")


@implementer(IFilter, IBodyPipe)
class Capitals:
    """A filter that shouts."""

    def ask(self, phase: Phase, value: str, facts: SessionFacts, transaction: Transaction | None) -> Ready[Verdict]:
        return PROCEED

    def pipe(self, facts: SessionFacts, transaction: Transaction) -> IBodyPipe | None:
        return self

    def write(self, chunk: bytes) -> Ready[bytes]:
        return chunk.upper()

    def finish(self) -> Ready[bytes]:
        return b""


class SessionTests(SynchronousTestCase):
    def sent(self, here: House, peer: Peer, *before: str) -> bytes:
        peer.lines(*before, "MAIL FROM:<anna@example.org>", "RCPT TO:<bert@example.org>", "DATA")
        self.assertEqual(peer.codes(peer.lines("Bcc: x@y", "From: Me <me>", "", "text", ".")), ["250"])
        return here.submit.accepted[-1].content

    def house(self, port: int = 25, filter: object = None, **options: object) -> House:
        return House(ListenerSpec(LOCALHOST, (LOCALHOST,), port, **options), filter=filter)  # type: ignore[arg-type]

    def test_elsewhereTraceFieldsOnly(self) -> None:
        offers: tuple[dict[str, Any], ...] = ({}, {"auth": AuthMode.OPTIONAL, "authWithoutTls": True})
        for options in offers:
            here = self.house(**options)
            self.assertEqual(self.sent(here, here.greeted(STRANGER)), b"Bcc: x@y\r\nFrom: Me <me>\r\n\r\ntext\r\n")

    def test_submission(self) -> None:
        ports: tuple[tuple[int, dict[str, Any]], ...] = ((587, {}), (465, {}), (2525, {"submission": True}))
        for port, options in ports:
            here = self.house(port, **options)
            content = self.sent(here, here.greeted(STRANGER))
            self.assertEqual(
                content,
                b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <0000000000000001@mx.example.org>\r\n"
                b"From: Me <me@mx.example.org>\r\n\r\ntext\r\n",
            )

    def test_authenticated(self) -> None:
        here = self.house(auth=AuthMode.OPTIONAL, authWithoutTls=True, senders=TableRef("s"), masquerade=True)
        here.table("s", anna="anna@example.org")
        content = self.sent(here, here.greeted(STRANGER), "AUTH PLAIN AGFubmEAc2VjcmV0")
        self.assertIn(b"From: Me <anna@example.org>\r\n\r\n", content)

    def test_filtersSeeTheCompleteMessage(self) -> None:
        here = self.house(587, filter=Capitals())
        content = self.sent(here, here.greeted())
        self.assertTrue(content.startswith(b"DATE: "), content)
