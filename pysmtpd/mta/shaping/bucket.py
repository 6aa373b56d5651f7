"""A token bucket that spreads. Pure."""

from __future__ import annotations

from pysmtpd.model.shaping import Rate

_EPSILON = 1e-9


class Bucket:
    """What a rate allows, evenly over its period.

    At one moment one second's worth may leave, or a tenth of the whole, whichever is less, and at least one; the rest follows at even
    distances. They are such that no period, wherever it begins, has more than the rate says. What costs more than one may leave when one
    may, and is paid back before the next: so a period may hold at most that much more.

    Kept as one number, the time when all is paid back (the "theoretical arrival time" of the generic cell rate algorithm), so an
    unused bucket needs no refilling, and what is full can be forgotten.

    @ivar paid: monotonic seconds when everything is paid back.
    """

    __slots__ = ("_interval", "_slack", "paid", "rate")

    def __init__(self, rate: Rate, paid: float = float("-inf")) -> None:
        count = rate.count
        burst = max(1, min(count // 10, int(count / rate.period)))
        self._interval = rate.period / (count - burst + 1)
        self._slack = (burst - 1) * self._interval
        self.rate = rate
        self.paid = paid

    def wait(self, now: float) -> float:
        """Seconds until something may leave; 0: now."""
        wait = self.paid - self._slack - now
        return wait if wait > _EPSILON else 0.0

    def room(self, now: float) -> int:
        """How many may leave now, one by one."""
        left = now + self._slack - max(self.paid, now)
        return int((left + _EPSILON) / self._interval) + 1 if left >= -_EPSILON else 0

    def take(self, now: float, cost: int = 1) -> None:
        """So much leaves, whether it may or not."""
        self.paid = max(self.paid, now) + cost * self._interval

    def after(self, count: int) -> float:
        """Seconds in which so many are paid back."""
        return count * self._interval

    def isFull(self, now: float) -> bool:
        """It is as if nothing had ever left."""
        return self.paid <= now
