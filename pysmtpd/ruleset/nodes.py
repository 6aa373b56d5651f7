"""What an address expands to: the right-hand side of aliases(5), and the lines of included files and of forward(5), taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from pysmtpd.model.address import Path
from pysmtpd.model.reply import Reply

# Characters, as it is written and as it is printed.
MAX_NODE = 1024

_ERROR = re.compile(r":?error:\s*([45][0-9]{2}) ([0-9A-Za-z][^\x00-\x1f\x7f]*)\Z", re.IGNORECASE)
_ENHANCED = re.compile(r"([45]\.[0-9]{1,3}\.[0-9]{1,3}) +([^ ].*)\Z")
_INCLUDE = re.compile(r":?include:\s*", re.IGNORECASE)
_LOCAL = re.compile(r"[0-9A-Za-z!#$%*/?|^{}`~&'+=_.\-\x80-\U0010ffff]{1,255}\Z")
_DOMAIN = re.compile(r"(?:[0-9A-Za-z._\-\x80-\U0010ffff]{1,255}|\[[0-9A-Za-z:.]{2,60}\])\Z")
# What would be understood in another way without them; a line of a file that begins with C{#} is none.
_NEEDS_QUOTES = re.compile(r"""[,"'\\\s]|\A#""")
_USER = re.compile(r"[0-9A-Za-z_.+\-]{1,255}\Z")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class AddressNode(NamedTuple):
    """It goes through the rules again."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path.local}@{self.path.domain}"


class UserNode(NamedTuple):
    """A user, or another name of the same table; in lower case."""

    name: str

    def __str__(self) -> str:
        return self.name


class CommandNode(NamedTuple):
    """
    @ivar command: what stood behind the bar: not yet divided into words.
    """

    command: str

    def __str__(self) -> str:
        return f"|{self.command}"


class FileNode(NamedTuple):
    """
    @ivar path: absolute; not a directory's.
    """

    path: str

    def __str__(self) -> str:
        return self.path


class IncludeNode(NamedTuple):
    """
    @ivar path: absolute.
    """

    path: str

    def __str__(self) -> str:
        return f":include:{self.path}"


class ErrorNode(NamedTuple):
    """The recipient is refused with this."""

    reply: Reply

    def __str__(self) -> str:
        return f"error:{self.reply}"


class BadNode(NamedTuple):
    """It is none of these."""

    text: str

    def __str__(self) -> str:
        return self.text


Node: TypeAlias = AddressNode | UserNode | CommandNode | FileNode | IncludeNode | ErrorNode | BadNode


def parseNodes(text: str) -> tuple[Node, ...]:
    """The nodes of a comma separated list, in its order. Never raises: what cannot be understood is a L{BadNode}."""
    if '"' not in text and "\\" not in text and "'" not in text:
        if "," not in text:
            stripped = text.strip()
            return (_node(stripped),) if stripped else ()
        if not _isError(text.lstrip()):
            return tuple(_node(stripped) for word in text.split(",") if (stripped := word.strip()))
    return tuple(_node(word) for word in _split(text) if word)


def parseLines(text: str) -> Iterator[tuple[int, Node]]:
    """The nodes of a file and their lines, counted from 1. Empty lines and those that begin with C{#} are skipped."""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if line and line[0] != "#":
            for node in parseNodes(line):
                yield number, node


def formatNodes(nodes: tuple[Node, ...]) -> str:
    """A list that L{parseNodes} takes apart into these."""
    return ", ".join(map(_quoted, nodes))


def isUserName(name: str) -> bool:
    """May it be the name of a user?"""
    return bool(_USER.match(name)) and name not in (".", "..")


def splitAddress(text: str) -> Path | None:
    """C{local@domain} at the last @, within the alphabet of expansions; None: it is not one.

    It only splits: the grammar of addresses is that of L{pysmtpd.smtp}.
    """
    local, at, domain = text.rpartition("@")
    if not at or not _LOCAL.match(local) or not _DOMAIN.match(domain):
        return None
    return Path(local, domain)


def _isError(text: str) -> bool:
    return text[:7].lower().startswith(("error:", ":error:"))


def _quoted(node: Node) -> str:
    text = str(node)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if _NEEDS_QUOTES.search(text) else text


def _split(text: str) -> Iterator[str]:
    """At commas outside quotes.

    A word in double quotes as a whole loses them, and the backslashes before C{"} and C{\\} in it. In a command that is not, quotes and
    backslashes stay, for they are the command's; so does what follows C{error:}, commas too. Elsewhere quotes go, and a backslash
    makes the next character plain.
    """
    at, end = 0, len(text)
    while at < end:
        if text[at] in " \t,":
            at += 1
            continue
        if text[at] == '"':
            word, after = _untilQuote(text, at + 1)
            if after > end:
                yield text[at:]
                return
            while after < end and text[after] in " \t":
                after += 1
            if after == end or text[after] == ",":
                yield word.strip()
                at = after
                continue
        if _isError(text[at : at + 8]):
            yield text[at:].strip()
            return
        word, at = _untilComma(text, at, isCommand=text[at] == "|")
        yield word


def _untilQuote(text: str, at: int) -> tuple[str, int]:
    """What stands before the closing quote, and where it goes on: beyond the end where it is not closed."""
    word: list[str] = []
    end = len(text)
    while at < end and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
        word.append(text[at])
        at += 1
    return "".join(word), at + 1


def _untilComma(text: str, at: int, isCommand: bool) -> tuple[str, int]:
    word: list[str] = []
    quote = ""
    begin, end = at, len(text)
    while at < end:
        character = text[at]
        at += 1
        if character == "\\" and quote != "'":
            if isCommand:
                word.append(character)
            word.append(text[at : at + 1])
            at += 1
        elif quote:
            isClosing = character == quote
            if not isClosing or isCommand:
                word.append(character)
            quote = "" if isClosing else quote
        elif character == '"' or (character == "'" and isCommand):
            quote = character
            if isCommand:
                word.append(character)
        elif character == ",":
            break
        else:
            word.append(character)
    if quote and not isCommand:
        # Never closed: a quote at its beginning makes it a bad node.
        return f'"{text[begin:at]}', at
    return "".join(word).strip(), at


def _node(text: str) -> Node:
    if len(text) > MAX_NODE or _CONTROLS.search(text):
        return BadNode(_CONTROLS.sub(" ", text[:80]))
    if _isError(text):
        return _fitting(_error(text))
    if include := _INCLUDE.match(text):
        path = text[include.end() :]
        return _fitting(IncludeNode(path)) if path.startswith("/") else BadNode(text[:80])
    if text[0] == "|":
        return _command(text[1:].strip())
    if text[0] == "/":
        return FileNode(text) if text[-1] != "/" else BadNode(text[:80])
    if address := splitAddress(text):
        return AddressNode(address)
    return UserNode(text.lower()) if isUserName(text) else BadNode(text[:80])


def _fitting(node: Node) -> Node:
    """Of a kind that may be printed longer than it was written."""
    text = str(node)
    return node if len(text) <= MAX_NODE else BadNode(text[:80])


def _command(command: str) -> Node:
    while command.startswith('"'):
        # |"program and arguments", as it is often written.
        word, after = _untilQuote(command, 1)
        if after != len(command):
            break
        command = word.strip()
    return CommandNode(command) if command else BadNode("|")


def _error(text: str) -> Node:
    match = _ERROR.match(text)
    if not match:
        return BadNode(text[:80])
    code, words = int(match[1]), match[2]
    enhanced = _ENHANCED.match(words)
    if enhanced and enhanced[1][0] == match[1][0]:
        return ErrorNode(Reply(code, enhanced[2], enhanced[1]))
    return ErrorNode(Reply(code, words, f"{match[1][0]}.7.1"))
