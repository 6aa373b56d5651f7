"""Which users the system has. The system is asked in a lane; what it says is believed for a while."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pysmtpd.interfaces.platform import IPlatform

LANE = "users"
FOUND_SECONDS = 60.0
MISSING_SECONDS = 10.0
MAX_KNOWN = 10_000


class Users:
    """Answers about users, kept for a minute; about names that are none, for a few seconds."""

    def __init__(self, platform: IPlatform) -> None:
        self._platform = platform
        self._clock = platform.clock
        self._known: dict[str, tuple[bool, float]] = {}

    def known(self, name: str) -> bool | None:
        """Is there such a user? None: it must be found out."""
        entry = self._known.get(name)
        if entry is None:
            return None
        isUser, until = entry
        if until < self._clock.seconds():
            del self._known[name]
            return None
        return isUser

    def find(self, name: str) -> Deferred[bool]:
        """Ask the system; L{OSError} if it cannot tell now."""
        return self._platform.workers.run(LANE, self._platform.users.byName, name).addCallback(self._learn, name)

    def _learn(self, user: object, name: str) -> bool:
        isUser = user is not None
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[name] = (isUser, self._clock.seconds() + (FOUND_SECONDS if isUser else MISSING_SECONDS))
        return isUser
