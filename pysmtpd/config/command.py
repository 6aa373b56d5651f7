"""Commands, divided into words once, when they are read."""

from __future__ import annotations

import re

from pysmtpd.model.config import Command
from pysmtpd.model.specifiers import checkFormat

MDA = "%{mda}"

_SPECIFIER = re.compile(r"%\{[^}]*\}")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
# What a shell would take for its own outside quotes; the last two at the beginning of a word only.
_SHELL = "|&;<>()$`*?[\n"
_SHELL_AT_START = "#~"


def parseCommand(text: str) -> Command:
    """The words of a command, by the quoting rules of POSIX and no others.

    Format specifiers stand inside finished words; none divides a word or makes another.

    @raise ValueError: it needs a shell, or has no words.
    """
    words = splitWords(text)
    for word in words:
        checkFormat(word)
    return Command(tuple(words))


def parseWrapper(text: str) -> Command:
    """The words of a wrapper: C{%{mda}} as a word of its own stands for those of the command.

    @raise ValueError: likewise.
    """
    words = splitWords(text)
    for word in words:
        if MDA in word.lower():
            if word.lower() != MDA:
                raise ValueError(
                    f'{MDA} is a word of its own: it stands for all the words of a command, not within "{word}"'
                )
        else:
            checkFormat(word)
    return Command(tuple(MDA if word.lower() == MDA else word for word in words))


def parseShell(text: str) -> Command:
    """A command for the shell, which finds its data in the environment.

    @raise ValueError: it has a format specifier.
    """
    if not text.strip():
        raise ValueError("a command must stand here")
    if found := _SPECIFIER.search(text):
        raise ValueError(
            f"{found.group()} cannot stand in a command for the shell, which would read what a sender wrote; "
            "it has the variables SENDER, RECIPIENT, ORIGINAL_RECIPIENT, LOCAL, DOMAIN, EXTENSION, USER and HOME"
        )
    return Command((), text)


def splitWords(text: str) -> list[str]:
    """
    @raise ValueError: a quote is not closed, a character is the shell's, or there is no word.
    """
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(text):
        character = text[at]
        if found := _SPECIFIER.match(text, at):
            word = (word or "") + found.group()
            at = found.end()
            continue
        at += 1
        if character in " \t":
            if word is not None:
                words.append(word)
                word = None
        elif character == "'":
            end = text.find("'", at)
            if end < 0:
                raise ValueError("a quote (') is never closed")
            word = (word or "") + text[at:end]
            at = end + 1
        elif character == '"':
            inside, at = _doubleQuoted(text, at)
            word = (word or "") + inside
        elif character == "\\":
            if at == len(text):
                raise ValueError("a backslash is the last character")
            if text[at] != "\n":
                word = (word or "") + text[at]
            at += 1
        elif character in _SHELL or (character in _SHELL_AT_START and word is None):
            raise _needsShell(character)
        else:
            word = (word or "") + character
    if word is not None:
        words.append(word)
    if not words or not words[0]:
        raise ValueError("a command must stand here")
    if _ASSIGNMENT.match(words[0]):
        raise _needsShell(words[0])
    return words


def _doubleQuoted(text: str, at: int) -> tuple[str, int]:
    """What stands in double quotes from C{at} on, and where it goes on behind them."""
    inside = ""
    while at < len(text):
        if found := _SPECIFIER.match(text, at):
            inside += found.group()
            at = found.end()
            continue
        character = text[at]
        at += 1
        if character == '"':
            return inside, at
        if character in "$`":
            raise _needsShell(character)
        if character == "\\" and at < len(text) and text[at] in '$`"\\\n':
            inside += text[at] if text[at] != "\n" else ""
            at += 1
        else:
            inside += character
    raise ValueError('a quote (") is never closed')


def _needsShell(what: str) -> ValueError:
    shown = "the end of a line" if what == "\n" else f'"{what}"'
    return ValueError(
        f'{shown} means something to a shell, and no shell runs this command: put it in quotes, or write mda shell "..."'
    )
