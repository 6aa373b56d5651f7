"""Seeing a mail loop: counting Received fields while the content streams by (RFC 5321 6.3)."""

from __future__ import annotations

import re

_FIELD = re.compile(rb"\nreceived[ \t]*:", re.IGNORECASE)
_END = b"\n\r\n"
# Long enough for whatever may be cut by the end of a chunk, with some blanks before the colon.
_CARRY = 15


class ReceivedCounter:
    """Fed with canonical content in pieces of any size; looks at the header only.

    @ivar count: Received fields so far.
    @ivar inHeader: the header is not over; there is no use in feeding more when it is.
    """

    __slots__ = ("_carry", "_counted", "count", "inHeader")

    def __init__(self) -> None:
        self.count = 0
        self.inHeader = True
        self._carry = b"\n"
        self._counted = 0

    def feed(self, chunk: bytes) -> None:
        """The next piece."""
        data = self._carry + chunk
        end = data.find(_END)
        header = data if end < 0 else data[: end + 1]
        last = 0
        for match in _FIELD.finditer(header, self._counted):
            self.count += 1
            last = match.end()
        if end >= 0:
            self.inHeader = False
            self._carry = b""
            return
        start = max(0, len(data) - _CARRY)
        self._carry = data[start:]
        # What the carry still shows of a field that is counted must not count again.
        self._counted = max(0, max(last, self._counted) - start)
