"""Being told to end, more than once."""

from __future__ import annotations

from typing import Any


def stopOnce(reactor: Any) -> None:
    """Have C{reactor} go on with its end when it is told to end again: by an operator who has less patience than the grace, or by a signal
    that comes to a group of processes and to one of them.

    Twisted would raise, in the middle of whatever it does, and its log would show that as a fault.
    """
    stop = reactor.stop
    told: list[bool] = []

    def stopUnlessTold() -> None:
        if not told:
            stop()
            told.append(True)

    reactor.stop = stopUnlessTold
