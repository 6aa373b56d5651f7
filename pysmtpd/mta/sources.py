"""Addresses that mail is sent from, in turn, and what we call ourselves there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service, TableError
from pysmtpd.model.netaddr import canonicalIp
from pysmtpd.mta.directory import TABLE_TIME

LACKING_TIME = 60.0
"""Seconds after which an address that this machine lacked is tried again."""

MAX_TURNS = 256
"""Addresses of one table that are looked at for one attempt."""


class Sources:
    """
    @ivar lacking: addresses that this machine turned out not to have: until when they are left out (monotonic seconds), and why.
    """

    def __init__(self, platform: IPlatform, tables: Callable[[], Mapping[str, ITable]]) -> None:
        self.lacking: dict[str, tuple[float, str]] = {}
        self._clock = platform.clock
        self._tables = tables

    def lacks(self, address: str, why: str) -> None:
        """It cannot be bound."""
        self.lacking[address] = (self._clock.seconds() + LACKING_TIME, why)

    def problem(self, address: str) -> str:
        """Why this address is of no use now; empty: it may be."""
        until, why = self.lacking.get(address, (0.0, ""))
        return why if until > self._clock.seconds() else ""

    def turn(self, table: str, heloTable: str) -> Turn:
        """Go once around a table, from wherever it stands.

        @param heloTable: empty: none.
        """
        return Turn(self, table, heloTable)

    async def fetch(self, table: str) -> str | None:
        """
        @raise TableError:
        """
        return await self._asked(table, lambda found: found.fetch(Service.SOURCE))

    async def name(self, table: str, address: str) -> str:
        """What we call ourselves at this address; empty: the table does not say.

        @raise TableError:
        """
        return await self._asked(table, lambda found: found.lookup(Service.ADDRNAME, address)) or ""

    async def _asked(self, table: str, ask: Callable[[ITable], Ready[str | None]]) -> str | None:
        try:
            answer = ask(self._tables()[table])
            if isinstance(answer, Deferred):
                answer = await answer.addTimeout(TABLE_TIME, self._clock)
        except Exception as error:
            raise TableError(f"Table {table}: {error or type(error).__name__}") from error
        return answer


class Turn:
    """One round over the addresses of a table.

    @ivar skipped: addresses that are of no use, each with the reason.
    """

    def __init__(self, sources: Sources, table: str, heloTable: str) -> None:
        self.skipped: list[tuple[str, str]] = []
        self._sources = sources
        self._table = table
        self._heloTable = heloTable
        self._seen: dict[str, None] = {}
        self._repeats = 0

    async def next(self) -> tuple[str, str] | None:
        """An address that may be used, with our name there (empty: the usual one); None: the round is over.

        @raise TableError: it cannot be told, or the table is empty.
        """
        for _ in range(MAX_TURNS):
            text = await self._sources.fetch(self._table)
            if text is None:
                raise TableError(f"Table {self._table} is empty")
            address = canonicalIp(text)
            if text in self._seen:
                # Others take their turn, too: one address that comes back is not yet the end of the round.
                self._repeats += 1
                if self._repeats > len(self._seen):
                    return None
                continue
            self._seen[text] = None
            problem = self._sources.problem(address) if address else "not an address"
            if problem:
                self.skip(text, problem)
                continue
            return address, await self._sources.name(self._heloTable, address) if self._heloTable else ""
        return None

    def skip(self, address: str, why: str) -> None:
        """It was of no use."""
        self.skipped.append((address, why))
