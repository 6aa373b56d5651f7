"""Commands about where mail goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from pysmtpd.control.amp import BadArgument, Unavailable
from pysmtpd.control.page import sliceOf
from pysmtpd.control.pieces import Pieces
from pysmtpd.interfaces import IReport, IRoutes
from pysmtpd.model.events import Commanded


class RouteCommands:
    """Each public method is a command of L{pysmtpd.control.schema}."""

    def __init__(self, routes: IRoutes, report: IReport) -> None:
        self._routes = routes
        self._report = report
        self._pieces = Pieces()

    async def routes(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._routes.showRoutes(), cursor)

    async def connections(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._routes.showConnections(), cursor)

    async def hostStats(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._routes.showHostStats(), cursor)

    async def probe(self, destination: str, cursor: str) -> dict[str, Any]:
        if cursor:
            return self._pieces.more(cursor)
        try:
            return self._pieces.first(await self._routes.probe(destination))
        except ValueError as error:
            raise BadArgument(str(error)) from error

    async def forgive(self, host: str) -> dict[str, Any]:
        count = self._routes.forgive("" if host == "all" else host)
        self._report.happened(Commanded(command="resume route", detail=f"{host} ({count})"))
        return {"count": count}

    async def hosts(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._routes.showHosts(), cursor)

    async def relays(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._routes.showRelays(), cursor)

    async def limits(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._routes.showLimits(), cursor)

    async def suspendDestination(self, destination: str) -> dict[str, Any]:
        return await self._destination("pause destination", destination, self._routes.suspendDestination)

    async def resumeDestination(self, destination: str) -> dict[str, Any]:
        return await self._destination("resume destination", destination, self._routes.resumeDestination)

    async def _destination(self, word: str, name: str, act: Callable[[str], Deferred[bool]]) -> dict[str, Any]:
        try:
            changed = await act(name)
        except ValueError as error:
            raise BadArgument(str(error)) from error
        except OSError as error:
            raise Unavailable(f"it would not outlast a restart: {error}") from error
        self._report.happened(Commanded(command=word, detail=name))
        return {"changed": changed}

    async def tls(self, domain: str) -> dict[str, Any]:
        return {"rows": self._routes.showTls(_name(domain))}

    async def forgetTls(self, domain: str) -> dict[str, Any]:
        count = self._routes.forgetTls(_name(domain))
        self._report.happened(Commanded(command="forget-tls", detail=f"{_name(domain)}: {count} hosts"))
        return {"count": count}


def _name(domain: str) -> str:
    return domain.strip().rstrip(".").lower()
