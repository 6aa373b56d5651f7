"""An SMTP reply as a value (RFC 5321 4.2, RFC 2034, RFC 3463)."""

from __future__ import annotations

from pysmtpd.model.value import value


@value
class Reply:
    """
    @ivar code: 200 to 599.
    @ivar text: one line, or several joined by C{"\\n"}; no code, no enhanced code. Never holds CR.
    @ivar enhanced: C{"2.1.5"}, or empty for a reply that carries none (220, 221 has one, 354, EHLO).
    """

    code: int
    text: str
    enhanced: str = ""

    @property
    def isPositive(self) -> bool:
        """2xx or 3xx."""
        return self.code < 400

    @property
    def isTemporary(self) -> bool:
        """4xx."""
        return 400 <= self.code < 500

    @property
    def isPermanent(self) -> bool:
        """5xx."""
        return self.code >= 500

    def toBytes(self) -> bytes:
        """The reply as it is written to a peer, every line ended by CRLF."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        lines = self.text.split("\n")
        last = len(lines) - 1
        return "".join(
            f"{self.code}{' ' if number == last else '-'}{prefix}{line}\r\n" for number, line in enumerate(lines)
        ).encode("utf-8", "replace")

    def __str__(self) -> str:
        """One line for people and logs: C{550 5.1.1 No such user}."""
        text = self.text.replace("\n", " ")
        return f"{self.code}{self.enhanced and ' '}{self.enhanced}{text and ' '}{text}"
