"""The system's users as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform, User
from pysmtpd.interfaces.routing import ITable, Service, TableError, TableUpdate, Updated
from pysmtpd.model.config import TableSpec

LANE = "users"
_MATCHED = (Service.STRING, Service.USERINFO)


@implementer(ITable)
class GetpwnamTable:
    """Users by name (userinfo); and, where names are matched, which names are users."""

    allowsCommands = False

    def __init__(self, name: str, platform: IPlatform) -> None:
        self.name = name
        self._platform = platform

    def match(self, service: Service, key: str) -> Deferred[bool]:
        if service not in _MATCHED:
            return fail(TableError(f'the table "{self.name}" knows users only, not {service.value}'))
        return self._find(key).addCallback(lambda user: user is not None)

    def lookup(self, service: Service, key: str) -> Deferred[str | None]:
        if service is not Service.USERINFO:
            return fail(TableError(f'the table "{self.name}" knows users only, not {service.value}'))
        return self._find(key).addCallback(lambda user: None if user is None else f"{user.uid}:{user.gid}:{user.home}")

    def fetch(self, service: Service) -> Deferred[str | None]:
        return fail(TableError(f'the table "{self.name}" does not list its users'))

    def update(self) -> Deferred[Updated]:
        return succeed(Updated(self, TableUpdate()))

    def close(self) -> Deferred[None]:
        return succeed(None)

    def _find(self, name: str) -> Deferred[User | None]:
        return Deferred.fromCoroutine(self._found(name))

    async def _found(self, name: str) -> User | None:
        try:
            return await self._platform.workers.run(LANE, self._platform.users.byName, name)
        except OSError as error:
            raise TableError(f"the system's users cannot be asked now: {error.strerror or error}") from error


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> GetpwnamTable:
    """The maker of C{getpwnam:}.

    @raise ValueError: there is an argument, or it is to be asked for what users do not tell.
    """
    if argument:
        raise ValueError("getpwnam takes no argument")
    others = sorted(service.value for service in settings.get("services", ()) if service not in _MATCHED)
    if others:
        raise ValueError(f"it has users (userinfo, string), and is used for {', '.join(others)}")
    spec: TableSpec = settings["spec"]
    return GetpwnamTable(spec.name, platform)
