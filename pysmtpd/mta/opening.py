"""What a connection takes before it begins: credentials, and the certificates of its TLS."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pysmtpd.interfaces.ready import Ready, whenReady
from pysmtpd.interfaces.routing import ITable, Service, TableError
from pysmtpd.interfaces.tls import IClientTls
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.directory import TABLE_TIME
from pysmtpd.smtp.client_events import Credentials


class Opening:
    """Lets connections begin."""

    def __init__(self, clock: IReactorTime, tables: Callable[[], Mapping[str, ITable]], tls: IClientTls) -> None:
        self._clock = clock
        self._tables = tables
        self._tls = tls

    def begin(self, connection: Connection) -> None:
        """Let it begin once all of that is there; what is missing ends it."""
        key = connection.target.key

        def failed(failure: Failure) -> None:
            connection.withoutCredentials(failure.getErrorMessage())

        def begin(credentials: Credentials | None) -> None:
            if key.credential and credentials is None:
                connection.withoutCredentials(f"nothing under {key.credential}")
                return
            try:
                self._tls.check(key.tls)
            except LookupError as error:
                connection.refused(f"TLS: {error.args[0]}")
                return
            connection.begin(credentials)

        try:
            credentials = self._credentials(key.credential)
        except TableError:
            failed(Failure())
            return
        whenReady(credentials, begin, failed)

    def _credentials(self, name: str) -> Ready[Credentials | None]:
        """
        @param name: C{table:label}, or empty.
        @raise TableError: (or a Deferred that fails with it)
        """
        if not name:
            return None
        table, _, label = name.partition(":")
        try:
            answer = self._tables()[table].lookup(Service.CREDENTIALS, label)
        except KeyError:
            return None
        if not isinstance(answer, Deferred):
            return _parse(answer)

        def late(outcome: object, seconds: float) -> str | None:
            raise TableError(f"no answer within {seconds:g} seconds")

        # The connection that needs them has its place, and others wait for it.
        return answer.addTimeout(TABLE_TIME, self._clock, late).addCallback(_parse)


def _parse(value: str | None) -> Credentials | None:
    """
    @raise TableError: not C{user:password}.
    """
    if value is None:
        return None
    user, mark, password = value.partition(":")
    if not mark:
        raise TableError("credentials are not user:password")
    return Credentials(user, password.encode())
