from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.smtp.dots import DotStuffer
from pysmtpd.smtp.xtext import decodeXtext, encodeAddressXtext, encodeXtext


class XtextTests(SynchronousTestCase):
    def test_examples(self) -> None:
        self.assertEqual(encodeXtext("a+b=c d"), "a+2Bb+3Dc+20d")
        self.assertEqual(decodeXtext("a+2Bb+3Dc"), "a+b=c")

    def test_refuses(self) -> None:
        for bad in ("a+2b", "a+", "a=b", "a b", "+G0", "\N{LATIN SMALL LETTER E WITH ACUTE}", "+FF", "a\n"):
            self.assertRaises(ValueError, decodeXtext, bad)

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_roundTrip(self, text: str) -> None:
        encoded = encodeXtext(text)
        self.assertRegex(encoded, r"\A[!-~]*\Z")
        self.assertEqual(decodeXtext(encoded), text)

    def test_addresses(self) -> None:
        self.assertEqual(encodeAddressXtext("rfc822", "a+b@c.test"), "rfc822;a+2Bb@c.test")
        self.assertEqual(encodeAddressXtext("utf-8", "\N{GREEK SMALL LETTER PHI}+@c.test"), "utf-8;\\x{3C6}+2B@c.test")


def unstuff(data: bytes) -> bytes:
    """Line by line, as RFC 5321 4.5.2 tells it."""
    lines = data.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    return b"\r\n".join(line[1:] if line[:1] == b"." else line for line in lines[:-2]) + b"\r\n"


class DotTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b".\r\n", b"\r\n.", b""])))
    def test_anyChunks(self, chunks: list[bytes]) -> None:
        stuffer = DotStuffer()
        sent = b"".join([stuffer.add(chunk) for chunk in chunks]) + stuffer.end()
        content = b"".join(chunks)
        ended = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
        self.assertEqual(unstuff(sent), ended or b"\r\n")
