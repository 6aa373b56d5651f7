"""One SQL statement for many rows, in one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

MOST = 64
"""Rows in one step."""


class Bulk:
    """A statement for rows of values, written so that up to L{MOST} of them are one step.

    C{executemany} takes a step for each row. Every step gives the interpreter's lock away, and while the reactor is busy, waiting
    to have it back costs more than the step.

    There is a statement for 1, 2, 4, 8, ... rows, so that each is compiled once and kept; rows of NULL fill it up.
    """

    __slots__ = ("_statements", "_width")

    def __init__(self, template: str, row: str, joiner: str = ", ") -> None:
        """
        @param template: the statement, with C{%s} in place of the rows. A row of NULL must do nothing.
        @param row: one row, with its placeholders.
        @param joiner: what stands between rows.
        """
        self._width = row.count("?")
        self._statements = tuple(template % joiner.join([row] * (1 << power)) for power in range(MOST.bit_length()))

    def run(self, execute: Callable[[str, Sequence[Any]], object], rows: Sequence[tuple[Any, ...]]) -> None:
        """
        @param execute: a connection's. More rows than L{MOST} are more than one step, so a transaction should be open.
        """
        for start in range(0, len(rows), MOST):
            values = list(chain.from_iterable(rows[start : start + MOST]))
            power = (len(values) // self._width - 1).bit_length()
            values += [None] * ((self._width << power) - len(values))
            execute(self._statements[power], values)
