"""What a peer is told when storing fails, and how the system's errors become that."""

from __future__ import annotations

import errno
import sqlite3
from typing import Any

from twisted.python.failure import Failure

from pysmtpd.interfaces.queue import QueueError
from pysmtpd.model.reply import Reply

NO_ROOM = Reply(452, "Insufficient system storage, try again later", "4.3.1")
FAILED = Reply(451, "Local error in processing, try again later", "4.3.0")

NO_ROOM_ERRORS = (errno.ENOSPC, errno.EDQUOT)


def asQueueError(doing: str, error: BaseException | None) -> QueueError:
    """Disk full and quota give 452, all else 451. The reason keeps the system's words for the log.

    @param doing: what was tried: C{"committing"}.
    """
    if isinstance(error, QueueError):
        return error
    if isinstance(error, OSError):
        isFull = error.errno in NO_ROOM_ERRORS
    else:
        isFull = (
            isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        )
    return QueueError(NO_ROOM if isFull else FAILED, f"{doing}: {type(error).__name__}: {error}")


def refuse(failure: Failure, doing: str) -> Any:
    """An errback: go on with the L{QueueError}."""
    raise asQueueError(doing, failure.value)
