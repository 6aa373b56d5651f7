"""POSIX extended regular expressions, in time linear in the text (RE2).

What is written for regcomp(3) means the same here: a backslash in brackets is itself, C{{,n}} is C{{0,n}}, GNU's C{\\w}, C{\\s}, C{\\b},
C{\\<}, C{\\>} and their like are understood. What only a backtracking matcher can do is an error that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import re2

MAX_PATTERN = 4_096
"""Characters of a pattern."""
MAX_TEXT = 16_384
"""Characters of what is searched."""
# Instructions of a compiled pattern: with MAX_TEXT it bounds the time of one search in the worst case.
_MAX_PROGRAM = 4_000
# Octets for a pattern and what is remembered of earlier searches.
_MEMORY = 1 << 20
# Patterns that are searched for in one pass, and their instructions.
_TOGETHER = 64

_ESCAPES = {
    "w": "[[:alnum:]_]",
    "W": "[^[:alnum:]_]",
    "s": "[[:space:]]",
    "S": "[^[:space:]]",
    "b": r"\b",
    "B": r"\B",
    "<": r"\b",
    ">": r"\b",
    "`": "^",
    "'": "$",
}
_OPEN_REPEAT = re.compile(r"\{,([0-9]+)\}")
_CLASS = re.compile(r"\[:[^]]*?:\]")
_COLLATING = re.compile(r"\[([.=])(.*?)\1\]", re.DOTALL)


class BadPattern(ValueError):
    """The pattern is wrong; the text says why."""


class Patterns:
    """Any of some patterns. Letters match in either case: what tables are asked for is in lower case."""

    __slots__ = ("_searches", "size")

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """
        @raise BadPattern: one of them is wrong.
        """
        chosen = [translate(pattern) for pattern in patterns]
        for each in chosen:
            _compile(each)
        self.size = len(chosen)
        self._searches = tuple(_together(chosen))

    def match(self, text: str) -> bool:
        """Is any of them found in C{text}?

        @raise ValueError: the text is longer than L{MAX_TEXT}.
        """
        if len(text) > MAX_TEXT:
            raise ValueError(f"what is searched has more than {MAX_TEXT} characters")
        return any(search(text) is not None for search in self._searches)


def checkPattern(pattern: str) -> None:
    """
    @raise BadPattern: it is wrong.
    """
    _compile(translate(pattern))


def _together(patterns: Sequence[str]) -> Iterable[Any]:
    for start in range(0, len(patterns), _TOGETHER):
        some = patterns[start : start + _TOGETHER]
        try:
            yield _compile("|".join(f"({each})" for each in some)).search
        except BadPattern:
            # Together they are too much.
            for each in some:
                yield _compile(each).search


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.posix_syntax = True
    options.word_boundary = True
    options.one_line = True
    options.dot_nl = True
    options.never_capture = True
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        (why,) = error.args
        raise BadPattern(why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)) from None
    if compiled.programsize > _MAX_PROGRAM:
        raise BadPattern(f"it is too large: more than {_MAX_PROGRAM} steps with its repetitions written out")
    return compiled


def translate(pattern: str) -> str:
    """From the syntax of regcomp(3) to that of RE2.

    @raise BadPattern: it has what cannot be searched for in linear time.
    """
    if len(pattern) > MAX_PATTERN:
        raise BadPattern(f"it has more than {MAX_PATTERN} characters")
    if pattern.startswith("(?i)"):
        pattern = pattern[4:]
    out: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            out.append(_escape(pattern[at + 1 : at + 2]))
            at += 2
        elif character == "[":
            text, at = _bracket(pattern, at)
            out.append(text)
        elif character == "(" and pattern.startswith("(?", at):
            raise BadPattern('"(?" is not of POSIX extended syntax, which has no look-around and no named groups')
        elif match := _OPEN_REPEAT.match(pattern, at):
            out.append(f"{{0,{match[1]}}}")
            at = match.end()
        else:
            out.append(character)
            at += 1
    return "".join(out)


def _escape(character: str) -> str:
    if not character:
        raise BadPattern("it ends in a backslash")
    if character in "123456789":
        raise BadPattern(
            f'"\\{character}" is a back reference: it cannot be searched for in bounded time and is not supported'
        )
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isalnum() and character.isascii():
        raise BadPattern(
            f'"\\{character}" means nothing in POSIX extended syntax; there are classes such as [[:digit:]] and [[:alpha:]]'
        )
    # What is no special character is itself.
    return f"\\{character}" if character.isascii() else character


def _bracket(pattern: str, start: int) -> tuple[str, int]:
    """A bracket expression, and where it ends."""
    at = start + 1
    out = ["["]
    if pattern[at : at + 1] == "^":
        out.append("^")
        at += 1
    first = at
    while at < len(pattern):
        character = pattern[at]
        if character == "]" and at > first:
            return "".join([*out, "]"]), at + 1
        if match := _CLASS.match(pattern, at):
            out.append(match[0])
            at = match.end()
        elif match := _COLLATING.match(pattern, at):
            if len(match[2]) != 1:
                raise BadPattern(f'"{match[0]}": collating elements of several characters are not supported')
            out.append(_inClass(match[2]))
            at = match.end()
        else:
            out.append(_inClass(character, isRange=character == "-"))
            at += 1
    raise BadPattern(f'no "]" closes the bracket: {pattern[start:]}')


def _inClass(character: str, isRange: bool = False) -> str:
    return f"\\{character}" if character in "\\[]^-" and not isRange else character
