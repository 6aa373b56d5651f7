"""AUTH (RFC 4954): the credentials are complete; are they right?"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pysmtpd.interfaces import Phase, TableError
from pysmtpd.listen.damping import Damped
from pysmtpd.listen.session import Session
from pysmtpd.model.events import SessionAuthenticated
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Authenticate

WELCOME = Reply(235, "Authentication succeeded", "2.7.0")
WRONG = Reply(535, "Authentication failed", "5.7.8")
NOT_NOW = Reply(454, "Temporary authentication failure", "4.7.0")
TOO_MANY = {
    Damped.USER: Reply(454, "Too many failures, try again later", "4.7.0"),
    Damped.ADDRESS: Reply(421, "Too many failures from your address, try again later", "4.7.0"),
}

DAMPING = 1.0
MAX_DAMPING = 5.0


def authenticate(session: Session, event: Authenticate) -> None:
    """Ask the authenticator. A failure is answered late, the later the more there were: guessing shall be slow."""
    session.consult(Phase.AUTH, event.mechanism, f"AUTH {event.mechanism}", lambda value: _check(session, event))


def _check(session: Session, event: Authenticate) -> None:
    near = session.near
    clock, damping = near.platform.clock, near.damping
    peer, user = session.peer, event.user.lower()
    damped = damping.begin(peer, user, clock.seconds())
    if damped is not None:
        _report(session, event, "tempfail")
        session.refuse(f"AUTH {event.mechanism}", TOO_MANY[damped], f"too many failures of this {damped.value}")
        return
    # Acting for somebody else (RFC 4616 2) is not offered.
    if event.authorization not in ("", event.user):
        _wrong(session, event)
        return
    spec = session.profile.spec
    table = spec.authTable.name if spec.authTable is not None else ""

    def unknown(failure: Failure) -> str:
        failure.trap(TableError)
        damping.forgive(peer, user, clock.seconds(), isKnown=False)
        return str(failure.value) or "the table cannot answer"

    def told(isRight: bool) -> bool | str:
        # Also when the peer has gone meanwhile.
        if isRight:
            damping.forgive(peer, user, clock.seconds(), isKnown=True)
        return isRight

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

    answer = near.authenticator.authenticate(session.profile.config, table, event.user, event.password, peer)
    known: Deferred[bool | str] = answer.addCallbacks(told, unknown)
    session.later(known, checked)


def _wrong(session: Session, event: Authenticate) -> None:
    session.failures += 1
    _report(session, event, "permfail")
    delayed: Deferred[None] = Deferred()
    session.later(delayed, lambda done: session.refuse(f"AUTH {event.mechanism}", WRONG, "wrong credentials"))
    clock = session.near.platform.clock
    level = session.near.damping.level(session.peer, event.user.lower(), clock.seconds())
    clock.callLater(min(DAMPING * max(session.failures, level), MAX_DAMPING), delayed.callback, None)


def _report(session: Session, event: Authenticate, result: str) -> None:
    session.near.report.happened(SessionAuthenticated(session.id, event.user, event.mechanism, result))
