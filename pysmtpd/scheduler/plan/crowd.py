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
        self.byMessage: dict[int, tuple[int, ...]] = {}
        self.expires = inf

    def join(self, slots: Sequence[int]) -> None:
        if not self.byMessage:
            self.expires = inf
        self.expires = min([self.expires, *map(self._columns.expires.__getitem__, slots)])
        messages = list(map(self._columns.message.__getitem__, slots))
        # Most messages have one recipient, and most come to an empty crowd.
        joined: dict[int, tuple[int, ...]] = dict(zip(messages, zip(slots, strict=True), strict=True))
        if self.byMessage or len(joined) < len(slots):
            joined = self.byMessage
            several: dict[int, list[int]] = {}
            for message, slot in zip(messages, slots, strict=True):
                if message in several:
                    several[message].append(slot)
                elif message in joined:
                    several[message] = [*joined[message], slot]
                else:
                    joined[message] = (slot,)
            joined.update(zip(several, map(tuple, several.values()), strict=True))
        self.byMessage = joined
        # The oldest is the last.
        self._order = sorted(joined, reverse=True)

    def leave(self, slot: int) -> None:
        message = self._columns.message[slot]
        others = tuple([other for other in self.byMessage[message] if other != slot])
        if others:
            self.byMessage[message] = others
        else:
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

    def take(self, most: int, end: int) -> list[Sequence[int]]:
        """Take away messages below the id C{end}, the oldest first, until these are so many envelopes or more: a message is never split."""
        order, byMessage = self._order, self.byMessage
        taken: list[Sequence[int]] = []
        while most > 0 and order and order[-1] < end:
            slots = byMessage.pop(order.pop(), None)
            if slots is not None:
                most -= len(slots)
                taken.append(slots if len(slots) == 1 else self._inOrder(slots))
        return taken

    def takeOf(self, message: int) -> Sequence[int]:
        """Take away all of one message; empty: it has none here."""
        return self._inOrder(self.byMessage.pop(message, ()))

    def _inOrder(self, slots: Sequence[int]) -> Sequence[int]:
        return sorted(slots, key=self._columns.number.__getitem__)
