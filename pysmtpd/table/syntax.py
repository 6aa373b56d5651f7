"""The text of a table's file: a list (a key in each line), or a map (C{key value}, or C{key: value, value} as in aliases(5)).

docs/tables.md has the rules in prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from pysmtpd.table.networks import parseNetwork

MAX_LINE = 65_536
"""Characters of a line, those that continue it included."""

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?=[ \t:]|\Z)')
_KEY = re.compile(r"\[[^\]]*\][^\s:]*|[^\s:]+")
# A colon at the key; one that stands alone; or blanks. In "key :include:/path" the colon is the value's.
_SEPARATOR = re.compile(r"(:|[ \t]+:(?=[ \t]|\Z))?[ \t]*")
# What begins an entry though it stands farther in: "key:" and a blank. Nothing that a value of aliases(5) may begin with.
_INDENTED = re.compile(r"""[^\s:,"|/\\]+:(?=[ \t]|\Z)""")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)")


# Key, value (empty in a list), and the line that it begins in, from 1.
Entry: TypeAlias = tuple[str, str, int]


class Reader:
    """Reads a file that comes in pieces, cut anywhere. What it keeps of it is one line.

    @ivar isMap: None: no line with data has come yet.
    """

    def __init__(self, isMap: bool | None = None) -> None:
        """
        @param isMap: what it is; None: its first line with data decides.
        """
        self.isMap = isMap
        self._rest = b""
        self._line = 0
        # An entry of the form "key: value" waits for lines that continue it.
        self._open: Entry | None = None

    def feed(self, data: bytes) -> list[Entry]:
        """The entries that are whole now.

        @raise ValueError: it is no table; the text names the line.
        """
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if len(self._rest) > 4 * MAX_LINE:
            raise ValueError(f"line {self._line + data.count(10, 0, end) + 1}: it is longer than {MAX_LINE} characters")
        return self._read(data[:end])

    def finish(self) -> list[Entry]:
        """The file has ended.

        @raise ValueError: as C{feed}.
        """
        rest, self._rest = self._rest, b""
        entries = self._read(rest + b"\n") if rest else []
        return entries + self._closed()

    def _read(self, data: bytes) -> list[Entry]:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            before = self._line + data.count(10, 0, error.start)
            raise ValueError(f"line {before + 1}: it is not UTF-8") from None
        if found := _CONTROLS.search(text):
            before = self._line + text.count("\n", 0, found.start())
            raise ValueError(f"line {before + 1}: there is a control character in it ({found[0]!a})")
        entries: list[Entry] = []
        add = entries.append
        number = self._line
        for raw in text.split("\n")[:-1]:
            number += 1
            line = raw.strip()
            if not line:
                continue
            if len(line) > MAX_LINE:
                raise ValueError(f"line {number}: it is longer than {MAX_LINE} characters")
            if line[0] == "#":
                if self.isMap is None and line[1:].strip() == "@list":
                    self.isMap = False
                continue
            if self.isMap is None:
                self.isMap = _looksLikeMap(line)
            if not self.isMap:
                add((line, "", number))
            elif self._open is not None and raw[0] in " \t" and self._continues(line):
                self._extend(line, number)
            else:
                if self._open is not None:
                    entries += self._closed()
                key, value, isOpen = _pair(line, number)
                if isOpen:
                    self._open = (key, value, number)
                else:
                    add((key, value, number))
        self._line = number
        return entries

    def _continues(self, line: str) -> bool:
        assert self._open is not None
        return self._open[1][-1:] in ("", ",") or not _INDENTED.match(line)

    def _extend(self, line: str, number: int) -> None:
        assert self._open is not None
        key, value, first = self._open
        if len(value) + len(line) > MAX_LINE:
            raise ValueError(f"line {number}: with the lines before it, it is longer than {MAX_LINE} characters")
        self._open = (key, f"{value} {line}" if value else line, first)

    def _closed(self) -> list[Entry]:
        """The entry that nothing continues any more."""
        entry, self._open = self._open, None
        if entry is None:
            return []
        if not entry[1]:
            raise ValueError(_noValue(entry[2]))
        return [entry]


def parseTable(text: str, isMap: bool | None = None) -> Iterator[tuple[str, str]]:
    """Keys and values of a whole file, in its order.

    @raise ValueError: it is no table; the text names the line.
    """
    reader = Reader(isMap)
    for key, value, _ in [*reader.feed(text.encode("utf-8", "surrogatepass")), *reader.finish()]:
        yield key, value


def _looksLikeMap(line: str) -> bool:
    """Is there anything after the first word? An IPv6 address or network is one word."""
    if parseNetwork(line) is not None:
        return False
    end = _keyEnd(line)
    return end < len(line)


def _keyEnd(line: str) -> int:
    match = _QUOTED.match(line) or _KEY.match(line)
    return match.end() if match else 0


def _pair(line: str, number: int) -> tuple[str, str, bool]:
    """Key, value, and may other lines continue it?"""
    quoted = _QUOTED.match(line)
    match = quoted or _KEY.match(line)
    if match is None:
        raise ValueError(f"line {number}: it begins with a colon; a key comes first")
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else match[0]
    separator = _SEPARATOR.match(line, match.end())
    assert separator is not None
    value = line[separator.end() :]
    if separator[1]:
        return key, value, True
    if not value:
        raise ValueError(_noValue(number))
    return key, value, False


def _noValue(number: int) -> str:
    return (
        f'line {number}: a key without a value, in a table of keys and values (for a list of keys begin with "# @list")'
    )
