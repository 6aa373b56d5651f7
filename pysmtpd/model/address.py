"""Mail addresses as values. They are parsed by L{pysmtpd.smtp.grammar} and nowhere else."""

from __future__ import annotations

import re
from dataclasses import field

from pysmtpd.model.value import value

_DOT_STRING = re.compile(r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+(?:\.[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+)*\Z")


@value
class Path:
    """A reverse or forward path (RFC 5321 4.1.2) without its brackets and source route.

    @ivar local: the local part, unquoted: what the quoting means, not how it was written. Case is kept.
    @ivar domain: a domain name as it was given (may hold U-labels), or an address literal with its brackets; empty for the
        null path, and for the bare C{postmaster} of RFC 5321 4.1.1.3.
    """

    local: str
    domain: str
    # As text, once somebody has asked: each event of a message does, and each try of it again.
    _text: str = field(default="", init=False, repr=False, compare=False)

    @property
    def isNull(self) -> bool:
        """Is this the null reverse path, C{<>}?"""
        return not self.local and not self.domain

    @property
    def isUTF8(self) -> bool:
        """Does sending it need SMTPUTF8 (RFC 6531)?"""
        return not (self.local.isascii() and self.domain.isascii())

    @property
    def key(self) -> str:
        """For comparing and looking up: the address in lower case, unquoted."""
        return f"{self.local}@{self.domain}".lower() if self.domain else self.local.lower()

    def __str__(self) -> str:
        """As it stands between the brackets, quoted where it has to be; the null path is empty."""
        if self._text:
            return self._text
        local = self.local
        if not _DOT_STRING.match(local) and not self.isNull:
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        text = f"{local}@{self.domain}" if self.domain else local
        # To the type checker nobody changes a value; whoever looks at one cannot tell that this has.
        object.__setattr__(self, "_text", text)
        return text


NULL_PATH = Path("", "")


def untagged(local: str, delimiter: str) -> str:
    """A local part without its sub-address, C{user} of C{user+tag}."""
    at = local.find(delimiter)
    return local[:at] if at > 0 else local
