"""What runs in the lanes of the fs queue: files and their names.

- C{messages/BUCKET/ID}: one file per message (L{pysmtpd.queue.frames}). A bucket holds the ids of about a minute, so the messages of one
  batch share a directory, and one sync of it.
- C{staged/}: what is being written; removed at the next start.
- C{superseding/ID}: committed messages whose superseded envelopes may not all be gone yet; finished at the next start.
- C{aside/ID}, C{aside/ID.reason}: what could not be read.
- C{ceiling}: the highest id that may have been used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from zlib import crc32

from pysmtpd.interfaces.platform import IDisk, IFile
from pysmtpd.interfaces.queue import NewMessage, QueueError, SetAside, SpoolError, StoredMessage
from pysmtpd.model.ids import EnvelopeId, MessageId, formatMessageId, messageOf, parseMessageId
from pysmtpd.queue.frames import (
    DamagedFile,
    MessageFile,
    contentFrame,
    deletedFrame,
    numbersOf,
    recordFrames,
    stateFrame,
)
from pysmtpd.queue.refusal import FAILED, NO_ROOM_ERRORS
from pysmtpd.queue.spool import (
    checkKinds,
    claim,
    isThere,
    makeDurableDirectory,
    raiseFormat,
    removeIfThere,
    writeDurably,
)

FORMAT = 2
"""Since 2 there are records of states that are not one envelope's alone."""

BUCKET_BITS = 28
"""12 bits of counter and 16 of milliseconds: 65 seconds."""

REASON_SUFFIX = ".reason"

_BUCKET = re.compile(r"[0-9a-f]{9}\Z")
_CEILING = "ceiling"
_CEILING_OCTETS = 64


class Directory:
    """Paths, and the work on one message. Safe in any lane, as long as one message's work stays in one lane at a time."""

    def __init__(self, disk: IDisk, place: str) -> None:
        self.disk = disk
        self.place = place
        self.messages = f"{place}/messages"
        self.staged = f"{place}/staged"
        self.superseding = f"{place}/superseding"
        self.aside = f"{place}/aside"

    def bucket(self, message: MessageId) -> str:
        return f"{self.messages}/{message >> BUCKET_BITS:09x}"

    def path(self, message: MessageId) -> str:
        return f"{self.bucket(message)}/{formatMessageId(message)}"

    def buckets(self) -> list[str]:
        """In the order of the ids in them. Other names are not ours to touch."""
        return [name for name in self.disk.listDirectory(self.messages) if _BUCKET.match(name)]

    def find(self, message: MessageId) -> IFile | None:
        """The message's file, open for reading."""
        for path in (self.path(message), f"{self.superseding}/{formatMessageId(message)}"):
            try:
                return self.disk.open(path)
            except FileNotFoundError:
                continue
        return None

    def read(self, message: MessageId) -> MessageFile | None:
        """
        @raise DamagedFile:
        """
        file = self.find(message)
        if file is None:
            return None
        try:
            return MessageFile(message, file)
        finally:
            file.close()

    def load(self, message: MessageId) -> StoredMessage | None:
        try:
            found = self.read(message)
        except DamagedFile as error:
            self.putAside(message, str(error))
            raise QueueError(FAILED, f"{formatMessageId(message)}: {error}") from error
        return None if found is None else found.stored()

    def body(self, message: MessageId) -> tuple[IFile, Sequence[tuple[int, int]]] | None:
        file = self.find(message)
        if file is None:
            return None
        try:
            return file, MessageFile(message, file).content
        except BaseException:
            file.close()
            raise

    def write(self, messages: Sequence[NewMessage]) -> None:
        """Whole files, durable, under C{staged}."""
        for new in messages:
            path = f"{self.staged}/{new.staged or formatMessageId(new.id)}"
            if new.body is None:
                # Its content is there already; append would make a file without.
                self.disk.stat(path)
                file = self.disk.append(path)
                data = recordFrames(new)
            else:
                removeIfThere(self.disk, path)
                file = self.disk.create(path)
                data = recordFrames(new) + contentFrame(new.body)
            try:
                file.write(data)
                file.sync()
            finally:
                file.close()

    def update(self, states: Mapping[EnvelopeId, bytes]) -> None:
        """Append and sync, one sync per message."""
        byMessage: dict[MessageId, list[bytes]] = {}
        for id, state in states.items():
            byMessage.setdefault(messageOf(id), []).append(stateFrame(id, state))
        for message, frames in byMessage.items():
            self._append(message, frames, isSynced=True)

    def _append(self, message: MessageId, frames: Sequence[bytes], isSynced: bool) -> None:
        path = self.path(message)
        try:
            self.disk.stat(path)
        except FileNotFoundError:
            return
        file = self.disk.append(path)
        try:
            if not self.disk.stat(path).size:
                # It went between the two, superseded in the other lane, and is not to come back.
                self.disk.unlink(path)
                return
            file.write(b"".join(frames))
            if isSynced:
                file.sync()
        finally:
            file.close()

    def delete(self, envelopes: Sequence[EnvelopeId], isSynced: bool) -> list[str]:
        """
        @return: the buckets that lost a file.
        """
        byMessage: dict[MessageId, list[EnvelopeId]] = {}
        for id in envelopes:
            byMessage.setdefault(messageOf(id), []).append(id)
        touched: dict[str, None] = {}
        for message, ids in byMessage.items():
            try:
                found = self.read(message)
            except DamagedFile:
                # It is kept for people to look at; who meets it next sets it aside.
                continue
            if found is None:
                continue
            left = found.envelopes
            for number in numbersOf(ids):
                left.pop(number, None)
            if left:
                self._append(message, [deletedFrame(id) for id in ids], isSynced)
            elif removeIfThere(self.disk, self.path(message)):
                touched[self.bucket(message)] = None
        return list(touched)

    def putAside(self, message: MessageId, reason: str) -> None:
        """Move it out of the way, durably."""
        if isThere(self.disk, self.path(message)):
            self.moveAside(self.path(message), formatMessageId(message), reason)
            self.disk.syncDirectory(self.aside)
            self.disk.syncDirectory(self.bucket(message))

    def moveAside(self, path: str, name: str, reason: str) -> None:
        """If a power cut undoes it, who meets it next does it again."""
        target = f"{self.aside}/{name}"
        text = reason.encode("utf-8", "replace")
        writeDurably(self.disk, f"{target}{REASON_SUFFIX}.tmp", target + REASON_SUFFIX, text)
        self.disk.rename(path, target)

    def setAside(self) -> tuple[SetAside, ...]:
        names = self.disk.listDirectory(self.aside)
        found: list[SetAside] = []
        for name in names:
            if "." in name:
                continue
            reason = "unknown"
            if name + REASON_SUFFIX in names:
                file = self.disk.open(f"{self.aside}/{name}{REASON_SUFFIX}")
                try:
                    reason = file.read(4096).decode("utf-8", "replace")
                finally:
                    file.close()
            found.append(SetAside(name, reason))
        return tuple(found)


class Publisher(Directory):
    """Gives messages their final names. One lane; it also holds the lock of the place."""

    def __init__(self, disk: IDisk, place: str) -> None:
        super().__init__(disk, place)
        self._lock: IFile | None = None
        self._buckets: dict[str, None] = {}
        self._isUnsettled = False
        self._newest = ""

    def open(self) -> int:
        """
        @return: the highest message id that may ever have been used.
        @raise SpoolError:
        """
        self._lock = claim(self.disk, self.place, "fs", ("messages",), FORMAT)
        try:
            checkKinds(
                self.disk, self.place, (_CEILING, f"{_CEILING}.tmp"), ("messages", "staged", "superseding", "aside")
            )
            raiseFormat(self.disk, self.place, "fs", FORMAT)
            for path in (self.messages, self.staged, self.superseding, self.aside):
                makeDurableDirectory(self.disk, path)
            for name in self.disk.listDirectory(self.staged):
                # One that cannot be removed is in nobody's way: ids do not come back.
                with suppress(OSError):
                    removeIfThere(self.disk, f"{self.staged}/{name}")
            self._isUnsettled = not self._settleAll(isStart=True)
            return max(self._ceilingKept(), self._highest())
        except OSError as error:
            self.close()
            raise SpoolError(f"the queue in {self.place} cannot be opened: {error}") from error
        except SpoolError:
            self.close()
            raise

    def close(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def _ceilingKept(self) -> int:
        """One small file must not keep all mail from flowing: without it, ids go on from the clock, above all that are there."""
        try:
            return self._ceiling()
        except DamagedFile as error:
            self.moveAside(f"{self.place}/{_CEILING}", _CEILING, str(error))
            # Should the old name come back after a power cut, this is done once more.
            self.disk.syncDirectory(self.aside)
            return 0

    def _ceiling(self) -> int:
        """
        @raise DamagedFile:
        """
        try:
            file = self.disk.open(f"{self.place}/{_CEILING}")
        except FileNotFoundError:
            return 0
        try:
            words = file.read(_CEILING_OCTETS).split()
        finally:
            file.close()
        if len(words) != 2 or f"{crc32(words[0]):08x}".encode() != words[1]:
            raise DamagedFile("the highest reserved id cannot be read; ids go on from the clock")
        return int(words[0], 16)

    def _highest(self) -> int:
        asideIds = [name for name in self.disk.listDirectory(self.aside) if "." not in name]
        highest = max((idOf(name) for name in asideIds), default=0)
        for bucket in reversed(self.buckets()):
            try:
                ids = [idOf(name) for name in self.disk.listDirectory(f"{self.messages}/{bucket}")]
            except OSError:
                # Nobody can tell; all that could be in it are below this. The walk tells about it.
                ids = [(int(bucket, 16) + 1 << BUCKET_BITS) - 1]
            if ids:
                return max(highest, *ids)
        return highest

    def reserve(self, ceiling: MessageId) -> None:
        text = formatMessageId(MessageId(max(ceiling, self._ceiling()))).encode()
        line = text + f" {crc32(text):08x}\n".encode()
        writeDurably(self.disk, f"{self.place}/{_CEILING}.tmp", f"{self.place}/{_CEILING}", line)
        self.disk.syncDirectory(self.place)

    def publish(self, messages: Sequence[NewMessage]) -> None:
        """Files that are whole and durable under C{staged} become the queue's. All or none, unless the power goes."""
        moved: list[tuple[str, str]] = []
        directories: dict[str, None] = {}
        hasSuperseding = False
        try:
            for new in messages:
                target = self.path(new.id)
                directory = self.bucket(new.id)
                self._makeBucket(directory)
                if isThere(self.disk, target):
                    raise FileExistsError(f"message {formatMessageId(new.id)} is there already")
                if new.supersedes:
                    hasSuperseding = True
                    directory = self.superseding
                    target = f"{directory}/{formatMessageId(new.id)}"
                source = f"{self.staged}/{new.staged or formatMessageId(new.id)}"
                self.disk.rename(source, target)
                moved.append((source, target))
                directories[directory] = None
            for directory in directories:
                self.disk.syncDirectory(directory)
        except BaseException:
            for source, target in moved:
                self._withdraw(source, target)
            raise
        if hasSuperseding or self._isUnsettled:
            # The commit itself is durable. What cannot be done now is done at the next commit, or at the next start.
            self._isUnsettled = True
            with suppress(OSError):
                self._isUnsettled = not self._settleAll()

    def _withdraw(self, source: str, target: str) -> None:
        """Back, so that staged content may be committed again; at least away."""
        try:
            self.disk.rename(target, source)
        except OSError:
            # No room even for a name. Removing needs none.
            removeIfThere(self.disk, target)

    def _makeBucket(self, directory: str) -> None:
        if directory not in self._buckets:
            makeDurableDirectory(self.disk, directory)
            self._buckets[directory] = None
            self._newest = max(self._newest, directory)

    def unwrite(self, messages: Sequence[NewMessage]) -> None:
        """A batch failed: remove what C{write} made. Staged content is its stage's."""
        for new in messages:
            if new.body is not None:
                removeIfThere(self.disk, f"{self.staged}/{formatMessageId(new.id)}")

    def prune(self, buckets: Sequence[str]) -> None:
        """Remove buckets that are empty and will not be used again."""
        for bucket in buckets:
            if bucket < self._newest:
                try:
                    self.disk.removeDirectory(bucket)
                    self._buckets.pop(bucket, None)
                except OSError:
                    # Usually it is not empty; an empty one that stays does no harm.
                    continue

    def _settleAll(self, isStart: bool = False) -> bool:
        """Finish committed messages that supersede others: each of the steps may be done twice.

        @param isStart: one that cannot be finished because of itself is set aside, so that all else goes on.
        @return: all are finished.
        @raise OSError: at the start: there is no room for it.
        """
        isAll = True
        for name in self.disk.listDirectory(self.superseding):
            if message := MessageId(idOf(name)):
                path = f"{self.superseding}/{name}"
                try:
                    self._settle(message, path)
                except OSError as error:
                    isAll = False
                    if isStart and error.errno in NO_ROOM_ERRORS:
                        raise
                    if isStart:
                        with suppress(OSError):
                            self.moveAside(path, name, f"what it supersedes cannot be removed: {error}")
        return isAll

    def _settle(self, message: MessageId, path: str) -> None:
        file = self.disk.open(path)
        try:
            supersedes = MessageFile(message, file).supersedes
        except DamagedFile:
            # It was whole when it was committed; as a message it is set aside by who reads it.
            supersedes = ()
        finally:
            file.close()
        for bucket in self.delete(supersedes, isSynced=True):
            self.disk.syncDirectory(bucket)
        self._makeBucket(self.bucket(message))
        self.disk.rename(path, self.path(message))
        # If the old name comes back after a power cut, this is done once more; so it needs no sync.
        self.disk.syncDirectory(self.bucket(message))


def idOf(name: str) -> int:
    """0: it is no id."""
    try:
        return parseMessageId(name)
    except ValueError:
        return 0
