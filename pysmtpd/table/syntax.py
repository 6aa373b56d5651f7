"""The text of a table's file (table(5)): a list, or a map of keys and values."""

from __future__ import annotations

import re
from collections.abc import Iterator

_KEY = re.compile(r"(\[[^\]]*\][^\s:]*|[^\s:]+)[ \t:]*(.*)", re.DOTALL)


def parseTable(text: str) -> Iterator[tuple[str, str]]:
    """Keys and values, in the file's order; values are empty in a list.

    The first line with data decides: with a separator (a blank or a colon) after its first word it is a map. C{# @list} in a
    comment before it says that it is a list. A key in brackets runs to the closing one.

    @raise ValueError: a line of a map has no value; the text names the line.
    """
    isMap: bool | None = None
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line:
            continue
        if line[0] == "#":
            if isMap is None and line[1:].strip() == "@list":
                isMap = False
            continue
        match = _KEY.match(line)
        if isMap is None:
            isMap = match is not None and match.end(1) < len(line)
        if not isMap:
            yield line, ""
        elif match is None or not match[2]:
            raise ValueError(f"line {number}: a key without a value, in a table of keys and values")
        else:
            yield match[1], match[2]
