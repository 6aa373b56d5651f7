"""Commands about where mail goes."""

from __future__ import annotations

from typing import Any

from pysmtpd.control.amp import BadArgument
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

    async def tls(self, domain: str) -> dict[str, Any]:
        return {"rows": self._routes.showTls(_name(domain))}

    async def forgetTls(self, domain: str) -> dict[str, Any]:
        count = self._routes.forgetTls(_name(domain))
        self._report.happened(Commanded(command="forget-tls", detail=f"{_name(domain)}: {count} hosts"))
        return {"count": count}


def _name(domain: str) -> str:
    return domain.strip().rstrip(".").lower()
