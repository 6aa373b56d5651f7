"""The floor: how much of the file system must stay free."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform, Space
from pysmtpd.interfaces.queue import IQueueBackend
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.events import QueueFailed
from pysmtpd.model.reply import Reply
from pysmtpd.queue.refusal import NO_ROOM

CHECK_SECONDS = 5.0
"""How old the answer about free space may be when mail comes in."""


class SpaceFloor:
    """Answers without I/O from what it was told last, and asks again in the background when that is old.

    Nothing runs while no mail comes in.
    """

    def __init__(self, backend: IQueueBackend, platform: IPlatform, report: IReport, limits: QueueLimits) -> None:
        self._backend = backend
        self._clock = platform.clock
        self._report = report
        self._limits = limits
        self._askAt = 0.0
        self._isAsking = False
        self._refusal: Reply | None = None

    def adopt(self, limits: QueueLimits) -> None:
        """New floors; they count from the next look on."""
        self._limits = limits
        self._askAt = 0.0

    def admit(self) -> Reply | None:
        """None, or the 452."""
        if self._clock.seconds() >= self._askAt and not self._isAsking:
            self.refresh()
        return self._refusal

    def refresh(self) -> Deferred[None]:
        """Ask now. Fires when it is known; never fails."""
        self._isAsking = True
        return self._backend.space().addCallbacks(self._known, self._unknown)

    def _known(self, space: Space) -> None:
        self._asked()
        limits = self._limits
        isLow = space.blocks < limits.minFreeSpace or space.inodes < limits.minFreeInodes
        if isLow and self._refusal is None:
            reason = (
                f"free space is below its floor: {space.blocks:.1%} of blocks, {space.inodes:.1%} of inodes are free"
            )
            self._report.happened(QueueFailed("admitting", reason))
        self._refusal = NO_ROOM if isLow else None

    def _unknown(self, failure: Failure) -> None:
        # Not to know is no reason to refuse: a write that finds no room is answered 452 by itself.
        self._asked()
        self._report.happened(QueueFailed("asking for free space", failure.getErrorMessage()))

    def _asked(self) -> None:
        self._isAsking = False
        self._askAt = self._clock.seconds() + CHECK_SECONDS
