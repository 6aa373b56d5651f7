"""Commands about the daemon itself: how it does, its parts, its log, its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pysmtpd.control.amp import BadArgument
from pysmtpd.control.page import sliceOf
from pysmtpd.interfaces import IOperator, IReport, IScheduler, IStat
from pysmtpd.model.events import Commanded


class DaemonCommands:
    """Each public method is a command of L{pysmtpd.control.schema}."""

    def __init__(self, operator: IOperator, scheduler: IScheduler, stat: IStat, report: IReport) -> None:
        self._operator = operator
        self._scheduler = scheduler
        self._stat = stat
        self._report = report

    async def status(self) -> dict[str, Any]:
        envelopes = dict(await self._scheduler.counts())
        stale = envelopes.pop("stale", 0)
        return {"status": dict(self._operator.status()) | {"envelopes": envelopes, "stale": stale}}

    async def stats(self, cursor: str) -> dict[str, Any]:
        return sliceOf([[key, value] for key, value in self._stat.snapshot().items()], cursor)

    async def pause(self, part: str) -> dict[str, Any]:
        return self._part("pause", part, self._operator.pause)

    async def resume(self, part: str) -> dict[str, Any]:
        return self._part("resume", part, self._operator.resume)

    def _part(self, word: str, part: str, act: Callable[[str], None]) -> dict[str, Any]:
        try:
            act(part)
        except ValueError as error:
            raise BadArgument(str(error)) from error
        self._report.happened(Commanded(command=word, detail=part))
        return {}

    async def log(self, verbose: bool) -> dict[str, Any]:
        self._operator.setVerbose(verbose)
        self._report.happened(Commanded(command="log", detail="verbose" if verbose else "brief"))
        return {}

    async def stop(self) -> dict[str, Any]:
        self._report.happened(Commanded(command="stop", detail=""))
        self._operator.stop()
        return {}
