"""Which envelopes the mta takes: those whose hosts are slow must not have all its places."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pysmtpd.interfaces.delivery import IRelease
from pysmtpd.model.config import Config
from pysmtpd.mta.lanes import Lane, Places
from pysmtpd.mta.relay import Relay

MAX_ENVELOPES = 4000
"""Envelopes that are taken at one time. The scheduler has 5,000 in flight: the rest is for local delivery, whatever remote hosts do."""

RELEASE = 10
"""Envelopes of one relay that are let in before it is another's turn."""

COMING_BACK = 5.0
"""Seconds that those who are let in have to come. Some may be gone: removed, or expired."""


class Turnstile:
    """What is not let in is held by the scheduler, under the relay's name.

    A relay counts in the lane of the hosts that take its mail. Where a lane has as many envelopes here as it may, its relays wait, and
    each has its turn.

    @cvar most: envelopes at one time.
    @ivar isWaited: somebody is held for want of a share.
    """

    most = MAX_ENVELOPES

    def __init__(self, clock: IReactorTime, config: Callable[[], Config], release: IRelease, places: Places) -> None:
        """
        @param places: counts the envelopes of all relays, by their lane.
        """
        self._clock = clock
        self._config = config
        self._release = release
        self._places = places
        # Relays with envelopes that are held for want of a share, in order of their turns.
        self._waiting: tuple[dict[Relay, None], ...] = ({}, {}, {}, {})
        self._expected: dict[Relay, int] = {}
        self._allExpected = 0
        self.isWaited = False
        self._timer: IDelayedCall | None = None
        self._lastServed = 0.0

    def refuses(self, relay: Relay, envelopes: int, room: int) -> bool:
        """Has it to wait in the scheduler? If so, it is told L{held}.

        @param room: envelopes for which there is room at all.
        """
        lane = relay.lane
        if lane:
            room = min(room, self._places.room(lane, self.most))
        # Not more than what is left for all others, so that something always is.
        if relay.backlog and (
            relay.backlog >= max(1, self._config().mta.taskHiwat) or relay.envelopes + envelopes > room
        ):
            return True
        if not lane:
            return False
        if self._expected:
            expected = self._expected.get(relay, 0)
            if expected:
                self._arrived(relay, min(expected, envelopes))
                return False
        if self._waiting[lane] or room <= self._allExpected:
            self._waiting[lane][relay] = None
            self._wind()
            return True
        return False

    def isOver(self, lane: Lane) -> bool:
        """Has this lane more than it may?"""
        return self._places.room(lane, self.most) < 0

    def putOut(self, relay: Relay) -> None:
        """Some of its envelopes, which were here, are held for want of a share."""
        self._waiting[relay.lane][relay] = None
        self._wind()

    def isWaiting(self, relay: Relay) -> bool:
        """Is it held for want of a share?"""
        return any(relay in waiting for waiting in self._waiting)

    def _room(self, lane: Lane) -> int:
        return self._places.room(lane, self.most) - self._allExpected

    def _arrived(self, relay: Relay, count: int) -> None:
        left = self._expected[relay] - count
        self._allExpected -= count
        if left:
            self._expected[relay] = left
        else:
            del self._expected[relay]

    def left(self, relay: Relay) -> None:
        """A message of a relay of which some are held has come to an end: there may be room."""
        limits = self._config().mta
        if relay.backlog <= limits.taskLowat and (not relay.lane or not self.isWaiting(relay)):
            self._letIn(relay, max(1, limits.taskRelease))

    def _letIn(self, relay: Relay, count: int) -> None:
        relay.held = max(0, relay.held - count)
        self._release.release(relay.name, count)

    def serve(self) -> None:
        """Let in who is next, as far as there is room."""
        now = self._clock.seconds()
        if self._expected and now - self._lastServed >= COMING_BACK:
            self._expected.clear()
            self._allExpected = 0
        for lane in (Lane.NEW, Lane.SLOW, Lane.MUTE):
            waiting = self._waiting[lane]
            while waiting:
                relay = next(iter(waiting))
                if relay.lane is not lane or not relay.held:
                    del waiting[relay]
                    if relay.held and relay.lane:
                        self._waiting[relay.lane][relay] = None
                    elif relay.held:
                        self._letIn(relay, relay.held)
                    continue
                room = self._room(lane)
                if room <= 0:
                    break
                del waiting[relay]
                count = min(RELEASE, room, relay.held)
                self._expected[relay] = self._expected.get(relay, 0) + count
                self._allExpected += count
                self._lastServed = now
                self._letIn(relay, count)
                if relay.held:
                    waiting[relay] = None

        self.isWaited = any(self._waiting)

    def _wind(self) -> None:
        self.isWaited = True
        if self._timer is None:
            self._timer = self._clock.callLater(COMING_BACK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.serve()
        if self.isWaited:
            self._wind()

    def stop(self) -> None:
        """Let nobody in any more."""
        for waiting in self._waiting:
            waiting.clear()
        self.isWaited = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
