"""Tables, looked into while nobody asks: for what can be said of the rules as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import ITable, Service, TableError
from pysmtpd.table.content import Content
from pysmtpd.table.db import DbTable
from pysmtpd.table.reading import laneOf, patiently
from pysmtpd.table.screen import contentOf
from pysmtpd.table.sqlite import SqliteTable

MAX_ENTRIES = 100_000
"""Of a table that is not in memory."""


async def see(platform: IPlatform, table: ITable, service: Service) -> Content:
    """What a table would answer a service by, now. It is looked at, not changed.

    @raise TableError: it cannot be told: the table has a query for each key, is too large, or does not answer.
    """
    content = contentOf(table)
    if content is not None:
        return content
    if isinstance(table, DbTable | SqliteTable):
        entries = await patiently(platform, laneOf(table.name), table.entries, service, MAX_ENTRIES)
        return Content(entries, (), table.name)
    raise TableError(f'the entries of the table "{table.name}" cannot be seen')


def entriesOf(content: Content) -> Iterator[tuple[str, str]]:
    """Keys, in lower case, and values."""
    index = 0
    while (shard := content.shard(index)) is not None:
        yield from shard.items()
        index += 1
