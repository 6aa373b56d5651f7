"""What is wrong in a configuration, as people want to be told: where, what, the line with a caret, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum

from pysmtpd.model.decision import Where

MAX_PROBLEMS = 100
# Names that a word is held against: each takes some microseconds, and a file may have thousands of names and mistakes.
_MOST_COMPARED = 100


class Finding(Enum):
    """LANGUAGE: no configuration by smtpd.conf(5), whatever the machine. CHECK: one that OpenSMTPD would take, and that cannot work or
    must not. ENVIRONMENT: this machine lacks something, or has it wrong: a file, a user, an interface.
    """

    LANGUAGE = "language"
    CHECK = "check"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Problem:
    """
    @ivar message: one sentence, without its place.
    @ivar line: the line of the file; empty where there is none.
    """

    where: Where
    message: str
    line: str = ""
    finding: Finding = Finding.LANGUAGE

    def __str__(self) -> str:
        """C{file:line:column: message}, and where there is a line: the line, and a caret below the column.

        C{environment:} stands before the message of what is wrong with the machine.
        """
        about = "environment: " if self.finding is Finding.ENVIRONMENT else ""
        text = f"{self.where.file}:{self.where.line}:{self.where.column}: {about}{self.message}"
        if not self.line:
            return text
        margin = "".join("\t" if character == "\t" else " " for character in self.line[: self.where.column - 1])
        return f"{text}\n    {self.line}\n    {margin}^"


class ConfigErrors(Exception):
    """A configuration cannot be used.

    @ivar problems: all that were found in one reading, at most L{MAX_PROBLEMS} of each kind, in the order of the text, file by file.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Problems:
    """Collects problems, and knows the lines of the files that were read.

    @ivar told: how many were told, those included that were known or too many.
    """

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._found: dict[tuple[Where, str], Problem] = {}
        self._counts = dict.fromkeys(Finding, 0)
        self._warned: dict[str, None] = {}
        self.told = 0

    @property
    def isFull(self) -> bool:
        """There are so many mistakes that reading on helps nobody. What is wrong with the machine says nothing of the rest of the text."""
        return self._counts[Finding.LANGUAGE] >= MAX_PROBLEMS

    def addFile(self, file: str, text: str) -> None:
        """Remember the lines of a file, to show them."""
        self._lines[file] = text.split("\n")

    def add(self, where: Where, message: str, finding: Finding = Finding.LANGUAGE) -> None:
        """The same problem at the same place is kept once, and no more than L{MAX_PROBLEMS} of a kind."""
        self.told += 1
        if self._counts[finding] >= MAX_PROBLEMS or (where, message) in self._found:
            return
        self._counts[finding] += 1
        lines = self._lines.get(where.file, [])
        line = lines[where.line - 1].rstrip("\r") if 1 <= where.line <= len(lines) else ""
        if len(line) > 1000 or not line.isprintable():
            line = "".join(
                character if character.isprintable() or character == "\t" else "?" for character in line[:1000]
            )
        self._found[where, message] = Problem(where, message, line, finding)

    def reword(self, where: Where, message: str, better: str) -> None:
        """Something that was read later tells more about a problem."""
        problem = self._found.get((where, message))
        if problem is not None:
            self._found[where, message] = replace(problem, message=better)

    def found(self, *findings: Finding) -> tuple[Problem, ...]:
        """The problems of these kinds, or all, in the order of the text, file by file."""
        chosen = [problem for problem in self._found.values() if not findings or problem.finding in findings]
        return tuple(sorted(chosen, key=self._order))

    @property
    def files(self) -> tuple[str, ...]:
        """The files that were read."""
        return tuple(self._lines)

    def _order(self, problem: Problem) -> tuple[int, int, int]:
        files = list(self._lines)
        where = problem.where
        return (files.index(where.file) if where.file in files else -1, where.line, where.column)

    @property
    def warnings(self) -> tuple[str, ...]:
        """In the order in which they were found, each once, at most L{MAX_PROBLEMS}."""
        return tuple(self._warned)

    def warn(self, where: Where, message: str) -> None:
        """Tell people, and go on."""
        if len(self._warned) < MAX_PROBLEMS:
            self._warned[f"{where}: {message}"] = None

    def raiseIfAny(self) -> None:
        """
        @raise ConfigErrors: something was found.
        """
        if self._found:
            raise ConfigErrors(self.found())


def didYouMean(word: str, known: Iterable[str]) -> str:
    """C{'; did you mean "port"?'}, or nothing where no known word is near."""
    word, names = word[:80].lower(), list(known)
    if len(names) > _MOST_COMPARED:
        names = [each for each in names if each[:1] == word[:1] or each[-1:] == word[-1:]][:_MOST_COMPARED]
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def oneOf(words: Sequence[str]) -> str:
    """C{a, b or c}."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
