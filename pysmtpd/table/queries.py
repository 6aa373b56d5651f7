"""The configuration file of OpenSMTPD's table-sqlite: where the database is, and a query for each service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import NamedTuple

from pysmtpd.model.question import Service
from pysmtpd.table.syntax import Reader

MAX_SIZE = 1 << 20

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]")
# What they say about caches does not apply: nothing is kept.
_IGNORED = ("fetch_source_expire", "fetch_source_refresh")
_LOOKUPS = {f"query_{service.value}": service for service in Service}
_FETCHES = {f"fetch_{service.value}": service for service in (Service.SOURCE, Service.RELAYHOST)}


class Query(NamedTuple):
    """
    @ivar marks: how often the key stands in it; 0: it gives all keys.
    @ivar place: file and line, for messages.
    """

    sql: str
    marks: int
    name: str
    place: str


class Queries(NamedTuple):
    """
    @ivar lookups: how each service is asked.
    @ivar fetches: where the entries that take turns come from.
    """

    database: str
    lookups: Mapping[Service, Query]
    fetches: Mapping[Service, Query]


def parseQueries(data: bytes, path: str) -> Queries:
    """
    @raise ValueError: the text names the line, and says what would be right.
    """
    reader = Reader(isMap=True)
    database = ""
    lookups: dict[Service, Query] = {}
    fetches: dict[Service, Query] = {}
    for key, value, line in [*reader.feed(data), *reader.finish()]:
        query = Query(value, _QUOTED.sub("", value).count("?"), key, f"{path}:{line}")
        if key == "dbpath":
            if not value.startswith("/"):
                raise ValueError(f'line {line}: the path of the database is absolute: "dbpath /path"')
            database = value
        elif key in _LOOKUPS:
            lookups[_LOOKUPS[key]] = query
        elif key in _FETCHES:
            if query.marks:
                raise ValueError(f'line {line}: {key} is asked for nothing: there is no "?" in it')
            fetches[_FETCHES[key]] = query
        elif key not in _IGNORED:
            near = get_close_matches(key, ["dbpath", *_LOOKUPS, *_FETCHES], 1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ValueError(f'line {line}: "{key[:60]}" is not known{hint}')
    if not database:
        raise ValueError('it does not say where the database is: "dbpath /path"')
    return Queries(database, lookups, fetches)
