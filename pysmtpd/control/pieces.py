"""Answers longer than an AMP box: the first call has the work done, the next ones read on."""

from __future__ import annotations

import json
from typing import Any

from pysmtpd.control.amp import BadArgument
from pysmtpd.control.page import indexOf
from pysmtpd.control.schema import PAGE

# Answers that are kept for their readers at one time.
_KEPT = 16


class Pieces:
    """Each answer is JSON, cut anywhere. It is forgotten when it was read to its end, or when too many others came after it."""

    def __init__(self) -> None:
        self._answers: dict[int, bytes] = {}
        self._last = 0

    def first(self, value: Any) -> dict[str, Any]:
        """The first piece of a new answer."""
        data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")
        self._last += 1
        self._answers[self._last] = data
        while len(self._answers) > _KEPT:
            del self._answers[next(iter(self._answers))]
        return self._piece(self._last, 0)

    def more(self, cursor: str) -> dict[str, Any]:
        """
        @raise BadArgument: there is no such answer any more.
        """
        number, _, start = cursor.partition("/")
        return self._piece(indexOf(number), indexOf(start))

    def _piece(self, number: int, start: int) -> dict[str, Any]:
        data = self._answers.get(number)
        if data is None:
            raise BadArgument("this answer is not kept any more; ask again, with an empty cursor")
        end = start + PAGE
        if end >= len(data):
            del self._answers[number]
            return {"data": data[start:], "cursor": ""}
        return {"data": data[start:end], "cursor": f"{number}/{end}"}
