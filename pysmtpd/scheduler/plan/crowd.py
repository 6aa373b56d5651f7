"""Ready envelopes that came due together."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from pysmtpd.scheduler.plan.columns import Columns


class Crowd:
    """Ready work in no group. What failed alike comes due alike, and is handed out at once: the way through the heap and index of groups
    would cost each envelope more than all else that the schedule does for it.

    @ivar byMessage: those of each message.
    @ivar expires: none of them does so before that; wall-clock seconds.
    """

    __slots__ = ("_columns", "_order", "byMessage", "expires")

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._order: list[int] = []
        self.byMessage: dict[int, list[int]] = {}
        self.expires = inf

    def join(self, slots: Sequence[int]) -> None:
        messages, byMessage = self._columns.message, self.byMessage
        if not byMessage:
            self.expires = inf
        for slot in slots:
            message = messages[slot]
            others = byMessage.get(message)
            if others is None:
                byMessage[message] = [slot]
            else:
                others.append(slot)
        self.expires = min([self.expires, *map(self._columns.expires.__getitem__, slots)])
        # The oldest is the last.
        self._order = sorted(byMessage, reverse=True)

    def leave(self, slot: int) -> None:
        message = self._columns.message[slot]
        others = self.byMessage[message]
        others.remove(slot)
        if not others:
            del self.byMessage[message]

    def expired(self, now: float) -> list[int]:
        """Those that have expired since they joined; they are still here."""
        if not self.byMessage or now < self.expires:
            return []
        expires = self._columns.expires
        slots = [slot for slots in self.byMessage.values() for slot in slots]
        self.expires = min((expires[slot] for slot in slots if expires[slot] > now), default=inf)
        return [slot for slot in slots if expires[slot] <= now]

    def oldest(self) -> int:
        """The message that leaves next; -1: there is none."""
        order, byMessage = self._order, self.byMessage
        while order:
            if order[-1] in byMessage:
                return order[-1]
            order.pop()
        return -1

    def take(self, most: int, end: int) -> list[list[int]]:
        """Take away messages below the id C{end}, the oldest first, until these are so many envelopes or more: a message is never split."""
        order, byMessage = self._order, self.byMessage
        taken: list[list[int]] = []
        while most > 0 and order and order[-1] < end:
            slots = byMessage.pop(order.pop(), None)
            if slots is not None:
                most -= len(slots)
                taken.append(slots)
                if len(slots) > 1:
                    slots.sort(key=self._columns.number.__getitem__)
        return taken

    def takeOf(self, message: int) -> list[int]:
        """Take away all of one message; empty: it has none here."""
        slots = self.byMessage.pop(message, [])
        slots.sort(key=self._columns.number.__getitem__)
        return slots
