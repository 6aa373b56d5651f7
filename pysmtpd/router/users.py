"""Which users the system has. The system is asked in a lane; what it says is believed for a while."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pysmtpd.interfaces.platform import IPlatform, User
from pysmtpd.model.question import UserInfo

LANE = "users"
FOUND_SECONDS = 60.0
MISSING_SECONDS = 10.0
MAX_KNOWN = 10_000


class Users:
    """Answers about users, kept for a minute; about names that are none, for a few seconds."""

    def __init__(self, platform: IPlatform) -> None:
        self._platform = platform
        self._clock = platform.clock
        self._known: dict[str, tuple[UserInfo | None, float]] = {}
        self._me: UserInfo | None = None

    def me(self) -> UserInfo:
        """Whom the daemon runs as; that does not change."""
        if self._me is None:
            self._me = _info(self._platform.users.me())
        return self._me

    def known(self, name: str) -> tuple[UserInfo | None, float] | None:
        """The user of this name, or None if there is no such user; beside it the monotonic time until which that is believed.

        @return: None: it must be found out.
        """
        entry = self._known.get(name)
        if entry is not None and entry[1] < self._clock.seconds():
            del self._known[name]
            return None
        return entry

    def find(self, name: str) -> Deferred[UserInfo | None]:
        """Ask the system; L{OSError} if it cannot tell now."""
        return self._platform.workers.run(LANE, self._platform.users.byName, name).addCallback(self._learn, name)

    def _learn(self, user: User | None, name: str) -> UserInfo | None:
        found = None if user is None else _info(user)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[name] = (found, self._clock.seconds() + (MISSING_SECONDS if found is None else FOUND_SECONDS))
        return found


def _info(user: User) -> UserInfo:
    return UserInfo(user.name, user.uid, user.gid, user.home)
