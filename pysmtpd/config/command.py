"""The commands of a configuration, divided into words once, when it is read."""

from __future__ import annotations

import re

from pysmtpd.model.command import NeedsShell, splitCommand
from pysmtpd.model.config import Command
from pysmtpd.model.specifiers import MDA, checkFormat

_SPECIFIER = re.compile(r"%\{[^}]*\}")


def parseCommand(text: str) -> Command:
    """The words of a command. Format specifiers stand inside finished words; none divides a word or makes another.

    @raise ValueError: it needs a shell, has no words, or an unknown specifier.
    """
    return Command(_words(text, isWrapper=False))


def parseWrapper(text: str) -> Command:
    """The words of a wrapper: C{%{mda}} as a word of its own stands for those of the command.

    @raise ValueError: likewise.
    """
    return Command(tuple(MDA if word.lower() == MDA else word for word in _words(text, isWrapper=True)))


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


def _words(text: str, isWrapper: bool) -> tuple[str, ...]:
    try:
        words = splitCommand(text)
    except NeedsShell as error:
        raise ValueError(
            f'{error}, and no shell runs this command: put it in quotes, or write mda shell "..."'
        ) from error
    for word in words:
        checkFormat(word, isWrapper)
    return words
