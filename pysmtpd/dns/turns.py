"""Who may ask now, and who is next."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Q = TypeVar("Q", bound=Hashable)


class Turns(Generic[Q]):
    """Places for questions of one kind. Those that find none wait; then each origin has its turn, one question at a time.

    @ivar most: places.
    @ivar mostEach: places that one origin may hold.
    @ivar mostWaiting: questions that may wait, in all.
    """

    __slots__ = ("_held", "_holders", "_size", "_waiting", "most", "mostEach", "mostWaiting")

    def __init__(self, most: int, mostEach: int, mostWaiting: int) -> None:
        self.most = most
        self.mostEach = mostEach
        self.mostWaiting = mostWaiting
        # Who has a place, and whose; longest first.
        self._holders: dict[Q, str] = {}
        self._held: dict[str, int] = {}
        # In the order of their turns.
        self._waiting: dict[str, deque[Q]] = {}
        self._size = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._size

    def enter(self, origin: str, question: Q) -> bool:
        """Take a place, if there is one and nobody of the same origin waits for it."""
        if origin in self._waiting or not self._mayEnter(origin):
            return False
        self._take(origin, question)
        return True

    def wait(self, origin: str, question: Q) -> bool:
        """
        @return: False: too many wait already.
        """
        if self._size >= self.mostWaiting:
            return False
        self._waiting.setdefault(origin, deque()).append(question)
        self._size += 1
        return True

    def leave(self, question: Q) -> None:
        """Give a place back, if it has one."""
        origin = self._holders.pop(question, None)
        if origin is None:
            return
        left = self._held[origin] - 1
        if left:
            self._held[origin] = left
        else:
            del self._held[origin]

    def longest(self) -> Q | None:
        """Who has had a place for longest; None: all are free."""
        return next(iter(self._holders), None)

    def next(self) -> Q | None:
        """Whose turn it is; it has a place now. Few origins can be full, so few are passed over."""
        if len(self._holders) >= self.most:
            return None
        origin = next((each for each in self._waiting if self._mayEnter(each)), None)
        if origin is None:
            return None
        questions = self._waiting.pop(origin)
        question = questions.popleft()
        self._size -= 1
        if questions:
            self._waiting[origin] = questions
        self._take(origin, question)
        return question

    def clear(self) -> list[Q]:
        """Nobody waits any more."""
        left = [question for questions in self._waiting.values() for question in questions]
        self._waiting.clear()
        self._size = 0
        return left

    def _mayEnter(self, origin: str) -> bool:
        return len(self._holders) < self.most and self._held.get(origin, 0) < self.mostEach

    def _take(self, origin: str, question: Q) -> None:
        self._holders[question] = origin
        self._held[origin] = self._held.get(origin, 0) + 1
