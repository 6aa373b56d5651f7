"""Tables that are queries to a SQLite database, in the configuration of OpenSMTPD's table-sqlite. Each question is asked in a lane."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces.platform import IDisk, IPlatform
from pysmtpd.interfaces.routing import ITable, Service, TableError, TableUpdate, Updated
from pysmtpd.model.config import TableSpec
from pysmtpd.table.candidates import addressKeys, domainKeys
from pysmtpd.table.content import Content
from pysmtpd.table.networks import addressForms, parseAddress
from pysmtpd.table.queries import MAX_SIZE, Queries, Query, parseQueries
from pysmtpd.table.reading import laneOf, patiently
from pysmtpd.table.turns import Turns
from pysmtpd.table.values import checkValue

T = TypeVar("T")

MAX_ROWS = 10_000
"""Of one answer; ten times as many where a query gives all keys."""
BUSY_MILLISECONDS = 5_000
# A query is ended after so many steps of SQLite's machine, some seconds.
_STEPS = 100_000
_MOST_STEPS = 500

# All rows of the answer count, not the first alone.
_JOINED = {Service.ALIAS: ", ", Service.MAILADDRMAP: ","}
# The columns of a row are parts of the value.
_COLUMNS = (Service.CREDENTIALS, Service.USERINFO)
_ADDRESSES = (Service.ADDRNAME, Service.SOURCE)
_ERRORS = (OSError, ValueError, sqlite3.Error, TableError)


class _Session:
    """The database, as the lane sees it: connected at the first question, and again when another file has taken its place."""

    def __init__(self, disk: IDisk, path: str, turns: Turns) -> None:
        self._disk = disk
        self._path = path
        self._turns = turns
        self._queries: Queries | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, ...] = ()
        self._steps = 0
        # Lists as they were read last, and the version of the data that they were read from.
        self._lists: dict[str, tuple[int, Content]] = {}

    # --- connecting

    def read(self) -> TableUpdate:
        """Read the configuration, and try each query. It is done once.

        @raise TableError:
        """
        file = self._disk.open(self._path)
        try:
            data = file.read(MAX_SIZE + 1)
        finally:
            file.close()
        if len(data) > MAX_SIZE:
            raise ValueError(f"it has more than {MAX_SIZE} octets")
        self._queries = parseQueries(data, self._path)
        try:
            for query in [*self._queries.lookups.values(), *self._queries.fetches.values()]:
                self._rows(query, "", isTried=True)
        except (OSError, sqlite3.Error, TableError):
            self._queries = None
            self.close()
            raise
        return TableUpdate()

    def _connected(self) -> sqlite3.Connection:
        if self._queries is None:
            self.read()
        assert self._queries is not None
        path = self._queries.database
        # A file that was renamed into its place is another one; one that was written to is not.
        identity = self._disk.identity(path)[:2]
        if self._connection is None or identity != self._identity:
            self.close()
            connection = self._disk.database(path, readOnly=True)
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            connection.execute("PRAGMA query_only = ON")
            connection.set_progress_handler(self._goOn, _STEPS)
            self._connection = connection
            self._identity = self._disk.identity(path)[:2]
        return self._connection

    def close(self) -> None:
        self._lists = {}
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _goOn(self) -> int:
        self._steps += 1
        return int(self._steps > _MOST_STEPS)

    # --- asking

    def _query(self, service: Service) -> Query:
        if self._queries is None:
            self.read()
        assert self._queries is not None
        query = self._queries.lookups.get(service)
        if query is None:
            raise TableError(f'there is no "query_{service.value}"')
        return query

    def _rows(self, query: Query, key: str, isTried: bool = False) -> list[tuple[Any, ...]]:
        """
        @param isTried: only whether the query is right matters.
        @raise TableError: with the place of the query.
        """
        connection = self._connected()
        most = MAX_ROWS if query.marks else 10 * MAX_ROWS
        self._steps = 0
        try:
            sql = f"EXPLAIN {query.sql}" if isTried else query.sql
            rows: list[tuple[Any, ...]] = connection.execute(sql, (key,) * query.marks).fetchmany(most + 1)
        except sqlite3.Error as error:
            late = self._steps > _MOST_STEPS
            why = "it takes too long" if late else error
            raise TableError(f"{query.place}: {query.name}: {why}") from error
        if len(rows) > most and not isTried:
            raise TableError(f"{query.place}: {query.name}: it gives more than {most} rows")
        return rows

    def match(self, service: Service, key: str) -> bool:
        query = self._query(service)
        if not query.marks:
            return self._list(query, service).match(service, key)
        return any(self._rows(query, each) for each in _keys(service, key))

    def lookup(self, service: Service, key: str) -> str | None:
        query = self._query(service)
        if not query.marks:
            raise TableError(f'{query.place}: {query.name}: a query for a value has a "?" where the key belongs')
        for form in _forms(service, key):
            rows = self._rows(query, form)
            if rows:
                value = _value(service, rows)
                try:
                    checkValue(service, value)
                except ValueError as error:
                    raise TableError(f'{query.place}: {query.name}: "{key}": {error}') from error
                return value
        return None

    def fetch(self, service: Service) -> str | None:
        if self._queries is None:
            self.read()
        assert self._queries is not None
        query = self._queries.fetches.get(service)
        if query is None:
            raise TableError(f'there is no "fetch_{service.value}"')
        content = self._list(query, service)
        return content.keyAt(service, self._turns.next(len(content)))

    def entries(self, service: Service) -> list[tuple[str, str]]:
        """All keys by which a service is answered."""
        query = self._query(service)
        if query.marks:
            raise TableError(f'{query.place}: {query.name}: a query for each key ("?")')
        return self._keys(query)

    def _keys(self, query: Query) -> list[tuple[str, str]]:
        return [(_text(row[0]), "") for row in self._rows(query, "") if row[0] is not None]

    def _list(self, query: Query, service: Service) -> Content:
        """All that a query gives; kept while nobody writes to the database."""
        version = int(self._connected().execute("PRAGMA data_version").fetchone()[0])
        known = self._lists.get(query.name)
        if known is None or known[0] != version:
            keys = self._keys(query)
            # Patterns are made ready here, for what is wrong with them is told by its place.
            services = (service,) if service is Service.REGEX else ()
            try:
                known = version, Content(keys, services, f"{query.place}: {query.name}")
            except ValueError as error:
                raise TableError(f"{query.place}: {query.name}: {error}") from error
            self._lists[query.name] = known
        return known[1]


def _keys(service: Service, key: str) -> Sequence[str]:
    """What is asked for, one after the other, until there is a row."""
    match service:
        case Service.DOMAIN:
            return domainKeys(key)
        case Service.MAILADDR:
            return addressKeys(key)
        case Service.NETADDR:
            return [key, *_networks(key)]
        case Service.REGEX:
            raise TableError('"query_regex" gives all patterns: there is no "?" in it')
    return _forms(service, key)


def _forms(service: Service, key: str) -> Sequence[str]:
    return [key, *(form for form in addressForms(key) if form != key)] if service in _ADDRESSES else [key]


def _networks(address: str) -> list[str]:
    """Every network that holds the address, the longest prefix first."""
    parsed = parseAddress(address)
    if parsed is None:
        return []
    width, number = parsed
    plain = addressForms(address)[0].strip("[]")
    found = [] if plain == address else [plain]
    for length in range(width, -1, -1):
        found.append(str(ip_network((number >> (width - length) << (width - length), length))))
    return found


def _value(service: Service, rows: list[tuple[Any, ...]]) -> str:
    if service in _JOINED:
        return _JOINED[service].join(_text(row[0]) for row in rows if row[0] is not None)
    row = rows[0]
    # Of two columns the first repeats the key, as in addrname's address and name.
    return ":".join(map(_text, row)) if service in _COLUMNS else _text(row[-1])


def _text(value: object) -> str:
    """
    @raise TableError: it is no text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    raise TableError(f"the database gives {'NULL' if value is None else type(value).__name__} where text belongs")


@implementer(ITable)
class SqliteTable:
    """Every question is a query; nothing is kept but the lists that queries without a C{?} give, and the queries themselves: new ones make
    another table."""

    def __init__(self, spec: TableSpec, path: str, platform: IPlatform, turns: Turns) -> None:
        self.name = spec.name
        self.allowsCommands = spec.allowCommands
        self._spec = spec
        self._path = path
        self._platform = platform
        self._turns = turns
        self._session = _Session(platform.disk, path, turns)

    def match(self, service: Service, key: str) -> Deferred[bool]:
        return self._ask(self._session.match, service, key)

    def lookup(self, service: Service, key: str) -> Deferred[str | None]:
        return self._ask(self._session.lookup, service, key)

    def fetch(self, service: Service) -> Deferred[str | None]:
        return self._ask(self._session.fetch, service)

    def update(self) -> Deferred[Updated]:
        table = SqliteTable(self._spec, self._path, self._platform, self._turns)
        return table._ask(table._session.read).addCallback(lambda update: Updated(table, update))

    def entries(self, service: Service, most: int) -> list[tuple[str, str]]:
        """All that a query without a C{?} gives. It is called in the table's lane.

        @raise TableError: there is none, there are more, or they cannot be read.
        """
        try:
            entries = self._session.entries(service)
            if len(entries) > most:
                raise ValueError(f"there are more than {most}")
            return entries
        except _ERRORS as error:
            raise self._error(error) from error

    def close(self) -> Deferred[None]:
        """Let go of the database; the next question connects again."""
        return self._ask(self._session.close)

    def _ask(self, work: Callable[..., T], *values: Any) -> Deferred[T]:
        return Deferred.fromCoroutine(self._asked(work, *values))

    async def _asked(self, work: Callable[..., T], *values: Any) -> T:
        try:
            return await patiently(self._platform, laneOf(self.name), work, *values)
        except _ERRORS as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> TableError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        return TableError(f'the table "{self.name}" ({self._path}): {why}')


def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> SqliteTable:
    """The maker of C{sqlite:/path}: the path of the file with the queries.

    @raise ValueError: the path is not absolute.
    """
    if not argument.startswith("/"):
        raise ValueError("the path of the file with the queries is absolute: sqlite:/path")
    return SqliteTable(settings["spec"], argument, platform, Turns(platform.random))
