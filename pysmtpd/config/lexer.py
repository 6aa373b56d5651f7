"""Text into logical lines of tokens, by the lexical rules of smtpd.conf(5).

- C{#} starts a comment to the end of the logical line, so on a continued line it eats what follows.
- A backslash before a line's end joins lines; before anything else, outside quotes, it only vanishes.
- In quotes, single or double, it escapes the quote, a space and a tab; a line's end inside quotes is dropped.
- C{$name} at the start of a token is replaced by the macro's text, which is read again, but not expanded again.
- Inside braces the end of a line is a token; everywhere else it ends the logical line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from pysmtpd.config.characters import unexpectedStart
from pysmtpd.config.macros import MAX_EXPANDED, Macros
from pysmtpd.config.problem import Problems, didYouMean
from pysmtpd.config.token import Kind, Token
from pysmtpd.model.decision import Where

MAX_STRING = 8095
MAX_REREAD = 4

_PUNCTUATION = "{}()<>,!="
_IN_WORD = frozenset(chr(code) for code in range(33, 127)) - frozenset("(){}<>!=#,")
_WORD_START = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:_")
_NAME = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NUMBER_END = frozenset(" \t\n\r\v\f),/}=")
_NUMBER_START = frozenset("-0123456789")
_NUMBER = re.compile(r"-?[0-9]+\Z")
_PREFIX = re.compile(r"-?[0-9]+/")
_INT64 = range(-(2**63), 2**63)

# What plain files are made of, each token in one step. What a backslash stands in or behind is none of it, nor a quoted string of several
# lines.
_PLAIN = re.compile(
    r"""([ \t]*)(?:
    (?P<word>[0-9A-Za-z:_][^\x00-\x20\x7f-\U0010ffff(){}<>!=#,\\]*+)(?!\\)
    | "(?P<double>[^"\\\n\r\0]*)" | '(?P<single>[^'\\\n\r\0]*)'
    | (?P<mark>[{}()<>,!]|=(?!\\)>?)
    | (?P<end>\n)
    )""",
    re.VERBOSE,
)
_BLANKS = re.compile(r"[ \t]*\n")
# What people would call a word, to show it.
_SHOWN = re.compile(r"[^\s,{}#]{1,80}")


# Members of an enumeration are slow to reach in Python 3.11.
_WORD, _QUOTED, _NUMBER_KIND, _MARK, _NEWLINE = Kind.WORD, Kind.QUOTED, Kind.NUMBER, Kind.MARK, Kind.NEWLINE


class _Broken(Exception):
    """The rest of this logical line is not to be trusted; the problem has been told."""


class _Enough(Exception):
    """What follows cannot be what was meant; the problem has been told."""


class Lexer:
    """Reads one file.

    @param macros: looked up while reading; what a line defines counts from the next line on.
    @param spoilt: is told the tokens before the mistake of each line that is skipped.
    """

    def __init__(
        self,
        file: str,
        text: str,
        macros: Macros,
        problems: Problems,
        spoilt: Callable[[Sequence[Token]], None] = lambda tokens: None,
    ) -> None:
        self._file = file
        self._text = text
        self._macros = macros
        self._problems = problems
        self._spoilt = spoilt
        self._at = 0
        self._line = 1
        self._lineStart = 0
        self._expansion = ""
        self._expandedAt = 0
        self._expandedFrom = Where(file, 1)
        self._reread = 0

    @property
    def line(self) -> int:
        """The number of the line that is read next."""
        return self._line

    def nextLine(self) -> list[Token] | None:
        """The next logical line that has tokens, without its end; None at the end of the file. A broken line is skipped."""
        while self._at < len(self._text) or self._expansion:
            if self._problems.isFull:
                return None
            tokens: list[Token] = []
            opened: list[Token] = []
            broken = False
            while True:
                try:
                    complete = self._readLine(tokens, opened)
                    break
                except _Enough:
                    self._spoilt(tokens)
                    self._at = len(self._text)
                    self._expansion = ""
                    return None
                except _Broken:
                    # Inside braces reading goes on to the closing one: what stands there is no directive.
                    if not broken:
                        self._spoilt(tokens)
                    broken = True
                    self._skipLine(opened)
                    if not opened:
                        complete = True
                        break
            if not complete and opened:
                self._problems.add(opened[-1].where, '"{" is never closed')
                self._spoilt(tokens)
                self._readAgainAfter(opened[-1].where)
                self._skipLine([])
            elif tokens and not broken:
                return tokens
        return None

    def _readLine(self, tokens: list[Token], opened: list[Token]) -> bool:
        """Append tokens up to the end of the logical line; False: the file ended first."""
        while True:
            if (plain := self._plain()) is not None:
                where, kind, text = plain
            else:
                where, kind, text = self._unusual(tokens)
            if kind == "word":
                tokens.append(self._word(where, text, tokens))
            elif kind == "mark":
                token = Token(_MARK, text, where)
                tokens.append(token)
                if text == "{":
                    opened.append(token)
                elif text == "}" and opened:
                    opened.pop()
            elif kind == "end":
                if not opened:
                    return True
                if tokens[-1].kind is not _NEWLINE:
                    tokens.append(Token(_NEWLINE, "\n", where))
            elif kind:
                tokens.append(self._quoted(where, text))
            else:
                return False

    def _plain(self) -> tuple[Where, str, str] | None:
        """The next token, if nothing is unusual about it: its place, the kind of it, and its text."""
        if self._expansion:
            source = self._expansion
            found = _PLAIN.match(source, self._expandedAt)
            # What a macro's text ends with may go on in the file.
            if found is None or found.end() == len(source) or found.lastgroup == "end":
                return None
            self._expandedAt = found.end()
            where = self._expandedFrom
        else:
            found = _PLAIN.match(self._text, self._at)
            if found is None:
                return None
            start, self._at = found.end(1), found.end()
            where = Where(self._file, self._line, start - self._lineStart + 1)
        kind = found.lastgroup
        assert kind is not None
        if kind == "end":
            self._line += 1
            self._lineStart = self._at
        return where, kind, found[kind]

    def _unusual(self, tokens: Sequence[Token]) -> tuple[Where, str, str]:
        """Likewise, of one that is read by characters; no kind at the end of the file."""
        where, character = self._start(bool(tokens))
        if character == "":
            # Perhaps a lone backslash is left.
            self._at = len(self._text)
            return where, "", ""
        if character == "\n":
            return where, "end", character
        if character in "\"'":
            return where, "quoted", self._quotedSlowly(character, where)
        if character == "-" or character in _WORD_START:
            return where, "word", self._wordSlowly()
        if character not in _PUNCTUATION:
            self._refuse(where, character, tokens)
        self._take()
        if character == "=" and self._peek() == ">":
            self._take()
            character = "=>"
        return where, "mark", character

    def _refuse(self, where: Where, character: str, tokens: Sequence[Token]) -> NoReturn:
        if character == "$":
            message = "a macro's text is not expanded again"
        elif where is self._expandedFrom and character.isprintable():
            message = f"""a word cannot start with "{character}"; put it in quotes, inside those of the macro: name = "'...'\""""
        else:
            word = _SHOWN.match(self._text, self._at)
            message = unexpectedStart(character, word[0] if word else "", [token.text for token in tokens])
        self._problems.add(where, message)
        raise _Broken

    # --- characters

    def _peek(self) -> str:
        """The next character with line continuations removed, as C{_take} would give it; empty at the end."""
        mark = (self._at, self._line, self._lineStart, self._expansion, self._expandedAt)
        character = self._take()
        self._at, self._line, self._lineStart, self._expansion, self._expandedAt = mark
        return character

    def _take(self) -> str:
        while True:
            character = self._raw()
            if character != "\\":
                return character
            character = self._raw()
            if character in (" ", "\t") and not self._expansion:
                self._warnOfBlanks()
            if character != "\n":
                return character

    def _warnOfBlanks(self) -> None:
        """Behind a backslash there are blanks; if nothing else follows, they are easily overlooked."""
        if _BLANKS.match(self._text, self._at):
            self._problems.warn(
                Where(self._file, self._line), "blanks stand behind the backslash, so the line is not continued"
            )

    def _raw(self) -> str:
        """One character of the macro's text or of the file; empty at the end."""
        if self._expansion:
            character = self._expansion[self._expandedAt]
            self._expandedAt += 1
            if self._expandedAt == len(self._expansion):
                self._expansion = ""
            return character
        if self._at >= len(self._text):
            return ""
        character = self._text[self._at]
        self._at += 1
        if character == "\n":
            self._line += 1
            self._lineStart = self._at
        return character

    def _rawPeek(self) -> str:
        if self._expansion:
            return self._expansion[self._expandedAt]
        return self._text[self._at] if self._at < len(self._text) else ""

    def _where(self) -> Where:
        if self._expansion:
            return self._expandedFrom
        return Where(self._file, self._line, self._at - self._lineStart + 1)

    def _start(self, isWithin: bool) -> tuple[Where, str]:
        """Skip blanks, comments, and expand a macro; where the next token starts, and its first character, not yet taken.

        A line's end is taken.

        @param isWithin: the logical line has begun.
        """
        while True:
            expanding = bool(self._expansion)
            if not expanding:
                while self._text.startswith((" ", "\t"), self._at):
                    self._at += 1
            where = self._where()
            character = self._peek()
            if character in (" ", "\t"):
                self._take()
            elif character == "#":
                begin = self._at
                while character not in ("", "\n"):
                    character = self._raw()
                    if character == "\\":
                        character = self._raw() and "\\"
                if isWithin and not expanding:
                    self._warnOfEaten(where.line, self._text[begin : self._at])
                return where, character
            elif character == "$" and not expanding:
                self._take()
                self._expand(where)
            elif character == "\n":
                self._take()
                return where, character
            else:
                while not expanding and self._text.startswith("\\\n", self._at):
                    self._raw()
                    self._raw()
                return self._where(), character

    def _warnOfEaten(self, first: int, comment: str) -> None:
        """A comment on a continued line takes with it what does not look like a comment."""
        for number, line in enumerate(comment.split("\n")[1:], first + 1):
            if line.strip(" \t\\") and not line.lstrip(" \t").startswith("#"):
                self._problems.warn(
                    Where(self._file, number),
                    f"this belongs to the comment in line {first}, which a backslash continues",
                )

    def _expand(self, where: Where) -> None:
        name = ""
        while (character := self._peek()) and character in _NAME:
            name += self._take()
        if not name:
            self._problems.add(where, "the name of a macro must stand behind $")
            raise _Broken
        try:
            value = self._macros.expand(name)
        except OverflowError:
            self._problems.add(
                where,
                f"the texts of all macros that are used have more than {MAX_EXPANDED} characters; put lists into tables",
            )
            raise _Enough from None
        if value is None:
            if name not in self._macros.lost:
                hint = "; a hash stands in quotes" if self._rawPeek() == "$" else didYouMean(name, self._macros)
                self._problems.add(where, f'macro "{name}" is not defined{hint}')
            raise _Broken
        self._expansion = value
        self._expandedAt = 0
        self._expandedFrom = where

    def _warnOfMacros(self, text: str, where: Where, place: str) -> None:
        """Nothing is expanded inside quotes and words, and people expect it to be."""
        for name in self._macros.inside(text):
            self._problems.warn(
                where, f'"${name}" stays as it is {place}: macros are expanded where a word begins, outside quotes'
            )

    # --- tokens

    def _quoted(self, where: Where, text: str) -> Token:
        if len(text) > MAX_STRING:
            self._problems.add(where, f"a string may have {MAX_STRING} characters at most")
            raise _Broken
        if "$" in text:
            self._warnOfMacros(text, where, "in quotes")
        return Token(_QUOTED, text, where, not self._expansion and self._line > where.line)

    def _quotedSlowly(self, quote: str, where: Where) -> str:
        inside: list[str] = []
        self._take()
        while (character := self._raw()) != quote:
            if character == "":
                self._problems.add(where, f"this quote ({quote}) is never closed")
                self._readAgainAfter(where)
                raise _Broken
            if character == "\0":
                self._problems.add(where, "a string cannot hold a NUL")
                raise _Broken
            if character == "\\":
                following = self._rawPeek()
                if following in (quote, " ", "\t"):
                    inside.append(self._raw())
                    continue
                if following == "\n":
                    continue
            if character != "\n":
                inside.append(character)
        return "".join(inside)

    def _wordSlowly(self) -> str:
        text = self._take()
        while (character := self._peek()) and character in _IN_WORD and len(text) <= MAX_STRING:
            text += self._take()
        return text

    def _word(self, where: Where, text: str, tokens: Sequence[Token]) -> Token:
        if len(text) > MAX_STRING:
            self._problems.add(where, f"a word may have {MAX_STRING} characters at most")
            raise _Broken
        if text[0] in _NUMBER_START:
            if _PREFIX.match(text):
                self._problems.add(where, f'a number and a slash stand in quotes: "{text[:40]}"')
                raise _Broken
            if _NUMBER.match(text):
                end = self._peek()
                if end == "" or end in _NUMBER_END:
                    if len(text) > 20 or int(text) not in _INT64:
                        self._problems.add(where, f"the number {text[:40]} is too large")
                        raise _Broken
                    return Token(_NUMBER_KIND, text, where)
            if text[0] == "-":
                self._problems.add(where, unexpectedStart("-", text[:80], [token.text for token in tokens]))
                raise _Broken
        if "$" in text:
            self._warnOfMacros(text, where, "inside a word")
        return Token(_WORD, text, where)

    # --- recovery

    def _skipLine(self, opened: list[Token]) -> None:
        """To the end of the line that is being read; what it seems to close is closed."""
        self._expansion = ""
        while (character := self._take()) not in ("", "\n"):
            if character == "}" and opened:
                opened.pop()

    def _readAgainAfter(self, where: Where) -> None:
        """Go back: what was taken for the inside of a quote or of braces is read again, from behind C{where}.

        Each time the rest of the file is read once more, so there is a bound.
        """
        self._expansion = ""
        self._reread += 1
        if self._reread > MAX_REREAD:
            self._at = len(self._text)
            return
        start = 0
        for _ in range(where.line - 1):
            start = self._text.index("\n", start) + 1
        self._line, self._lineStart = where.line, start
        self._at = start + where.column
