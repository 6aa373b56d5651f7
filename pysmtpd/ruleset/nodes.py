"""What an alias or a virtual address expands to: the right-hand side of aliases(5), taken apart.

A further kind of node is one more class here, and one more case in L{pysmtpd.ruleset.expansion}.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from pysmtpd.model.address import Path
from pysmtpd.model.reply import Reply

MAX_NODE = 1024

_ERROR = re.compile(r":?error:\s*([45][0-9]{2}) ([0-9A-Za-z][^\r\n]*)\Z", re.IGNORECASE)
_ENHANCED = re.compile(r"([45]\.[0-9]{1,3}\.[0-9]{1,3}) +(.+)\Z")
_LOCAL = re.compile(r"[0-9A-Za-z!#$%*/?|^{}`~&'+=_.\-\x80-\U0010ffff]{1,255}\Z")
_DOMAIN = re.compile(r"[0-9A-Za-z.\-\x80-\U0010ffff]{1,255}\Z")
_USER = re.compile(r"[0-9A-Za-z_.+\-]{1,255}\Z")


class AddressNode(NamedTuple):
    """It goes through the rules again."""

    path: Path


class UserNode(NamedTuple):
    """A user, or another name of the same table; in lower case."""

    name: str


class ErrorNode(NamedTuple):
    """The recipient is refused with this."""

    reply: Reply


class UnsupportedNode(NamedTuple):
    """
    @ivar kind: command, file or include.
    """

    kind: str
    text: str


class BadNode(NamedTuple):
    """It is none of these."""

    text: str


Node: TypeAlias = AddressNode | UserNode | ErrorNode | UnsupportedNode | BadNode


def parseNodes(text: str) -> tuple[Node, ...]:
    """The nodes of a comma separated list, in its order. Never raises: what cannot be understood is a L{BadNode}."""
    if '"' not in text and "\\" not in text:
        words = (
            text.split(",") if "," in text and not text.lstrip().lower().startswith(("error:", ":error:")) else [text]
        )
    else:
        words = _split(text)
    return tuple(_node(stripped) for word in words if (stripped := word.strip()))


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


def _split(text: str) -> list[str]:
    """At commas outside quotes. Quotes go; a backslash makes the next character plain, and goes."""
    words: list[str] = []
    word: list[str] = []
    quoted = False
    characters = iter(text)
    for character in characters:
        if character == "\\":
            word.append(next(characters, ""))
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            words.append("".join(word))
            word.clear()
        else:
            word.append(character)
    words.append("".join(word))
    return words


def _node(text: str) -> Node:
    if len(text) > MAX_NODE:
        return BadNode(text[:80])
    if text.lower().startswith(("error:", ":error:")):
        return _error(text)
    if text.startswith((":include:", "include:")):
        return UnsupportedNode("include", text)
    if text.startswith("|"):
        return UnsupportedNode("command", text)
    if text.startswith("/"):
        return UnsupportedNode("file", text)
    if path := splitAddress(text):
        return AddressNode(path)
    return UserNode(text.lower()) if isUserName(text) else BadNode(text[:80])


def _error(text: str) -> Node:
    match = _ERROR.match(text)
    if not match:
        return BadNode(text[:80])
    code, words = int(match[1]), match[2]
    enhanced = _ENHANCED.match(words)
    if enhanced and enhanced[1][0] == match[1][0]:
        return ErrorNode(Reply(code, enhanced[2], enhanced[1]))
    return ErrorNode(Reply(code, words, f"{match[1][0]}.7.1"))
