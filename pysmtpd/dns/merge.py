"""One question in flight is asked once, whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Merge(Generic[K, V]):
    """Gives everyone who asks the same, while it is being asked, the same answer, in the order in which they came.

    Who cancels stops waiting; the question goes on for the others, and for the cache.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[V]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, key: K, start: Callable[[], Deferred[V]]) -> Deferred[V]:
        """Wait for the answer to C{key}; C{start} asks it, if nobody is asking."""
        mine: Deferred[V] = Deferred()
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(mine)
            return mine
        self._waiting[key] = [mine]
        start().addBoth(self._answered, key)
        return mine

    def _answered(self, answer: V | Failure, key: K) -> None:
        for waiter in self._waiting.pop(key):
            waiter.callback(answer)
