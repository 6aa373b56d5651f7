"""Commands about tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pysmtpd.control.amp import BadArgument, Unavailable
from pysmtpd.control.page import sliceOf
from pysmtpd.interfaces import IOperator, IReport, TableError
from pysmtpd.model.events import Commanded

# Of entries that are wrong, and of names that there are, so many are told.
_SHOWN = 20


class TableCommands:
    """Each public method is a command of L{pysmtpd.control.schema}."""

    def __init__(self, operator: IOperator, report: IReport) -> None:
        self._operator = operator
        self._report = report

    async def tables(self, cursor: str) -> dict[str, Any]:
        return sliceOf(self._operator.tableRows(), cursor)

    async def updateTable(self, table: str) -> dict[str, Any]:
        try:
            update = await self._operator.updateTable(table)
        except KeyError as error:
            known = ", ".join(str(row["table"]) for row in self._operator.tableRows()[:_SHOWN]) or "none with a name"
            raise BadArgument(f"there is no table {table[:80]!r}; there are: {known}") from error
        except TableError as error:
            raise Unavailable(f"{error}; what the table held before still counts") from error
        self._report.happened(Commanded(command="update table", detail=f"{table} ({update.entries})"))
        row = asdict(update)
        row["problems"] = [problem[:500] for problem in update.problems[:_SHOWN]]
        return {"update": row}
