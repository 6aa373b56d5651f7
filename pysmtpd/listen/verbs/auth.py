"""AUTH (RFC 4954): the credentials are complete; are they right?"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pysmtpd.interfaces import Phase, TableError
from pysmtpd.listen.session import Session
from pysmtpd.model.events import SessionAuthenticated
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Authenticate

WELCOME = Reply(235, "Authentication succeeded", "2.7.0")
WRONG = Reply(535, "Authentication failed", "5.7.8")
NOT_NOW = Reply(454, "Temporary authentication failure", "4.7.0")

DAMPING = 1.0
MAX_DAMPING = 5.0


def authenticate(session: Session, event: Authenticate) -> None:
    """Ask the authenticator. A failure is answered late, the later the more there were: guessing shall be slow."""
    session.consult(Phase.AUTH, event.mechanism, f"AUTH {event.mechanism}", lambda value: _check(session, event))


def _check(session: Session, event: Authenticate) -> None:
    # Acting for somebody else (RFC 4616 2) is not offered.
    if event.authorization not in ("", event.user):
        _wrong(session, event)
        return
    near = session.near
    spec = session.profile.spec
    table = spec.authTable.name if spec.authTable is not None else ""

    def unknown(failure: Failure) -> str:
        failure.trap(TableError)
        return str(failure.value) or "the table cannot answer"

    def checked(result: bool | str) -> None:
        if isinstance(result, str):
            _report(session, event, "tempfail")
            session.refuse(f"AUTH {event.mechanism}", NOT_NOW, result)
        elif result:
            session.user = event.user
            session.changed()
            _report(session, event, "ok")
            session.wire.answer(WELCOME)
        else:
            _wrong(session, event)

    answer = near.authenticator.authenticate(session.profile.config, table, event.user, event.password)
    session.later(answer.addErrback(unknown), checked)


def _wrong(session: Session, event: Authenticate) -> None:
    session.failures += 1
    _report(session, event, "permfail")
    delayed: Deferred[None] = Deferred()
    session.later(delayed, lambda done: session.refuse(f"AUTH {event.mechanism}", WRONG, "wrong credentials"))
    delay = min(DAMPING * session.failures, MAX_DAMPING)
    session.near.platform.clock.callLater(delay, delayed.callback, None)


def _report(session: Session, event: Authenticate, result: str) -> None:
    session.near.report.happened(SessionAuthenticated(session.id, event.user, event.mechanism, result))
