"""The parts of the daemon end one after the other, none of them is waited for without end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

# Seconds beyond the grace after which the daemon ends without what has not ended; and each part has so much, whatever the others took.
PATIENCE = 10.0
LEAST_PATIENCE = 1.0
# What the queue was given is durable work: it has longer.
QUEUE = "queue"
QUEUE_PATIENCE = 60.0

Stage: TypeAlias = Mapping[str, Callable[[], Deferred[Any]]]
"""What ends together, by its name for people."""


class Ending:
    """Of one daemon, once."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, grace: float) -> None:
        """
        @param grace: seconds that transactions and deliveries have.
        """
        self._clock = clock
        self._deadline = clock.seconds() + grace + PATIENCE
        self._left: list[str] = []

    async def run(self, stages: Sequence[Stage]) -> Sequence[str]:
        """
        @return: what has not ended.
        """
        for stage in stages:
            patience = max(LEAST_PATIENCE, self._deadline - self._clock.seconds())
            await gatherResults([self._end(doing, work, patience) for doing, work in stage.items()])
        return self._left

    def _end(self, doing: str, work: Callable[[], Deferred[Any]], patience: float) -> Deferred[None]:
        """Fires when it has ended, or its time is over; whatever goes wrong, the other parts end, too."""
        if doing == QUEUE:
            patience = QUEUE_PATIENCE
        ended: Deferred[None] = Deferred()

        def late() -> None:
            self._left.append(doing)
            self._log.error(
                "Not waited for: {doing} has not ended within {patience:g} seconds.", doing=doing, patience=patience
            )
            ended.callback(None)

        def done(result: object) -> None:
            if isinstance(result, Failure):
                self._log.failure("While stopping: {doing}", failure=result, doing=doing)
            if timer.active():
                timer.cancel()
                ended.callback(None)

        timer = self._clock.callLater(patience, late)
        maybeDeferred(work).addBoth(done)
        return ended
