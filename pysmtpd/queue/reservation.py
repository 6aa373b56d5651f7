"""Ids that are reserved before anything is committed under them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure

from pysmtpd.interfaces.queue import IQueueBackend, QueueError
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.model.events import QueueFailed
from pysmtpd.model.ids import MessageId
from pysmtpd.queue.ids import IdSource
from pysmtpd.queue.refusal import asQueueError

Reserved: TypeAlias = Callable[["QueueError | None"], None]
"""Told why an id is not reserved; None: it is. Never raises: others wait for the same."""


class Reservation:
    """Ids become usable a minute at a time. That runs beside everything else; commits above the ceiling wait for it."""

    def __init__(self, ids: IdSource, backend: IQueueBackend, report: IReport) -> None:
        self._ids = ids
        self._backend = backend
        self._report = report
        # Who waits for ids that are being reserved; None: none are.
        self._waiting: list[Reserved] | None = None

    def next(self) -> MessageId:
        """A new id."""
        if self._waiting is None:
            ceiling = self._ids.wanted()
            if ceiling is not None:
                self._begin(ceiling, [])
        return self._ids.next()

    def whenReserved(self, id: MessageId, tell: Reserved) -> None:
        """
        @param tell: called once, at once if the id is reserved.
        """
        if id <= self._ids.ceiling:
            tell(None)
            return
        waiter = partial(self._again, id, tell)
        if self._waiting is None:
            # Ids only grow: what is wanted now is above every id given so far.
            self._begin(self._ids.wanted() or id, [waiter])
        else:
            self._waiting.append(waiter)

    def _again(self, id: MessageId, tell: Reserved, refused: QueueError | None) -> None:
        if refused is None:
            self.whenReserved(id, tell)
        else:
            tell(refused)

    def _begin(self, ceiling: MessageId, waiting: list[Reserved]) -> None:
        self._waiting = waiting

        def reserved(result: None) -> None:
            self._ids.ceiling = ceiling
            over(None)

        def failed(failure: Failure) -> None:
            error = asQueueError("reserving ids", failure.value)
            self._report.happened(QueueFailed("reserving ids", error.reason))
            over(error)

        def over(error: QueueError | None) -> None:
            self._waiting = None
            for tell in waiting:
                tell(error)

        maybeDeferred(self._backend.reserve, ceiling).addCallbacks(reserved, failed)
