"""Configurations of OpenSMTPD before 6.4 into today's.

The first rule that fits decides in both, so rules keep their order. Comments, blank lines, macros and includes stay where they are, and so
does what is of today's language already. What has no counterpart stays as a comment, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pysmtpd.config.dated import settings
from pysmtpd.config.dated.context import Context
from pysmtpd.config.dated.listeners import listen
from pysmtpd.config.dated.reader import Cannot, KeptMacros, Reader, isMacro, written
from pysmtpd.config.dated.rules import accept, reject
from pysmtpd.config.dated.words import dated
from pysmtpd.config.lexer import Lexer
from pysmtpd.config.macros import Macros, canBeUsed
from pysmtpd.config.parser import accepts, keywords, parse
from pysmtpd.config.problem import Problems
from pysmtpd.config.token import Kind, Token

_MARGIN = "# "


@dataclass(frozen=True, slots=True)
class Converted:
    """
    @ivar reasons: C{line: why} for each directive that stayed a comment.
    @ivar notes: C{line: what} for those that somebody should look at.
    """

    text: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def convert(file: str, text: str) -> Converted:
    """
    @param file: its name, for messages.
    """
    return _Conversion(file, text).result()


class _Conversion:
    def __init__(self, file: str, text: str) -> None:
        self._lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
        if self._lines[-1]:
            self._lines.append("")
        text = "\n".join(self._lines)
        self._problems = Problems()
        self._problems.addFile(file, text)
        self._lexer = Lexer(file, text, KeptMacros(), self._problems)
        self._macros = Macros()
        self._context = Context(_tokens(text, KeptMacros()))
        self._output: list[str] = []
        self._reasons: list[str] = []
        self._notes: list[str] = []

    def result(self) -> Converted:
        copied = 0
        while (tokens := self._lexer.nextLine()) is not None:
            first, after = tokens[0].where.line - 1, self._lexer.line - 1
            self._copy(copied, first)
            self._directive(tokens, first, after)
            copied = after
        self._copy(copied, len(self._lines))
        if self._context.hasLocalRules and not self._context.listens:
            self._notes.append(
                "1: this file does not listen; if another does and lets clients log in, its rules for local mail want another each, "
                'with "from auth" in front: before 6.4 such clients were local'
            )
        text = "\n".join(self._output)
        return Converted(text, tuple(self._reasons), tuple(self._notes))

    def _copy(self, start: int, end: int) -> None:
        """Lines between directives: comments and blank ones, and what cannot be read."""
        told = {problem.where.line: problem.message for problem in self._problems.found()}
        for number in range(start, min(end, len(self._lines))):
            line = self._lines[number]
            if line.strip() and not line.lstrip().startswith("#"):
                self._keep([line], number + 1, told.get(number + 1, "it cannot be read"))
            else:
                self._output.append(line)

    def _keep(self, lines: Sequence[str], number: int, reason: str) -> None:
        self._output.append(f"# pysmtpd convert: {reason}")
        self._output += [f"{_MARGIN}{line}" for line in lines]
        self._reasons.append(f"{number}: {reason}")

    def _directive(self, tokens: list[Token], first: int, after: int) -> None:
        lines = self._lines[first:after]
        if len(tokens) > 1 and tokens[1].text == "=" and tokens[1].kind is Kind.MARK:
            if not accepts(tokens):
                self._keep(
                    lines,
                    first + 1,
                    "a macro has a name and one value, in quotes where it is a number or of several words",
                )
                return
            self._define(lines)
            self._output += lines
            return
        expanded = self._expanded(tokens, lines)
        if _isOfToday(self._context, expanded):
            if tokens[0].text == "pki":
                settings.declarePki(self._context, written(tokens[1]))
            self._output += lines
            return
        self._context.note = ""
        try:
            made = self._made(tokens, expanded)
        except Cannot as cannot:
            self._keep(lines, first + 1, str(cannot))
            return
        self._output += [comment for line in lines if (comment := _comment(line))]
        if self._context.note:
            self._output.append(f"# pysmtpd convert: {self._context.note}")
            self._notes.append(f"{first + 1}: {self._context.note}")
        self._output += made

    def _define(self, lines: Sequence[str]) -> None:
        """Remember a macro. One that cannot be used stays as it is, and is told when the file is checked."""
        for name, _, *value in _tokens("\n".join(lines) + "\n", Macros()):
            if value and canBeUsed(name.text):
                self._macros.define(name.text, value[0].text, name.where)

    def _expanded(self, tokens: list[Token], lines: Sequence[str]) -> list[Token]:
        """The tokens with the texts of their macros; as they are, where a macro is not known here."""
        if not any(isMacro(token) for token in tokens):
            return tokens
        problems = Problems()
        expanded = Lexer("", "\n".join(lines) + "\n", self._macros, problems).nextLine()
        # Where something is wrong it may be a later line that was read.
        return tokens if problems.told or expanded is None else expanded

    def _made(self, tokens: list[Token], expanded: list[Token]) -> list[str]:
        """The new lines for one directive. Macros that stand for more than a value are written out.

        @raise Cannot: there are none.
        """
        try:
            return self._handled(tokens)
        except Cannot:
            if expanded is tokens:
                raise
        made = self._handled(expanded)
        self._context.note = "what the macros stood for is written out here"
        return made

    def _handled(self, tokens: list[Token]) -> list[str]:
        reader = Reader(tokens, self._context.maps)
        word = reader.next("a directive")
        handler = _HANDLERS.get(word)
        if handler is None:
            raise Cannot(
                f'"{word}" has no counterpart' if word != "filter" else "filters are programs of another kind today"
            )
        made = handler(self._context, reader)
        reader.end()
        for line in _tokens("\n".join(made) + "\n", KeptMacros()):
            problems = Problems()
            if parse(line, problems) is None:
                raise Cannot(f"today's language refuses it: {problems.found()[0].message}")
        return made


_HANDLERS: dict[str, settings.Handler] = {
    "accept": accept,
    "bounce-warn": settings.bounceWarn,
    "ca": settings.ca,
    "ciphers": settings.value("smtp ciphers"),
    "expire": settings.value("queue ttl"),
    "hostname": settings.hostname,
    "include": settings.include,
    "limit": settings.limit,
    "listen": listen,
    "map": settings.oldMap,
    "max-message-size": settings.value("smtp max-message-size"),
    "max-mta-deferred": settings.value("mta max-deferred"),
    "pki": settings.pki,
    "queue": settings.queue,
    "reject": reject,
    "subaddressing-delimiter": settings.value("smtp sub-addr-delim"),
    "table": settings.table,
}
# Both languages have these, and lines that both take mean the same, but for what a listener with TLS leaves out.
_SHARED = frozenset({"ca", "listen", "pki", "queue", "table"})
_TLS = frozenset({"tls", "tls-require", "smtps"})


def _tokens(text: str, macros: Macros) -> Iterator[list[Token]]:
    """The lines of a text that can be divided into tokens."""
    lexer = Lexer("", text, macros, Problems())
    while (line := lexer.nextLine()) is not None:
        yield line


def _isOfToday(context: Context, tokens: Sequence[Token]) -> bool:
    """Does a line mean the same in today's language?"""
    first = tokens[0].text
    if first not in keywords() or (first in _HANDLERS and first not in _SHARED) or not accepts(tokens):
        return False
    words = {token.text for token in tokens[1:] if token.kind is Kind.WORD}
    lacksPki = "pki" not in words and not _TLS.isdisjoint(words)
    isOld = lacksPki or ("filter" in words and not context.filters) or any(dated(first, word) for word in words)
    return first != "listen" or not isOld


def _comment(line: str) -> str:
    """What stands behind C{#} on a line, the mark included; empty: nothing."""
    quote = ""
    for at, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            return line[at:].rstrip("\\").rstrip()
    return ""
