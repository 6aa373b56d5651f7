"""Checks passwords against a table of credentials."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import TypeAlias

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.routing import IAuthenticator, ITable, Service, TableError
from pysmtpd.model.config import Config
from pysmtpd.router.crypt import DUMMY, NoCrypt, isHash, verify, verifyNobody

LANES = 2
PATIENCE = 30.0

_PLAIN = "{PLAIN}"

Tables: TypeAlias = Callable[[Config], Mapping[str, ITable]]


@implementer(IAuthenticator)
class Authenticator:
    """Values of the table are C{user:secret} or C{secret}; a secret is a hash of crypt(3), or C{{PLAIN}} and the password itself.

    A user that is not there takes as long as the one who was asked for last and is there. Hashing runs in lanes, few of them.
    """

    def __init__(self, platform: IPlatform, tables: Tables, patience: float = PATIENCE) -> None:
        """
        @param tables: the tables of a generation, by name.
        @param patience: seconds that the table may take.
        """
        self._platform = platform
        self._tables = tables
        self._patience = patience
        self._turn = 0
        self._like: dict[str, str] = {}

    def authenticate(self, config: Config, table: str, user: str, password: bytes) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._authenticate(config, table, user, password))

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
