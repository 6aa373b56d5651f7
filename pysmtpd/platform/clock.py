"""Monotonic time on a reactor whose own clock is the wall's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class MonotonicClock:
    """Tells monotonic seconds; calls are the reactor's.

    The reactor times calls by the wall clock, so a step of that clock moves them, unless L{useMonotonicTime} was called.
    """

    seconds = staticmethod(time.monotonic)

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        # Bound here: it is called several times for each session.
        self.callLater: Callable[..., IDelayedCall] = reactor.callLater

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return self._reactor.getDelayedCalls()


def useMonotonicTime(reactor: Any) -> None:
    """Make the reactor itself time its calls by the monotonic clock, so that no step of the wall clock fires or delays a time-out.

    @raise RuntimeError: calls are pending already: they were timed by the other clock.
    """
    if reactor.getDelayedCalls():
        raise RuntimeError("calls are pending: the reactor's clock can be changed before the first one only")
    reactor.seconds = time.monotonic
