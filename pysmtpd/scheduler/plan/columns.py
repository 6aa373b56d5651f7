"""What is known of each envelope, as columns of machine numbers: 70 octets a row in place of an object graph."""

from __future__ import annotations

from array import array


class Columns:
    """Rows are called slots. A freed slot is used again before a new one is made.

    @ivar message: the message's id; with C{number}, the envelope's index in its message, it makes the envelope's id.
    @ivar kind: what it asks for by itself (MTA, MDA, BOUNCE), as a code.
    @ivar work: under which code it is ready or leased; differs from C{kind} for EXPIRE and REMOVE.
    @ivar place: where it is, as a code of L{pysmtpd.model.schedule.Condition}.
    @ivar flags: what an operator wants of it.
    @ivar owner: of one in flight: the lease's token; of one in a hold queue: the queue's number.
    @ivar rank: of the first of a ready group: the group's priority.
    @ivar next: and C{previous}: neighbours in the list (changeset or ready group) it belongs to; -1: none.
    """

    __slots__ = (
        *("created", "expires", "flags", "free", "kind", "message", "next", "nextTry", "number", "owner", "place"),
        *("previous", "priority", "rank", "tries", "work"),
    )

    def __init__(self) -> None:
        self.message = array("Q")
        self.number = array("I")
        self.created = array("d")
        self.expires = array("d")
        self.nextTry = array("d")
        self.owner = array("Q")
        self.next = array("i")
        self.previous = array("i")
        self.tries = array("I")
        self.priority = array("h")
        self.rank = array("h")
        self.kind = array("B")
        self.work = array("B")
        self.place = array("B")
        self.flags = array("B")
        self.free = array("i")

    def take(self) -> int:
        """A slot for a new envelope; its columns hold anything."""
        if self.free:
            return self.free.pop()
        for column in (self.message, self.number, self.owner, self.tries, self.next, self.previous):
            column.append(0)
        for times in (self.created, self.expires, self.nextTry):
            times.append(0.0)
        for small in (self.priority, self.rank, self.kind, self.work, self.place, self.flags):
            small.append(0)
        return len(self.message) - 1

    def give(self, slot: int) -> None:
        """The slot is free."""
        self.free.append(slot)

    # --- lists

    def link(self, slot: int, first: int) -> None:
        """C{slot} joins the list that begins with C{first}, right behind it; -1: it begins one."""
        self.previous[slot], self.next[slot] = first, -1
        if first >= 0:
            second = self.next[slot] = self.next[first]
            self.next[first] = slot
            if second >= 0:
                self.previous[second] = slot

    def unlink(self, slot: int) -> tuple[int, int]:
        """C{slot} leaves its list.

        @return: who stood before it, and behind it; -1: nobody.
        """
        before, after = self.previous[slot], self.next[slot]
        if after >= 0:
            self.previous[after] = before
        if before >= 0:
            self.next[before] = after
        return before, after

    def linked(self, first: int) -> list[int]:
        """The list that begins with C{first}; empty for -1."""
        slots: list[int] = []
        while first >= 0:
            slots.append(first)
            first = self.next[first]
        return slots
