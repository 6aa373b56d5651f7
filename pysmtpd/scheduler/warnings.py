"""Telling senders that their mail is late: once for all envelopes of a message that turn out to be late together."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces.delivery import IBounce
from pysmtpd.interfaces.queue import QueueError
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.events import InternalError, QueueFailed
from pysmtpd.model.ids import MessageId

GATHER = 1.0
"""Seconds in which the late envelopes of a message are gathered."""

MAX_WAITING = 10_000
"""Messages. What is beyond that is told at its next try."""

MAX_BUSY = 64
"""Reports that are made at one time, as many as of failures: after an outage of four hours all mail is late at once. Half of them share a
sync of the queue while the other half is made."""


class Warnings:
    """A warning is sent at most once: one that the queue does not take, or that the daemon's end cuts off, is not made up for. The next
    threshold brings the next, and the bounce comes in any case."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, bounce: IBounce, report: IReport, wake: Callable[[], None]) -> None:
        """
        @param wake: called when C{isBusy} has become False.
        """
        self._clock = clock
        self._bounce = bounce
        self._report = report
        self._wake = wake
        self._waiting: dict[MessageId, tuple[Message, list[Envelope]]] = {}
        self._timer: IDelayedCall | None = None
        self._busy = 0

    @property
    def isBusy(self) -> bool:
        return bool(self._waiting or self._busy)

    def add(self, message: Message, envelope: Envelope) -> bool:
        """
        @return: it is taken; False: not now.
        """
        waiting = self._waiting.get(message.id)
        if waiting is not None:
            waiting[1].append(envelope)
            return True
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting[message.id] = (message, [envelope])
        if self._timer is None:
            self._timer = self._clock.callLater(GATHER, self.flush)
        return True

    def flush(self) -> None:
        """Send what has been gathered."""
        if self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None
        while self._waiting and self._busy < MAX_BUSY:
            id = next(iter(self._waiting))
            message, envelopes = self._waiting.pop(id)
            self._busy += 1
            sent = maybeDeferred(self._bounce.warn, message, envelopes)
            sent.addErrback(self._failed).addBoth(self._sent)

    def _sent(self, result: object) -> None:
        self._busy -= 1
        if self._timer is None:
            # No deeper than one call, however many wait.
            self._timer = self._clock.callLater(0.0, self.flush)
        if not self.isBusy:
            self._timer.cancel()
            self._timer = None
            self._wake()

    def _failed(self, failure: Failure) -> None:
        if failure.check(QueueError):
            self._report.happened(QueueFailed("warning", str(failure.value)))
        else:
            self._log.failure("while telling a sender that mail is late", failure)
            self._report.happened(InternalError("telling a sender that mail is late", repr(failure.value)))
