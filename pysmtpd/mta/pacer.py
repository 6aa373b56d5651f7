"""Who keeps us waiting, and what becomes of their places."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IReactorTime

from pysmtpd.mta import pace
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.lanes import Lane
from pysmtpd.mta.slots import Slots
from pysmtpd.mta.task import Task


class Pacer:
    """A connection counts in the lane of its host, and in a lane behind it from the moment it keeps us waiting. If that lane is full, it
    has to give way: unless the host has what could become a message. Then the transaction may end.
    """

    def __init__(self, clock: IReactorTime, slots: Slots) -> None:
        self._clock = clock
        self._slots = slots

    def opens(self, connection: Connection, now: float) -> None:
        """It is about to be made."""
        pool = connection.pool
        connection.lane = lane = pool.route.host.lane(now)
        connection.opened = connection.since = now
        connection.slowAt = now + pace.COMING_UP
        self._slots.add(pool.key.source, lane)

    def look(self, connections: Iterable[Connection], now: float) -> None:
        """At all of them, from time to time."""
        patience = pace.PRESSED if self._slots.isPressed else pace.PATIENCE
        for connection in connections:
            if connection.lane < Lane.SLOW and (now - connection.since > patience or now > connection.slowAt):
                self._lags(connection, now)

    def mayBegin(self, connection: Connection, now: float) -> bool:
        """It is ready for its first transaction. If it gives way, there is none."""
        if connection.lane is Lane.MUTE:
            self._becomes(connection, Lane.SLOW, now)
        elif connection.lane < Lane.SLOW and now > connection.slowAt:
            return self._lags(connection, now)
        return True

    def decided(self, connection: Connection, task: Task) -> None:
        """A transaction is over; it was quick, if nobody has said otherwise meanwhile."""
        if connection.lane:
            now = self._clock.seconds()
            if connection.lane >= Lane.SLOW and now > connection.slowAt:
                return
            self._becomes(connection, Lane.QUICK, now)
            if connection.pool.waiting:
                # There may be more connections from now on; this one has its turn first.
                self._clock.callLater(0, connection.pool.revive)
        for part in task.parts:
            if part.relay.lane:
                part.relay.keeps(Lane.QUICK)

    def _lags(self, connection: Connection, now: float) -> bool:
        """
        @return: it may go on.
        """
        pool = connection.pool
        lane = Lane.SLOW if connection.hasSpoken else Lane.MUTE
        if connection.isRevocable and not self._slots.mayMove(pool.key.source, connection.lane, lane):
            pool.route.host.keeps(lane, now)
            pool.giveWay(connection)
            return False
        self._becomes(connection, lane, now)
        return True

    def _becomes(self, connection: Connection, lane: Lane, now: float) -> None:
        pool = connection.pool
        for task in pool.waiting if connection.task is None else (connection.task, *pool.waiting):
            for part in task.parts:
                part.relay.keeps(lane)
        pool.route.host.keeps(lane, now)
        self._slots.move(pool.key.source, connection.lane, lane)
        connection.lane = lane
