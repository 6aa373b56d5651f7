"""Listing the messages of the fs queue."""

from __future__ import annotations

import errno
from bisect import bisect_right
from collections.abc import Sequence

from pysmtpd.interfaces.platform import IDisk
from pysmtpd.interfaces.queue import SetAside, StoredMessage, StoredPage
from pysmtpd.model.ids import MessageId, formatMessageId
from pysmtpd.queue.directory import BUCKET_BITS, Directory, idOf
from pysmtpd.queue.frames import DamagedFile

# It is us who are short of something, not the file that is damaged.
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Walker(Directory):
    """Lists messages. One lane; it remembers one listing, so that pages of a walk do not list again."""

    def __init__(self, disk: IDisk, place: str) -> None:
        super().__init__(disk, place)
        self._buckets: list[str] = []
        self._listed = ""
        self._names: list[str] = []
        # What cannot be read and could not be moved aside either.
        self._stuck: dict[str, SetAside] = {}

    def setAside(self) -> tuple[SetAside, ...]:
        moved = super().setAside()
        for aside in moved:
            # Whoever met it later had more luck.
            self._stuck.pop(aside.item, None)
        return (*moved, *self._stuck.values())

    def walk(self, cursor: str | None, last: MessageId, limit: int) -> StoredPage:
        """Messages up to C{last}; the cursor is the name of the last one met."""
        if cursor is None:
            self._buckets = self.buckets()
            self._listed = ""
        return self._collect(self._buckets, cursor or "", last, limit)

    def page(self, after: MessageId, limit: int) -> tuple[StoredMessage, ...]:
        walker = Walker(self.disk, self.place)
        return walker._collect(self.buckets(), formatMessageId(after), MessageId((1 << 63) - 1), limit).messages

    def _collect(self, buckets: Sequence[str], after: str, last: MessageId, limit: int) -> StoredPage:
        found: list[StoredMessage] = []
        damaged: list[SetAside] = []
        met = 0
        lastName = formatMessageId(last)
        first = f"{idOf(after) >> BUCKET_BITS:09x}" if after else ""
        for bucket in buckets:
            if bucket < first:
                continue
            names = self._list(bucket, damaged)
            for index in range(bisect_right(names, after), len(names)):
                name = names[index]
                if name > lastName and idOf(name):
                    # Not the end: names that are no ids may follow, and are set aside.
                    continue
                stored = self._read(bucket, name, damaged)
                if stored is not None:
                    found.append(stored)
                met += 1
                if met == limit:
                    return StoredPage(tuple(found), name, tuple(damaged))
        return StoredPage(tuple(found), None, tuple(damaged))

    def _list(self, bucket: str, damaged: list[SetAside]) -> list[str]:
        if self._listed != bucket:
            try:
                self._names = self.disk.listDirectory(f"{self.messages}/{bucket}")
            except FileNotFoundError:
                self._names = []
            except OSError as error:
                if error.errno in _OURS:
                    raise
                self._names = []
                self._leave(SetAside(f"messages/{bucket}", f"{error}: whatever is in it stays there"), damaged)
            self._listed = bucket
        return self._names

    def _leave(self, aside: SetAside, damaged: list[SetAside]) -> None:
        """Everything else goes on."""
        self._stuck[aside.item] = aside
        damaged.append(aside)

    def _read(self, bucket: str, name: str, damaged: list[SetAside]) -> StoredMessage | None:
        message = MessageId(idOf(name))
        try:
            if not message or bucket != f"{message >> BUCKET_BITS:09x}":
                raise DamagedFile("this name is not one of ours")
            found = self.read(message)
            # Without envelopes it is over, and its file is about to go.
            return None if found is None or not found.envelopes else found.stored()
        except DamagedFile as error:
            reason = str(error)
        except OSError as error:
            if error.errno in _OURS:
                raise
            reason = str(error)
        try:
            self.moveAside(f"{self.messages}/{bucket}/{name}", name, reason)
        except OSError as error:
            self._leave(SetAside(name, f"{reason}; it stays where it is: {error}"), damaged)
        else:
            damaged.append(SetAside(name, reason))
        return None
