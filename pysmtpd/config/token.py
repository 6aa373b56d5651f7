"""What a lexer makes of characters."""

from __future__ import annotations

from enum import Enum

from pysmtpd.config.words import RESERVED
from pysmtpd.model.decision import Where
from pysmtpd.model.value import value


class Kind(Enum):
    """WORD: unquoted, and perhaps a keyword. MARK: one of C{{ } < > , ! = =>}."""

    WORD = "word"
    QUOTED = "quoted"
    NUMBER = "number"
    MARK = "mark"
    NEWLINE = "newline"


@value
class Token:
    """
    @ivar spans: a quoted string that goes on over the end of a line.
    """

    kind: Kind
    text: str
    where: Where
    spans: bool = False

    @property
    def isReserved(self) -> bool:
        """Is it a keyword wherever it stands?"""
        return self.kind is Kind.WORD and self.text in RESERVED
