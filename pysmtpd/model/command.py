"""Commands that somebody has written as one text: divided into words once, as sh(1) quotes them, and never given to a shell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from pysmtpd.model.specifiers import MDA

_SPACE = " \t"
# What a shell would do something with, where it stands unquoted.
_ACTIVE = "|&;<>()$`*?[\n"
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SPECIFIER = re.compile(r"%\{[^{}]*\}")
# Anything else needs quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./{}-]*")
_BUILTINS = {"exec", "cd", "if", "test", "[", "umask", "export", "set", "eval", "."}
# What runs the command that stands behind it.
_LAUNCHERS = {
    *("busybox", "chroot", "chrt", "doas", "env", "flock", "ionice", "nice", "nohup", "runcon", "setarch", "setpriv"),
    *("setsid", "stdbuf", "sudo", "taskset", "time", "timeout", "unshare", "xargs"),
}
_SHELLS = {"sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "tcsh", "yash", "zsh", "su", "runuser", "sg"}


class NeedsShell(ValueError):
    """The text means something to a shell only.

    @ivar rewrite: the same as a command that starts a shell; empty: there is none, for what addresses say must not come near a shell.
    """

    def __init__(self, text: str, what: str) -> None:
        self.rewrite = "" if _SPECIFIER.search(text) else f"/bin/sh -c {_inQuotes(text)}"
        super().__init__(f"{what} needs a shell")


def splitCommand(text: str) -> tuple[str, ...]:
    """The words of a command: quotes and backslashes as in sh(1), and nothing else of it. C{~/} at a word's beginning is
    C{%{user.directory}/}.

    @raise NeedsShell: it has unquoted characters that a shell would act on, begins with an assignment, or names a shell's own command.
    @raise ValueError: a quote is not closed, there is no word, or the first one is empty.
    """
    words: list[str] = []
    at, end = 0, len(text)
    while True:
        while at < end and text[at] in _SPACE:
            at += 1
        if at == end:
            break
        word, start = "", at
        while at < end and text[at] not in _SPACE:
            part, at = _part(text, at)
            word += part
        written = text[start:at]
        if written.startswith("#"):
            raise NeedsShell(text, 'a comment ("#")')
        if not words and _ASSIGNMENT.match(written):
            raise NeedsShell(text, f'the assignment "{written[:80]}"')
        if written.startswith("~"):
            if not written.startswith("~/"):
                raise NeedsShell(text, f'"{written[:80]}"')
            word = f"%{{user.directory}}{word[1:]}"
        words.append(word)
    if not words:
        raise ValueError("there is no command")
    if not words[0]:
        raise ValueError("the program has no name")
    if words[0] in _BUILTINS:
        raise NeedsShell(text, f'"{words[0]}"')
    checkShell(words)
    return tuple(words)


def joinCommand(words: Sequence[str]) -> str:
    """The text that L{splitCommand} divides into these words."""
    return " ".join(_written(word) for word in words)


def _written(word: str) -> str:
    text, at = "", 0
    for found in _SPECIFIER.finditer(word):
        text += _literal(word[at : found.start()]) + found.group()
        at = found.end()
    return text + _literal(word[at:]) or "''"


def _literal(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _inQuotes(text)


def _inQuotes(text: str) -> str:
    return "'{}'".format(text.replace("'", "'\\''"))


def checkShell(words: Sequence[str]) -> None:
    """
    @raise ValueError: these start a shell with a text that addresses have a part in. (What comes to stand for C{%{mda}} is looked at
        where it does.)
    """
    program, *rest = (word.rpartition("/")[2] for word in words)
    if program in _SHELLS or (program in _LAUNCHERS and not _SHELLS.isdisjoint(rest)):
        for option, word in pairwise(words[1:]):
            isText = option.startswith("-") and "c" in option
            if isText and word.lower() != MDA and _SPECIFIER.search(word.replace("%%", "")):
                raise ValueError("what addresses say must not come near a shell: use its environment ($SENDER, ...)")


def _part(text: str, at: int) -> tuple[str, int]:
    """What stands at a place inside a word, and where it ends."""
    character = text[at]
    if character == "'":
        end = text.find("'", at + 1)
        if end < 0:
            raise ValueError("a ' is not closed")
        return text[at + 1 : end], end + 1
    if character == '"':
        return _quoted(text, at + 1)
    if character == "\\":
        if at + 1 == len(text):
            raise ValueError("a \\ stands at the end")
        # With the end of a line it vanishes.
        return text[at + 1].strip("\n"), at + 2
    found = _SPECIFIER.match(text, at)
    if found is not None:
        return found.group(), found.end()
    if character in _ACTIVE:
        raise NeedsShell(text, "a line's end" if character == "\n" else f'"{character}"')
    return character, at + 1


def _quoted(text: str, at: int) -> tuple[str, int]:
    """What stands between double quotes."""
    word = ""
    while at < len(text):
        character = text[at]
        if character == '"':
            return word, at + 1
        if character in "$`":
            raise NeedsShell(text, f'"{character}"')
        if character == "\\" and text[at + 1 : at + 2] in ("$", "`", '"', "\\", "\n"):
            at += 1
            character = text[at].strip("\n")
        word += character
        at += 1
    raise ValueError('a " is not closed')
