"""STARTTLS (RFC 3207)."""

from __future__ import annotations

from pysmtpd.interfaces import Phase
from pysmtpd.listen.session import Session
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import StartTls

GO_AHEAD = Reply(220, "Ready to start TLS", "2.0.0")
NOT_NOW = Reply(454, "TLS is not available now", "4.7.0")


def requested(session: Session, event: StartTls) -> None:
    """Say 220 and begin the handshake; 454 when there is no certificate."""

    def accepted(value: str) -> None:
        try:
            context = session.tlsContext()
        except LookupError as error:
            session.refuse("STARTTLS", NOT_NOW, str(error))
            return
        session.wire.answer(GO_AHEAD)
        session.wire.startTls(context)

    session.consult(Phase.STARTTLS, "", "STARTTLS", accepted)
