"""MAIL: a transaction begins."""

from __future__ import annotations

from pysmtpd.interfaces import Phase
from pysmtpd.listen.session import Session
from pysmtpd.listen.transaction import OpenTransaction
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.facts import Transaction
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Mail
from pysmtpd.smtp.grammar import parseAddress

OK = Reply(250, "Ok", "2.1.0")


def mailFrom(session: Session, event: Mail) -> None:
    """Accept the sender, if the queue has room and no filter objects."""
    near = session.near
    full = near.submit.admit(event.size)
    if full is not None:
        session.refuse(f"MAIL FROM:<{event.path}>", full, "the queue has no room")
    elif near.filter is None:
        _begin(session, event, event.path)
    else:
        _consult(session, event)


def _consult(session: Session, event: Mail) -> None:
    value = str(event.path)

    def accepted(rewritten: str) -> None:
        _begin(session, event, event.path if rewritten == value else _parse(rewritten))

    session.consult(Phase.MAIL_FROM, value, f"MAIL FROM:<{value}>", accepted)


def _parse(rewritten: str) -> Path:
    """
    @raise ValueError: the filter has made something of the address that is none; that costs the session.
    """
    return parseAddress(rewritten) if rewritten else NULL_PATH


def _begin(session: Session, event: Mail, sender: Path) -> None:
    facts = Transaction(
        session.facts, sender, event.size, event.body, event.ret, event.envid, event.smtputf8, event.auth
    )
    session.endTransaction()
    session.transaction = OpenTransaction(facts, session.profile.limits.maxReceived, session.complain)
    session.wire.answer(OK)
