"""What the header says to us while the content streams by: a mail loop (RFC 5321 6.3), and C{TLS-Required: No} (RFC 8689 5)."""

from __future__ import annotations

import re

# Both are looked for in one pass.
_FIELD = re.compile(rb"\n(?:received[ \t]*:|tls-required[ \t]*:[ \t]*(no)[ \t]*(?=\r\n))", re.IGNORECASE)
_END = b"\n\r\n"
# Long enough for whatever may be cut by the end of a chunk, with some blanks.
_CARRY = 32


class HeaderWatch:
    """Fed with canonical content in pieces of any size; looks at the header only.

    @ivar count: Received fields so far.
    @ivar isTlsOptional: C{TLS-Required: No} was there.
    @ivar inHeader: the header is not over; there is no use in feeding more when it is.
    """

    __slots__ = ("_carry", "_counted", "count", "inHeader", "isTlsOptional")

    def __init__(self) -> None:
        self.count = 0
        self.isTlsOptional = False
        self.inHeader = True
        self._carry = b"\n"
        self._counted = 0

    def feed(self, chunk: bytes) -> None:
        """The next piece."""
        data = self._carry + chunk
        end = data.find(_END)
        # With the end of its last line.
        header = data if end < 0 else data[: end + 1]
        last = 0
        for match in _FIELD.finditer(header, self._counted):
            if match.group(1) is None:
                self.count += 1
            else:
                self.isTlsOptional = True
            last = match.end()
        if end >= 0:
            self.inHeader = False
            self._carry = b""
            return
        start = max(0, len(data) - _CARRY)
        self._carry = data[start:]
        # What the carry still shows of a field that is counted must not count again.
        self._counted = max(0, max(last, self._counted) - start)
