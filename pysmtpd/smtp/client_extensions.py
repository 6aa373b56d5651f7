"""What a server offers in its answer to EHLO or LHLO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extensions:
    """
    @ivar size: RFC 1870: octets; 0: no limit said; None: SIZE is not offered.
    @ivar auth: SASL mechanisms, in upper case.
    @ivar mailMax: RFC 9422 LIMITS, like the two that follow: 0 means not said.
    """

    pipelining: bool = False
    starttls: bool = False
    eightBit: bool = False
    smtputf8: bool = False
    chunking: bool = False
    binaryMime: bool = False
    dsn: bool = False
    requireTls: bool = False
    size: int | None = None
    auth: tuple[str, ...] = ()
    mailMax: int = 0
    rcptMax: int = 0
    rcptDomainMax: int = 0

    def __str__(self) -> str:
        """As a peer would list them, in one line."""
        words = [keyword.decode() for keyword, name in _FLAGS.items() if getattr(self, name)]
        if self.requireTls:
            words.append("REQUIRETLS")
        if self.size is not None:
            words.append(f"SIZE={self.size}")
        if self.auth:
            words.append(f"AUTH={'/'.join(self.auth)}")
        words += [
            f"{keyword.decode()}={getattr(self, name)}" for keyword, name in _LIMITS.items() if getattr(self, name)
        ]
        return " ".join(words)


NO_EXTENSIONS = Extensions()

_FLAGS = {
    b"PIPELINING": "pipelining",
    b"STARTTLS": "starttls",
    b"8BITMIME": "eightBit",
    b"SMTPUTF8": "smtputf8",
    b"CHUNKING": "chunking",
    b"BINARYMIME": "binaryMime",
    b"DSN": "dsn",
}
_LIMITS = {b"MAILMAX": "mailMax", b"RCPTMAX": "rcptMax", b"RCPTDOMAINMAX": "rcptDomainMax"}
_MAX_DIGITS = 18


def _number(word: bytes) -> int:
    """0 for what is no number, or not one that a sane peer says."""
    return int(word) if word.isdigit() and len(word) <= _MAX_DIGITS else 0


def parseExtensions(lines: Sequence[bytes], secured: bool = False) -> Extensions:
    """
    @param secured: they came under TLS: nothing else makes an offer of REQUIRETLS (RFC 8689 2).
    @param lines: the reply's lines without codes; the first is the server's greeting. What is not understood is skipped.
    """
    found: dict[str, bool | int] = {}
    auth: list[str] = []
    for line in lines[1:]:
        # AUTH=LOGIN is how servers of the last century spelt it.
        words = line.upper().replace(b"AUTH=", b"AUTH ", 1).split()
        if not words:
            continue
        keyword, arguments = words[0], words[1:]
        if keyword == b"REQUIRETLS":
            found["requireTls"] = secured
        elif keyword in _FLAGS:
            found[_FLAGS[keyword]] = True
        elif keyword == b"SIZE":
            found["size"] = _number(arguments[0]) if arguments else 0
        elif keyword == b"AUTH":
            auth += [name for name in (word.decode("ascii", "replace") for word in arguments) if name not in auth]
        elif keyword == b"LIMITS":
            for argument in arguments:
                name, _, value = argument.partition(b"=")
                if name in _LIMITS:
                    found[_LIMITS[name]] = _number(value)
    return Extensions(auth=tuple(auth), **found)  # type: ignore[arg-type]
