"""A new connection: who is it, and may it come in?"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pysmtpd.interfaces import Phase
from pysmtpd.listen.session import Session
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.smtp.events import Connect

RDNS_TIMEOUT = 5.0


def connected(session: Session, event: Connect) -> None:
    """Ask DNS for the peer's confirmed name, then greet. Loopback is not asked about; a slow answer is not waited for."""
    peer = session.peer
    if isLoopback(peer):
        _named(session, "localhost")
        return
    session.later(_confirmedName(session), lambda name: _named(session, name))


def _confirmedName(session: Session) -> Deferred[str]:
    """The peer's name, or an empty one when it takes longer than L{RDNS_TIMEOUT}. The question itself goes on: others may share it."""
    result: Deferred[str] = Deferred()
    call = session.near.platform.clock.callLater(RDNS_TIMEOUT, result.callback, "")

    def answered(name: str) -> None:
        if call.active():
            call.cancel()
            result.callback(name)

    def failed(failure: object) -> None:
        answered("")

    session.near.resolver.confirmedName(session.peer).addCallbacks(answered, failed)
    return result


def _named(session: Session, name: str) -> None:
    if session.isOver:
        return
    session.rdns = name
    session.changed()
    session.tellConnected()
    session.consult(Phase.CONNECT, session.peer, "connect", lambda value: session.wire.answer(session.profile.banner))
