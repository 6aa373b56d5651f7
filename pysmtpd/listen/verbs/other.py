"""What needs no decision."""

from __future__ import annotations

from pysmtpd.listen.session import QUIT, Session
from pysmtpd.model.events import CommandFailed
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Hangup, Quit, Refused, Reset, Verify

# RFC 5321 3.5.3: we do not tell, but we take mail.
CANNOT_VERIFY = Reply(252, "Cannot verify, but will take the message and try to deliver it", "2.5.0")


def reset(session: Session, event: Reset) -> None:
    """The transaction is over."""
    session.endTransaction()


def verify(session: Session, event: Verify) -> None:
    session.wire.answer(CANNOT_VERIFY)


def refused(session: Session, event: Refused) -> None:
    """The core has refused a command."""
    session.near.report.happened(CommandFailed(session.id, event.command, event.reply))


def quitted(session: Session, event: Quit) -> None:
    session.reason = QUIT
    session.endTransaction()


def hungUp(session: Session, event: Hangup) -> None:
    session.reason = session.reason or event.reason
    session.endTransaction()
