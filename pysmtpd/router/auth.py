"""Checks passwords against a table of credentials, or as the system does."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from pysmtpd.interfaces.platform import HelperFailed, IPlatform
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.routing import IAuthenticator, ITable, Service, TableError
from pysmtpd.model.config import Config
from pysmtpd.router.argon2 import NoCrypt
from pysmtpd.router.crypt import DUMMY, isHash, verify, verifyNobody

LANES = 2
PATIENCE = 30.0

# Attempts at one time; beyond them it is better to say that we are busy.
MOST_WAITING = 200

_PLAIN = "{PLAIN}"

System: TypeAlias = Callable[[str, bytes, str], Deferred[bool]]
Tables: TypeAlias = Callable[[Config], Mapping[str, ITable]]


@implementer(IAuthenticator)
class Authenticator:
    """Values of the table are C{user:secret} or C{secret}; a secret is a hash (of crypt(3) or Argon2), or C{{PLAIN}} and the
    password itself.

    A user that is not there takes as long as the one who was asked for last and is there. Hashing runs in lanes, few of them.
    """

    def __init__(
        self, platform: IPlatform, tables: Tables, patience: float = PATIENCE, system: System | None = None
    ) -> None:
        """
        @param tables: the tables of a generation, by name.
        @param patience: seconds that the table may take.
        @param system: checks a user of the system (L{IHelper.password}); None: nobody can.
        """
        self._system = system
        self._waiting = 0
        self._platform = platform
        self._tables = tables
        self._patience = patience
        self._turn = 0
        self._like: dict[str, str] = {}

    def authenticate(self, config: Config, table: str, user: str, password: bytes, peer: str = "") -> Deferred[bool]:
        """See L{IAuthenticator.authenticate}."""
        if self._waiting >= MOST_WAITING:
            return fail(TableError("too many passwords wait to be checked"))
        self._waiting += 1
        checked = self._authenticate(config, table, user, password) if table else self._askSystem(user, password, peer)
        return Deferred.fromCoroutine(checked).addBoth(self._done)

    def _done(self, result: object) -> Any:
        self._waiting -= 1
        return result

    async def _askSystem(self, user: str, password: bytes, peer: str) -> bool:
        if self._system is None:
            raise TableError("only a daemon that was started as root can check the system's users")
        try:
            return await self._system(user, password, peer)
        except HelperFailed as error:
            raise TableError(str(error)) from error

    async def _authenticate(self, config: Config, name: str, user: str, password: bytes) -> bool:
        table = self._tables(config).get(name)
        if table is None:
            raise TableError(f'there is no table "{name}"')
        value = await self._lookup(table, user.lower()) if user else None
        secret = "" if value is None else secretOf(value)
        if secret.startswith(_PLAIN):
            self._like[name] = _PLAIN
            plain = secret.removeprefix(_PLAIN).encode("utf-8")
            return bool(plain) and hmac.compare_digest(plain, password)
        like = self._like.get(name, DUMMY)
        if like == _PLAIN and not isHash(secret):
            return False
        self._turn = (self._turn + 1) % LANES
        lane = f"auth-{self._turn}"
        try:
            if isHash(secret):
                self._like[name] = secret
                return await self._platform.workers.run(lane, verify, password, secret)
            return await self._platform.workers.run(lane, verifyNobody, password, like)
        except NoCrypt as error:
            raise TableError(str(error)) from error

    async def _lookup(self, table: ITable, user: str) -> str | None:
        asked = asDeferred(table.lookup(Service.CREDENTIALS, user))
        late = TableError(f'the table "{table.name}" gives no answer')

        def timedOut(outcome: object, seconds: float) -> None:
            raise late

        return await asked.addTimeout(self._patience, self._platform.clock, timedOut)


def secretOf(value: str) -> str:
    """The secret of a value: all of it, or what stands after C{user:}."""
    if value.startswith((_PLAIN, "$")):
        return value
    _, colon, secret = value.partition(":")
    return secret if colon else value
