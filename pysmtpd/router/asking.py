"""Questions that cannot be answered in place: equal ones in flight are asked once, each asker waits for so long and no longer."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pysmtpd.model.question import Answer, TempFail


class Flights:
    """
    @param patience: seconds that an asker waits.
    @ivar waiting: the questions in flight, and who waits for each.
    """

    def __init__(self, clock: IReactorTime, patience: float) -> None:
        self._clock = clock
        self._patience = patience
        self.waiting: dict[Hashable, list[Deferred[Answer]]] = {}

    def join(self, key: Hashable) -> Deferred[Answer]:
        """The answer to a question that is in flight."""
        answered: Deferred[Answer] = Deferred()
        self.waiting[key].append(answered)
        return answered.addTimeout(self._patience, self._clock, self._late)

    def start(self, key: Hashable, asked: Deferred[Any]) -> Deferred[Answer]:
        """The answer to a question that has just been asked.

        @return: never fails, as that of C{join}: what goes wrong, or takes too long, is a L{TempFail}.
        """
        self.waiting[key] = []
        answered = self.join(key)
        asked.addErrback(_told).addCallback(self._answer, key)
        return answered

    def _answer(self, answer: Answer, key: Hashable) -> None:
        for answered in self.waiting.pop(key):
            if not answered.called:
                answered.callback(answer)

    def _late(self, outcome: object, seconds: float) -> TempFail:
        return TempFail(f"no answer within {seconds:g} seconds")


def _told(failure: Failure) -> TempFail:
    return TempFail(failure.getErrorMessage() or type(failure.value).__name__)
