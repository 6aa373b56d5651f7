"""What is looked for in the header is found alike however the content is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.listen.loops import HeaderWatch

FIELDS = st.lists(
    st.sampled_from(
        [
            b"Received: from a\r\n",
            b"received: x\r\n",
            b"RECEIVED :y\r\n",
            b"Received:\r\n",
            b"X-Received: no\r\n",
            b"Subject: Received: no\r\n",
            b" Received: folded, no\r\n",
            b"Receive: no\r\n",
            b"TLS-Required: No\r\n",
            b"tls-required :NO \t\r\n",
            b"TLS-Required: Not\r\n",
            b"X-TLS-Required: No\r\n",
        ]
    ),
    max_size=12,
)

OPTIONAL = (b"TLS-Required: No\r\n", b"tls-required :NO \t\r\n")


class HeaderWatchTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(fields=FIELDS, cuts=st.lists(st.integers(0, 400), max_size=12), body=st.booleans())
    def test_anySegmentation(self, fields: list[bytes], cuts: list[int], body: bool) -> None:
        content = b"".join(fields) + (b"\r\nReceived: in the body\r\nTLS-Required: No\r\n" if body else b"")
        expected = sum(field[:8].lower() == b"received" for field in fields)
        counter = HeaderWatch()
        edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
        for start, end in pairwise(edges):
            if counter.inHeader:
                counter.feed(content[start:end])
        self.assertEqual(counter.count, expected)
        self.assertEqual(counter.inHeader, not body)
        self.assertEqual(counter.isTlsOptional, any(field in OPTIONAL for field in fields))

    def test_octetByOctet(self) -> None:
        counter = HeaderWatch()
        for octet in b"Received: a\r\nReceived : b\r\n\r\nReceived: c\r\n":
            if counter.inHeader:
                counter.feed(bytes([octet]))
        self.assertEqual(counter.count, 2)

    def test_noHeader(self) -> None:
        """Content that starts with an empty line has no header."""
        counter = HeaderWatch()
        counter.feed(b"\r\nReceived: a\r\n")
        self.assertEqual((counter.count, counter.inHeader), (0, False))
