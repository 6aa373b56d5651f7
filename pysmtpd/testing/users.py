"""System users that a test makes up."""

from __future__ import annotations

import errno

from zope.interface import implementer

from pysmtpd.interfaces.platform import IUsers, User

ME = User("pysmtpd", 990, 990, "/var/lib/pysmtpd")


@implementer(IUsers)
class SimulatedUsers:
    """
    @ivar isFailing: the user database cannot be reached.
    """

    def __init__(self, me: User = ME) -> None:
        self._me = me
        self._users = {me.name: me}
        self.isFailing = False

    def add(self, name: str, home: str = "") -> User:
        """A user of this name, at home in C{/home/NAME} if nothing else is said."""
        uid = 1000 + len(self._users)
        user = self._users[name] = User(name, uid, uid, home or f"/home/{name}")
        return user

    def byName(self, name: str) -> User | None:
        if self.isFailing:
            raise OSError(errno.EIO, "the user database does not answer")
        return self._users.get(name)

    def byUid(self, uid: int) -> User | None:
        if self.isFailing:
            raise OSError(errno.EIO, "the user database does not answer")
        return next((user for user in self._users.values() if user.uid == uid), None)

    def me(self) -> User:
        return self._me
