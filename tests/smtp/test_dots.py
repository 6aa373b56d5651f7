"""Dot-stuffing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.smtp.dots import DotStuffer


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
