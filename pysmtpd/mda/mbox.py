"""The mbox format, in the kind that loses nothing (mboxrd of mbox(5)): every line of the message that would begin another one has a
C{>} put before it, and so has one that has such a C{>} already. Everything here blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pysmtpd.mda.spooled import Spooled

if TYPE_CHECKING:
    from pysmtpd.interfaces import IDisk, IMailbox
    from pysmtpd.model.task import MboxTask

# Seconds that a delivery waits for other programs that have locked the mailbox.
PATIENCE = 30.0

_FROM = re.compile(rb"^(?=>*From )", re.MULTILINE)


class MboxWriter:
    """One letter for one mbox. The file is locked only while what has come is copied to its end."""

    def __init__(self, disk: IDisk, task: MboxTask, path: str) -> None:
        """
        @param path: the task's, absolute.
        @raise OSError: it cannot be begun.
        """
        self._disk = disk
        self._task = task
        self._path = path
        self._spooled = Spooled(disk)
        self._spooled.write(task.prefix)

    def write(self, part: bytes) -> None:
        """
        @raise OSError:
        """
        self._spooled.write(part)

    def finish(self) -> str:
        """Append it.

        @return: the path; it is there durably.
        @raise OSError: nothing of it is there.
        """
        try:
            self._spooled.end()
            mailbox = self._disk.mailbox(self._path, PATIENCE)
            try:
                self._append(mailbox)
            finally:
                mailbox.close()
        finally:
            self._spooled.close()
        return self._path

    def abort(self) -> None:
        """It comes to nothing."""
        self._spooled.close()

    def _append(self, mailbox: IMailbox) -> None:
        try:
            mailbox.write(_gap(mailbox) + self._task.fromLine.encode("utf-8", "surrogateescape") + b"\n")
            last = b"\n"
            for block in _quoted(self._spooled):
                mailbox.write(block)
                last = block[-1:]
            mailbox.write(b"\n" if last == b"\n" else b"\n\n")
            mailbox.sync()
        except OSError:
            mailbox.cutBack()
            raise


def _gap(mailbox: IMailbox) -> bytes:
    """What is missing before a new message: one before it may have been cut off by the machine's end."""
    end = mailbox.readAt(max(0, mailbox.size - 2), 2)
    if not end or end == b"\n\n":
        return b""
    return b"\n" if end.endswith(b"\n") else b"\n\n"


def _quoted(spooled: Spooled) -> Iterator[bytes]:
    """Its content, in blocks of whole lines."""
    offset, rest = 0, b""
    while block := spooled.readAt(offset):
        offset += len(block)
        whole, newline, left = block.rpartition(b"\n")
        if newline:
            yield _FROM.sub(b">", rest + whole + newline)
            rest = left
        else:
            rest += block
    if rest:
        yield _FROM.sub(b">", rest)
