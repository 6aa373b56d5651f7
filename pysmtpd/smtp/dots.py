"""Dot-stuffing (RFC 5321 4.5.2) over chunks of any size, without looking at single lines."""

from __future__ import annotations


class DotStuffer:
    """One message's content on its way into DATA."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def add(self, chunk: bytes) -> bytes:
        """
        @param chunk: canonical content (CRLF); may begin and end anywhere.
        """
        if not chunk:
            return chunk
        stuffed = chunk.replace(b"\r\n.", b"\r\n..")
        tail = self._tail
        if tail == b"\r\n":
            if chunk[:1] == b".":
                stuffed = b"." + stuffed
        elif tail[-1:] == b"\r" and chunk[:2] == b"\n.":
            stuffed = b"\n." + stuffed[1:]
        self._tail = chunk[-2:] if len(chunk) > 1 else tail[-1:] + chunk
        return stuffed

    def end(self) -> bytes:
        """What ends the content: it completes a last line that has no end."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
