"""Files and directories of a simulated disk: what is there, and what a power cut leaves of it."""

from __future__ import annotations

from random import Random


class Inode:
    """
    @ivar modified: wall-clock seconds.
    """

    __slots__ = ("links", "modified")

    def __init__(self, modified: float) -> None:
        self.links = 1
        self.modified = modified

    def content(self) -> bytes:
        return b""

    def size(self) -> int:
        return 0

    def readAt(self, offset: int, size: int) -> bytes:
        return self.content()[offset : offset + size]

    def sync(self) -> None:
        """What is there now survives."""

    def powerCut(self, random: Random, seen: set[int]) -> None:
        """Keep what survives.

        @param seen: C{id} of those that were visited: a file may have several names.
        """


class PlainFile(Inode):
    """A file that only grows, as the interface has it: so what is durable is its beginning. A mailbox is cut back to what it was."""

    __slots__ = ("_synced", "data")

    def __init__(self, modified: float, content: bytes = b"") -> None:
        super().__init__(modified)
        self.data = bytearray(content)
        self._synced = len(content)

    def content(self) -> bytes:
        return bytes(self.data)

    def size(self) -> int:
        return len(self.data)

    def readAt(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def sync(self) -> None:
        self._synced = len(self.data)

    def cut(self, size: int) -> None:
        """Take away what is beyond C{size}."""
        del self.data[size:]
        self._synced = min(self._synced, size)

    def powerCut(self, random: Random, seen: set[int]) -> None:
        tail = len(self.data) - self._synced
        if tail:
            kept = random.choice((0, random.randint(0, tail), tail))
            del self.data[self._synced + kept :]
            # The size may reach the disk before the content.
            if kept and random.random() < 0.3:
                zeroed = random.randint(0, kept)
                self.data[len(self.data) - zeroed :] = bytes(zeroed)
        self._synced = len(self.data)


class Change:
    """A change of one name in a directory that was not synced yet.

    @ivar inode: what the name stands for now; None: it is gone.
    @ivar arrival: for the old name of a rename: the new name's change, and in C{target} its directory. It must be durable first.
    """

    __slots__ = ("arrival", "inode", "isKept", "name", "target")

    def __init__(self, name: str, inode: Inode | None, arrival: Change | None, target: Directory | None) -> None:
        self.name = name
        self.inode = inode
        self.arrival = arrival
        self.target = target
        self.isKept = False


class Directory(Inode):
    """
    @ivar entries: as every process sees them.
    @ivar durable: as they would be after a power cut that keeps nothing else.
    """

    __slots__ = ("_pending", "durable", "entries")

    def __init__(self, modified: float) -> None:
        super().__init__(modified)
        self.entries: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}
        self._pending: list[Change] = []

    def change(
        self, name: str, inode: Inode | None, arrival: Change | None = None, target: Directory | None = None
    ) -> Change:
        """Make a name stand for something else, or for nothing."""
        if inode is None:
            del self.entries[name]
        else:
            self.entries[name] = inode
        change = Change(name, inode, arrival, target)
        self._pending.append(change)
        return change

    def sync(self) -> None:
        pending, self._pending = self._pending, []
        for change in pending:
            self._keep(change)

    def _keep(self, change: Change) -> None:
        """The change is durable, and before it the arrival of what it takes away."""
        change.isKept = True
        if change.arrival is not None and change.target is not None:
            change.target._arrived(change.arrival)
        if change.inode is None:
            self.durable.pop(change.name, None)
        else:
            self.durable[change.name] = change.inode

    @staticmethod
    def _isPending(change: Change) -> bool:
        """Is it still open whether the arrival of this change is kept?"""
        return change.target is not None and change.arrival in change.target._pending

    def _arrived(self, arrival: Change) -> None:
        """Keep what was said of this name up to C{arrival}, if that has not been kept yet."""
        if arrival not in self._pending:
            return
        place = self._pending.index(arrival)
        before = self._pending[: place + 1]
        self._pending = [
            change for number, change in enumerate(self._pending) if number > place or change.name != arrival.name
        ]
        for change in before:
            if change.name == arrival.name:
                self._keep(change)

    def powerCut(self, random: Random, seen: set[int]) -> None:
        self._cutNames(random, set())
        self._cutContents(random, seen)

    def _cutNames(self, random: Random, seen: set[int]) -> None:
        """First everywhere the names, since a rename is between directories; in the order in which they were made."""
        if id(self) in seen:
            return
        seen.add(id(self))
        for inode in (*self.durable.values(), *self.entries.values()):
            if isinstance(inode, Directory):
                inode._cutNames(random, seen)
        # Of the changes of one name a beginning is kept: the later one never survives the earlier one.
        lost: dict[str, bool] = {}
        mood = random.choice((0.0, 0.5, 1.0))
        while self._pending:
            change = self._pending.pop(0)
            if change.arrival is None:
                isKept = change.name not in lost and random.random() < mood
            elif change.target is self:
                # A rename inside a directory is one change.
                isKept = change.arrival.isKept
            else:
                # Between directories the file may be left under both names, never under none.
                isKept = random.random() < mood and (change.arrival.isKept or self._isPending(change))
            if isKept:
                self._keep(change)
            else:
                lost[change.name] = True
        self.entries = dict(self.durable)

    def _cutContents(self, random: Random, seen: set[int]) -> None:
        for inode in self.entries.values():
            if id(inode) in seen:
                inode.links += 1
                continue
            inode.links = 1
            seen.add(id(inode))
            if isinstance(inode, Directory):
                inode._cutContents(random, seen)
            else:
                inode.powerCut(random, seen)
