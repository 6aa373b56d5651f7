"""Message ids: unique for ever, also when the clock is set back or the daemon crashes."""

from __future__ import annotations

from collections.abc import Callable

from pysmtpd.model.ids import MessageId

COUNTER_BITS = 12
TIME_BITS = 44
SHARDS = 128

RESERVE_SECONDS = 60
"""How far ahead ids are reserved. One small durable write per half of it, while mail flows."""

_TIME_MASK = (1 << TIME_BITS) - 1
_WINDOW = RESERVE_SECONDS * 1000 << COUNTER_BITS


class IdSource:
    """Gives ids that grow: shard, milliseconds, counter (see L{pysmtpd.model.ids}).

    When the clock stands still or goes back, and when a millisecond's counter runs over, it counts on from the last id.

    @ivar ceiling: ids up to here are durably reserved. A message may be committed only under such an id.
    """

    __slots__ = ("_base", "_last", "_wallTime", "ceiling")

    def __init__(self, wallTime: Callable[[], float], highest: MessageId, shard: int = 0) -> None:
        """
        @param highest: what the backend's C{open} said.
        @raise ValueError: a shard out of range, or C{highest} belongs to a higher shard.
        """
        if not 0 <= shard < SHARDS:
            raise ValueError(f"a shard is a number from 0 to {SHARDS - 1}, not {shard}")
        self._base = shard << TIME_BITS + COUNTER_BITS
        found = highest >> TIME_BITS + COUNTER_BITS
        if found > shard:
            raise ValueError(f"the queue holds ids of shard {found}, above our own {shard}")
        self._wallTime = wallTime
        # Id 0 means "none": the very first is 1.
        self._last = max(int(highest), self._base)
        self.ceiling = MessageId(self._last)

    def next(self) -> MessageId:
        """A new id."""
        now = self._base | (int(self._wallTime() * 1000) & _TIME_MASK) << COUNTER_BITS
        self._last = last = max(now, self._last + 1)
        return MessageId(last)

    def wanted(self) -> MessageId | None:
        """The ceiling that should be reserved now, or None while the reserved ids last for long."""
        now = self._base | (int(self._wallTime() * 1000) & _TIME_MASK) << COUNTER_BITS
        last = max(now, self._last)
        return MessageId(last + _WINDOW) if last + _WINDOW // 2 > self.ceiling else None
