"""All commands of an operator, each from the family that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from pysmtpd.control.daemon import DaemonCommands
from pysmtpd.control.decisions import DecisionCommands
from pysmtpd.control.queue import QueueCommands
from pysmtpd.control.routes import RouteCommands
from pysmtpd.control.schema import COMMANDS
from pysmtpd.control.tables import TableCommands
from pysmtpd.interfaces import IBody, IOperator, IQueue, IReport, IRoutes, IScheduler, IStat

Run: TypeAlias = Callable[..., Coroutine[Any, Any, dict[str, Any]]]

CONTENT = "Content"
"""The one command that a connection answers by itself, for it keeps the content that is being read."""


class Control:
    """Everything that an operator may ask or do. A command of L{pysmtpd.control.schema} is the method of its name in one family."""

    def __init__(
        self,
        operator: IOperator,
        queue: IQueue,
        scheduler: IScheduler,
        routes: IRoutes,
        stat: IStat,
        report: IReport,
    ) -> None:
        self._queue = QueueCommands(operator, queue, scheduler, routes, report)
        families = (
            self._queue,
            RouteCommands(routes, report),
            TableCommands(operator, report),
            DaemonCommands(operator, scheduler, stat, report),
            DecisionCommands(operator),
        )
        self._commands = {name: _find(families, name) for name in COMMANDS if name != CONTENT}

    def command(self, name: str) -> Run:
        """
        @param name: of the schema, but not L{CONTENT}.
        """
        return self._commands[name]

    async def body(self, id: str) -> IBody:
        """The content of a message, for L{CONTENT}."""
        return await self._queue.body(id)


def _find(families: tuple[object, ...], name: str) -> Run:
    word = name[0].lower() + name[1:]
    (found,) = [getattr(family, word) for family in families if hasattr(family, word)]
    run: Run = found
    return run
