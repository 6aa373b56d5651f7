"""What is told of one session with a host: its events, in order."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from pysmtpd.interfaces.reporting import IReport
from pysmtpd.model.events import (
    ConnectionAuthenticated,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionGreeted,
    ConnectionIdentified,
    ConnectionOpened,
    ConnectionTls,
    CredentialsRefused,
)
from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.ids import SessionId
from pysmtpd.model.reply import Reply
from pysmtpd.mta.keys import Target
from pysmtpd.smtp.client_events import Stage
from pysmtpd.smtp.client_extensions import Extensions

LOST = "4.4.2"
"""RFC 3463: what we say of a connection that was lost, or of an answer that did not come in time."""

_NOT_WITHOUT_TLS = "4.7.11"


class Told:
    """
    @ivar isGreeted: the peer has said something.
    """

    __slots__ = ("_clock", "_opened", "_report", "_session", "_target", "isGreeted")

    def __init__(self, report: IReport, clock: IReactorTime, session: SessionId, target: Target) -> None:
        self._report = report
        self._clock = clock
        self._session = session
        self._target = target
        self._opened = 0.0
        self.isGreeted = False

    def failed(self, why: str) -> None:
        """It has not come to a session that can be used."""
        self._report.happened(ConnectionFailed(self._target.key.address, self._target.host, why))

    def opened(self, source: str) -> None:
        """It stands."""
        self._opened = self._clock.seconds()
        key = self._target.key
        self._report.happened(ConnectionOpened(self._session, key.address, self._target.host, source or key.source))

    def encrypted(self, facts: TlsFacts) -> str:
        """TLS is on.

        @return: as it is for people: C{TLSv1.3:TLS_AES_256_GCM_SHA384:256}.
        """
        said = f"{facts.protocol}:{facts.cipher}:{facts.bits}"
        self._report.happened(ConnectionTls(self._session, said, facts.verified, facts.sni))
        return said

    def greeted(self, banner: str) -> None:
        """The peer has said its first reply, whatever that is."""
        self.isGreeted = True
        self._report.happened(ConnectionGreeted(self._session, banner))

    def established(self, extensions: Extensions, mechanism: str) -> None:
        """Transactions may start.

        @param mechanism: of AUTH; empty: there was none.
        """
        key = self._target.key
        self._report.happened(ConnectionIdentified(self._session, key.helo, str(extensions)))
        if mechanism:
            self._report.happened(ConnectionAuthenticated(self._session, key.credential, mechanism, "ok"))

    def unauthenticated(self, stage: Stage, reply: Reply, mechanism: str) -> None:
        """If the session has ended over our credentials: that."""
        credential = self._target.key.credential
        if not credential or not (stage is Stage.AUTH or reply.enhanced == _NOT_WITHOUT_TLS):
            return
        if mechanism:
            result = "permfail" if reply.isPermanent else "tempfail"
            self._report.happened(ConnectionAuthenticated(self._session, credential, mechanism, result))
        # A session that was lost has said nothing of them.
        if reply.code != 421 and reply.enhanced != LOST:
            self.withoutCredentials(str(reply))

    def withoutCredentials(self, why: str) -> None:
        """The host has not taken them, or there are none for it."""
        target = self._target
        self._report.happened(CredentialsRefused(self._session, target.label, target.key.credential, why))

    def closed(self, reply: Reply, messages: int) -> None:
        """It is over."""
        seconds = self._clock.seconds() - self._opened
        self._report.happened(ConnectionClosed(self._session, str(reply), messages, seconds))
