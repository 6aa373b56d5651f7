"""What is known of all tables of the daemon, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import ITable, TableError, TableUpdate
from pysmtpd.model.config import TableSpec

# Of what is wrong with single entries, so much is shown.
_SHOWN_PROBLEMS = 5


@dataclass(slots=True)
class _History:
    """
    @ivar at: wall-clock seconds of the last update that went well; 0.0: none has.
    """

    at: float = 0.0
    update: TableUpdate = TableUpdate()
    error: str = ""


class Keeper:
    """Knows when each table was read and what came of it."""

    def __init__(self, platform: IPlatform) -> None:
        self._platform = platform
        self._tables: Mapping[str, ITable] = {}
        self._specs: Mapping[str, TableSpec] = {}
        self._histories: dict[str, _History] = {}

    def take(
        self,
        specs: Mapping[str, TableSpec],
        tables: Mapping[str, ITable],
        read: Mapping[str, TableUpdate] = MappingProxyType({}),
    ) -> None:
        """These are the tables from now on; what is known of those that it had before under the same name is kept.

        @param read: what came of those that were read just now.
        """
        now = self._platform.wallTime()
        self._histories = {
            name: _History(now, read[name])
            if name in read
            else self._histories[name]
            if self._tables.get(name) is table
            else _History()
            for name, table in tables.items()
        }
        self._specs, self._tables = specs, tables

    def told(self, name: str, update: TableUpdate) -> None:
        """The table's source was read again."""
        self._histories[name] = _History(self._platform.wallTime(), update)

    def failed(self, name: str, error: TableError) -> None:
        """It could not be; what was read before still counts."""
        self._histories[name].error = str(error)

    def show(self) -> Sequence[dict[str, Any]]:
        """A row for each table that has a name of its own, in the order of the names."""
        now = self._platform.wallTime()
        rows = []
        for name in sorted(self._tables):
            if name.startswith("<"):
                continue
            history = self._histories[name]
            update = history.update
            rows.append(
                {
                    "table": name,
                    "backend": str(self._specs[name].backend),
                    "entries": update.entries,
                    "globs": update.globs,
                    "octets": update.octets,
                    "age": round(now - history.at, 1) if history.at else None,
                    "commands": self._tables[name].allowsCommands,
                    "problems": len(update.problems),
                    "error": history.error or "; ".join(update.problems[:_SHOWN_PROBLEMS]),
                }
            )
        return rows
