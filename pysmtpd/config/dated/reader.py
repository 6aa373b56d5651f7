"""The tokens of one old directive, taken one after another, and written down as today's language takes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pysmtpd.config.macros import Macros
from pysmtpd.config.printer import quoted
from pysmtpd.config.problem import oneOf
from pysmtpd.config.token import Kind, Token
from pysmtpd.config.words import RESERVED

# Marks a macro among the strings; a private character, which no configuration has.
MACRO = "\ue000"

_WORDS = """
    accept alias any as auth auth-optional authenticated backup bounce-warn ca certificate ciphers compression deliver dhe domain
    encryption expire filter for forward-only from hostname hostnames include inet4 inet6 key limit listen lmtp local maildir
    mask-source masquerade max-message-size max-mta-deferred mbox mda mta no-dsn on pki port queue rcpt-to received-auth recipient
    reject relay scheduler sender senders session smtps socket source subaddressing-delimiter table tag tagged tls tls-require to
    userbase verify via virtual
"""
OLD_WORDS = frozenset(_WORDS.split())


class Cannot(Exception):
    """A directive has no counterpart; the text says why."""


class KeptMacros(Macros):
    """Gives a mark in place of each macro's text, so that a macro stays one."""

    def expand(self, name: str) -> str:
        return f'"{MACRO}{name}"'


def isMacro(token: Token) -> bool:
    """Does it stand for a macro?"""
    return token.text.startswith(MACRO)


def written(token: Token) -> str:
    """A string as today's language takes it."""
    if isMacro(token):
        return "$" + token.text[len(MACRO) :]
    if token.kind is Kind.WORD and token.text not in RESERVED and "\\" not in token.text:
        return token.text
    return quoted(token.text)


class Reader:
    """
    @param maps: names of tables that are referred to without brackets.
    """

    def __init__(self, tokens: Sequence[Token], maps: Collection[str] = ()) -> None:
        self.tokens = tokens
        self._maps = maps
        self._at = 0

    def peek(self) -> str | None:
        """The next word or mark; None at the end, and before a string."""
        if self._at < len(self.tokens) and self.tokens[self._at].kind in (Kind.WORD, Kind.MARK):
            return self.tokens[self._at].text
        return None

    def take(self) -> str | None:
        """The next word or mark; None at the end."""
        return self.next("a word") if self._at < len(self.tokens) else None

    def next(self, wanted: str) -> str:
        """
        @raise Cannot: there is none, or a string; C{wanted} must stand there.
        """
        if self._at == len(self.tokens):
            raise Cannot(f"{wanted} is missing at the end")
        token = self.tokens[self._at]
        if token.kind not in (Kind.WORD, Kind.MARK):
            raise Cannot(f'{wanted} must stand where "{token.text.lstrip(MACRO).strip()}" does')
        self._at += 1
        return token.text

    def isNext(self, text: str) -> bool:
        return self.peek() == text

    def skip(self, text: str) -> bool:
        """Take a word or mark if it is the next."""
        if self.isNext(text):
            self._at += 1
            return True
        return False

    def expect(self, *texts: str) -> str:
        """
        @raise Cannot: none of these is next.
        """
        found = self.next(oneOf([f'"{text}"' for text in texts]))
        if found not in texts:
            raise Cannot(f'"{found}" stands where {oneOf(texts)} must')
        return found

    def hasString(self) -> bool:
        if self._at == len(self.tokens):
            return False
        token = self.tokens[self._at]
        return token.kind is Kind.QUOTED or (token.kind is Kind.WORD and token.text not in OLD_WORDS)

    def stringToken(self, mayBeReserved: Sequence[str] = ()) -> Token:
        if not self.hasString() and self.peek() not in mayBeReserved:
            raise Cannot("a name or value is missing")
        self._at += 1
        return self.tokens[self._at - 1]

    def string(self, mayBeReserved: Sequence[str] = ()) -> str:
        """A string as it is written today."""
        token = self.stringToken(mayBeReserved)
        return token.text if token.text in mayBeReserved and token.kind is Kind.WORD else written(token)

    def value(self) -> str:
        """A string or a number."""
        if self._at < len(self.tokens) and (token := self.tokens[self._at]).kind in (Kind.NUMBER, Kind.WORD):
            self._at += 1
            return token.text if token.kind is Kind.NUMBER else written(token)
        return self.string()

    def hasTable(self) -> bool:
        return self.isNext("<") or self.isNext("{") or self.hasString()

    def table(self) -> str:
        """A table as it is written today."""
        if self.skip("<"):
            name = self.string()
            self.expect(">")
            return f"<{name}>"
        if self.isNext("{"):
            return self.braces()
        token = self.stringToken()
        return f"<{written(token)}>" if token.text in self._maps else written(token)

    def braces(self) -> str:
        """
        @raise Cannot: it holds nothing, or values and pairs.
        """
        self.expect("{")
        entries: list[str] = []
        pairs = 0
        while not self.skip("}"):
            if self._at < len(self.tokens) and (
                self.tokens[self._at].kind is Kind.NEWLINE or self.tokens[self._at].text == ","
            ):
                self._at += 1
            elif (self.skip("=") or self.skip("=>")) and entries:
                pairs += 1
                entries[-1] += f" = {self.string()}"
            else:
                entries.append(self.string())
        if not entries or pairs not in (0, len(entries)):
            raise Cannot("a table holds values, or pairs, and not both")
        return "{ " + ", ".join(entries) + " }"

    def end(self) -> None:
        """
        @raise Cannot: something is left.
        """
        if self._at < len(self.tokens):
            raise Cannot(f'"{self.tokens[self._at].text.lstrip(MACRO)}" is not understood here')
