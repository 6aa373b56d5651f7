"""Envelopes of messages that are not committed yet: those of each message are a changeset."""

from __future__ import annotations

from pysmtpd.scheduler.plan.columns import Columns


class Changesets:
    """Each is a list through the columns."""

    __slots__ = ("_columns", "_first")

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._first: dict[int, int] = {}

    def join(self, slot: int) -> None:
        """C{slot} is one more of its message."""
        message = self._columns.message[slot]
        first = self._first.get(message, -1)
        if first < 0:
            self._first[message] = slot
        self._columns.link(slot, first)

    def leave(self, slot: int) -> None:
        """C{slot} goes before its message is committed."""
        before, after = self._columns.unlink(slot)
        if before >= 0:
            return
        message = self._columns.message[slot]
        if after >= 0:
            self._first[message] = after
        else:
            del self._first[message]

    def take(self, message: int) -> list[int]:
        """The changeset of this message, which ends with it; empty: there is none."""
        return self._columns.linked(self._first.pop(message, -1))
