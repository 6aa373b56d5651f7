"""C{update table}: what a table's source says now counts for new sessions; those that are under way keep what they began with."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from pysmtpd.analysing import Analyst
from pysmtpd.generations import Generations
from pysmtpd.interfaces import ITable, TableError, TableUpdate, Updated
from pysmtpd.model.events import Reloaded
from pysmtpd.report.bus import Bus
from pysmtpd.table.keeper import Keeper


class Renewer:
    """See L{pysmtpd.interfaces.IOperator.updateTable}."""

    _log = Logger()

    def __init__(
        self, generations: Generations, keeper: Keeper, analyst: Analyst, report: Bus, publishing: DeferredLock
    ) -> None:
        """
        @param publishing: whoever has it may make a generation.
        """
        self._generations = generations
        self._keeper = keeper
        self._analyst = analyst
        self._report = report
        self._publishing = publishing
        # A table is read by one at a time; one whose source does not answer is in nobody else's way.
        self._reading: dict[str, DeferredLock] = {}

    def run(self, name: str) -> Deferred[TableUpdate]:
        """Read what the source says now, or later.

        @raise KeyError: there is no such table.
        @raise TableError: it could not be read; everything is as it was.
        """
        return self._reading.setdefault(name, DeferredLock()).run(self._run, name)

    async def _run(self, name: str) -> TableUpdate:
        while True:
            table = self._generations.newest.tables[name]
            try:
                updated = await table.update()
            except TableError as error:
                if self._generations.newest.tables.get(name) is table:
                    self._keeper.failed(name, error)
                raise
            if await self._publishing.run(self._publish, name, table, updated):
                return updated.update
            # A reload came between, and has another table of this name.
            await updated.table.close()

    async def _publish(self, name: str, before: ITable, updated: Updated) -> bool:
        generations = self._generations
        newest = generations.newest
        if newest.tables.get(name) is not before:
            return False
        if updated.table is before:
            self._keeper.told(name, updated.update)
            return True
        # The same in all, but a generation of its own.
        config = replace(newest.config)
        tables = {**newest.tables, name: updated.table}
        screen = await generations.look(config, tables)
        self._keeper.take(config.tables, tables, {name: updated.update})
        generation = generations.add(config, tables, screen)
        self._report.happened(Reloaded(generation.number, f"table {name} is read again"))
        Deferred.fromCoroutine(self._analyst.look(config)).addCallbacks(
            lambda _: self._analyst.warnOfNews(),
            lambda failure: self._log.failure("While looking at the rules as a whole", failure=failure),
        )
        return True
