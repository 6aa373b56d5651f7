"""Envelopes of messages that are not committed yet: those of each message are a changeset."""

from __future__ import annotations

from pysmtpd.scheduler.plan.columns import Columns


class Changesets:
    """Each is a list through the columns C{previous} and C{next}, the newest first."""

    __slots__ = ("_columns", "_first")

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._first: dict[int, int] = {}

    def join(self, slot: int) -> None:
        """C{slot} is one more of its message."""
        columns = self._columns
        message = columns.message[slot]
        follower = self._first.get(message, -1)
        columns.previous[slot], columns.next[slot] = -1, follower
        if follower >= 0:
            columns.previous[follower] = slot
        self._first[message] = slot

    def leave(self, slot: int) -> None:
        """C{slot} goes before its message is committed."""
        columns = self._columns
        before, after = columns.previous[slot], columns.next[slot]
        if after >= 0:
            columns.previous[after] = before
        if before >= 0:
            columns.next[before] = after
        elif after >= 0:
            self._first[columns.message[slot]] = after
        else:
            del self._first[columns.message[slot]]

    def take(self, message: int) -> list[int]:
        """The changeset of this message, which ends with it; empty: there is none."""
        slots: list[int] = []
        slot = self._first.pop(message, -1)
        while slot >= 0:
            slots.append(slot)
            slot = self._columns.next[slot]
        return slots
