"""HELO, EHLO, LHLO."""

from __future__ import annotations

from pysmtpd.interfaces import Phase
from pysmtpd.listen.session import Session
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Hello


def greeted(session: Session, event: Hello) -> None:
    """Remember what the peer calls itself. Any name of valid form is welcome (RFC 5321 4.1.4)."""

    def accepted(name: str) -> None:
        session.verb = event.verb
        session.helo = name
        session.changed()
        session.wire.answer(Reply(250, f"{session.hostname} Hello {event.name} [{session.peer}], pleased to meet you"))

    phase = Phase.HELO if event.verb == "HELO" else Phase.EHLO
    session.consult(phase, event.name, f"{event.verb} {event.name}", accepted)
