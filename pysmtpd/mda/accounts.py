"""As whom an envelope is delivered, found out anew at each attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from twisted.internet.defer import Deferred

from pysmtpd.interfaces import DeliveryRefused, IPlatform, ITable, TableError, User, asDeferred
from pysmtpd.model.config import Action, Config
from pysmtpd.model.envelope import Destination
from pysmtpd.model.question import Service
from pysmtpd.model.reply import Reply
from pysmtpd.model.task import Account

LANE = "users"
# Seconds that a table, or the system, may take for an answer.
PATIENCE = 30.0

# Seconds for which the system's answer is believed; how many are kept.
KNOWN_SECONDS = 60.0
MAX_KNOWN = 10_000


T = TypeVar("T")


class Accounts:
    """Users of the system, and those of C{userbase} tables."""

    def __init__(self, platform: IPlatform, tables: Callable[[], Mapping[str, ITable]]) -> None:
        """
        @param tables: by name.
        """
        self._platform = platform
        self._tables = tables
        self._known: dict[str, tuple[User, float]] = {}

    async def find(self, config: Config, action: Action, destination: Destination, needsHome: bool) -> Account:
        """
        @param needsHome: an account of the system is asked for its home, too.
        @raise DeliveryRefused: there is none, or it cannot be told now.
        """
        # What an alias gives, and no action's user has, runs as the daemon's own: no table has a say in that. A user who has the same
        # name in a userbase is somebody else.
        name = destination.user or self._platform.users.me().name
        base = action.userbase
        if base is not None and destination.user and name != action.user:
            spec = config.tables.get(base.name)
            if spec is None or spec.backend.name != "getpwnam":
                return await self._inTable(base.name, name)
        if not needsHome:
            return Account(name)
        return Account(name, home=(await self._ofSystem(name)).home)

    async def _inTable(self, table: str, name: str) -> Account:
        found = self._tables().get(table)
        if found is None:
            raise DeliveryRefused(Reply(451, f'There is no table "{table}" any more', "4.3.5"))
        try:
            value = await self._patient(asDeferred(found.lookup(Service.USERINFO, name)))
        except TableError as error:
            raise _cannotBeTold(name, error) from error
        if value is None:
            raise DeliveryRefused(Reply(550, f"User {name} is not in the table {table} any more", "5.1.1"))
        uid, gid, home = _userInfo(value)
        if uid <= 0 or gid <= 0 or not home.startswith("/"):
            text = f"The table {table} says of user {name} what is no uid:gid:home of a user without root's rights"
            raise DeliveryRefused(Reply(451, text, "4.3.5"))
        return Account(name, uid, gid, home.rstrip("/") or "/")

    async def _ofSystem(self, name: str) -> User:
        clock = self._platform.clock
        user, until = self._known.get(name, (None, 0.0))
        if user is None or until < clock.seconds():
            try:
                user = await self._patient(self._platform.workers.run(LANE, self._platform.users.byName, name))
            except (OSError, TableError) as error:
                raise _cannotBeTold(name, error) from error
            if user is None:
                # There was one when the message was accepted: more often the directory of users is not in order than that he has gone.
                raise DeliveryRefused(Reply(451, f"There is no user {name} now", "4.3.0"))
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[name] = (user, clock.seconds() + KNOWN_SECONDS)
        return user

    def _patient(self, answer: Deferred[T]) -> Deferred[T]:
        """
        @return: fails with L{TableError} when it takes too long: a delivery must not wait for ever, nor its user's other mail.
        """

        def late(outcome: object, seconds: float) -> T:
            raise TableError(f"no answer within {seconds:g} seconds")

        return answer.addTimeout(PATIENCE, self._platform.clock, late)


def _cannotBeTold(name: str, error: Exception) -> DeliveryRefused:
    return DeliveryRefused(Reply(451, f"User {name} cannot be looked up now: {error}", "4.3.0"))


def _userInfo(value: str) -> tuple[int, int, str]:
    """uid, gid and home; zeros: it is no such value."""
    uid, _, rest = value.partition(":")
    gid, _, home = rest.partition(":")
    if not (uid.isascii() and uid.isdigit() and gid.isascii() and gid.isdigit()) or max(len(uid), len(gid)) > 10:
        return 0, 0, ""
    return int(uid), int(gid), home
