"""The parts of one message, while DNS is asked about some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pysmtpd.mta.mx import Resolution
from pysmtpd.mta.task import Part

Ready = tuple[Part, Resolution]


class Gathering:
    """Parts whose answer is there leave together: when all are there, or after C{seconds}; late ones likewise, counted from the first
    late one.
    """

    __slots__ = ("_clock", "_dispatch", "_done", "_pending", "_ready", "_seconds", "_timer")

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        parts: Sequence[Part],
        dispatch: Callable[[Sequence[Ready]], None],
        done: Callable[[Gathering], None],
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._pending = dict.fromkeys(parts)
        self._ready: list[Ready] = []
        self._dispatch = dispatch
        self._done = done
        self._timer: IDelayedCall | None = clock.callLater(seconds, self._expired)

    def answered(self, part: Part, resolution: Resolution) -> None:
        if part not in self._pending:
            return
        del self._pending[part]
        self._ready.append((part, resolution))
        if not self._pending:
            self._stopTimer()
            self._leave()
            self._done(self)
        elif self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._expired)

    @property
    def parts(self) -> list[Part]:
        """Those that wait."""
        return [*self._pending, *(part for part, _ in self._ready)]

    def abandon(self) -> Sequence[Part]:
        """Nobody waits any longer: what is left."""
        self._stopTimer()
        left = self.parts
        self._pending.clear()
        self._ready.clear()
        return left

    def _expired(self) -> None:
        self._timer = None
        self._leave()

    def _leave(self) -> None:
        ready, self._ready = self._ready, []
        if ready:
            self._dispatch(ready)

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
