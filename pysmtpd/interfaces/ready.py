"""C{Ready[T]}: the shape of the hot interface methods, an answer or the promise of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar, Union

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

T = TypeVar("T")

Ready: TypeAlias = Union[T, "Deferred[T]"]


def whenReady(answer: Ready[T], go: Callable[[T], object], failed: Callable[[Failure], object] | None = None) -> None:
    """Call C{go} with the answer: at once, without a hop, when it is there; else when it comes.

    Without C{failed}, a failing Deferred is left with its failure for whoever logs unhandled ones; hand one in.
    """
    if isinstance(answer, Deferred):
        if failed is None:
            answer.addCallback(go)
        else:
            answer.addCallbacks(go, failed)
    else:
        go(answer)


def unlessFailed(answer: Ready[object], failed: Callable[[Failure], object]) -> None:
    """Nobody waits for this answer; C{failed} is told if it turns out to be a failure."""
    if isinstance(answer, Deferred):
        answer.addErrback(failed)


async def answered(answer: Ready[T]) -> T:
    """For C{await}: what is there costs no Deferred."""
    return await answer if isinstance(answer, Deferred) else answer


def asDeferred(answer: Ready[T]) -> Deferred[T]:
    """For C{await} and for composing, where speed does not matter."""
    return answer if isinstance(answer, Deferred) else succeed(answer)
