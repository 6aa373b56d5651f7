"""MAIL: a transaction begins."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pysmtpd.interfaces import Phase, Service, TableError
from pysmtpd.listen.senders import maySend
from pysmtpd.listen.session import Session
from pysmtpd.listen.transaction import OpenTransaction
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import TableRef
from pysmtpd.model.facts import Transaction
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Mail
from pysmtpd.smtp.grammar import parseAddress

OK = Reply(250, "Ok", "2.1.0")
NOT_YOURS = Reply(550, "You may not send from this address", "5.7.1")
NOT_NOW = Reply(451, "Temporary failure, try again later", "4.3.0")


def mailFrom(session: Session, event: Mail) -> None:
    """Accept the sender, if the queue has room, the user may send from it, and no filter objects."""
    near = session.near
    full = near.submit.admit(event.size)
    if full is not None:
        session.refuse(f"MAIL FROM:<{event.path}>", full, "the queue has no room")
    elif session.user and session.profile.spec.senders is not None:
        _checkSender(session, event, session.profile.spec.senders)
    elif near.filter is None:
        _begin(session, event, event.path)
    else:
        _consult(session, event)


def _checkSender(session: Session, event: Mail, senders: TableRef) -> None:
    command = f"MAIL FROM:<{event.path}>"

    def told(entries: str | TableError | None) -> None:
        if isinstance(entries, TableError):
            session.refuse(command, NOT_NOW, f"who may send from it: {entries}")
        elif entries is None or not maySend(entries, event.path, session.profile.config.subAddressDelimiter):
            session.refuse(command, NOT_YOURS, f"{session.user} may not send from it")
        elif session.near.filter is None:
            _begin(session, event, event.path)
        else:
            _consult(session, event)

    try:
        answer = session.lookup(senders, Service.MAILADDRMAP, session.user.lower())
    except TableError as error:
        told(error)
        return
    if isinstance(answer, Deferred):
        session.later(answer.addErrback(_asValue), told)
    else:
        told(answer)


def _asValue(failure: Failure) -> TableError:
    """That a table cannot answer is no fault of ours."""
    failure.trap(TableError)
    assert isinstance(failure.value, TableError)
    return failure.value


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
        session.facts,
        sender,
        event.size,
        event.body,
        event.ret,
        event.envid,
        event.smtputf8,
        event.auth,
        event.requireTls,
    )
    session.endTransaction()
    session.transaction = OpenTransaction(facts, session.profile.limits.maxReceived, session.complain)
    session.wire.answer(OK)
