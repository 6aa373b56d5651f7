"""DATA and BDAT: the content, and the moment when we become responsible for it."""

from __future__ import annotations

from twisted.python.failure import Failure

from pysmtpd.interfaces import Phase, QueueError
from pysmtpd.listen.fixing import Fixing
from pysmtpd.listen.session import Session
from pysmtpd.listen.transaction import OpenTransaction
from pysmtpd.model.envelope import Message
from pysmtpd.model.events import CommandFailed
from pysmtpd.model.ids import MessageId, formatMessageId
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Content, ContentRefused, Data, EndOfData

GO_AHEAD = Reply(354, 'Enter mail, end with "." on a line by itself')
TROUBLE_OF_OURS = Reply(451, "Temporary failure, try again later", "4.3.0")


def begun(session: Session, event: Data) -> None:
    """Let the content come, if the queue has room for it."""
    transaction = session.transaction
    assert transaction is not None
    command = "BDAT" if event.bdat else "DATA"
    full = session.near.submit.admit(transaction.facts.size)
    if full is not None:
        session.refuse(command, full, "the queue has no room")
    elif session.near.filter is None:
        _begin(session, transaction)
    else:
        session.consult(Phase.DATA, "", command, lambda value: _begin(session, transaction))


def _begin(session: Session, transaction: OpenTransaction) -> None:
    asked = session.near.filter
    pipe = asked.pipe(session.facts, transaction.facts) if asked is not None else None
    until = session.near.platform.clock.seconds() + session.profile.limits.sessionTimeout
    if session.user or session.profile.isSubmission:
        transaction.begin(session.near.submit, pipe, until, lambda message: _fixing(session, transaction, message))
    else:
        transaction.begin(session.near.submit, pipe, until)
    session.wire.answer(GO_AHEAD)


def _fixing(session: Session, transaction: OpenTransaction, message: MessageId) -> Fixing:
    """What is done to a message from its author's program."""
    spec = session.profile.spec
    sender = transaction.facts.sender
    isMasked = spec.masquerade and spec.senders is not None and session.user and not sender.isNull
    return Fixing(
        session.hostname, session.near.platform.wallTime(), formatMessageId(message), sender if isMasked else None
    )


def content(session: Session, event: Content) -> None:
    """Hand it on. While the queue is full, the connection is not read."""
    transaction = session.transaction
    if transaction is not None:
        full = transaction.write(event.data)
        if full is not None:
            session.wire.hold(full)


def refused(session: Session, event: ContentRefused) -> None:
    """The core has refused the content (too large, a bare newline, ...) and has told the peer."""
    transaction = session.transaction
    if transaction is not None:
        session.endTransaction()
        session.near.report.happened(CommandFailed(session.id, "end of data", str(event.reply)))


def ended(session: Session, event: EndOfData) -> None:
    """All is here: drain the filters, then commit. There is one answer also under LMTP, and the core gives it to each recipient
    (RFC 2033 4.2): they share one commit, and so one fate."""
    transaction = session.transaction
    assert transaction is not None
    rest = transaction.finish()
    if rest is not None:
        session.later(rest, lambda done: _ask(session, transaction, event))
    else:
        _ask(session, transaction, event)


def _ask(session: Session, transaction: OpenTransaction, event: EndOfData) -> None:
    if transaction.refusal is not None:
        _refuse(session, transaction, transaction.refusal, transaction.reason)
    elif session.near.filter is None:
        _commit(session, transaction, event)
    else:
        session.consult(
            Phase.COMMIT,
            "",
            "end of data",
            lambda value: _commit(session, transaction, event),
            lambda reply, reason: _refuse(session, transaction, reply, reason),
        )


def _commit(session: Session, transaction: OpenTransaction, event: EndOfData) -> None:
    """From here the message's fate does not depend on the session any more: it may be lost while the queue syncs."""

    def accepted(message: Message) -> None:
        _accepted(session, transaction, message, size)

    def failed(failure: Failure) -> None:
        error = failure.value
        if isinstance(error, QueueError):
            _refuse(session, transaction, error.reply, error.reason)
        else:
            session.complain(failure)
            _refuse(session, transaction, TROUBLE_OF_OURS, repr(error))

    # Whatever ends the session now must not roll back.
    session.transaction = None
    committed, prefix = transaction.commit(session.near.platform.wallTime(), session.profile.trace)
    size = event.size + len(prefix)
    committed.addCallbacks(accepted, failed).addErrback(session.failed)


def _accepted(session: Session, transaction: OpenTransaction, message: Message, size: int) -> None:
    """It is durable: tell everyone, also when the peer did not wait for it."""
    session.messages += 1
    reply = Reply(250, f"{formatMessageId(message.id)} Message accepted for delivery", "2.0.0")
    session.wire.answer(reply)


def _refuse(session: Session, transaction: OpenTransaction, reply: Reply, reason: str) -> None:
    """Answer the end of data with a refusal; nothing of the message is left."""
    transaction.rollback()
    session.transaction = None
    session.near.report.happened(CommandFailed(session.id, "end of data", str(reply), reason))
    session.wire.answer(reply)
