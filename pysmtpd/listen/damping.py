"""Making guesses at passwords slow, without making anybody's account useless. Pure.

Failures are counted for each address (IPv6: each /64), and for each address with the user that it tries. A user is never locked as
such: whoever comes from elsewhere is not hindered by what somebody tries from here. Counts leak away with time, and there are only so
many of them.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from pysmtpd.listen.limits import peerKey
from pysmtpd.model.netaddr import isLoopback

# Failures that are borne at one time, and seconds in which one is forgiven.
MOST_OF_USER: Final = 10
FORGIVE_OF_USER: Final = 60.0
MOST_OF_ADDRESS: Final = 30
FORGIVE_OF_ADDRESS: Final = 20.0

# Counts that are kept; the one that was not touched for longest goes first.
MOST_KEPT: Final = 20_000


class Damped(Enum):
    """Whom too many failures belong to."""

    USER = "user"
    ADDRESS = "address"


class _Bucket:
    """Counts by key that leak."""

    __slots__ = ("_counts", "_forgive", "_kept", "_most")

    def __init__(self, most: int, forgive: float, kept: int) -> None:
        self._most = most
        self._forgive = forgive
        self._kept = kept
        # In the order in which they were touched.
        self._counts: dict[object, tuple[float, float]] = {}

    def level(self, key: object, now: float) -> float:
        """How many failures count now."""
        found = self._counts.get(key)
        return 0.0 if found is None else max(0.0, found[0] - (now - found[1]) / self._forgive)

    def isFull(self, key: object, now: float) -> bool:
        return self.level(key, now) > self._most - 1

    def add(self, key: object, now: float, amount: float) -> None:
        level = max(0.0, self.level(key, now) + amount)
        self._counts.pop(key, None)
        if level > 0.0:
            self._counts[key] = (level, now)
            if len(self._counts) > self._kept:
                del self._counts[next(iter(self._counts))]

    def forget(self, key: object) -> None:
        self._counts.pop(key, None)

    def __len__(self) -> int:
        return len(self._counts)


class Damping:
    """Shared by all listeners. Times are monotonic seconds."""

    def __init__(self, kept: int = MOST_KEPT) -> None:
        self._users = _Bucket(MOST_OF_USER, FORGIVE_OF_USER, kept)
        self._addresses = _Bucket(MOST_OF_ADDRESS, FORGIVE_OF_ADDRESS, kept)

    def begin(self, address: str, user: str, now: float) -> Damped | None:
        """An attempt. It counts as a failure until it has succeeded, so that many at once gain nothing.

        Loopback is only counted by user: behind it are webmail programs, with everybody's users.

        @return: why its password is not to be looked at; None: it may be.
        """
        peer, isNear = peerKey(address), isLoopback(address)
        if not isNear and self._addresses.isFull(peer, now):
            return Damped.ADDRESS
        if self._users.isFull((peer, user), now):
            return Damped.USER
        if not isNear:
            self._addresses.add(peer, now, 1.0)
        self._users.add((peer, user), now, 1.0)
        return None

    def forgive(self, address: str, user: str, now: float, *, isKnown: bool) -> None:
        """The attempt was no failure of the peer's.

        @param isKnown: the user has shown that it is he: nothing of what was tried before counts. The address keeps its failures: one
            password that somebody has must not pay for guessing others'.
        """
        peer = peerKey(address)
        if isKnown:
            self._users.forget((peer, user))
        else:
            self._users.add((peer, user), now, -1.0)
        if not isLoopback(address):
            self._addresses.add(peer, now, -1.0)

    def level(self, address: str, user: str, now: float) -> float:
        """How many failures of this user from this address count now."""
        return self._users.level((peerKey(address), user), now)

    @property
    def kept(self) -> int:
        """How many counts there are."""
        return len(self._users) + len(self._addresses)
