"""Commands about where mail goes."""

from __future__ import annotations

from typing import Any

from pysmtpd.control.page import sliceOf
from pysmtpd.interfaces import IRoutes


class RouteCommands:
    """Each public method is a command of L{pysmtpd.control.schema}."""

    def __init__(self, routes: IRoutes) -> None:
        self._routes = routes

    async def routes(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._routes.showRoutes(), cursor)

    async def hosts(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._routes.showHosts(), cursor)

    async def relays(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._routes.showRelays(), cursor)
