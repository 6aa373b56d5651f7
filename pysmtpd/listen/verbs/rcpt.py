"""RCPT: what becomes of an address?"""

from __future__ import annotations

from dataclasses import replace

from pysmtpd.interfaces import Phase
from pysmtpd.listen.session import Session
from pysmtpd.model.address import Path
from pysmtpd.model.decision import Decision
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Rcpt
from pysmtpd.smtp.grammar import parseAddress

OK = Reply(250, "Recipient ok", "2.1.5")


def rcptTo(session: Session, event: Rcpt) -> None:
    """Ask the router, and take the destinations that it names."""
    if session.near.filter is None:
        _route(session, event, event.path)
    else:
        _consult(session, event)


def _consult(session: Session, event: Rcpt) -> None:
    value = str(event.path)

    def accepted(rewritten: str) -> None:
        _route(session, event, event.path if rewritten == value else parseAddress(rewritten))

    session.consult(Phase.RCPT_TO, value, f"RCPT TO:<{value}>", accepted)


def _route(session: Session, event: Rcpt, path: Path) -> None:
    transaction = session.transaction
    assert transaction is not None

    def decided(decision: Decision) -> None:
        if decision.refusal is not None:
            refusal = decision.refusal
            if decision.cited:
                # The rule that the log and explain name, too: whoever asks about it can be answered.
                refusal = replace(refusal, text=f"{refusal.text} ({decision.cited})")
            session.refuse(f"RCPT TO:<{path}>", refusal, decision.reason)
            return
        transaction.addRecipient(path, decision.destinations, event.notify, event.orcpt)
        session.wire.answer(OK)

    session.then(session.near.router.expand(session.profile.config, path, transaction.facts), decided)
