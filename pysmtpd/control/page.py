"""Lists come in pages: what fits into one answer, and where the next one goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pysmtpd.control.amp import BadArgument
from pysmtpd.control.schema import PAGE


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")


class Page:
    """Rows that fit into one answer, of which there is at least one."""

    def __init__(self, size: int = PAGE) -> None:
        self.rows: list[Any] = []
        self._left = size - 2

    def add(self, row: Any) -> bool:
        """False: it does not fit."""
        self._left -= len(_json(row)) + 1
        if self._left < 0 and self.rows:
            return False
        self.rows.append(row)
        return True


def sliceOf(rows: Sequence[Any], cursor: str) -> dict[str, Any]:
    """A page of a list that is at hand; the cursor is the index of its first row."""
    start = indexOf(cursor) if cursor else 0
    page = Page()
    for index in range(start, len(rows)):
        if not page.add(rows[index]):
            return {"rows": page.rows, "cursor": str(index)}
    return {"rows": page.rows, "cursor": ""}


def indexOf(text: str) -> int:
    """The number in a cursor.

    @raise BadArgument:
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadArgument(f"{text[:40]!r} is no cursor of ours; begin with an empty one")
    return int(text)
